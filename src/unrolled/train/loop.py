"""The training loop: one optimizer step after another, stateful through a stream."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from unrolled.data import Batch
from unrolled.errors import NonFiniteError
from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, State, take_telemetry
from unrolled.train.finite import check_validation, check_weights
from unrolled.train.fit import Feed, Schedule, Stepper, StepRecord
from unrolled.train.observers import Observer, Row
from unrolled.train.pace import Crowding, Pace
from unrolled.train.processes import Processes
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
    pace: Pace | None = None  # of a run that has a budget of minutes
    follow: Callable[[Schedule], None] = lambda _: None  # called with a schedule that changed
    choose_threads: Callable[[], None] = lambda: (
        None
    )  # called where steps take far longer than when it was done
    crowding: Crowding = field(default_factory=Crowding)
    lr: float = 0.0  # of the last step

    def __post_init__(self) -> None:
        self.stepper.before = self._observe
        self.stepper.flags = self._to_say

    @property
    def model(self) -> SequenceModel:
        """The network."""
        return self.stepper.network

    @property
    def processes(self) -> Processes:
        """Those of the run."""
        return self.stepper.processes

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
                self._stop_if_asked(0, self._asked(self.processes.summed(self._to_say())), saved=True)
            self.model.train()
            step = self.schedule.start or 0
            if self.pace is not None:
                self.pace.begin(step)
            while step < self.schedule.steps:
                step += 1
                self._take(step)

    def _take(self, step: int) -> None:
        """Take a step, and do what is due after it."""
        record = self.stepper.step(step)
        self._add(record)
        for observer in self.observers:
            observer.step(record)
        heard = self.stepper.heard  # of several processes; this one's own word may have come too late
        over = self._is_over() if self.processes.alone else heard[-1] > 0
        if over and step < self.schedule.steps:
            self._follow(replace(self.schedule, steps=step))
        saves, reports = self.schedule.saves_at(step), self.schedule.reports_at(step)
        if reports:
            self._keep_pace(step)
        if saves:
            begin = time.perf_counter()
            self.check(step)
            if self.pace is not None:
                self.pace.checked(step, time.perf_counter() - begin)
        elif reports:
            self._row(step, None)
        self._stop_if_asked(
            step, self.stopper.signum if self.processes.alone else self._asked(heard), saved=saves
        )

    def _keep_pace(self, step: int) -> None:
        """Fit what is left of the schedule into what is left of the time, and say what makes steps slow."""
        self._note(self.crowding.note())
        if self.pace is None or step == self.schedule.steps:
            return
        fitted = self.pace.fitted(self.schedule, step).steps
        steps, slower = self.processes.of_first(fitted, self.pace.is_slower())
        if slower:
            self.choose_threads()
            self.pace.timed()
            self.pace.begin(step)
        if steps != self.schedule.steps:
            self._follow(replace(self.schedule, steps=int(steps)))

    def _to_say(self) -> tuple[float, float, float]:
        """Return what the other processes are to hear: a signal came here, and the time is over."""
        signum = self.stopper.signum
        over = self.processes.first and self._is_over()
        return float(signum == signal.SIGINT), float(signum == signal.SIGTERM), float(over)

    def _is_over(self) -> bool:
        return self.pace is not None and self.pace.is_over()

    def _asked(self, heard: Sequence[float]) -> int | None:
        """Return the signal that some process was sent, by what was heard from all."""
        interrupted, terminated, _ = heard
        return signal.SIGINT if interrupted else signal.SIGTERM if terminated else None

    def _follow(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.stepper.learning_rate = schedule.learning_rate
        self.follow(schedule)
        for observer in self.observers:
            observer.reschedule(schedule)
        if self.pace is not None:
            self._note(self.pace.change(schedule))

    def _note(self, text: str | None) -> None:
        for observer in self.observers if text is not None else ():
            observer.note(text or "")

    def _observe(self, step: int, batch: Batch, state: State) -> None:
        """Take telemetry where it is due."""
        every = self.schedule.telemetry_every(self.config.telemetry_every)
        if every and step % every == 0 and self.processes.first:
            found = take_telemetry(self.model, batch, state)
            for observer in self.observers:
                observer.telemetry(step, found)

    def check(self, step: int) -> None:
        """Validate, write a row, save."""
        value = self.validate()
        self._alike(check_validation, value, where=f"step {step}")
        better = self.best is None or value < self.best
        self.best = value if better else self.best
        self._row(step, value)
        self._save(step, value, better=better)

    def _save(self, step: int, value: float | None, *, better: bool) -> None:
        if self.stepper.agree():
            self._note(
                "warning   processors differ in how they round: every rank takes the weights of rank 0"
            )
        self.save(Snapshot(step, value, better, self.best, self.feed, self.stepper.state, self.since))

    def _alike(self, check: Callable[..., None], *values: float, where: str) -> None:
        """Check what is the same in every process, so that all raise the same."""
        try:
            check(self.model, *values, where=where, advice=self.stepper.advice)
        except NonFiniteError as error:
            raise self.processes.alike(error) from None

    def _stop_if_asked(self, step: int, signum: int | None, *, saved: bool) -> None:
        if signum is None:
            return
        if not saved:
            self._alike(check_weights, where=f"step {step}")
            self._save(step, None, better=False)
        text = f"stopped at step {step} of {self.schedule.steps}, which is saved"
        raise self.processes.alike(Stopped(text, signum))

    def _add(self, record: StepRecord) -> None:
        since, self.lr = self.since, record.lr
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
            lr=self.lr,
            unit=self.unit,
        )
        for observer in self.observers:
            observer.row(row)
