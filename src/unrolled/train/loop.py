"""The training loop: one optimizer step after another, stateful through a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from unrolled.data import Batch
from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, State, take_telemetry
from unrolled.train.finite import check_validation, check_weights
from unrolled.train.fit import Feed, Schedule, Stepper, StepRecord
from unrolled.train.observers import Observer, Row
from unrolled.train.saving import Since, Snapshot
from unrolled.train.signals import Stopped, Stopper

__all__ = ["Loop"]


@dataclass
class Loop:
    """Everything that changes while a run goes on."""

    stepper: Stepper
    config: TrainConfig  # every size resolved
    schedule: Schedule
    observers: Sequence[Observer]
    validate: Callable[[], float]  # the mean loss of the validation part
    save: Callable[[Snapshot], None]
    unit: str  # of the loss
    stopper: Stopper = field(default_factory=Stopper)
    best: float | None = None
    since: Since = field(default_factory=Since)

    def __post_init__(self) -> None:
        self.stepper.before = self._observe

    @property
    def model(self) -> SequenceModel:
        """The network."""
        return self.stepper.network

    @property
    def feed(self) -> Feed:
        """The batches, with their place in the data."""
        feed: Feed = self.stepper.feed
        return feed

    def run(self) -> None:
        """Take every step from where the schedule starts to its end.

        Raises:
            Stopped: a signal came; the step it came in is done and saved.
        """
        with self.stopper.deferring():
            if self.schedule.start is None:
                self.check(0)
                self._stop_if_asked(0, saved=True)
            self.model.train()
            for step in range((self.schedule.start or 0) + 1, self.schedule.steps + 1):
                record = self.stepper.step(step)
                self._add(record)
                for observer in self.observers:
                    observer.step(record)
                if self.schedule.saves_at(step):
                    self.check(step)
                elif self.schedule.reports_at(step):
                    self._row(step, None)
                self._stop_if_asked(step, saved=self.schedule.saves_at(step))

    def _observe(self, step: int, batch: Batch, state: State) -> None:
        """Take telemetry where it is due."""
        if self.config.telemetry_every and step % self.config.telemetry_every == 0:
            found = take_telemetry(self.model, batch, state)
            for observer in self.observers:
                observer.telemetry(step, found)

    def check(self, step: int) -> None:
        """Validate, write a row, save."""
        value = self.validate()
        check_validation(self.model, value, where=f"step {step}", advice=self.stepper.advice)
        better = self.best is None or value < self.best
        self.best = value if better else self.best
        self._row(step, value)
        self._save(step, value, better=better)

    def _save(self, step: int, value: float | None, *, better: bool) -> None:
        self.save(Snapshot(step, value, better, self.best, self.feed, self.stepper.state, self.since))

    def _stop_if_asked(self, step: int, *, saved: bool) -> None:
        signum = self.stopper.signum
        if signum is None:
            return
        if not saved:
            check_weights(self.model, where=f"step {step}", advice=self.stepper.advice)
            self._save(step, None, better=False)
        raise Stopped(f"stopped at step {step} of {self.schedule.steps}, which is saved", signum)

    def _add(self, record: StepRecord) -> None:
        since = self.since
        self.since = Since(
            steps=since.steps + 1,
            tokens=since.tokens + record.tokens,
            loss=since.loss + record.loss * record.tokens,
            seconds=since.seconds + record.seconds,
            grad_norm=since.grad_norm + record.grad_norm,
        )

    def _row(self, step: int, value: float | None) -> None:
        since, self.since = self.since, Since()
        row = Row(
            step=step,
            epoch=round(self.feed.passes if step else 0.0, 4),
            train_loss=since.loss / since.tokens if since.tokens else None,
            val_loss=value,
            tokens_per_s=round(since.tokens / since.seconds, 1) if since.tokens else None,
            grad_norm=since.grad_norm / since.steps if since.steps else None,
            lr=self.schedule.learning_rate(step - 1) if step else 0.0,
            unit=self.unit,
        )
        for observer in self.observers:
            observer.row(row)
