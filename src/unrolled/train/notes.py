"""What was decided for a run, said before it starts, so that nobody has to guess."""

from __future__ import annotations

import torch

from unrolled.spec import TrainConfig
from unrolled.train.plan import ResumePoint

__all__ = ["notes"]


def notes(config: TrainConfig, point: ResumePoint | None = None) -> list[str]:
    """Return a line each on the training and on where it goes on; the task says the others."""
    threads = torch.get_num_threads()
    window = "" if config.bptt_steps is None else f" x {config.bptt_steps} steps"
    lines = [
        f"training  batch {config.batch_size}{window}, lr {config.learning_rate}, {_budget(config)}, "
        f"{config.dtype}, {threads} threads"
    ]
    if point is not None:
        before = point.progress
        lines.append(f"resumed   at step {before.step} of {before.steps}")
        if threads != before.threads:
            other = f"{threads} threads, where the run had {before.threads}"
            lines.append(f"warning   {other}: sums round otherwise, so it ends at other bits")
    return lines


def _budget(config: TrainConfig) -> str:
    if config.minutes is not None:
        return f"{config.minutes:g} minutes (a few steps are timed first)"
    return f"{config.epochs} epochs" if config.epochs is not None else f"{config.steps} steps"
