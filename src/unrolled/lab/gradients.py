"""What becomes of the gradient in an RNN, a GRU and an LSTM: untrained, trained, clipped and not."""

from __future__ import annotations

import copy
import math
import platform
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from unrolled.data import Batch, Split, StreamBatches
from unrolled.errors import NonFiniteError
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, groups, pick, plan_of, seeded
from unrolled.lab.gradients_report import KINDS, claims, figures, report
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
GAINS = (0.5, 1, 5)  # that are drawn: more curves than these are not told apart

HELD_OUT, LONGEST = 2**13, 256  # characters: held out; of a paragraph
MEASURED_ROWS, LOSSES = 8, 8  # of a batch; of a row, whose gradients are followed
FOLD = 100.0  # a gradient that is this much smaller, or larger, after the lags vanishes, or explodes
FATES = ("vanishes", "holds", "explodes", "not finite")
NORM_CAP = 1e6  # a gradient's norm above it, or an infinite one, counts as more
LOSS_CAP = 100.0  # nats a character; the same
TAIL = 10  # the end of a run is its last tenth
POINTS = 50  # of the curve
SIZES = (
    "hidden_size", "rows", "steps", "trained_steps", "bptt_steps", "characters", "lags", "clip",
    "learning_rates", "adamw_rate",
)  # fmt: skip
TRAINED = "AdamW"  # the name of the way to train after which gradients are compared


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
    bigram = bigram_nats(found.long_text, found.tokens.size)
    for name, pace in paces(settings).items():
        model = copy.deepcopy(start)
        outcome = _train(model, found.long_text, settings, pace)
        end = outcome["end_nats_per_char"]
        below = end is not None and end < bigram
        trained[name] = {**outcome, "below_bigram": below, "flow": flow(model, held, lags)}
    return {"bigram_nats_per_char": bigram, "start": flow(start, held, lags), "trained": trained}


def bigram_nats(text: Split, symbols: int) -> float:
    """Return the nats per character of a table of pairs on the text that it was counted on: a control."""
    ids = np.asarray(text.ids, dtype=np.int64)
    pairs = np.bincount(ids[:-1] * symbols + ids[1:], minlength=symbols**2).reshape(symbols, symbols)
    share = pairs / pairs.sum()
    first = share.sum(1, keepdims=True)
    seen = share > 0
    return float(-(share[seen] * np.log((share / np.where(first > 0, first, 1))[seen])).sum())


def measured(found: Texts, steps: int) -> Batch:
    """Return rows of held-out text, without resets, on which gradients are measured."""
    ids = torch.from_numpy(found.held_long_text.ids[: MEASURED_ROWS * steps + 1].astype("int64"))
    inputs, targets = (part.view(MEASURED_ROWS, steps).T.contiguous() for part in (ids[:-1], ids[1:]))
    return Batch(inputs, targets)


class Pace(NamedTuple):
    """A way to train."""

    learning_rate: float
    clip: float | None
    sgd: bool


def paces(settings: Found) -> dict[str, Pace]:
    """Return the ways to train by name: the trainer's own, and plain SGD at each rate, clipped and not."""
    sgd = {
        pace(rate, clipped): Pace(rate, settings["clip"] if clipped else None, sgd=True)
        for rate in settings["learning_rates"]
        for clipped in (True, False)
    }
    return {TRAINED: Pace(settings["adamw_rate"], settings["clip"], sgd=False), **sgd}


def pace(learning_rate: float, clipped: bool) -> str:
    """Return the name of a way to train by SGD."""
    return f"{learning_rate:g} {'clipped' if clipped else 'free'}"


def _train(model: LanguageModel, text: Split, settings: Found, pace: Pace) -> Json:
    """Train until the steps are done, or the loss or its gradient is not finite."""
    sizes = {"batch_size": settings["rows"], "bptt_steps": settings["bptt_steps"], "seed": settings["seed"]}
    batches = StreamBatches(text, **sizes)
    losses: list[float] = []
    largest = 0.0
    try:
        optimizer = torch.optim.SGD(model.parameters(), lr=pace.learning_rate) if pace.sgd else None
        steps = settings["steps" if pace.sgd else "trained_steps"]
        how = {"steps": steps, "learning_rate": pace.learning_rate, "clip_norm": pace.clip}
        for record in fit(model, batches, **how, optimizer=optimizer):
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
        "trained": TRAINED,
        "bigram_nats_per_char": done[0].result["bigram_nats_per_char"],
        "starts": {name: _start(runs) for name, runs in groups(done, "name").items()},
        "kinds": {kind: _kind(pick(done, cell=kind)) for kind in KINDS},
        "explosion": FOLD * settings["clip"],
    }


def _start(runs: Sequence[Done]) -> Json:
    after = {name: [run.result["trained"][name] for run in runs] for name in paces(runs[0].settings)}
    return {
        "words": words(runs[0].settings),
        "start": _flows([_flow(run) for run in runs]),
        "trained": {
            name: {
                "diverged": sum(one["diverged"] for one in found),
                "below_bigram": sum(one["below_bigram"] for one in found),
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


def _trained(runs: Sequence[Done]) -> list[Done]:
    """Return the runs that the trainer's own way made better than a table of pairs."""
    return [run for run in runs if run.result["trained"][TRAINED]["below_bigram"]]


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
        "chaotic": sum(exponent > 0 for exponent in exponents),
        "fates": {name: fates.count(name) for name in FATES},
    }


def _kind(runs: Sequence[Done]) -> Json:
    """Sum up one kind of cell: the usual starts, which leave the recurrent weights' gain at 1, and others.

    After training counts those alone that are trained: better than a table of pairs.
    """
    usual = [run for run in runs if run.settings["gain"] == 1]
    scaled = sorted({run.settings["gain"] for run in runs if run.settings["gain"] > 1})
    rates = runs[0].settings["learning_rates"]
    return {
        "usual": {
            "start": _flows([_flow(run) for run in usual]),
            "trained": _flows([_flow(run, TRAINED) for run in _trained(usual)]),
        },
        "gains": [{"gain": gain, **_flows([_flow(run) for run in pick(runs, gain=gain)])} for gain in scaled],
        "runs": len(runs),
        "below_bigram": len(_trained(runs)),
        "holding": {"start": _holding(runs, None), "trained": _holding(_trained(runs), TRAINED)},
        "trainings": len(runs) * len(rates),  # by SGD with clipping, and as many without
        **{
            event: {
                word: sum(run.result["trained"][pace(rate, clipped)][event] for run in runs for rate in rates)
                for word, clipped in (("free", False), ("clipped", True))
            }
            | {TRAINED: sum(run.result["trained"][TRAINED][event] for run in runs)}
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
    rate = done[0].settings["learning_rates"][-1]
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
        trained[f"{kind.upper()}, trained"] = _left([_flow(run, TRAINED) for run in runs])
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
CONSTANTS = (0, 1)  # an exponent above 0; "gain 1"; of "1/100"
EXPERIMENT = Experiment(NAME, TITLE, trials, summary, report, figures, curves, CONSTANTS, claims=claims)
