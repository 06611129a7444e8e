"""Who watches a run: the progress bar, the metrics file, a probe's telemetry, a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, Telemetry
from unrolled.train.fit import Schedule, StepRecord

__all__ = ["Observer", "Row"]


@dataclass(frozen=True)
class Row:
    """One line of `metrics.jsonl`; the training figures are means since the row before.

    In the file the losses are `train_<unit>` and `val_<unit>`, and these are attributes too:
    `row.val_nats_per_token` is `row.val_loss` where the unit is "nats_per_token".
    """

    step: int
    epoch: float
    train_loss: float | None  # None in the row of step 0
    val_loss: float | None  # None where no validation was due
    tokens_per_s: float | None  # targets a second of forward, backward and update
    grad_norm: float | None
    lr: float
    unit: str = "nats_per_token"  # `spec.TaskKind.loss` of the task

    def __getattr__(self, name: str) -> float | None:
        part, _, unit = name.partition("_")
        if part not in ("train", "val") or unit != self.__dict__.get("unit"):
            raise AttributeError(f"a row of {self.__dict__.get('unit')} has no attribute {name!r}")
        return self.train_loss if part == "train" else self.val_loss

    def to_dict(self) -> dict[str, Any]:
        """Return the line."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            f"train_{self.unit}": self.train_loss,
            f"val_{self.unit}": self.val_loss,
            "tokens_per_s": self.tokens_per_s,
            "grad_norm": self.grad_norm,
            "lr": self.lr,
        }


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
