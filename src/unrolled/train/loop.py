"""The training loop: one optimizer step after another, stateful through a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from unrolled.data import Batch, Batches
from unrolled.models import SequenceModel, State, detach
from unrolled.spec import TrainConfig
from unrolled.train.finite import check_gradient, check_loss, check_validation
from unrolled.train.observer import Observer, Row, StepRecord
from unrolled.train.optim import set_learning_rate
from unrolled.train.precision import autocast
from unrolled.train.schedule import Schedule

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
    check_loss(model, batch, state, value, step=step, dtype=config.dtype)
    model.zero_grad(set_to_none=True)
    mean.backward()  # type: ignore[no-untyped-call]
    weights = list(model.parameters())
    norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
    check_gradient(model, float(norm), step=step)  # before clipping, which spreads a NaN to every gradient
    torch.nn.utils.clip_grads_with_norm_(weights, config.clip_norm, norm)
    optimizer.step()
    return value, count, float(norm), detach(after)


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint needs of the loop, beside the model and the optimizer."""

    step: int
    validation: float  # nats per token
    better: bool  # than every validation before
    feed: Feed
    state: State | None


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
    state: State | None = None
    best: float = float("inf")
    _since: list[StepRecord] = field(default_factory=list)

    def run(self) -> None:
        """Take every step from the first to the last."""
        self.check(0)
        self.model.train()
        for step in range(1, self.schedule.steps + 1):
            self._since.append(self.step(step))
            for observer in self.observers:
                observer.step(self._since[-1])
            if self.schedule.saves_at(step):
                self.check(step)
            elif self.schedule.reports_at(step):
                self._row(step, None)

    def step(self, step: int) -> StepRecord:
        """Take one optimizer step."""
        begin = time.perf_counter()
        lr = self.schedule.learning_rate(step - 1)
        set_learning_rate(self.optimizer, lr)
        batch, fresh = self.feed.next()
        if fresh or self.state is None:
            self.state = self.model.initial_state(batch.inputs.shape[1])
        value, count, norm, self.state = take_step(
            self.model, self.optimizer, batch, self.state, config=self.config, step=step
        )
        seconds = time.perf_counter() - begin
        return StepRecord(step, self.feed.passes, value, count, seconds, norm, lr)

    def check(self, step: int) -> None:
        """Validate, write a row, save."""
        value = self.validate()
        check_validation(self.model, value, step=step)
        better = value < self.best
        self.best = min(self.best, value)
        self._row(step, value)
        self.save(Snapshot(step, value, better, self.feed, self.state))

    def _row(self, step: int, value: float | None) -> None:
        since, self._since = self._since, []
        tokens = sum(r.tokens for r in since)
        row = Row(
            step=step,
            epoch=round(self.feed.passes if step else 0.0, 4),
            train_nats_per_token=sum(r.nats_per_token * r.tokens for r in since) / tokens if tokens else None,
            val_nats_per_token=value,
            tokens_per_s=round(tokens / sum(r.seconds for r in since), 1) if tokens else None,
            grad_norm=sum(r.grad_norm for r in since) / len(since) if since else None,
            lr=since[-1].lr if since else 0.0,
        )
        for observer in self.observers:
            observer.row(row)
