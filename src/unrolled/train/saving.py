"""What a checkpoint of a run consists of, and which ones stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint
from unrolled.spec import RunDirectory, kind_of
from unrolled.tasks import Dataset, model_tensors
from unrolled.train.fit import Schedule
from unrolled.train.loop import Snapshot
from unrolled.train.state import Progress, moments_of, random_state

__all__ = ["Saver"]


@dataclass
class Saver:
    """Writes step directories, LATEST and BEST, and at the end `model/` from BEST."""

    run: Path
    config: Mapping[str, Any]  # {"task", "model", "data", "training"}, as config.json
    model: Any  # the task's network
    optimizer: torch.optim.Optimizer
    dataset: Dataset
    schedule: Schedule
    keep: int  # newest checkpoints that stay, beside LATEST and BEST
    best_step: int = 0

    def save(self, now: Snapshot) -> None:
        """Write one step directory and move the marks."""
        if now.better:
            self.best_step = now.step
        kind, tokens = kind_of(self.model.config), self.dataset.tokens
        carried = now.state if now.feed.batches.carries_state else None
        contents = checkpoint.Contents(
            config=dict(self.config),
            model=model_tensors(self.model),
            tokens=None if tokens is None else tokens.to_json(),
            optimizer=moments_of(self.model, self.optimizer, carried, kind.states(self.model.config)),
            progress=self._progress(now).to_json(kind.loss),
        )
        checkpoint.write_step(self.run, now.step, contents)
        checkpoint.mark(self.run, "LATEST", now.step)
        if now.better:
            checkpoint.mark(self.run, "BEST", now.step)
        checkpoint.prune(self.run, self.keep)

    def finish(self) -> Path:
        """Write `model/` from the best checkpoint and return its path."""
        return checkpoint.write_model(self.run, checkpoint.read(RunDirectory(self.run).step(self.best_step)))

    def _progress(self, now: Snapshot) -> Progress:
        return Progress(
            step=now.step,
            steps=self.schedule.steps,
            save_every=self.schedule.save_every,
            peak=self.schedule.peak,
            epoch=now.feed.epoch,
            batch=now.feed.index,
            validation=now.validation,
            best_step=self.best_step,
            best=now.best,
            since=now.since,
            torch_random_state=random_state(),
            threads=torch.get_num_threads(),
            corpus_sha256=self.dataset.sha256,
            ids_sha256=self.dataset.identity,
        )
