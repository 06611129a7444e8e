"""What becomes of the gradient in an RNN, a GRU and an LSTM: untrained, trained, clipped and not."""

from __future__ import annotations

import copy
import math
import platform
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from unrolled.data import Batch, Split, StreamBatches
from unrolled.errors import NonFiniteError
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, groups, pick, plan_of, seeded
from unrolled.lab.gradients_report import KINDS, figures, report
from unrolled.lab.learning import start_weights
from unrolled.lab.speed_batches import Texts, texts
from unrolled.lab.spread import band, capped, finite, spread
from unrolled.probe import Flow, gradient_flow, lyapunov
from unrolled.spec import CELLS, LabConfig, ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.train import fit

__all__ = ["EXPERIMENT"]

NAME = "gradients"
PLAN = plan_of(NAME)
FULL, QUICK = PLAN["full"], PLAN["quick"]
START: dict[str, Any] = {
    "start": "orthogonal", "gain": 1.0, "forget_bias": 1.0, "chrono_steps": None, "nonlinearity": "tanh",
}  # fmt: skip
STARTS = {name: {**START, **change} for name, change in PLAN["starts"].items()}
QUICK_STARTS = PLAN["quick_starts"]
GAINS = (0.5, 1, 3)  # that are drawn: more curves than these are not told apart

HELD_OUT, LONGEST = 2**13, 256  # characters: held out; of a paragraph
MEASURED_ROWS, LOSSES = 8, 8  # of a batch; of a row, whose gradients are followed
FOLD = 100.0  # a gradient that is this much smaller, or larger, after the lags vanishes, or explodes
FATES = ("vanishes", "holds", "explodes", "not finite")
NORM_CAP = 1e6  # a gradient's norm above it, or an infinite one, counts as more
LOSS_CAP = 100.0  # nats a character; the same
TAIL = 10  # the end of a run is its last tenth
POINTS = 50  # of the curve
SIZES = ("hidden_size", "rows", "steps", "bptt_steps", "characters", "lags", "clip", "learning_rates")


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per start and seed: the start is measured, then trained at all paces."""
    sizes = {**(QUICK if config.quick else FULL), **PLAN["shared"]}
    sizes["python"] = platform.python_version()  # the text is its standard library
    texts(sizes["characters"], HELD_OUT, LONGEST)  # refused here, where it is not there
    plan = {n: {"name": n, **STARTS[n], **sizes} for n in (QUICK_STARTS if config.quick else STARTS)}
    return [t for name, settings in plan.items() for t in seeded(f"{NAME}/{name}", settings, work, config)]


def words(settings: Found) -> str:
    """Return what a start is called in the report: "LSTM, orthogonal, forget bias 0"."""
    cell, gain, start = str(settings["cell"]), settings["gain"], str(settings["start"])
    relu = settings["nonlinearity"] == "relu"
    parts = [cell.upper(), {"torch": "torch.nn's own"}.get(start, "identity and relu" if relu else start)]
    if gain != 1:
        parts.append(f"gain {gain:g}")
    if settings["chrono_steps"] is not None:
        parts.append(f"chrono {settings['chrono_steps']}")
    elif CELLS[cell].forget_bias and start != "torch":
        parts.append(f"forget bias {settings['forget_bias']:g}")
    return ", ".join(parts)


def build(settings: Found, vocab_size: int) -> LanguageModel:
    """Return the network of a trial, its weights drawn from the trial's seed."""
    sizes = {name: settings[name] for name in ("cell", "embedding_size", "hidden_size", "nonlinearity")}
    seed = int(settings["seed"])
    model = LanguageModel(ModelConfig(vocab_size, **sizes), seed=seed)
    start_weights(model.recurrent, SimpleNamespace(**settings), torch.Generator().manual_seed(seed))
    return model


def work(settings: Found) -> Json:
    """Measure a start, train it at every learning rate with clipping and without, and measure again."""
    lags, found = settings["lags"], texts(settings["characters"], HELD_OUT, LONGEST)
    held = measured(found, 2 * lags)
    start = build(settings, found.tokens.size)
    trained = {}
    for name, (learning_rate, clip) in paces(settings).items():
        model = copy.deepcopy(start)
        outcome = _train(model, found.long_text, settings, learning_rate, clip)
        trained[name] = {**outcome, "flow": flow(model, held, lags)}
    return {"start": flow(start, held, lags), "trained": trained}


def measured(found: Texts, steps: int) -> Batch:
    """Return rows of held-out text, without resets, on which gradients are measured."""
    ids = torch.from_numpy(found.held_long_text.ids[: MEASURED_ROWS * steps + 1].astype("int64"))
    inputs, targets = (part.view(MEASURED_ROWS, steps).T.contiguous() for part in (ids[:-1], ids[1:]))
    return Batch(inputs, targets)


def paces(settings: Found) -> dict[str, tuple[float, float | None]]:
    """Return name → learning rate and the norm that gradients are clipped to."""
    return {
        pace(rate, clipped): (rate, settings["clip"] if clipped else None)
        for rate in settings["learning_rates"]
        for clipped in (True, False)
    }


def pace(learning_rate: float, clipped: bool) -> str:
    """Return the name of a way to train."""
    return f"{learning_rate:g} {'clipped' if clipped else 'free'}"


def _train(model: LanguageModel, text: Split, settings: Found, rate: float, clip: float | None) -> Json:
    """Train by SGD until the steps are done, or the loss or its gradient is not finite."""
    sizes = {"batch_size": settings["rows"], "bptt_steps": settings["bptt_steps"], "seed": settings["seed"]}
    batches = StreamBatches(text, **sizes)
    losses: list[float] = []
    largest = 0.0
    try:
        sgd = torch.optim.SGD(model.parameters(), lr=rate)
        how = {"steps": settings["steps"], "learning_rate": rate, "clip_norm": clip, "optimizer": sgd}
        for record in fit(model, batches, **how):
            losses.append(record.loss)
            largest = max(largest, record.grad_norm)
    except NonFiniteError:
        losses.append(math.inf)
        largest = math.inf
    return outcome(losses, largest, settings["clip"])


def outcome(losses: list[float], largest: float, clip: float) -> Json:
    """Return what became of a run.

    It diverges if its loss is not finite, or ends above the one that it began with; its gradient explodes
    if the norm passes a hundred times the one that others are clipped to.
    """
    tail = losses[-max(len(losses) // TAIL, 1) :]
    end = finite(sum(tail) / len(tail))
    every = max(len(losses) // POINTS, 1)
    curve = [(n + 1, value) for n, value in enumerate(losses) if n % every == 0 and math.isfinite(value)]
    return {
        "start_nats_per_char": finite(losses[0]),
        "end_nats_per_char": end,
        "diverged": end is None or end > losses[0],
        "exploded": largest > FOLD * clip,
        "largest_norm": finite(largest),
        "curve": {"step": [n for n, _ in curve], "nats_per_char": [value for _, value in curve]},
    }


def flow(model: LanguageModel, batch: Batch, lags: int) -> Json:
    """Measure the gradient through the state that keeps most of it; a rate that is not finite is None.

    The leading Lyapunov exponent is that of the state itself, without the loss.
    """
    try:
        found = gradient_flow(model, batch, lags=lags, steps=LOSSES)
        leading = lyapunov(model, batch, count=1).leading
    except NonFiniteError:
        return {"rate": None, "lyapunov": None, "fate": "not finite", "nats": []}
    best = max(found.flows, key=_rate)
    return {
        "state": best.state,
        "rate": finite(best.rate),
        "lyapunov": finite(leading),
        "fate": fate(_rate(best), lags),
        "nats": [finite(value) for value in best.nats],
    }


def fate(rate: float, lags: int) -> str:
    """Return what becomes of a gradient at this rate, in nats per step, within the lags."""
    grown, limit = rate * lags, math.log(FOLD)
    return "vanishes" if grown < -limit else "explodes" if grown > limit else "holds"


def _rate(found: Flow) -> float:
    return -math.inf if math.isnan(found.rate) else found.rate


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds for each start, and over starts for each kind of cell."""
    settings = done[0].settings
    return {
        "training": {name: settings[name] for name in SIZES},
        "fold": FOLD,
        "paces": list(paces(settings)),
        "calm": _calm(done),
        "starts": {name: _start(runs) for name, runs in groups(done, "name").items()},
        "kinds": {kind: _kind(pick(done, cell=kind)) for kind in KINDS},
        "explosion": FOLD * settings["clip"],
    }


def _calm(done: Sequence[Done]) -> str:
    """Return the pace after which gradients are compared: the lowest rate, clipped."""
    return pace(done[0].settings["learning_rates"][0], True)


def _start(runs: Sequence[Done]) -> Json:
    after = {name: [run.result["trained"][name] for run in runs] for name in paces(runs[0].settings)}
    return {
        "words": words(runs[0].settings),
        "start": _flows([_flow(run) for run in runs]),
        "trained": {
            name: {
                "diverged": sum(one["diverged"] for one in found),
                "largest_norm": capped([one["largest_norm"] for one in found], NORM_CAP),
                "end_nats_per_char": capped([one["end_nats_per_char"] for one in found], LOSS_CAP),
                **_flows([one["flow"] for one in found]),
            }
            for name, found in after.items()
        },
    }


def _flow(run: Done, name: str | None = None) -> Json:
    """Return the gradient flow of a start: untrained, or after training at a pace."""
    found: Json = run.result["start"] if name is None else run.result["trained"][name]["flow"]
    return found


def _flows(flows: Sequence[Found]) -> Json:
    """Sum up gradient flows; those without a finite rate are counted among the fates alone."""
    rates = [found["rate"] for found in flows if found["rate"] is not None]
    exponents = [found["lyapunov"] for found in flows if found["lyapunov"] is not None]
    rate = spread(rates) if rates else None
    falls = rate is not None and rate["median"] < 0
    fates = [found["fate"] for found in flows]
    return {
        "runs": len(flows),
        "rate": rate,
        # steps in which a gradient halves at the median rate; None where it does not fall
        "half_life": math.log(2) / -rate["median"] if rate is not None and falls else None,
        "lyapunov": spread(exponents) if exponents else None,
        "fates": {name: fates.count(name) for name in FATES},
    }


def _kind(runs: Sequence[Done]) -> Json:
    """Sum up one kind of cell: the usual starts, which leave the recurrent weights' gain at 1, and others."""
    usual = [run for run in runs if run.settings["gain"] == 1]
    scaled_up = [run for run in runs if run.settings["gain"] > 1]
    rates, calm = runs[0].settings["learning_rates"], _calm(runs)
    return {
        **{
            name: {
                "start": _flows([_flow(run) for run in group]),
                "trained": _flows([_flow(run, calm) for run in group]),
            }
            for name, group in (("usual", usual), ("scaled_up", scaled_up))
        },
        "runs": len(runs),
        "holding": {"start": _holding(runs, None), "trained": _holding(runs, calm)},
        "trainings": len(runs) * len(rates),  # with clipping, and as many without
        **{
            event: {
                word: sum(run.result["trained"][pace(rate, clipped)][event] for run in runs for rate in rates)
                for word, clipped in (("free", False), ("clipped", True))
            }
            for event in ("diverged", "exploded")
        },
    }


def _holding(runs: Sequence[Done], name: str | None) -> list[str]:
    """Return the starts whose gradient holds in every run: untrained, or after training at a pace."""
    fates = {
        words(same[0].settings): {_flow(run, name)["fate"] for run in same}
        for same in groups(runs, "name").values()
    }
    return [text for text, seen in fates.items() if seen == {"holds"}]


def curves(done: Sequence[Done]) -> Json:
    """Return what is left of gradients by lag, and the losses at the highest learning rate."""
    rate, calm = done[0].settings["learning_rates"][-1], _calm(done)
    at_start: Json = {}
    trained: Json = {}
    losses: Json = {}
    for kind in KINDS:
        drawn = [run for run in pick(done, cell=kind) if run.settings["gain"] in GAINS]
        at_start[kind] = {
            words(same[0].settings).partition(", ")[2]: _left([_flow(run) for run in same])
            for same in groups(drawn, "name").values()
        }
        runs = pick(done, name=kind)
        trained[f"{words(runs[0].settings)}: start"] = _left([_flow(run) for run in runs])
        trained[f"{kind.upper()}, trained"] = _left([_flow(run, calm) for run in runs])
        for clipped in (True, False):
            found = [run.result["trained"][pace(rate, clipped)]["curve"] for run in runs]
            same = [(curve["step"], curve["nats_per_char"]) for curve in found]
            losses[f"{kind.upper()}, {'clipped' if clipped else 'not clipped'}"] = band(same, stays=False)
    return {"start": at_start, "trained": trained, "losses": losses, "learning_rate": rate}


def _left(flows: Sequence[Found]) -> Json | None:
    """Return the logarithm of the gradients by lag, minus that at lag 0; None where no run has a gradient."""
    found = [f["nats"] for f in flows if f["nats"] and f["nats"][0] is not None]
    if not found:
        return None
    less = [[None if value is None else value - nats[0] for value in nats] for nats in found]
    return band([(list(range(len(nats))), nats) for nats in less], stays=False)


TITLE = "Exploding and vanishing gradients"
CONSTANTS = (1,)  # "gain 1"; of "1/100"
EXPERIMENT = Experiment(NAME, TITLE, trials, summary, report, figures, curves, CONSTANTS)
