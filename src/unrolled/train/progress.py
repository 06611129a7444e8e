"""The progress bar: step, epoch, loss in nats and bits, tokens per second, gradient norm, time left."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

from unrolled.errors import MissingExtraError, expected
from unrolled.spec import LANGUAGE, TaskKind, TrainConfig, kind_of
from unrolled.tasks import SequenceModel
from unrolled.train.fit import Schedule, StepRecord
from unrolled.train.observers import Observer, Row

__all__ = ["ProgressBar", "unless_lost"]

SMOOTHING = 0.05  # weight of the newest step in the figures shown
LEAST_BAR = 10  # columns
BY_WEIGHT = ("loss", "rate", "epoch", "norm")  # where not all fit, the last ones go


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
        self._taken = 0  # columns beside the figures
        self._kind: TaskKind | None = None
        self._loss = self._rate = self._norm = math.nan

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        self._kind = kind_of(config.data)
        if not self._console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(min_width=LEAST_BAR, ratio=1)),
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(
            "train", total=schedule.steps, completed=schedule.start or 0, figures=""
        )
        self._taken = 2 * len(str(schedule.steps)) + len("step /  ") + LEAST_BAR + len("  0:00:00  ")
        with unless_lost():
            self._bar.start()

    def reschedule(self, schedule: Schedule) -> None:
        if self._bar is not None:
            with unless_lost():
                self._bar.update(self._task, total=schedule.steps)

    def step(self, record: StepRecord) -> None:
        self._loss = _smooth(self._loss, record.loss)
        self._rate = _smooth(self._rate, record.tokens / max(record.seconds, 1e-9))
        self._norm = _smooth(self._norm, record.grad_norm)
        if self._bar is not None:
            figures = self._figures(record.epoch)
            with unless_lost():
                self._bar.update(self._task, completed=record.step, figures=figures)

    def _figures(self, epoch: float) -> str:
        """Return as many figures as fit beside the step, a bar and the time left; the loss goes first."""
        figures = {
            "epoch": f"epoch {epoch:.2f}",
            "loss": self._shown(self._loss, 3),
            "rate": f"{self._rate:,.0f} {self._unit}/s",
            "norm": f"|g| {self._norm:.2f}",
        }
        room = self._console.width - self._taken
        for name in reversed(BY_WEIGHT):
            if sum(len(text) + 2 for text in figures.values()) > room:
                del figures[name]
        return "  ".join(figures.values())

    def row(self, row: Row) -> None:
        if row.val_loss is None:
            return
        trained = "" if row.train_loss is None else f"train {row.train_loss:.4f}  "
        rate = "" if row.tokens_per_s is None else f"  {row.tokens_per_s:,.0f} {self._unit}/s"
        self.note(
            f"step {row.step:>6}  epoch {row.epoch:6.2f}  {trained}"
            f"validation {self._shown(row.val_loss)}{rate}"
        )

    @property
    def _unit(self) -> str:
        """What is counted, by the loss: "tok" of a text, "samples" where it is nats per sample."""
        if self._kind is None or self._kind is LANGUAGE:
            return "tok"
        one = self._kind.units[0][0].partition(" per ")[2] if self._kind.units else ""
        return f"{one or 'target'}s"

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
