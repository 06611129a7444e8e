"""Who watches a run: the progress bar, the metrics file, a probe's telemetry, a notebook."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, Telemetry
from unrolled.train.schedule import Schedule

__all__ = ["Observer", "Row", "StepRecord"]


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step."""

    step: int  # 1 for the first
    epoch: float  # passes over the training part so far
    nats_per_token: float
    tokens: int
    seconds: float  # of forward, backward and update
    grad_norm: float  # global, before clipping
    lr: float


@dataclass(frozen=True)
class Row:
    """One line of `metrics.jsonl`; the training figures are means since the row before."""

    step: int
    epoch: float
    train_nats_per_token: float | None  # None in the row of step 0
    val_nats_per_token: float | None  # None where no validation was due
    tokens_per_s: float | None
    grad_norm: float | None
    lr: float


class Observer:
    """Derive from it and override what you need; every method does nothing here."""

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        """Sizes and schedule are fixed; the first step is next, or the one after `schedule.start`."""

    def step(self, record: StepRecord) -> None:
        """An optimizer step was taken."""

    def row(self, row: Row) -> None:
        """Figures were collected, with a validation or without."""

    def telemetry(self, step: int, found: Telemetry) -> None:
        """Every `telemetry_every` steps: how the gradient fares and gates stand, before the step is taken."""

    def note(self, text: str) -> None:
        """Something that the user should read, in one line."""

    def end(self) -> None:
        """The loop has ended, by its last step or by an error."""
