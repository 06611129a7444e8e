"""What every run says of itself, whatever its task: notes, loss.png, telemetry.png, evaluation.json."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled import figures, files
from unrolled.errors import NonFiniteError, RunError, counted, expected
from unrolled.ops import op_of
from unrolled.spec import TaskKind, TrainConfig
from unrolled.tasks import Telemetry
from unrolled.train.fit import Schedule
from unrolled.train.observers import Row
from unrolled.train.plan import ResumePoint
from unrolled.train.processes import Processes

__all__ = [
    "closing_notes",
    "draw_loss",
    "draw_telemetry",
    "has_kernels",
    "notes",
    "processes_notes",
    "read_evaluation",
    "slow_notes",
    "write_evaluation",
]

LARGEST = 2**23  # bytes of an evaluation: figures of 100,000 steps ahead, and of intervals, fit


def notes(
    config: TrainConfig, schedule: Schedule, point: ResumePoint | None = None, why_threads: str = ""
) -> list[str]:
    """Return a line each on the training and on where it goes on; the task says the others.

    Args:
        why_threads: why so many threads were taken, where the run chose.
    """
    threads = torch.get_num_threads()
    window = "" if config.bptt_steps is None else f" x {counted(config.bptt_steps, 'step')}"
    if config.recompute is not None:
        window += f", {counted(config.recompute, 'step')} kept at a time"
    lines = [
        f"training  batch {config.batch_size}{window}, lr {config.learning_rate}, "
        f"{_budget(config, schedule)}, {config.dtype}, {counted(threads, 'thread')}"
    ]
    if why_threads:
        lines.append(f"threads   {threads}: {why_threads}")
    every, asked = schedule.telemetry_every(config.telemetry_every), config.telemetry_every
    if every != asked:
        lines.append(f"telemetry every {counted(every, 'step')}: the run has fewer than {asked}")
    if point is not None:
        before = point.progress
        lines.append(f"resumed   at step {before.step} of {schedule.steps}")
        if threads != before.threads:
            other = f"{counted(threads, 'thread')}, where the run had {before.threads}"
            lines.append(f"warning   {other}: sums round otherwise, so it ends at other bits")
    return lines


def processes_notes(processes: Processes, point: ResumePoint | None = None) -> list[str]:
    """Return a line on how many processes share a run, and one where a resumed run had another number."""
    size = processes.world_size
    lines = [] if size == 1 else [f"processes {size}, each reads every {size}th row of a batch"]
    if point is not None and point.progress.world_size != size:
        number = counted(size, "process", "processes")
        other = f"{number}, where the run had {point.progress.world_size}: rows are dealt anew"
        lines.append(
            f"warning   {other}; sums round and dropout is drawn otherwise, so it ends at other bits"
        )
    return lines


def has_kernels(config: TrainConfig, *backends: str) -> bool:
    """Whether kernels of one of the backends, by default of any, compute the recurrent layers of a run."""
    op = op_of(config.cell)
    slow = config.zoneout or config.recurrent_dropout
    return not slow and any(getattr(op, name) for name in backends or ("native", "torch"))


def without_kernels(config: TrainConfig) -> str:
    """Name what no kernel computes of the recurrent layers of a run: "the layernorm_gru with zoneout"."""
    op = op_of(config.cell)
    options = {"zoneout": config.zoneout, "recurrent dropout": config.recurrent_dropout}
    asked = " and ".join(name for name, value in options.items() if value)
    what = ["" if op.native or op.torch else f"the {config.cell}", asked]
    return " with ".join(word for word in what if word)


def slow_notes(config: TrainConfig) -> list[str]:
    """Return a line on a run whose recurrent layers no kernel computes."""
    if has_kernels(config):
        return []
    said = f"no kernel computes {without_kernels(config)}"
    return [f"note      {said}: a step is a Python loop over time, several times as slow"]


def closing_notes(schedule: Schedule, best_step: int) -> list[str]:
    """Return what to say at the end of the steps: where a run learnt nothing, that."""
    if best_step > 0:
        return []
    steps = counted(schedule.steps, "step")
    return [
        f"warning   no validation after step 0 was better in {steps}: model/ holds the weights of the start"
    ]


def _budget(config: TrainConfig, schedule: Schedule) -> str:
    steps = counted(schedule.steps, "step")
    if config.minutes is not None:
        return f"{counted(config.minutes, 'minute')}, which are {steps}"
    return steps if config.epochs is None else f"{counted(config.epochs, 'epoch')}, which are {steps}"


def write_evaluation(found: Any, path: Path, *, validation_is_train: bool) -> None:
    """Write an evaluation as JSON. Raises NonFiniteError: a value in it is NaN or infinite."""
    stored = {**found.to_dict(), "validation_is_train": validation_is_train}
    try:
        text = json.dumps(stored, indent=2, allow_nan=False)
    except ValueError:
        want = "finite numbers, or None for others"
        raise NonFiniteError(expected("evaluation", want, "NaN or infinity")) from None
    files.replace(path, text + "\n")


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read what `write_evaluation` wrote. Raises RunError: it is something else."""
    return files.parse_json(files.read_regular(path, LARGEST, RunError), path, RunError, most=8 * LARGEST)


def draw_loss(rows: Sequence[Row], path: Path, *, kind: TaskKind, best_step: int, title: str) -> None:
    """Draw the training and validation curves."""
    trained = [(r.step, r.train_loss) for r in rows if r.train_loss is not None]
    checked = [(r.step, r.val_loss) for r in rows if r.val_loss is not None]
    best = next(((s, v) for s, v in checked if s == best_step), None)
    figures.loss(
        path,
        step=np.array([s for s, _ in trained]),
        train=np.array([v for _, v in trained]),
        val_step=np.array([s for s, _ in checked]),
        validation=np.array([v for _, v in checked]),
        units=kind.units or ((kind.loss, 1.0),),
        best=best,
        title=title,
    )


def draw_telemetry(found: Sequence[tuple[int, Telemetry]], path: Path, *, kind: TaskKind, title: str) -> None:
    """Draw the gradient's norm by lag, and how far gates stood open, over steps; nothing without any."""
    if not found:
        return
    steps = [step for step, _ in found]
    lags = max((each.lags for _, each in found), key=len)
    panels: dict[str, dict[str, list[float]]] = {}
    for name in found[0][1].grad_norm:
        panels[f"gradient with respect to {name}, by lag"] = {
            f"lag {lag}": [_at(each, name, number) for _, each in found] for number, lag in enumerate(lags)
        }
    norms = frozenset(panels)
    words = {"closed": "gates closed (below 0.1)", "open": "gates open (above 0.9)"}
    if all(name.endswith(" h") for name in found[0][1].closed):  # an RNN has no gates
        words = {"closed": "states below −0.9", "open": "states above 0.9"}
    for part, word in words.items():
        names = getattr(found[0][1], part)
        if names:
            panels[word] = {name: [getattr(e, part).get(name, math.nan) for _, e in found] for name in names}
    unit = (kind.units[0][0] if kind.units else kind.loss).partition(" per ")[0]
    if panels:
        labels = {name: f"norm, {unit}" if name in norms else "share of units and steps" for name in panels}
        figures.families(path, step=steps, panels=panels, ylabels=labels, logarithmic=norms, title=title)


def _at(found: Telemetry, name: str, number: int) -> float:
    norms = found.grad_norm.get(name, ())
    return norms[number] if number < len(norms) else math.nan
