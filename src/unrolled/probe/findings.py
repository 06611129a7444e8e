"""Findings: what is wrong with a network, the number behind it, and what fixes it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from unrolled.probe.answer_findings import answer_findings
from unrolled.probe.gates import LayerGates
from unrolled.probe.gradient import ENOUGH, EXPLODING, VANISHING, Flow, grows
from unrolled.probe.long_run import WORSE
from unrolled.probe.measurements import Finding, Measurements
from unrolled.probe.memory import CLOSE
from unrolled.probe.words import number, steps
from unrolled.spec import OPEN, TrainConfig, settings

TAIL = 10.0  # the largest gradient of a window over their median: clipping is for such
TOUCHES = 0.8  # of the training window: a horizon from here on is cut by it
LEFT = 1e-3  # of the gradient at lag 0: with less at a lag, training hardly sees that lag
SMALLEST = 1e-30  # nats: a loss that a ratio is taken of
REST = 0.1  # nats, or of the loss with one input: where less is left with all, no memory can gain more
STUCK = 0.95  # of the steps: a unit that is saturated at so many is saturated
MANY = 0.5  # of the units of a layer: so many saturated ones are a finding
IDLE = 0.1  # of the units of a layer: so many that never change, or are never read, are one
SHORT = 1.0  # steps: a unit whose time constant is below keeps a third of its state at best


FLAGS = {setting.name: setting.flag for setting in settings(TrainConfig)}
MEMORY = ("lag", "vanishing", "forgets", "window")  # findings that say that memory is too short
INSTEAD = {"blind": (*MEMORY, "unread"), "exploding": (*MEMORY, "clipping")}


class Remedy(NamedTuple):
    """What helps: in a sentence, as a flag of `unrolled train`, and as a line of Python."""

    words: str
    flag: str
    python: str


def find(report: Measurements) -> tuple[Finding, ...]:
    """Return what is wrong by the measurements of a report, worst first; empty for a healthy network.

    A memory that is short is a finding only where a longer one is of use: where the task's lag is known,
    where inputs before the present one matter, context lowers the loss by at least 1 % and leaves more
    than `REST` to gain, or where nothing says whether it does. A network of independent tokens has none.
    Of a task's answers it is one where they reach less far than a lag or a season that is known.

    What follows from something worse is no finding of its own. Where a network ignores its inputs, or where
    gradients explode, nothing is said of its memory: no window and no start of the gates helps before that is
    mended. Where gradients explode, one limit to clip at is named, and not two.
    """
    rules = (_blind, _runaway, _exploding, _lag, _vanishing, _forgets, _window, _clipping, _saturated,
             _unread, _idle)  # fmt: skip
    found = [*answer_findings(report), *(finding for rule in rules for finding in rule(report))]
    names = {each.name for each in found}
    hidden = {name for worse, rest in INSTEAD.items() if worse in names for name in rest}
    return tuple(each for each in found if each.name not in hidden)


def _blind(report: Measurements) -> Iterator[Finding]:
    """Find predictions that do not depend on the inputs."""
    horizon = report.memory_horizon
    if horizon is None or report.asked or horizon.differ == 0:
        return
    most = float(np.nanmax(horizon.effect))
    if most >= horizon.threshold:
        return
    problem = "the prediction hardly depends on the inputs, the present one included"
    trained = report.trained.get("steps")
    longer = isinstance(trained, int) and trained > 0
    remedy = Remedy(
        "check that the weights of the inputs and of the output are not zero, and train for longer",
        _flags(steps=2 * int(str(trained))) if longer else _flags(minutes=10),
        "for name, weight in model.named_parameters(): print(name, weight.abs().mean())",
    )
    yield Finding("blind", None, problem, most, horizon.unit, horizon.threshold, *remedy)


def _runaway(report: Measurements) -> Iterator[Finding]:
    run = report.long_run
    if run is None or run.lost == 0:
        return
    row = int(np.argmax(run.carried - run.fresh))
    fresh = max(float(run.fresh[row]), SMALLEST)
    problem = (
        f"in {run.lost} of {run.rows} rows the state has run into a region that training never saw: with the "
        f"state of {run.ends[-1]} steps the loss is {run.carried[row]:.2f} nats, with a fresh one "
        f"{run.fresh[row]:.2f}"
    )
    share = _rounded(max(0.02, 2.5 * _trained(report, "restart_share", 0.0)))
    remedy = Remedy(
        "let more of the rows start from the zero state in training",
        _flags(restart_share=share),
        f"h_0[:, torch.rand(batch_size) < {share}] = 0  # before each window",
    )
    ratio = float(run.carried[row]) / fresh
    yield Finding("runaway", None, problem, ratio, "times the loss with a fresh state", 1 + WORSE, *remedy)


def _exploding(report: Measurements) -> Iterator[Finding]:
    exponents = report.lyapunov
    chaotic = exponents is not None and exponents.verdict == "chaotic" and exponents.steps >= ENOUGH
    # In a stack the gradient with respect to a lower layer grows at first, as there are more and more ways to
    # it: where disturbances fade, that ends.
    fades = exponents is not None and exponents.verdict == "stable"
    growing = [] if fades else [flow for flow in _flows(report) if _explodes(flow)]
    if growing:
        worst = max(growing, key=lambda flow: flow.rate)
        layer, value, limit = worst.layer, worst.rate, EXPLODING
        problem = (
            f"back in time the gradient with respect to {worst.state} grows by {worst.rate:.4f} nats per step"
        )
        problem += ", and the states are chaotic" if chaotic else ""
    elif chaotic and exponents is not None:
        leading = max(exponents.layers, key=lambda each: float(each.exponents[0]))
        layer, value, limit = leading.layer, exponents.leading, 0.0
        problem = f"the states are chaotic: a disturbance grows by {exponents.leading:.4f} nats per step"
    elif report.update_norms is not None and math.isinf(report.update_norms.largest):
        layer, value, limit = None, math.inf, EXPLODING
        problem = "the gradient of a training window is beyond the largest number of its dtype"
    else:
        return
    yield Finding("exploding", layer, problem, value, "nats per step", limit, *_tamer(report))


def _explodes(flow: Flow) -> bool:
    """Whether a gradient grows for sure, and over enough lags to say so."""
    return grows(flow.rate, flow.fitted) and _or(flow.rate_interval.low, flow.rate) > EXPLODING


def _lag(report: Measurements) -> Iterator[Finding]:
    flow, lag = _best(report), report.known_lag
    if report.gradient_flow is None or lag is None or (flow is not None and _reaches(report, flow, lag)):
        return
    left = 0.0 if flow is None else _left(flow, lag)  # None: nothing is carried at all
    problem = f"the gradient {steps(lag)} back is {number(left)} times that at the loss"
    horizon = report.memory_horizon
    if horizon is not None and horizon.horizon < lag:
        problem += f", and inputs matter for {steps(horizon.horizon)} only"
    remedy = _chrono(report, lag)
    where = None if flow is None else flow.layer
    yield Finding("lag", where, problem, left, "of the gradient", LEFT, *remedy)


def _vanishing(report: Measurements) -> Iterator[Finding]:
    flow = report.gradient_flow
    best = _best(report)
    if flow is None or best is None or flow.verdict != "vanishing" or not _of_use(report):
        return
    assert best.decay is not None
    half, hundredth = (float(f"{left.steps:.2g}") for left in (best.decay.half, best.decay.hundredth))
    problem = (
        f"a hundredth of the gradient is left after {steps(hundredth)}, a half after {steps(half)}, even "
        "along the path that keeps most of it"
    )
    value = best.decay.hundredth.steps
    yield Finding("vanishing", best.layer, problem, value, "steps", VANISHING, *_opener(report))


def _forgets(report: Measurements) -> Iterator[Finding]:
    """Find gates that close early where the gradient vanishes; elsewhere that may do no harm."""
    if report.gradient_flow is None or report.gradient_flow.verdict != "vanishing" or not _of_use(report):
        return
    for layer in _layers(report):
        if layer.time_constant is None or float(np.median(layer.time_constant)) >= SHORT:
            continue
        value = float(np.median(layer.time_constant))
        problem = f"half of the units keep their state for {value:.2f} steps or less"
        yield Finding("forgets", layer.layer, problem, value, "steps", SHORT, *_opener(report))


def _window(report: Measurements) -> Iterator[Finding]:
    horizon = report.memory_horizon
    if horizon is None or horizon.bptt_steps is None or not _of_use(report):
        return
    limit = TOUCHES * horizon.bptt_steps
    if horizon.horizon < limit:
        return
    most = "at least " if horizon.open_ended else ""
    problem = (
        f"inputs matter for {most}{steps(horizon.horizon)}, and training back-propagates through "
        f"{steps(horizon.bptt_steps)}"
    )
    twice = 2 * horizon.bptt_steps
    remedy = Remedy(
        "train with a window of twice that length",
        _flags(bptt_steps=twice),
        f"detach the state every {twice} steps",
    )
    yield Finding("window", None, problem, float(horizon.horizon), "steps", limit, *remedy)


def _clipping(report: Measurements) -> Iterator[Finding]:
    norms = report.update_norms
    if norms is None or not norms.spread > TAIL or not norms.ninetieth > 0:
        return
    if norms.ninetieth >= _trained(report, "clip_norm", math.inf):  # more than that was clipped in training
        return
    problem = f"the largest gradient of a window is {norms.spread:.0f} times the median one"
    remedy = _clip("clip at the 90th percentile of the measured norms", norms.ninetieth)
    yield Finding("clipping", None, problem, norms.spread, "times the median", TAIL, *remedy)


def _saturated(report: Measurements) -> Iterator[Finding]:
    """Find layers whose units take nothing in, give nothing out, or never change.

    A gate that stays at its other end is of use: units that only pass on, and units that only keep, are what
    many tasks need. The candidate of a gated unit may be at its end: its gates say what comes of it.
    """
    for layer in _layers(report):
        stuck = {
            f"gate {name} {end}": getattr(layer.gates[name], end) > STUCK for name, end in layer.kind.stuck
        }
        if not layer.kind.sigmoid:
            words = "state at 0" if layer.relu else f"state beyond ±{OPEN}"
            stuck[words] = layer.saturated > STUCK
        if not stuck:
            continue
        words, units = max(stuck.items(), key=lambda each: float(each[1].mean()))
        value = float(units.mean())
        if value > MANY:
            problem = f"{value:.0%} of the units have their {words} at {STUCK:.0%} of the steps or more"
            rate = _rounded(_trained(report, "learning_rate", 0.002) / 4)
            remedy = Remedy(
                "a lower learning rate and weight decay keep units where they can learn",
                _flags(learning_rate=rate, weight_decay=0.1),
                f"torch.optim.AdamW(model.parameters(), lr={rate}, weight_decay=0.1)",
            )
            yield Finding("saturated", layer.layer, problem, value, "of the units", MANY, *remedy)


def _unread(report: Measurements) -> Iterator[Finding]:
    """Find layers with units that no loss depends on."""
    flow = report.gradient_flow
    for each in flow.flows if flow is not None else ():
        if each.state != "h" or each.unread <= IDLE:
            continue
        size = next((len(layer.never_changes) for layer in _layers(report) if layer.layer == each.layer), 1)
        fewer = max(1, round(size * (1 - each.unread)))
        remedy = Remedy(
            "as many units as are read do the same, faster",
            _flags(hidden_size=fewer),
            f"hidden_size={fewer}",
        )
        problem = f"no loss depends on {each.unread:.0%} of the units"
        yield Finding("unread", each.layer, problem, each.unread, "of the units", IDLE, *remedy)


def _idle(report: Measurements) -> Iterator[Finding]:
    for layer in _layers(report):
        share = float(layer.never_changes.mean())
        if share > IDLE:
            fewer = max(1, round(len(layer.never_changes) * (1 - share)))
            remedy = Remedy(
                "as many units as are used do the same, faster",
                _flags(hidden_size=fewer),
                f"hidden_size={fewer}",
            )
            problem = f"{share:.0%} of the units never change"
            yield Finding("idle", layer.layer, problem, share, "of the units", IDLE, *remedy)


def _of_use(report: Measurements) -> bool:
    """Whether a longer memory is of use."""
    curve, horizon, best = report.context_curve, report.memory_horizon, _best(report)
    if report.known_lag is not None and best is not None:
        return not _reaches(report, best, report.known_lag)
    if report.asked:
        return report.reach is not None and any(each.name == "short" for each in answer_findings(report))
    if curve is None:
        return True
    if horizon is not None and horizon.horizon == 0:  # what context is worth then is the first step's error
        return False
    sure = _or(float(curve.gain_interval[0]), curve.gain)
    last = abs(float(curve.loss[-1]))
    nats = horizon is not None and horizon.unit == "nats"
    left = REST if nats else REST * abs(float(curve.loss[0]))
    return sure > 0 and curve.gain >= CLOSE * last and last > left


def _tamer(report: Measurements) -> Remedy:
    """Return a remedy for exploding gradients, given how the network was trained."""
    norms, before = report.update_norms, _trained(report, "clip_norm", math.inf)
    clip = norms.median if norms is not None and norms.median > 0 else 1.0
    if min(clip, before) > 1.0:  # the norms of a network that explodes say nothing of a healthy one
        remedy = _clip("clip the gradient", 1.0)
    elif clip < before:
        remedy = _clip("clip the gradient at the median of its measured norms", clip)
    else:
        remedy = _clip("clip the gradient at less", before / 4)
    if not _gated(report) and report.trained.get("init") != "orthogonal":
        return Remedy(
            f"start from orthogonal weights and {remedy.words}",
            f"{_flags(init='orthogonal')} {remedy.flag}",
            f"unrolled.nn.init_recurrent(layer); {remedy.python}",
        )
    return remedy


def _opener(report: Measurements) -> Remedy:
    """Return a remedy that lets gates keep for longer, given how the network was trained."""
    if not _gated(report):
        words = "use gates (an orthogonal start helps an RNN a little)"
        return Remedy(words, _flags(cell="lstm"), "unrolled.nn.LSTM in place of unrolled.nn.RNN")
    looked = report.gradient_flow.lags if report.gradient_flow is not None else 0
    chrono = _trained(report, "chrono_steps", 0)
    biased = any(layer.kind.forget_bias for layer in _layers(report))
    if biased and not chrono and report.known_lag is None:
        bias = _rounded(max(3.0, _trained(report, "forget_bias", 1.0) + 2))
        return Remedy(
            "let the forget gates start open",
            _flags(forget_bias=bias),
            f"unrolled.nn.init_recurrent(layer, forget_bias={bias})",
        )
    return _chrono(report, report.known_lag or max(looked, 2 * int(chrono)))


def _flags(**settings: object) -> str:
    """Return settings of a `TrainConfig` as flags of `unrolled train`."""
    return " ".join(f"{FLAGS[name]} {value}" for name, value in settings.items())


def _clip(words: str, norm: float) -> Remedy:
    limit = _rounded(norm)
    return Remedy(
        words, _flags(clip_norm=limit), f"torch.nn.utils.clip_grad_norm_(model.parameters(), {limit})"
    )


def _chrono(report: Measurements, lags: int) -> Remedy:
    least = max(lags, 2)  # no less is taken
    flag, python = _flags(chrono_steps=least), f"unrolled.nn.init_recurrent(layer, chrono_steps={least})"
    if _gated(report):
        return Remedy(f"start the gates for lags up to {lags}", flag, python)
    words = f"use gates that start for lags up to {lags}"
    return Remedy(words, _flags(cell="lstm", chrono_steps=least), f"layer = unrolled.nn.LSTM(...); {python}")


def _trained(report: Measurements, name: str, default: float) -> float:
    """Return a number that the network was trained with, or a default where that is not known."""
    value = report.trained.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and value is not None else default


def _flows(report: Measurements) -> tuple[Flow, ...]:
    return () if report.gradient_flow is None else report.gradient_flow.flows


def _layers(report: Measurements) -> tuple[LayerGates, ...]:
    return () if report.gates is None else report.gates.layers


def _best(report: Measurements) -> Flow | None:
    """Return the flow of the path that keeps most of the gradient."""
    carried = [flow for flow in _flows(report) if flow.decay is not None]
    return max(carried, key=_kept, default=None)


def _kept(flow: Flow) -> tuple[float, float]:
    """Return how far back a hundredth of a gradient is left, and what is left at the last lag, to compare."""
    assert flow.decay is not None
    last = float(flow.nats[-1]) - float(flow.nats[flow.decay.start])
    return flow.decay.hundredth.steps, last


def _reaches(report: Measurements, flow: Flow, lag: int) -> bool:
    """Whether the gradient and the inputs that matter reach back to a lag, as far as was measured."""
    horizon = report.memory_horizon
    seen = math.inf if horizon is None else _or(horizon.horizon_interval.high, horizon.horizon)
    looked = 0 if horizon is None else horizon.lags
    return _left(flow, lag) >= LEFT and seen >= min(lag, looked)


def _left(flow: Flow, lag: int) -> float:
    """Return the part of the largest norm that is left at a lag, beyond those measured by the last slope."""
    assert flow.decay is not None
    known, start = min(lag, len(flow.nats) - 1), flow.decay.start
    slope = next((each for each in (flow.decay.slow, flow.decay.fast, flow.rate) if math.isfinite(each)), 0.0)
    nats = float(flow.nats[known]) - float(flow.nats[start]) + (lag - known) * slope
    return math.exp(min(nats, 700.0)) if math.isfinite(nats) else 0.0


def _gated(report: Measurements) -> bool:
    """Whether every layer has a gate that keeps its state."""
    return all(layer.kind.keep is not None for layer in _layers(report))


def _rounded(value: float) -> str:
    return f"{value:.2g}"


def _or(value: float, other: float) -> float:
    """Return an end of an interval, or the value itself where one row gave no interval."""
    return other if math.isnan(value) else value
