"""Memory horizon: how far back an input still changes the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrolled import figures
from unrolled.ops import valid_steps
from unrolled.probe.copies import beside, steps_first, variants
from unrolled.probe.interval import Floats, Interval, mean_interval
from unrolled.probe.losses import by_step
from unrolled.probe.places import Mask, at_least_one, positions, whole
from unrolled.probe.result import Result
from unrolled.probe.running import Inputs, admit, answer
from unrolled.probe.subject import Subject, untouched
from unrolled.probe.sweep import Progress
from unrolled.tasks import LanguageModel

__all__ = ["FLOOR_NATS", "FLOOR_SQUARED", "SHARE", "MemoryHorizon", "memory_horizon"]

SHARE = 0.01  # of the largest mean effect of any lag: what counts as remembered
FLOOR_NATS = 0.01  # a smaller effect on a distribution never does: predictions that hardly move
FLOOR_SQUARED = 1e-4  # the same of an output that is no distribution, in parts of its variance


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
    bptt_steps: int | None

    @property
    def share_of_window(self) -> float | None:
        """The horizon in parts of the window; near 1 or beyond it the window may be what limits it."""
        return None if self.bptt_steps is None else self.horizon / self.bptt_steps

    @property
    def summary(self) -> str:
        """What was found, in a sentence."""
        if float(np.nanmax(self.effect)) < self.threshold:
            return "the prediction hardly depends on the inputs: horizon 0"
        if self.horizon == 0:
            return "no memory: the prediction depends on the present input alone: horizon 0"
        beyond = " or more, as far as was looked" if self.horizon == self.lags else ""
        window = "" if self.bptt_steps is None else f"; the training window is {self.bptt_steps} steps"
        return f"inputs matter for {self.horizon} step{'s' * (self.horizon > 1)}{beyond}{window}"

    def plot(self, path: str | Path) -> None:
        """Draw the effect over lags, with the horizon, into a PNG file."""
        marks = {f"horizon {self.horizon}": float(self.horizon)}
        if self.bptt_steps is not None and self.bptt_steps <= 2 * self.lags:
            marks[f"training window {self.bptt_steps}"] = float(self.bptt_steps)
        figures.lags(
            path,
            curves={"effect": {"middle": self.effect, "low": self.low, "high": self.high}},
            captions={"effect": self.summary},
            xlabel="lag k in steps",
            ylabel=f"effect on the prediction, {self.unit}",
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
    at_least_one(lags=lags, steps=steps, **({} if bptt_steps is None else {"bptt_steps": bptt_steps}))
    subject = Subject.of(model)
    logits = isinstance(model, LanguageModel) if logits is None else logits
    with untouched(model):
        inputs = admit(batch)
        x = steps_first(subject, inputs)
        last = positions(x.shape[0], lags, steps)
        used = whole(inputs, last, lags, x.shape[1])
        effects = _effects(subject, inputs, last - lags, lags, logits, seed, progress)  # [lags + 1, n, B]
    return _result(effects, used, logits, lags, bptt_steps)


def _effects(
    subject: Subject,
    inputs: Inputs,
    at: Tensor,
    lags: int,
    logits: bool,
    seed: int,
    progress: Progress | None,
) -> Floats:
    x = steps_first(subject, inputs)
    steps, rows = x.shape[:2]
    base = by_step(subject, answer(subject, inputs), steps, rows)
    others = _others(inputs, x, len(at), seed)
    scale = 1.0 if logits else _variance(base)
    found = []
    width = beside(rows, base[:, 0].numel())
    for begin in range(0, len(at), width):
        part = at[begin : begin + width].tolist()

        def change(n: int, x: Tensor, part: list[int] = part, begin: int = begin) -> Tensor:
            x[part[n]] = others[begin + n]
            return x

        changed = variants(subject, inputs, len(part), change)
        outputs = by_step(subject, answer(subject, changed), steps, rows * len(part))
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


def _result(effects: Floats, used: Mask, logits: bool, lags: int, bptt_steps: int | None) -> MemoryHorizon:
    by_row = [effects[:, used[:, b], b].mean(axis=1) for b in range(used.shape[1]) if used[:, b].any()]
    effect, low, high = mean_interval(np.array(by_row))
    threshold = max(SHARE * float(effect.max()), FLOOR_NATS if logits else FLOOR_SQUARED)
    single = len(by_row) < 2
    sure = _largest(effect if single else low, threshold)
    reach = Interval(np.nan, np.nan) if single else Interval(sure, _largest(high, threshold))
    unit = "nats" if logits else "parts of the output's variance"
    return MemoryHorizon(
        effect, low, high, unit, threshold, sure, reach, lags, int(used.sum()), used.shape[1], bptt_steps
    )


def _largest(values: Floats, threshold: float) -> int:
    reached = np.flatnonzero(values >= threshold)
    return int(reached[-1]) if len(reached) else 0
