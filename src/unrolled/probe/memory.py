"""Memory: how far back an input still changes the prediction, and what context is worth to the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled import figures
from unrolled.errors import ConfigError, NonFiniteError, ShapeError, expected
from unrolled.ops import valid_steps
from unrolled.probe.batch import (
    Inputs,
    as_given,
    at_least_one,
    copies_at_once,
    positions,
    steps_first,
    unbroken,
    variants,
)  # fmt: skip
from unrolled.probe.losses import Progress, by_step, gives_logits
from unrolled.probe.recording import Recording, output, record
from unrolled.probe.result import Floats, Interval, Mask, Result, mean_interval
from unrolled.probe.subject import Subject, untouched
from unrolled.probe.words import steps

SHARE = 0.01  # of the largest mean effect of any lag: what counts as remembered
FLOOR_NATS = 0.01  # a smaller effect on a distribution never does: predictions that hardly move
FLOOR_SQUARED = 1e-4  # the same of an output that is no distribution, in parts of its variance
CLOSE = 0.01  # of the loss with the most context: as near is as good


@dataclass(frozen=True)
class MemoryHorizon(Result):
    """What `memory_horizon` measured.

    Attributes:
        effect: [lags + 1] mean effect on the prediction at t of replacing the input at t − k.
        low, high: [lags + 1] its 95 % interval over rows; NaN with one row.
        unit: "nats" (Kullback-Leibler divergence from the prediction to the changed one) or "parts of the
            output's variance" (squared change).
        threshold: an effect of at least this counts: 1 % of the largest, and at least the floor.
        horizon: the largest lag whose low end reaches the threshold (with one row: whose mean does); 0 where
            none beyond the present input does.
        horizon_interval: from there to the largest lag whose high end reaches it.
        lags: how far back was looked. samples: inputs that were replaced. rows: of the batch.
        differ: share of them that were replaced by another value; 0 where all inputs are equal.
        bptt_steps: the window of truncated back-propagation that the model was trained with, where given.
    """

    effect: Floats
    low: Floats
    high: Floats
    unit: str
    threshold: float
    horizon: int
    horizon_interval: Interval
    lags: int
    samples: int
    rows: int
    differ: float
    bptt_steps: int | None

    @property
    def share_of_window(self) -> float | None:
        """The horizon as a share of the window; near 1 or above, the window may be what limits it."""
        return None if self.bptt_steps is None else self.horizon / self.bptt_steps

    @property
    def open_ended(self) -> bool:
        """Whether memory may reach further than was measured."""
        return self.horizon > 0 and self.lags in (self.horizon, self.horizon_interval.high)

    @property
    def summary(self) -> str:
        """What was found, in a sentence."""
        if float(np.nanmax(self.effect)) < self.threshold:
            return "the prediction hardly depends on the inputs: horizon 0"
        if self.horizon == 0:
            return "no memory: the prediction depends on the present input alone: horizon 0"
        window = "" if self.bptt_steps is None else f"; the training window is {steps(self.bptt_steps)}"
        if self.open_ended:
            return f"inputs matter for at least {self.horizon} of the {self.lags} lags measured{window}"
        return f"inputs matter for {steps(self.horizon)}{window}"

    def plot(self, path: str | Path) -> None:
        """Draw the effect over lags, with the horizon, into a PNG file."""
        marks = {f"horizon {self.horizon}": float(self.horizon)}
        if self.bptt_steps is not None and self.bptt_steps <= 2 * self.lags:
            marks[f"training window {self.bptt_steps}"] = float(self.bptt_steps)
        figures.lags(
            path,
            curves={"effect": {"middle": self.effect, "low": self.low, "high": self.high}},
            captions={"effect": self.summary},
            xlabel="lag k, in steps",
            ylabel="effect, nats" if self.unit == "nats" else "effect, parts of the variance",
            title="replacing the input at t − k",
            marks=marks,
            level=("threshold", self.threshold),
            log=True,
        )


def memory_horizon(
    model: torch.nn.Module,
    batch: object,
    *,
    lags: int = 64,
    steps: int = 16,
    bptt_steps: int | None = None,
    logits: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MemoryHorizon:
    """Replace inputs, one at a time, and measure how much later predictions change.

    One copy of a row has one input replaced, and shows all its lags at once. A token is replaced by a draw
    from the tokens of the batch (which may be the same token), a vector by one from any step and row of it.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, running forward.
        batch: a `Batch`, or the tensor that the model takes: ids [T, B] or vectors [T, B, I] ([B, T, …] where
            its first recurrent layer has batch_first).
        lags: how far to look; below the number of steps.
        steps: how many inputs of each row are replaced, spread evenly.
        bptt_steps: the window of truncated back-propagation in training, to compare with.
        logits: whether the output at a step is the logits of a distribution; default for a `LanguageModel`.
        seed: of the draws.
        progress: called with (done, of how many).
    Raises:
        ConfigError, ShapeError, DtypeError, NonFiniteError: as `gradient_flow`.
    """
    at_least_one(lags=lags, steps=steps, bptt_steps=bptt_steps)
    recording = record(model, batch)
    logits = gives_logits(model) if logits is None else logits
    with untouched(model):
        x = steps_first(recording.subject, recording.inputs)
        last = positions(x.shape[0], lags, steps)
        used = unbroken(recording.inputs, last, lags, x.shape[1])
        others = _others(recording.inputs, x, len(last), seed)
        effects = _effects(recording, last - lags, others, lags, logits, progress)  # [lags + 1, n, B]
        changed = (x[last - lags] != others).view(*used.shape, -1).any(-1).cpu().numpy()
    return _result(effects, used, float(changed[used].mean()), logits, lags, bptt_steps)


def _effects(
    recording: Recording,
    at: Tensor,
    others: Tensor,
    lags: int,
    logits: bool,
    progress: Progress | None,
) -> Floats:
    subject, inputs = recording.subject, recording.inputs
    x = steps_first(subject, inputs)
    steps, rows = x.shape[:2]
    base = by_step(subject, output(subject, inputs), steps, rows)
    scale = 1.0 if logits else _variance(base)
    found = []
    width = copies_at_once(rows, base[:, 0].numel())
    for begin in range(0, len(at), width):
        part = at[begin : begin + width].tolist()

        def change(n: int, x: Tensor, part: list[int] = part, begin: int = begin) -> Tensor:
            x[part[n]] = others[begin + n]
            return x

        changed = variants(subject, inputs, len(part), change)
        outputs = by_step(subject, output(subject, changed), steps, rows * len(part))
        for n, p in enumerate(part):
            span = slice(p, p + lags + 1)
            ours, theirs = base[span], outputs[span, n * rows : (n + 1) * rows]
            found.append((_divergence(ours, theirs) if logits else _squared(ours, theirs)) / scale)
            if progress is not None:
                progress(len(found), len(at))
    effects: Floats = torch.stack(found, dim=1).double().cpu().numpy()
    return effects


def _others(inputs: Inputs, x: Tensor, count: int, seed: int) -> Tensor:
    """Draw [count, B, …] inputs from the valid steps of the batch."""
    steps, rows = x.shape[:2]
    valid = torch.ones(steps, rows, dtype=torch.bool)
    if inputs.lengths is not None:
        valid = valid_steps(inputs.lengths, steps)
    pool = x[valid.to(x.device)]
    drawn = torch.randint(len(pool), (count * rows,), generator=torch.Generator().manual_seed(seed))
    return pool[drawn.to(x.device)].view(count, rows, *pool.shape[1:])


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return KL(p ‖ p') in nats over the last axis of two logits."""
    p, q = ours.double().log_softmax(-1), theirs.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)


def _squared(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours - theirs).double().square().sum(-1)


def _variance(output: Tensor) -> float:
    """Return the variance over steps and rows, summed over features; 1 where the output never moves."""
    return float(output.double().flatten(0, 1).var(0, correction=0).sum()) or 1.0


def _result(
    effects: Floats, used: Mask, differ: float, logits: bool, lags: int, bptt_steps: int | None
) -> MemoryHorizon:
    by_row = [effects[:, used[:, b], b].mean(axis=1) for b in range(used.shape[1]) if used[:, b].any()]
    effect, low, high = mean_interval(np.array(by_row))
    threshold = max(SHARE * float(effect.max()), FLOOR_NATS if logits else FLOOR_SQUARED)
    single = len(by_row) < 2
    sure = _largest(effect if single else low, threshold)
    reach = Interval(np.nan, np.nan) if single else Interval(sure, _largest(high, threshold))
    unit = "nats" if logits else "parts of the output's variance"
    return MemoryHorizon(
        effect,
        low,
        high,
        unit,
        threshold,
        sure,
        reach,
        lags,
        int(used.sum()),
        used.shape[1],
        differ,
        bptt_steps,
    )


def _largest(values: Floats, threshold: float) -> int:
    reached = np.flatnonzero(values >= threshold)
    return int(reached[-1]) if len(reached) else 0


@dataclass(frozen=True)
class ContextCurve(Result):
    """What `context_curve` measured.

    Attributes:
        loss: [steps] mean loss with n = 1 … steps inputs seen, in nats for a language model.
        low, high: [steps] its 95 % interval over rows; NaN with one row.
        needed: the smallest n from which on the loss stays within 1 % of the last one.
        gain: the loss with one input less that with all: what context is worth.
        gain_interval: [2] its 95 % interval over rows, where context and none are compared row by row.
        samples: targets, each predicted with every n. rows: of the batch.
    """

    loss: Floats
    low: Floats
    high: Floats
    needed: int
    gain: float
    gain_interval: Floats
    samples: int
    rows: int

    def plot(self, path: str | Path) -> None:
        """Draw the loss over the context into a PNG file."""
        figures.lags(
            path,
            curves={"loss": {"middle": self.loss, "low": self.low, "high": self.high}},
            captions={"loss": f"context is worth {self.gain:.3g}; within 1 % from {self.needed} steps on"},
            xlabel="steps of context, from the zero state",
            ylabel="loss, nats per step",
            title="the same targets, predicted with more and more context",
            first=1,
            marks={f"enough: {self.needed}": float(self.needed)},
        )


def context_curve(
    model: torch.nn.Module,
    batch: object,
    *,
    steps: int = 64,
    targets: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    progress: Progress | None = None,
) -> ContextCurve:
    """Measure the loss as a function of how many inputs were seen from the zero state.

    Every target with `steps` inputs up to it is predicted `steps` times, from windows that begin 1, 2, …
    inputs before it, so that all points of the curve are about the same targets.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, running forward.
        batch: a `Batch`, or the tensor that the model takes.
        steps: the longest context; at most the steps of the batch. The cost is their product.
        targets: [T, B, …] in the axes of the input, for a model that is no `LanguageModel`.
        loss: (output, targets) → [T, B] (or [B, T], as the input), for such a model; default the mean squared
            difference over features.
        progress: called with (done, of how many).
    Raises:
        ConfigError: there are no targets. Others as `gradient_flow`.
    """
    at_least_one(steps=steps)
    recording = record(model, batch)
    subject, inputs = recording.subject, recording.inputs
    with untouched(model), torch.no_grad():
        x = steps_first(subject, inputs)
        wanted = _targets(subject, inputs, targets)
        if steps > x.shape[0]:
            raise ShapeError(expected("steps", f"at most {x.shape[0]}, as the batch has", steps))
        at = torch.arange(steps - 1, x.shape[0])
        used = unbroken(inputs, at, steps - 1, x.shape[1])
        by_start = _window_losses(subject, x, wanted, steps, loss, progress)  # [T, steps, B]
    if not np.isfinite(by_start).all():
        raise NonFiniteError(expected("loss", "finite values", "NaN or infinity"))
    n = np.arange(steps)
    curves = by_start[at.numpy()[:, None] - n, n]  # [targets, steps, B]
    return _curve(
        np.stack([curves[used[:, b], :, b].mean(axis=0) for b in range(x.shape[1]) if used[:, b].any()]), used
    )


def _curve(by_row: Floats, used: Mask) -> ContextCurve:
    mean, low, high = mean_interval(by_row)
    gain, *ends = mean_interval(by_row[:, 0] - by_row[:, -1])
    far = np.flatnonzero(np.abs(mean - mean[-1]) > CLOSE * abs(mean[-1]))
    needed = int(far[-1]) + 2 if len(far) else 1
    return ContextCurve(mean, low, high, needed, float(gain), np.array(ends), int(used.sum()), used.shape[1])


def _targets(subject: Subject, inputs: Inputs, targets: Tensor | None) -> Tensor:
    if targets is None and inputs.targets is None:
        raise ConfigError(expected("targets", "a Batch, or targets beside the input", "neither"))
    if targets is None:
        assert inputs.targets is not None
        return inputs.targets
    return targets.detach().transpose(0, 1) if subject.batch_first else targets.detach()


def _window_losses(
    subject: Subject,
    x: Tensor,
    targets: Tensor,
    steps: int,
    loss: Callable[..., Tensor] | None,
    progress: Progress | None,
) -> Floats:
    """Return [T, steps, B]: the loss at each step of the window that begins at each step."""
    total, rows = x.shape[:2]
    if targets.shape[:2] != x.shape[:2]:
        raise ShapeError(
            expected("targets", f"[{total}, {rows}, …], steps and rows as the input", list(targets.shape))
        )
    symbols = subject.model.config.vocab_size if gives_logits(subject.model) else 1
    width, found = copies_at_once(rows, steps * symbols), []
    for begin in range(0, total, width):
        starts = torch.arange(begin, min(begin + width, total))
        index = (starts + torch.arange(steps)[:, None]).clamp(max=total - 1)  # [steps, starts]
        side_by_side = [t[index.to(t.device)].flatten(1, 2) for t in (x, targets)]
        window, wanted = (as_given(subject, each) for each in side_by_side)
        losses = (loss or _default(subject))(output(subject, Inputs((window,))), wanted)
        if list(losses.shape) != list(window.shape[:2]):
            raise ShapeError(
                expected("loss", f"{list(window.shape[:2])}, a loss by step and row", list(losses.shape))
            )
        losses = losses.transpose(0, 1) if subject.batch_first else losses
        found.append(losses.view(steps, len(starts), rows).transpose(0, 1).double().cpu())
        if progress is not None:
            progress(int(starts[-1]) + 1, total)
    gathered: Floats = torch.cat(found).numpy()
    return gathered


def _default(subject: Subject) -> Callable[[Tensor, Tensor], Tensor]:
    if gives_logits(subject.model):
        return lambda output, wanted: F.cross_entropy(output.transpose(1, 2), wanted, reduction="none")
    return _squared_error


def _squared_error(output: Tensor, wanted: Tensor) -> Tensor:
    if output.shape != wanted.shape:
        want = f"{list(output.shape)}, as the output, or loss="
        raise ConfigError(expected("targets", want, list(wanted.shape)))
    return (output - wanted).square().flatten(2).mean(-1)
