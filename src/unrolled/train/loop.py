"""The training loop: one optimizer step after another, stateful through a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from unrolled.data import Batch, Batches
from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, State, detach
from unrolled.train.finite import check_gradient, check_loss, check_validation, check_weights
from unrolled.train.observer import Observer, Row, StepRecord
from unrolled.train.optim import set_learning_rate
from unrolled.train.precision import autocast
from unrolled.train.schedule import Schedule
from unrolled.train.signals import Stopped, Stopper
from unrolled.train.state import Since

__all__ = ["Feed", "Loop", "Snapshot", "take_step"]


@dataclass
class Feed:
    """An endless supply of batches, with its place in the data."""

    batches: Batches
    epoch: int = 0
    index: int = 0  # of the next batch in its epoch
    _iterator: Iterator[Batch] | None = None
    _batches_an_epoch: int = 1

    def next(self) -> tuple[Batch, bool]:
        """Return the next batch, and whether it starts from the zero state."""
        if self._iterator is None:
            self._iterator = self.batches.epoch(self.epoch, start=self.index)
            self._batches_an_epoch = self.batches.len_of(self.epoch)
        batch = next(self._iterator, None)
        if batch is None:
            self.epoch, self.index, self._iterator = self.epoch + 1, 0, None
            return self.next()
        self.index += 1
        return batch, self.index == 1 or not self.batches.carries_state

    @property
    def passes(self) -> float:
        """Passes over the training part so far."""
        return self.epoch + self.index / self._batches_an_epoch


def take_step(
    model: SequenceModel,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: State,
    *,
    config: TrainConfig,
    step: int,
) -> tuple[float, int, float, State]:
    """Forward, backward, clip, update.

    Returns:
        mean nats per token, tokens, global gradient norm before clipping, and the detached state.
    Raises:
        NonFiniteError: the loss or the gradient is not finite; the weights are as they were.
    """
    with autocast(config.dtype):
        nats, count, after = model.loss(batch, state)
    mean = nats / count
    value = float(mean.detach())
    check_loss(model, batch, state, value, step=step, config=config)
    model.zero_grad(set_to_none=True)
    mean.backward()  # type: ignore[no-untyped-call]
    weights = list(model.parameters())
    norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
    # before clipping, which spreads a NaN to every gradient
    check_gradient(model, float(norm), step=step, config=config)
    torch.nn.utils.clip_grads_with_norm_(weights, config.clip_norm, norm)
    optimizer.step()
    return value, count, float(norm), detach(after)


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint needs of the loop, beside the model and the optimizer."""

    step: int
    validation: float | None  # nats per token; None where none was due
    better: bool  # than every validation before
    best: float | None  # of all validations
    feed: Feed
    state: State | None
    since: Since


@dataclass
class Loop:
    """Everything that changes while a run goes on."""

    model: SequenceModel
    optimizer: torch.optim.Optimizer
    feed: Feed
    config: TrainConfig  # every size resolved
    schedule: Schedule
    observers: Sequence[Observer]
    validate: Callable[[], float]  # nats per token
    save: Callable[[Snapshot], None]
    stopper: Stopper = field(default_factory=Stopper)
    state: State | None = None
    best: float | None = None
    since: Since = field(default_factory=Since)

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
                record = self.step(step)
                self._add(record)
                for observer in self.observers:
                    observer.step(record)
                if self.schedule.saves_at(step):
                    self.check(step)
                elif self.schedule.reports_at(step):
                    self._row(step, None)
                self._stop_if_asked(step, saved=self.schedule.saves_at(step))

    def step(self, step: int) -> StepRecord:
        """Take one optimizer step."""
        begin = time.perf_counter()
        lr = self.schedule.learning_rate(step - 1)
        set_learning_rate(self.optimizer, lr)
        batch, fresh = self.feed.next()
        if fresh or self.state is None:
            self.state = self.model.initial_state(batch.inputs.shape[1])
        if self.config.telemetry_every and step % self.config.telemetry_every == 0:
            found = self.model.telemetry(batch, self.state)
            for observer in self.observers:
                observer.telemetry(step, found)
        value, count, norm, self.state = take_step(
            self.model, self.optimizer, batch, self.state, config=self.config, step=step
        )
        seconds = time.perf_counter() - begin
        return StepRecord(step, self.feed.passes, value, count, seconds, norm, lr)

    def check(self, step: int) -> None:
        """Validate, write a row, save."""
        value = self.validate()
        check_validation(self.model, value, step=step, config=self.config)
        better = self.best is None or value < self.best
        self.best = value if better else self.best
        self._row(step, value)
        self._save(step, value, better=better)

    def _save(self, step: int, value: float | None, *, better: bool) -> None:
        self.save(Snapshot(step, value, better, self.best, self.feed, self.state, self.since))

    def _stop_if_asked(self, step: int, *, saved: bool) -> None:
        signum = self.stopper.signum
        if signum is None:
            return
        if not saved:
            check_weights(self.model, step=step, config=self.config)
            self._save(step, None, better=False)
        raise Stopped(f"stopped at step {step} of {self.schedule.steps}, which is saved", signum)

    def _add(self, record: StepRecord) -> None:
        since = self.since
        self.since = Since(
            steps=since.steps + 1,
            tokens=since.tokens + record.tokens,
            nats=since.nats + record.nats_per_token * record.tokens,
            seconds=since.seconds + record.seconds,
            grad_norm=since.grad_norm + record.grad_norm,
        )

    def _row(self, step: int, value: float | None) -> None:
        since, self.since = self.since, Since()
        row = Row(
            step=step,
            epoch=round(self.feed.passes if step else 0.0, 4),
            train_nats_per_token=since.nats / since.tokens if since.tokens else None,
            val_nats_per_token=value,
            tokens_per_s=round(since.tokens / since.seconds, 1) if since.tokens else None,
            grad_norm=since.grad_norm / since.steps if since.steps else None,
            lr=self.schedule.learning_rate(step - 1) if step else 0.0,
        )
        for observer in self.observers:
            observer.row(row)
