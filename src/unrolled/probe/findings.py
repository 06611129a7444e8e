"""Findings: what is wrong with a network, the number behind it, and the flag that mends it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrolled.probe.context import CLOSE
from unrolled.probe.gate_use import LayerGates
from unrolled.probe.gradient import EXPLODING, VANISHING, Flow
from unrolled.probe.long_run import WORSE
from unrolled.probe.result import Result

if TYPE_CHECKING:
    from unrolled.probe.report import Report

__all__ = ["MEMORY", "Finding", "find"]

MEMORY = ("vanishing", "forgets", "lag", "window")  # the names of those that say that memory is too short
TAIL = 10.0  # the largest gradient of a window over their median: clipping is for such
TOUCHES = 0.8  # of the training window: a horizon from here on is cut by it
ENOUGH = 16  # steps or lags: over fewer, what grows may be a beginning that levels off
BURST = math.log(100)  # nats: a gradient that grew by so much within fewer lags explodes all the same
LEFT = 1e-3  # of the gradient at lag 0: with less at a lag, training hardly sees that lag
SMALLEST = 1e-30  # nats: a loss that a ratio is taken of
REST = 0.1  # nats, or of the loss with one input: where less is left with all, no memory can gain more
STUCK = 0.95  # of the steps: a unit that is saturated at so many is saturated
MANY = 0.5  # of the units of a layer: so many saturated ones are a finding
IDLE = 0.1  # of the units of a layer: so many that never change are one
SHORT = 1.0  # steps: a unit whose time constant is below keeps a third of its state at best

# The candidate of a gated unit may stand at its end: its gates say what comes of it.
_STUCK_STATE = {"RNN_TANH": "state beyond ±0.9", "RNN_RELU": "state at 0"}
# A unit that takes nothing in, gives nothing out, or never changes. A gate stuck at its other end serves:
# units that only pass on, and units that only keep, are what many tasks need.
_STUCK_GATES = {"LSTM": (("i", "closed"), ("o", "closed")), "GRU": (("z", "open"),)}


@dataclass(frozen=True)
class Finding(Result):
    """One thing that is wrong.

    Attributes:
        name: "runaway", "exploding", "clipping", "saturated", "idle", or one of `MEMORY`.
        layer: which; None for the whole network.
        problem: what is wrong, in a sentence.
        value: the number behind it. unit: of it. limit: the threshold that it lies beyond.
        remedy: what helps, in a sentence.
        flag: of `unrolled train`, with its value, that applies it; in Python `unrolled.nn.init_recurrent` and
            torch's `clip_grad_norm_` take the same values.
    """

    name: str
    layer: str | None
    problem: str
    value: float
    unit: str
    limit: float
    remedy: str
    flag: str

    def __str__(self) -> str:
        where = f" in {self.layer}" if self.layer else ""
        return f"{self.name}{where}: {self.problem}; {self.remedy}: {self.flag}"


def find(report: Report) -> tuple[Finding, ...]:
    """Return what is wrong by the measurements of a report, worst first; empty for a healthy network.

    A memory that is short is a finding only where a longer one is of use: where the task's lag is known,
    where inputs before the present one matter, context lowers the loss by at least 1 % and leaves more
    than `REST` to gain, or where nothing says whether it does. A network of independent tokens has none.
    """
    rules = (_runaway, _exploding, _lag, _vanishing, _forgets, _window, _clipping, _saturated, _idle)
    return tuple(finding for rule in rules for finding in rule(report))


def _runaway(report: Report) -> Iterator[Finding]:
    run = report.long_run
    if run is None or run.lost == 0:
        return
    row = int(np.argmax(run.carried - run.fresh))
    fresh = max(float(run.fresh[row]), SMALLEST)
    yield Finding(
        name="runaway",
        layer=None,
        problem=f"in {run.lost} of {run.rows} rows the state has run into a region that training never saw: "
        f"with the state of {run.ends[-1]} steps the loss is {run.carried[row]:.2f} nats, with a fresh one "
        f"{run.fresh[row]:.2f}",
        value=float(run.carried[row]) / fresh,
        unit="times the loss with a fresh state",
        limit=1 + WORSE,
        remedy="let more of the rows start from the zero state in training",
        flag=f"--restart {_rounded(max(0.02, 2.5 * _trained(report, 'restart_share', 0.0)))}",
    )


def _exploding(report: Report) -> Iterator[Finding]:
    exponents = report.lyapunov
    chaotic = exponents is not None and exponents.verdict == "chaotic" and exponents.steps >= ENOUGH
    # In a stack the gradient by a lower layer grows at first, as there are more and more ways to it: where
    # disturbances fade, that ends.
    fades = exponents is not None and exponents.verdict == "stable"
    growing = [] if fades else [flow for flow in _flows(report) if _explodes(flow)]
    if growing:
        worst = max(growing, key=lambda flow: flow.rate)
        layer, value, limit = worst.layer, worst.rate, EXPLODING
        problem = f"back in time the gradient by {worst.state} grows by {worst.rate:.4f} nats a step"
        problem += ", and the states are chaotic" if chaotic else ""
    elif chaotic and exponents is not None:
        leading = max(exponents.layers, key=lambda each: float(each.exponents[0]))
        layer, value, limit = leading.layer, exponents.leading, 0.0
        problem = f"the states are chaotic: a disturbance grows by {exponents.leading:.4f} nats a step"
    else:
        return
    remedy, flag = _tamer(report)
    yield Finding("exploding", layer, problem, value, "nats per step", limit, remedy, flag)


def _explodes(flow: Flow) -> bool:
    """Whether a gradient grows for sure, and over enough lags to say so."""
    if flow.fitted is None or not _or(flow.rate_interval.low, flow.rate) > EXPLODING:
        return False
    lags = flow.fitted[1]
    return lags >= ENOUGH or flow.rate * lags > BURST


def _lag(report: Report) -> Iterator[Finding]:
    flow, lag = _best(report), report.known_lag
    if report.gradient_flow is None or lag is None or (flow is not None and _reaches(report, flow, lag)):
        return
    left = 0.0 if flow is None else _left(flow, lag)  # None: nothing is carried at all
    problem = f"{lag} steps back {left:.1e} of the gradient is left"
    horizon = report.memory_horizon
    if horizon is not None and horizon.horizon < lag:
        problem += f", and inputs matter for {horizon.horizon} steps only"
    remedy, flag = f"start gates for lags up to {lag}", _chrono(lag)
    if _is_rnn(report):
        remedy, flag = f"use gates, that start for lags up to {lag}", f"--cell lstm {_chrono(lag)}"
    where = None if flow is None else flow.layer
    yield Finding("lag", where, problem, left, "of the gradient", LEFT, remedy, flag)


def _vanishing(report: Report) -> Iterator[Finding]:
    flow = report.gradient_flow
    best = _best(report)
    if flow is None or best is None or flow.verdict != "vanishing" or not _of_use(report):
        return
    problem = f"the gradient halves within {best.half_life:.2g} steps, by the path that keeps most"
    remedy, flag = _opener(report)
    yield Finding("vanishing", best.layer, problem, best.rate, "nats per step", VANISHING, remedy, flag)


def _forgets(report: Report) -> Iterator[Finding]:
    """Gates that close early, where the gradient vanishes: a GRU's may close early and be none the worse."""
    if report.gradient_flow is None or report.gradient_flow.verdict != "vanishing" or not _of_use(report):
        return
    for layer in _layers(report):
        if layer.time_constant is None or float(np.median(layer.time_constant)) >= SHORT:
            continue
        value = float(np.median(layer.time_constant))
        problem = f"half of the units keep their state for {value:.2f} steps or less"
        remedy, flag = _opener(report)
        yield Finding("forgets", layer.layer, problem, value, "steps", SHORT, remedy, flag)


def _window(report: Report) -> Iterator[Finding]:
    horizon = report.memory_horizon
    if horizon is None or horizon.bptt_steps is None or not _of_use(report):
        return
    limit = TOUCHES * horizon.bptt_steps
    if horizon.horizon < limit:
        return
    problem = f"inputs matter for {horizon.horizon} steps, and training looks {horizon.bptt_steps} back"
    remedy = "train with a window of twice that length"
    flag = f"--bptt {2 * horizon.bptt_steps}"
    yield Finding("window", None, problem, float(horizon.horizon), "steps", limit, remedy, flag)


def _clipping(report: Report) -> Iterator[Finding]:
    norms = report.update_norms
    if norms is None or not norms.spread > TAIL or not norms.ninetieth > 0:
        return
    problem = f"the largest gradient of a window is {norms.spread:.0f} times the median one"
    remedy = "clip at the 90th percentile of the measured norms"
    flag = f"--clip {_rounded(norms.ninetieth)}"
    yield Finding("clipping", None, problem, norms.spread, "times the median", TAIL, remedy, flag)


def _saturated(report: Report) -> Iterator[Finding]:
    for layer in _layers(report):
        stuck = {_STUCK_STATE[layer.cell]: layer.saturated > STUCK} if layer.cell in _STUCK_STATE else {}
        for name, end in _STUCK_GATES.get(layer.cell, ()):
            share = layer.gates[name].closed if end == "closed" else layer.gates[name].open
            stuck[f"gate {name} {end}"] = share > STUCK
        words, units = max(stuck.items(), key=lambda each: float(each[1].mean()))
        value = float(units.mean())
        if value > MANY:
            problem = f"{value:.0%} of the units have their {words} at 95 % of the steps or more"
            remedy = "smaller steps and decaying weights keep units where they can learn"
            flag = f"--lr {_rounded(_trained(report, 'learning_rate', 0.002) / 4)} --weight-decay 0.1"
            yield Finding("saturated", layer.layer, problem, value, "of the units", MANY, remedy, flag)


def _idle(report: Report) -> Iterator[Finding]:
    for layer in _layers(report):
        share = float(layer.never_changes.mean())
        if share > IDLE:
            problem = f"{share:.0%} of the units never change"
            fewer = max(1, round(len(layer.never_changes) * (1 - share)))
            remedy = "as many units as are used do the same, faster"
            yield Finding(
                "idle", layer.layer, problem, share, "of the units", IDLE, remedy, f"--hidden {fewer}"
            )


def _of_use(report: Report) -> bool:
    """Whether a longer memory is of use."""
    curve, horizon, best = report.context_curve, report.memory_horizon, _best(report)
    if report.known_lag is not None and best is not None:
        return not _reaches(report, best, report.known_lag)
    if curve is None:
        return True
    if horizon is not None and horizon.horizon == 0:  # what context is worth then is the first step's error
        return False
    sure = _or(float(curve.gain_interval[0]), curve.gain)
    last = abs(float(curve.loss[-1]))
    nats = horizon is not None and horizon.unit == "nats"
    left = REST if nats else REST * abs(float(curve.loss[0]))
    return sure > 0 and curve.gain >= CLOSE * last and last > left


def _tamer(report: Report) -> tuple[str, str]:
    """Return what keeps a network from exploding, and its flag, by what it was trained with."""
    norms, before = report.update_norms, _trained(report, "clip_norm", math.inf)
    clip = norms.median if norms is not None and norms.median > 0 else 1.0
    if clip < before:
        remedy, flag = "clip the gradient at the median of its measured norms", f"--clip {_rounded(clip)}"
    else:
        remedy, flag = "clip the gradient at less", f"--clip {_rounded(before / 4)}"
    if _is_rnn(report) and report.trained.get("start") != "orthogonal":
        return f"start from orthogonal weights and {remedy}", f"--start orthogonal {flag}"
    return remedy, flag


def _opener(report: Report) -> tuple[str, str]:
    """Return what lets gates keep for longer, and its flag, by what the network was trained with."""
    if _is_rnn(report):
        return "use gates (an orthogonal start helps an RNN a little)", "--cell lstm"
    looked = report.gradient_flow.lags if report.gradient_flow is not None else 0
    chrono = _trained(report, "chrono_steps", 0)
    if _has(report, "LSTM") and not chrono and report.known_lag is None:
        bias = max(3.0, _trained(report, "forget_bias", 1.0) + 2)
        return "let the forget gates start open", f"--forget-bias {_rounded(bias)}"
    lags = report.known_lag or max(looked, 2 * int(chrono))
    return f"start the gates for lags up to {lags}", _chrono(lags)


def _trained(report: Report, name: str, default: float) -> float:
    """Return a number that the network was trained with, or a default where that is not known."""
    value = report.trained.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and value is not None else default


def _flows(report: Report) -> tuple[Flow, ...]:
    return () if report.gradient_flow is None else report.gradient_flow.flows


def _layers(report: Report) -> tuple[LayerGates, ...]:
    return () if report.gates is None else report.gates.layers


def _best(report: Report) -> Flow | None:
    """Return the flow of the path that keeps most of the gradient."""
    carried = [flow for flow in _flows(report) if not math.isnan(flow.rate)]
    return max(carried, key=lambda flow: flow.rate, default=None)


def _reaches(report: Report, flow: Flow, lag: int) -> bool:
    """Whether a lag is within reach: of the gradient, and of the inputs that matter, as far as was looked."""
    horizon = report.memory_horizon
    seen = math.inf if horizon is None else _or(horizon.horizon_interval.high, horizon.horizon)
    looked = 0 if horizon is None else horizon.lags
    return _left(flow, lag) >= LEFT and seen >= min(lag, looked)


def _left(flow: Flow, lag: int) -> float:
    """Return the part of the gradient at lag 0 left at a lag: beyond the measured ones by the rate."""
    known = min(lag, len(flow.nats) - 1)
    nats = float(flow.nats[known]) - float(flow.nats[0]) + (lag - known) * flow.rate
    return math.exp(min(nats, 700.0)) if math.isfinite(nats) else 0.0


def _is_rnn(report: Report) -> bool:
    return any(layer.cell.startswith("RNN") for layer in _layers(report))


def _has(report: Report, cell: str) -> bool:
    return any(layer.cell == cell for layer in _layers(report))


def _chrono(lags: int) -> str:
    return f"--chrono {max(lags, 2)}"  # `unrolled train` takes no less


def _rounded(value: float) -> str:
    return f"{value:.2g}"


def _or(value: float, other: float) -> float:
    """Return an end of an interval, or the value itself where one row gave no interval."""
    return other if math.isnan(value) else value
