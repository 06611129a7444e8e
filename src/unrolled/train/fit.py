"""One optimizer step after another: the loop that the trainer and the lab share."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.data import Batch, Batches
from unrolled.tasks import SequenceModel, State, detach
from unrolled.train import segments
from unrolled.train.finite import autocast, check_gradient, check_loss
from unrolled.train.processes import Processes
from unrolled.train.reduction import Reduction

__all__ = [
    "Feed",
    "Schedule",
    "StepRecord",
    "Stepper",
    "choose_dtype",
    "fit",
    "make_optimizer",
    "native_bfloat16",
]

BETAS = (0.9, 0.99)  # the second moment follows as fast as the loss falls
WARMUP_SHARE = 0.03
CLIP_EPSILON = 2e-6  # torch adds 1e-6 to the norm that it divides by
ROWS_A_RUN = 200  # lines of metrics.jsonl
TELEMETRIES = 10  # in a run of fewer steps than lie between two of them


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step."""

    step: int  # 1 for the first
    epoch: float  # passes over the training part so far
    loss: float  # mean over its targets, in the unit of the task
    tokens: int  # targets of its batch, of all processes together
    seconds: float  # of forward, backward and update; not of reading data or of telemetry
    grad_norm: float  # global, before clipping
    lr: float

    @property
    def nats_per_token(self) -> float:
        """The loss by its old name, of a language model; it goes in 0.3."""
        warnings.warn("StepRecord.nats_per_token is now StepRecord.loss", DeprecationWarning, stacklevel=2)
        return self.loss


def fit(
    network: SequenceModel,
    batches: Batches | Iterable[Batch | tuple[Batch, bool]],
    *,
    steps: int | None = None,
    learning_rate: float | Callable[[int], float] = 3e-3,
    clip_norm: float | None = 1.0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    optimizer: torch.optim.Optimizer | None = None,
    before: Callable[[int, Batch, State], None] | None = None,
) -> Iterator[StepRecord]:
    """Train a network, yielding a record after each optimizer step: the caller decides what happens between.

        rate = Schedule(1000, 100, 3e-3).learning_rate  # a warm-up, then a cosine to zero
        for record in fit(network, batches, steps=1000, learning_rate=rate):
            if record.step % 100 == 0 and solved(network):  # or a clock has run out, or anything else
                break

    The network may be scored between two steps, in evaluation mode too: each step trains in training mode.
    Nothing is drawn here but what the network's dropout draws from torch's own generator.

    Args:
        network: with `initial_state(rows)`, `loss(batch, state) → (summed loss, targets, state after)` and
            torch.nn.Module's methods; see `unrolled.tasks.SequenceModel`. A step minimises the mean.
        batches: `Batches`, whose epochs follow one another without end; or any iterable of batches, each of
            which starts from the zero state; or of pairs (batch, whether it does), where the state goes on.
        steps: how many to take; None: until the batches or the caller ends it.
        learning_rate: of every step, or a function of the step's number, 0 for the first.
        clip_norm: largest global norm of a gradient; None: never clipped.
        weight_decay: of AdamW, on matrices only.
        dtype: "float32", or "bfloat16" for matrix products in it.
        optimizer: that is to be used; default AdamW, which without decay is Adam.
        before: called with (step, batch, state) before a step is taken.
    Yields:
        `StepRecord`: step (1 for the first), mean loss, targets, seconds, norm of the gradient, …
    Raises:
        NonFiniteError: a loss or a gradient became NaN or infinite; the weights are those before that step.
    """
    rate = learning_rate if callable(learning_rate) else (lambda _: learning_rate)
    if optimizer is None:
        optimizer = make_optimizer(network, lr=rate(0), weight_decay=weight_decay)
    feed = Supply(batches) if isinstance(batches, Iterable) else Feed(batches)
    stepper = Stepper(network, optimizer, feed, rate, clip_norm=clip_norm, dtype=dtype, before=before)
    step = 0
    with contextlib.suppress(StopIteration):
        while steps is None or step < steps:
            step += 1
            if not getattr(network, "training", True):
                network.train()
            yield stepper.step(step)


class Supply:
    """Batches of an iterable, with what `Feed` says of its own."""

    def __init__(self, batches: Iterable[Batch | tuple[Batch, bool]]) -> None:
        self._iterator = iter(batches)
        self.passes = 0.0

    def next(self) -> tuple[Batch, bool]:
        """Return the next batch, and whether it starts from the zero state. Raises StopIteration."""
        given = next(self._iterator)
        return given if isinstance(given, tuple) else (given, True)


@dataclass
class Feed:
    """An endless supply of batches, with its place in the data."""

    batches: Batches
    epoch: int = 0
    index: int = 0  # of the next batch in its epoch
    rank: int = 0  # of this process, which reads the rows rank::world_size of each batch
    world_size: int = 1
    _iterator: Iterator[Batch] | None = None
    _batches_an_epoch: int = 1

    def next(self) -> tuple[Batch, bool]:
        """Return the next batch, and whether it starts from the zero state."""
        if self._iterator is None:
            place = {} if self.world_size == 1 else {"rank": self.rank, "world_size": self.world_size}
            self._iterator = self.batches.epoch(self.epoch, start=self.index, **place)
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

    def anew(self) -> Feed:
        """Return the same supply, from its beginning."""
        return Feed(self.batches, rank=self.rank, world_size=self.world_size)


FLAGS = 3  # numbers that a step adds up over the processes besides: see `Stepper.flags`


@dataclass
class Stepper:
    """What one optimizer step needs, and the state that it hands to the next."""

    network: SequenceModel
    optimizer: torch.optim.Optimizer
    feed: Any  # a Feed, or what has its `next` and `passes`
    learning_rate: Callable[[int], float]  # of step 0, 1, …
    clip_norm: float | None = 1.0
    dtype: str = "float32"
    before: Callable[[int, Batch, State], None] | None = None
    advice: str = ""  # what may help where a loss or a gradient is not finite
    recompute: int | None = None  # steps whose activations are kept at a time; None: all
    state: State | None = None
    processes: Processes = field(default_factory=Processes)
    seed: int = 0  # of what several processes draw: each anew at every step
    flags: Callable[[], Sequence[float]] = lambda: (0.0,) * FLAGS  # what the others are to hear with a step
    heard: Sequence[float] = (0.0,) * FLAGS  # sums of what all processes had to say with the last one
    _reduction: Reduction | None = field(default=None, init=False)

    def step(self, step: int) -> StepRecord:
        """Take step 1, 2, …: forward, backward, clip, update.

        Raises:
            NonFiniteError: the loss or the gradient is not finite; the weights are as they were.
            ProcessError: another process has ended or does not answer.
        """
        lr = self.learning_rate(step - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        batch, fresh = self.feed.next()
        if fresh or self.state is None:
            self.state = self.network.initial_state(batch.inputs.shape[1])
        if self.before is not None:
            self.before(step, batch, self.state)
        if not self.processes.alone:
            torch.default_generator.manual_seed(_seed_of(self.seed, step, self.processes.rank))
        begin = time.perf_counter()  # not before: data and telemetry are no part of a step
        mean, count, norm = self._update(batch, step)
        seconds = time.perf_counter() - begin
        return StepRecord(step, self.feed.passes, mean, count, seconds, norm, lr)

    def _update(self, batch: Batch, step: int) -> tuple[float, int, float]:
        """Return the mean loss, the targets, and the gradient's global norm before clipping."""
        network, where = self.network, f"step {step}"
        found = self._forward(batch)
        if self.processes.alone:
            self._check_loss(batch, found.mean, where)
        network.zero_grad(set_to_none=True)
        found.backward()
        value, count, gradients = self._of_all(batch, found, where)
        norm = torch.nn.utils.get_total_norm(gradients)
        # before clipping, which spreads a NaN to every gradient
        length = float(norm)
        self._check_gradient(length, where)
        if self._reduction is not None:
            self._reduction.hand_out()
        weights = list(network.parameters())
        if self.clip_norm is not None and not length < self.clip_norm - CLIP_EPSILON:
            torch.nn.utils.clip_grads_with_norm_(
                weights, self.clip_norm, norm
            )  # else times 1: nothing changes
        self.optimizer.step()
        self.state = detach(found.after)
        return value, count, length

    def agree(self) -> bool:
        """Give every process the weights and moments of rank 0; return whether any process had others.

        Processors that differ round differently, so that a difference in the last bits grows.
        """
        weights = list(self.network.parameters())
        moments = [each for weight in weights for each in self.optimizer.state.get(weight, {}).values()]
        if not self.processes.differ([*weights, *moments]):
            return False
        self.processes.spread([*weights, *moments])
        return True

    def _of_all(self, batch: Batch, found: segments.Pass, where: str) -> tuple[float, int, list[Tensor]]:
        """Return the mean loss over the targets of every process, how many they are, and its gradient."""
        if self.processes.alone:
            own = [p.grad for p in self.network.parameters() if p.grad is not None]
            return found.mean, found.targets, own
        if self._reduction is None:
            self._reduction = Reduction(self.processes, self.network.parameters(), flags=FLAGS)
        value, count, self.heard = self._reduction.add(found.mean, found.targets, self.flags())
        if not math.isfinite(value):
            self.processes.refuse(
                lambda who: self._check_loss(batch, found.mean, where + who),
                f"loss at {where}: expected a finite number, got {value}, of the sum over the ranks",
            )
        return value, count, self._reduction.gradients

    def _check_loss(self, batch: Batch, value: float, where: str) -> None:
        check_loss(self.network, batch, self.state, value, where=where, dtype=self.dtype, advice=self.advice)

    def _check_gradient(self, norm: float, where: str) -> None:
        """Raise NonFiniteError where the norm is not finite; names a tensor, and one of several processes."""
        network, advice = self.network, self.advice
        if self.processes.alone or math.isfinite(norm):
            check_gradient(network, norm, where=where, advice=advice)
            return

        def check(who: str) -> None:
            own = [p.grad for p in network.parameters() if p.grad is not None]
            length = float(torch.nn.utils.get_total_norm(own)) if own else 0.0
            check_gradient(network, length, where=where + who, advice=advice)

        got = f"expected a finite number, got {norm}; every rank's own gradient is finite, their sum is not"
        self.processes.refuse(check, f"gradient norm at {where}: {got}{advice}")

    def _forward(self, batch: Batch) -> segments.Pass:
        """Run the network forward, and leave its backward pass to be done."""
        if not self.processes.alone and not batch.inputs.shape[1]:  # fewer rows than processes
            return segments.Pass(0.0, 0, self.state, lambda: None)
        if self.recompute is not None and len(batch.inputs) > self.recompute:
            return segments.forward(self.network, batch, self.state, size=self.recompute, dtype=self.dtype)
        with autocast(self.dtype):
            total, count, after = self.network.loss(batch, self.state)
        mean = total / max(count, 1)
        return segments.Pass(float(mean.detach()), count, after, mean.backward)


def _seed_of(seed: int, step: int, rank: int) -> int:
    """Return the seed of what a process draws in a step, so that a checkpoint's step says all of it."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def make_optimizer(network: SequenceModel, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), only matrices decay, never biases.

    In its fused form, which is three times as fast here as the others (bench/RESULTS.md).
    """
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    vectors = [p for p in network.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)


@dataclass(frozen=True)
class Schedule:
    """By --steps or --epochs, or by timing for --minutes, where another takes its place as speeds change."""

    steps: int
    save_every: int  # steps between validations, each with a checkpoint
    peak: float  # the largest learning rate
    start: int | None = None  # of a resumed run, the step after which this process took over

    def learning_rate(self, step: int) -> float:
        """Return the rate of step 0 … steps − 1: a linear warm-up over 3 %, then a cosine to zero.

        Source: Loshchilov & Hutter 2017 (the cosine); Goyal et al. 2017 (the warm-up).
        """
        warmup = max(1, round(WARMUP_SHARE * self.steps))
        if step < warmup:
            return self.peak * (step + 1) / warmup
        share = (step - warmup) / max(1, self.steps - warmup)
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * share))

    def saves_at(self, step: int) -> bool:
        """Say whether a validation and a checkpoint follow step 1 … steps; the last step always."""
        return step % self.save_every == 0 or step == self.steps

    def reports_at(self, step: int) -> bool:
        """Say whether a row of figures follows a step that is not validated."""
        return step % max(1, self.steps // ROWS_A_RUN) == 0

    def telemetry_every(self, asked: int) -> int:
        """Return the steps between telemetries, 0 for none: a tenth of a run that is shorter than asked."""
        return asked if asked <= self.steps else max(1, self.steps // TELEMETRIES)


def native_bfloat16() -> bool:
    """Say whether this processor multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for these
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def choose_dtype(dtype: str, *, has_kernels: bool = True) -> str:
    """Resolve "auto": bfloat16 where the processor multiplies it natively, else float32.

    A cell without kernels trains in float32: the reference's loop has too little to multiply at a time.

    Weights, states and sums stay float32 (`unrolled.kernels.pack`). Measured in bench/RESULTS.md.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if has_kernels and native_bfloat16() else "float32"
