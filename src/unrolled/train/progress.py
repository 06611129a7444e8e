"""The progress bar: step, epoch, loss in nats and bits, tokens per second, gradient norm, time left."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

from unrolled.errors import MissingExtraError, expected
from unrolled.spec import TaskKind, TrainConfig, kind_of
from unrolled.tasks import SequenceModel
from unrolled.train.fit import Schedule, StepRecord
from unrolled.train.observers import Observer, Row

__all__ = ["ProgressBar", "unless_lost"]

SMOOTHING = 0.05  # weight of the newest step in the figures shown


class ProgressBar(Observer):
    """Draws on standard error: a live bar on a terminal, a line a validation elsewhere.

    Where standard error goes away (a closed terminal, the end of a pipe) it falls silent: the run goes on.
    """

    def __init__(self) -> None:
        try:
            from rich.console import Console
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                expected("progress", "rich, from the extra: pip install 'unrolled[train]'", "none")
            ) from error
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Any = None
        self._task: Any = None
        self._kind: TaskKind | None = None
        self._loss = self._rate = self._norm = math.nan

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        self._kind = kind_of(config.data)
        if not self._console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(
            "train", total=schedule.steps, completed=schedule.start or 0, figures=""
        )
        with unless_lost():
            self._bar.start()

    def step(self, record: StepRecord) -> None:
        self._loss = _smooth(self._loss, record.loss)
        self._rate = _smooth(self._rate, record.tokens / max(record.seconds, 1e-9))
        self._norm = _smooth(self._norm, record.grad_norm)
        if self._bar is not None:
            figures = (
                f"epoch {record.epoch:.2f}  {self._shown(self._loss, 3)}  "
                f"{self._rate:,.0f} tok/s  |g| {self._norm:.2f}"
            )
            with unless_lost():
                self._bar.update(self._task, completed=record.step, figures=figures)

    def row(self, row: Row) -> None:
        if row.val_loss is None:
            return
        trained = "" if row.train_loss is None else f"train {row.train_loss:.4f}  "
        rate = "" if row.tokens_per_s is None else f"  {row.tokens_per_s:,.0f} tok/s"
        self.note(
            f"step {row.step:>6}  epoch {row.epoch:6.2f}  {trained}"
            f"validation {self._shown(row.val_loss)}{rate}"
        )

    def _shown(self, loss: float, digits: int = 4) -> str:
        return f"{loss:.{digits}f}" if self._kind is None else self._kind.shown(loss, digits)

    def note(self, text: str) -> None:
        with unless_lost():
            self._console.print(text, markup=False)

    def end(self) -> None:
        if self._bar is not None:
            with unless_lost():
                self._bar.stop()
            self._bar = None


@contextlib.contextmanager
def unless_lost() -> Iterator[None]:
    """Pass over a standard error that went away."""
    try:
        yield
    except (OSError, SystemExit):  # the second is what rich makes of a broken pipe
        return


def _smooth(old: float, new: float) -> float:
    return new if math.isnan(old) else (1 - SMOOTHING) * old + SMOOTHING * new
