"""What can be done to sequences to speed up training: one factor at a time, by speed and by loss."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from unrolled import kernels
from unrolled.data import Batch, LineBatches, StreamBatches
from unrolled.errors import NonFiniteError
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, pick, plan_of, seeded
from unrolled.lab.learning import Network, NetworkSettings
from unrolled.lab.speed_batches import (
    FrameModel,
    Read,
    Signals,
    TextModel,
    Texts,
    Variant,
    reads,
    texts,
)
from unrolled.lab.speed_report import claims, figures, report
from unrolled.lab.spread import finite, spread
from unrolled.spec import LabConfig, ModelConfig
from unrolled.train import fit, native_bfloat16

__all__ = ["EXPERIMENT"]

NAME = "speed"
PLAN = plan_of(NAME)
ABSENT = {"targets": None, "seconds": None}  # of which a plan has one
FULL, QUICK = {**ABSENT, **PLAN["full"]}, {**ABSENT, **PLAN["quick"]}
SHARED: dict[str, Any] = {"longest": 256, "learning_rate": 0.004}  # characters of a sequence; the peak
HELD_ROWS, HELD_STEPS = 8, 256  # of the held-out long text, read with the state carried
HELD_SIGNALS = 200
SPEED_MARGIN = 1.05  # times as fast, in every run, is faster
LOSS_MARGIN = 0.02  # nats per character higher, in every run, is worse


class Family(NamedTuple):
    """Variants that read the same, as speed.toml has them; the first is the baseline."""

    name: str
    title: str
    variants: list[Variant]


FAMILIES = [
    Family(name, found["title"], [Variant(**variant) for variant in found["variants"]])
    for name, found in PLAN["families"].items()
]


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per family and seed: its variants take turns, so that a busy moment hits all."""
    sizes = {**(QUICK if config.quick else FULL), **SHARED}
    texts(sizes["train_targets"], sizes["held_targets"], sizes["longest"])  # refused where it is not there
    found = []
    for family in FAMILIES:
        variants = [asdict(variant) for variant in family.variants if _runs_here(variant)]
        settings = {"family": family.name, "variants": variants, "python": platform.python_version(), **sizes}
        found += seeded(f"{NAME}/{family.name}", settings, work, config, alone=True)
    return found


def _runs_here(variant: Variant) -> bool:
    """Whether this machine can run a variant: kernels are there, bfloat16 is native."""
    if variant.backend == "native" and not kernels.available():
        return False
    return variant.dtype != "bfloat16" or native_bfloat16()


def work(settings: Found) -> Json:
    """Train all variants of a family in turn, for so many targets or seconds each, as `settings` say."""
    found = texts(settings["train_targets"], settings["held_targets"], settings["longest"])
    runners = [Runner(Variant(**variant), found, settings) for variant in settings["variants"]]
    for runner in runners:
        runner.warm_up()
        runner.look()
    rounds = settings["rounds"]
    for number in range(rounds):
        turn = number % len(runners)
        for runner in runners[turn:] + runners[:turn]:
            runner.train_to((number + 1) / rounds)
            runner.look()
    variants = {runner.variant.name: runner.result() for runner in runners}
    return {"variants": variants}


class Runner:
    """One variant in training, with its own clock."""

    def __init__(self, variant: Variant, found: Texts, settings: Found) -> None:
        self.variant, self._texts, self._settings = variant, found, settings
        self.model = make_model(variant, found, settings)
        rate = settings["learning_rate"] * variant.rate
        self._updates = fit(
            self.model, self._reads(settings["seed"]), learning_rate=rate, dtype=variant.dtype
        )
        self.seconds, self.targets, self.positions = 0.0, 0, 0
        self._curve: dict[str, list[Any]] = {"targets": [], "nats": []}
        self._seconds: list[float] = []
        self.diverged = False  # a loss or gradient was not finite, and the training ended there

    def _reads(self, seed: int) -> Iterator[Read]:
        warmup = self._settings["warmup_targets"]
        for batch, fresh in reads(self.variant, self._texts, seed=seed, warmup_targets=warmup):
            self.positions += batch.inputs.shape[0] * batch.inputs.shape[1]  # padding and all
            yield batch, fresh

    def warm_up(self) -> None:
        """Do an update's work that changes nothing, so that what loads at first use is not timed."""
        batch, _ = next(self._reads(0))
        nats, *_ = self.model.loss(batch, self.model.initial_state(batch.inputs.shape[1]))
        nats.backward()
        self.model.zero_grad()
        self.positions = 0

    def train_to(self, share: float) -> None:
        """Train until that share of the targets, or of the seconds, that the settings give."""
        begin, before = time.perf_counter(), self.seconds
        try:
            while not self._reached(share):
                self.targets += next(self._updates).tokens
                self.seconds = before + time.perf_counter() - begin
        except NonFiniteError:
            self.diverged = True

    def _reached(self, share: float) -> bool:
        if self.diverged:
            return True
        seconds = self._settings["seconds"]
        if seconds is not None:
            return bool(self.seconds >= share * seconds)
        return bool(self.targets >= share * self._settings["targets"] * self.variant.share)

    def look(self) -> None:
        """Add a point to the curve."""
        nats = held_out(self.model, self._texts, self.variant.batching)
        self._curve["nats"].append(None if self.diverged else nats)
        self._curve["targets"].append(self.targets)
        self._seconds.append(self.seconds)

    def result(self) -> Json:
        """Return the curve; where the clock decided how far it goes, all of it is under "timing"."""
        found = {**self._curve, "useful_share": self.targets / self.positions}
        if self._settings["seconds"] is None:
            return {**found, "timing": {"seconds": self._seconds}}
        return {"timing": {"seconds": self._seconds, **found}}


def make_model(variant: Variant, found: Texts, settings: Found) -> Any:
    """Return the network of a variant; all start from the seed."""
    hidden, seed, backend = settings["hidden_size"], settings["seed"], variant.backend
    if variant.batching == "signals":
        sizes = NetworkSettings.of({**asdict(variant), "hidden_size": hidden})
        return Network(Signals(), sizes, torch.Generator().manual_seed(seed))
    config = ModelConfig(found.tokens.size, settings["embedding_size"], hidden, cell="lstm")
    if variant.front == "none":
        return TextModel(config, seed=seed, backend=backend)
    front: dict[str, Any] = {"front": variant.front, "frames": variant.frames}
    return FrameModel(config, boundary=found.tokens.boundary, seed=seed, backend=backend, **front)


def held_out(model: Any, found: Texts, batching: str) -> float | None:
    """Return nats per target of signals, of paragraphs, or of long text with the state carried.

    None where a model that diverged gives none.
    """
    if batching == "signals":
        batches: Iterable[Batch] = [Signals().draw(HELD_SIGNALS, torch.Generator().manual_seed(0))]
    elif batching == "windows":
        stream = StreamBatches(found.held_long_text, batch_size=HELD_ROWS, bptt_steps=HELD_STEPS, seed=0)
        batches = (replace(batch, resets=None) for batch in stream.epoch(0))  # where the state is 0 anyway
    else:
        batches = LineBatches(found.held_paragraphs, batch_size=64, seed=0).epoch(0)
    total, targets = model.evaluate(batches, carry=batching == "windows")
    return finite(total / targets)


def equal_seconds(curves: Sequence[Found]) -> float:
    """Return the seconds of training that all variants reached, but for those that diverged.

    A curve has "seconds", "targets" and "nats": a value per round, the first at no time.
    """
    whole = [curve for curve in curves if None not in curve["nats"]]
    return float(min(curve["seconds"][-1] for curve in whole or curves))


def loss_at(seconds: float, curve: Found) -> float | None:
    """Return a curve's loss after so many seconds, on the line between its points; None if it diverged."""
    if None in curve["nats"]:
        return None
    return float(np.interp(seconds, curve["seconds"], curve["nats"]))


def speedup(curve: Found, baseline: Found) -> float:
    """Return how many times the baseline's targets per second a variant had: the median over the rounds.

    Rounds are compared each with the baseline's of about the same minute; one in which nothing was done
    (an update may be longer than a round) is left out.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = (np.diff(one["targets"]) / np.diff(one["seconds"]) for one in (curve, baseline))
        ratios = np.divide(*rates)
    known = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.median(known)) if len(known) else 0.0


def verdict(ratio: Found, difference: Found | None) -> tuple[str, str]:
    """Return a word for the speed and one for the loss, each only where all runs say the same.

    Args:
        ratio: the spread of the speed beside the baseline's.
        difference: the spread of the loss at equal wall-clock less the baseline's; None where a run diverged.
    Returns:
        "faster", "slower" or "as fast"; "better", "worse", "as good" or "diverged".
    """
    pace = "faster" if ratio["low"] > SPEED_MARGIN else "as fast"
    if ratio["high"] < 1 / SPEED_MARGIN:
        pace = "slower"
    if difference is None:
        return pace, "diverged"
    if difference["low"] > LOSS_MARGIN:
        return pace, "worse"
    return pace, "better" if difference["high"] < -LOSS_MARGIN else "as good"


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds, a row per variant; all that the clock decides is under "timing"."""
    settings = {name: done[0].settings[name] for name in (*FULL, *SHARED)}
    families = [_family(family, pick(done, family=family.name)) for family in FAMILIES]
    timings = [row["timing"] for family in families for row in family["rows"] if row["factor"]]
    faster = [timing for timing in timings if timing["pace"] == "faster"]
    return {
        "settings": {
            **settings,
            "speed_margin": SPEED_MARGIN,
            "loss_margin": LOSS_MARGIN,
            "samples": Signals().steps,
            "classes": Signals.output_size,
            "held_signals": HELD_SIGNALS,
        },
        "families": families,
        "compared": len(timings),
        "timing": {
            "faster": len(faster),
            "faster_and_worse": sum(timing["quality"] in ("worse", "diverged") for timing in faster),
        },
    }


def _family(family: Family, runs: Sequence[Done]) -> Json:
    variants = {v["name"]: v for v in runs[0].settings["variants"]}
    baseline = runs[0].settings["variants"][0]
    results = [{name: run.result["variants"][name] for name in variants} for run in runs]
    found = [{name: {**one, **one["timing"]} for name, one in result.items()} for result in results]
    compared = [_compared(of_run) for of_run in found]
    return {
        "name": family.name,
        "title": family.title,
        "ragged": baseline["batching"] not in ("windows", "signals"),
        "absent": [v.name for v in family.variants if v.name not in variants],
        "timing": {"equal_seconds": spread([equal_seconds(list(c.values())) for c in found])},
        "rows": [
            {
                "name": name,
                "factor": variant["factor"],
                "timing": _row([figures[name] for figures in compared]),
            }
            for name, variant in variants.items()
        ],
    }


def _compared(curves: Mapping[str, Found]) -> dict[str, Json]:
    """Return the figures of one run, a dictionary per variant."""
    seconds = equal_seconds(list(curves.values()))
    baseline = next(iter(curves.values()))
    base = loss_at(seconds, baseline)
    found = {}
    for name, curve in curves.items():
        nats = loss_at(seconds, curve)
        found[name] = {
            "useful_share": curve["useful_share"],
            "targets_per_s": curve["targets"][-1] / curve["seconds"][-1],
            "ratio": speedup(curve, baseline),
            "nats": nats,
            "difference": None if nats is None or base is None else nats - base,
        }
    return found


def _row(runs: Sequence[Found]) -> Json:
    row = {name: _spread([run[name] for run in runs]) for name in runs[0]}
    pace, quality = verdict(spread([run["ratio"] for run in runs]), row["difference"])
    return {**row, "pace": pace, "quality": quality}


def _spread(values: Sequence[float | None]) -> Json | None:
    """Return the spread; None where a run gave none, which is no better for the others."""
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else None


TITLE = "Question 1: what can you do to sequences to speed up training?"
EXPERIMENT = Experiment(NAME, TITLE, trials, summary, report, figures, claims=claims)
