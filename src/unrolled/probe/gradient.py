"""Gradients: how much of a loss's gradient is left k steps back, and how large that of a training step is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled import figures
from unrolled.data import Batch
from unrolled.errors import DtypeError, NonFiniteError, expected
from unrolled.ops import gradients_by_lag, valid_steps
from unrolled.probe.batch import at_least_one, positions, unbroken
from unrolled.probe.decay import SAMPLES_AT_FLOOR, Decay, Left, decay
from unrolled.probe.losses import (
    Loss,
    Norms,
    Parts,
    Progress,
    Split,
    by_nodes,
    is_local,
    split_by_sweep,
    step_losses,
)  # fmt: skip
from unrolled.probe.recording import Recording, nodes, record
from unrolled.probe.result import Floats, Interval, Mask, Result, mean_interval
from unrolled.probe.subject import Subject, untouched
from unrolled.tasks import detach

VANISHING = 13  # steps: a gradient of which a hundredth is left within them has halved every two
EXPLODING = 0.01  # nats per step: one that doubles within seventy
ENOUGH = 16  # lags: over fewer, what grows may be a beginning that levels off
UNREAD = 1e-6  # of the largest unit's gradient: with less, no loss depends on a unit
BURST = math.log(100)  # nats: a gradient that grew by so much within fewer lags explodes all the same
VERDICTS = ("exploding", "steady", "undecided", "vanishing", "none")  # a stack's is the first of its states'


@dataclass(frozen=True)
class Flow(Result):
    """The gradient of a loss with respect to one state of one layer, by lag.

    Attributes:
        layer, state: recurrent.l0 and h (or c).
        nats: [lags + 1] mean over samples of ln ‖∂L_t/∂state_{t−k}‖; -inf where no sample has any left.
        low, high: [lags + 1] the 10th and 90th percentile of the samples.
        decay: after how many steps a half, a tenth and a hundredth of it is left, and how fast it falls; None
            where nothing is carried.
        fitted: the first and last lag that the rate is fitted on; None where there are fewer than two.
        rate: nats per step, the mean slope of `nats` over those lags, which changes with them where the curve
            bends; NaN without them.
        rate_interval: its 95 % interval; NaN with one row only.
        half_life: steps after which half of it is left, `decay.half`; infinite where more is left at the last
            lag, NaN where nothing is carried.
        half_life_interval: its 95 % interval.
        verdict: "vanishing" (a hundredth is left within 13 steps), "steady" (more is), "exploding" (it grows
            by more than 0.01 nats per step over 16 lags or more, or a hundredfold within fewer), "undecided"
            (too few lags were measured to tell) or "none": nothing is carried.
        injected, carried: mean norms of what the summed loss of all steps adds at a step, and of what comes
            from later steps. What is added to c at a step is all that reaches it through h.
        unread: share of the units that no loss depends on: their part of the gradient of the summed loss is
            below a millionth of the largest unit's.
    """

    layer: str
    state: str
    nats: Floats
    low: Floats
    high: Floats
    decay: Decay | None
    fitted: tuple[int, int] | None
    rate: float
    rate_interval: Interval
    half_life: float
    half_life_interval: Interval
    verdict: str
    injected: float
    carried: float
    unread: float

    @property
    def carried_share(self) -> float:
        """The part of the gradient that comes from later steps, 0 to 1."""
        both = self.injected + self.carried
        return self.carried / both if both else math.nan


@dataclass(frozen=True)
class GradientFlow(Result):
    """What `gradient_flow` measured.

    Attributes:
        flows: one for every state of every layer, the lowest layer first.
        lags: how far back. samples: losses that were followed. rows: of the batch.
        verdict: "exploding" if any state's is; else "steady" if any state's is, as the gradient needs one
            path only; else "undecided", "vanishing", or "none" where no state carries any.
    """

    flows: tuple[Flow, ...]
    lags: int
    samples: int
    rows: int
    verdict: str

    def plot(self, path: str | Path) -> None:
        """Draw the norms over lags into a PNG file, one panel per state."""
        curves = {
            f"{flow.layer} {flow.state}": {"middle": flow.nats, "low": flow.low, "high": flow.high}
            for flow in self.flows
        }
        captions = {f"{flow.layer} {flow.state}": _words(flow) for flow in self.flows}
        figures.lags(
            path,
            curves=curves,
            captions=captions,
            xlabel="lag k, in steps",
            ylabel="ln of the gradient's norm, nats",
            title=f"gradient of the loss at t with respect to the state at t − k: {self.verdict}",
        )


def gradient_flow(
    model: torch.nn.Module,
    batch: object,
    *,
    lags: int = 64,
    steps: int = 16,
    loss: Loss | None = None,
    progress: Progress | None = None,
) -> GradientFlow:
    """Measure ‖∂L_t/∂h_{t−k}‖ and ‖∂L_t/∂c_{t−k}‖ for k = 0 … lags, for each layer.

    The derivative is the whole one: through the layer's own recurrence and through the layers above. Where a
    model has one recurrent module and L_t depends on its output at t alone, all losses are followed at
    once; otherwise one backward pass is made for each, which takes several times as long.

    The rate is the slope of the mean logarithm over the lags at which at most a tenth of the samples lies
    below the smallest norm that the dtype holds at full precision, from 1 (or the first such lag, where what
    a state adds is read later) to the last before more do; the samples that do are left out. Its interval
    compares the slopes of the rows, which are independent, so that it needs two rows, and is no narrower for
    losses of one row that say the same.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, running forward.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments.
        lags: how far back; below the number of steps.
        steps: how many t per row, spread evenly over those with `lags` steps before them. A t whose window
            holds a reset, or lies beyond its row's length, is left out.
        loss: output → [T, B]; default see `losses.step_losses`.
        progress: called with (done, of how many).
    Raises:
        ConfigError: no recurrent layer, or a bidirectional one. ShapeError: fewer steps than lags, or no t
            is left. NonFiniteError: a weight, an input or a loss is NaN or infinite.
    """
    at_least_one(lags=lags, steps=steps)
    recording = record(model, batch)
    with untouched(model):
        norms, split, used, count = _measure(recording, lags, steps, loss, progress)
    flows = tuple(_flow(key, norms[key], split[key], used, count) for key in norms)
    verdicts = {flow.verdict for flow in flows}
    overall = next(word for word in VERDICTS if word in verdicts)
    return GradientFlow(flows, lags, int(used.sum()), used.shape[1], overall)


def _measure(
    recording: Recording, lags: int, steps: int, loss: Loss | None, progress: Progress | None
) -> tuple[Norms, Split, Mask, int]:
    """Return the norms, the split, which losses count, and how many steps of all rows are valid."""
    subject, inputs, ran = recording.subject, recording.inputs, recording.run
    at = positions(ran.steps, lags, steps)
    used = unbroken(inputs, at, lags, ran.rows)
    lengths = ran.layers[0].call.lengths
    count = ran.steps * ran.rows if lengths is None else int(lengths.sum())
    valid = 1.0 if lengths is None else valid_steps(lengths, ran.steps).to(ran.modules[0].y)
    if len(ran.modules) == 1:
        losses = step_losses(subject, inputs, ran, loss)
        if is_local(losses, ran.modules[0], at):
            (seeds,) = torch.autograd.grad((losses * valid).sum(), ran.modules[0].y, retain_graph=True)
            layers = [layer.linear for layer in ran.layers]
            names = [[(layer.name, state) for state in layer.states] for layer in ran.layers]
            found: dict[tuple[str, str], list[Tensor]] = {key: [] for keys in names for key in keys}
            for lag in gradients_by_lag(layers, seeds[at], at, lags):
                for keys, states in zip(names, lag.states, strict=True):
                    for key, state in zip(keys, states, strict=True):
                        found[key].append(state.norm(dim=-1))
                if progress is not None:
                    progress(lag.k + 1, lags + 1)
            norms = {key: torch.stack(parts) for key, parts in found.items()}
            return norms, split_by_sweep(names, layers, seeds), used, count
    ran = nodes(subject, inputs)
    losses = step_losses(subject, inputs, ran, loss)
    return *by_nodes(ran, losses * valid, at, lags, progress), used, count


def _flow(key: tuple[str, str], norms: Tensor, parts: Parts, used: Mask, count: int) -> Flow:
    limits = torch.finfo(norms.dtype)
    size = norms.double().cpu().numpy()
    gone = ~np.isfinite(size) | (size < limits.tiny / limits.eps)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(gone, -np.inf, np.log(size))  # [lags + 1, n, B]
    unusable = gone | ~used
    rate, interval, fitted = _fit(logs, unusable)
    found = decay(logs, unusable)
    nats, low, high = _bands(logs[:, used])
    injected, carried = (float(part.sum() / count) for part in (parts.injected, parts.carried))
    unread = float((parts.units <= UNREAD * parts.units.max()).double().mean()) if parts.units.any() else 1.0
    half = Left(math.nan, Interval(math.nan, math.nan)) if found is None else found.half
    verdict = _verdict(found, rate, fitted)
    return Flow(
        *key, nats, low, high, found, fitted, rate, interval, half.steps, half.interval, verdict, injected,
        carried, unread,
    )  # fmt: skip


def _bands(logs: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean and two percentiles [lags + 1] of the samples that have a gradient."""
    empty = np.full(len(logs), -np.inf)
    mean, low, high = empty.copy(), empty.copy(), empty.copy()
    for k, values in enumerate(logs):
        values = values[np.isfinite(values)]
        if len(values):
            mean[k] = values.mean()
            low[k], high[k] = np.percentile(values, [10, 90])
    return mean, low, high


def _fit(logs: Floats, unusable: Mask) -> tuple[float, Interval, tuple[int, int] | None]:
    """Return the slope of the mean of `logs` [lags + 1, n, B], its interval over rows, and its range."""
    nothing = math.nan, Interval(math.nan, math.nan), None
    alive: Mask = np.any(~unusable[1:], axis=0)
    if not alive.any():
        return nothing
    over = (unusable & alive).sum(axis=(1, 2)) > SAMPLES_AT_FLOOR * alive.sum()
    within = np.flatnonzero(~over[1:]) + 1
    if not len(within):
        return nothing
    first = int(within[0])
    last = next((k for k in range(first, len(logs)) if over[k]), len(logs)) - 1
    if last <= first:
        return nothing
    good: Mask = alive & ~np.any(unusable[first : last + 1], axis=0)  # [n, B]
    columns = (logs[first : last + 1, good[:, b], b] for b in np.flatnonzero(good.any(axis=0)))
    rows = [column.mean(axis=1) for column in columns]  # [last - first + 1] each
    if not rows:
        return nothing
    lag = np.arange(float(first), last + 1)
    weights = (lag - lag.mean()) / ((lag - lag.mean()) ** 2).sum()
    mean, low, high = mean_interval(np.array(rows) @ weights)
    return float(mean), Interval(float(low), float(high)), (first, last)


def grows(rate: float, fitted: tuple[int, int] | None) -> bool:
    """Whether a gradient grows by more than `EXPLODING`, and over enough lags to say so."""
    if fitted is None or not rate > EXPLODING:
        return False
    lags = fitted[1] - fitted[0] + 1
    return lags >= ENOUGH or rate * lags > BURST


def _verdict(found: Decay | None, rate: float, fitted: tuple[int, int] | None) -> str:
    if found is None:
        return "none"
    if grows(rate, fitted):
        return "exploding"
    if found.hundredth.steps <= VANISHING:
        return "vanishing"
    return "steady" if found.lags >= VANISHING else "undecided"


def _words(flow: Flow) -> str:
    if flow.decay is None:
        return "no gradient is carried"
    return f"{flow.decay.summary}: {flow.verdict}"


@dataclass(frozen=True)
class UpdateNorms(Result):
    """What `update_norms` measured.

    Attributes:
        norms: [windows] global norm of the gradient of the mean loss with respect to all parameters, before
            clipping; infinite where it is beyond what the dtype holds.
        median, ninetieth, largest: of them. The ninetieth percentile is where clipping leaves nine of ten
            steps alone.
        window: steps. rows: of the batch.
    """

    norms: Floats
    median: float
    ninetieth: float
    largest: float
    window: int
    rows: int

    @property
    def spread(self) -> float:
        """The largest over the median; 1 where all are 0."""
        if math.isinf(self.largest):
            return np.inf
        if self.median:
            return self.largest / self.median
        return np.inf if self.largest else 1.0

    def plot(self, path: str | Path) -> None:
        """Draw the norms, window after window, into a PNG file."""
        figures.lags(
            path,
            curves={"norm": {"middle": self.norms}},
            captions={"norm": f"median {self.median:.3g}, largest {self.largest:.3g}"},
            xlabel=f"window of {self.window} steps",
            ylabel="norm of the gradient of the mean loss",
            title="the norms that a training step would clip",
            first=1,
            level=(f"90th percentile {self.ninetieth:.3g}", self.ninetieth),
        )


def is_sequence_model(model: object) -> bool:
    """Whether a model is a network of a task: it hands its state on, and knows its loss."""
    return all(callable(getattr(model, name, None)) for name in ("initial_state", "loss"))


def update_norms(
    model: Any, batch: Batch, *, window: int = 64, progress: Progress | None = None
) -> UpdateNorms:
    """Measure the gradient that training would see, window after window, the state carried.

    Nothing is updated. In evaluation mode: without dropout, so a little smaller than in training.

    Args:
        model: a network of a task, as a language model is one: with `initial_state` and `loss`.
        batch: of any kind.
        window: steps of truncated back-propagation; a shorter rest is left out. Where there is one target per
            row, all of it is one window.
        progress: called with (done, of how many).
    Raises:
        DtypeError: another model or batch. NonFiniteError: a weight or a loss is NaN or infinite.
    """
    at_least_one(window=window)
    if not is_sequence_model(model):
        want = "a network of a task, with initial_state and loss"
        raise DtypeError(expected("model", want, type(model).__name__))
    if not isinstance(batch, Batch):
        raise DtypeError(expected("batch", "a Batch", type(batch).__name__))
    Subject.of(model, directions=True)
    steps, rows = batch.inputs.shape[:2]
    window = steps if batch.per_row else min(window, steps)  # the target of a row is at its end
    norms = []
    with untouched(model):
        weights = [weight.requires_grad_() for weight in model.parameters()]
        state = model.initial_state(rows)
        for begin in range(0, steps - window + 1, window):
            part = batch.part(begin, window)
            if part.count == 0:
                break
            nats, count, state = model.loss(part, detach(state))
            if not bool(torch.isfinite(nats)):
                raise NonFiniteError(expected("loss", "finite values", "NaN or infinity"))
            norms.append(_norm(nats / max(count, 1), weights))
            if progress is not None:
                progress(len(norms), steps // window)
    found: Floats = np.array(norms)
    return UpdateNorms(
        norms=found,
        median=float(np.median(found)),
        ninetieth=float(np.percentile(found, 90, method="linear" if np.isfinite(found).all() else "higher")),
        largest=float(found.max()),
        window=window,
        rows=rows,
    )


def _norm(loss: torch.Tensor, weights: list[torch.Tensor]) -> float:
    grads = torch.autograd.grad(loss, weights, allow_unused=True)
    norm = float(torch.nn.utils.get_total_norm([g for g in grads if g is not None]))
    return norm if np.isfinite(norm) else math.inf
