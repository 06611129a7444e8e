"""What the report prints: aggregates over seeds, all that the clock decides under "timing"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.lab.cells import Done, pick
from unrolled.lab.speed.clock import (
    LOSS_MARGIN,
    SPEED_MARGIN,
    equal_seconds,
    loss_at,
    speedup,
    targets_per_s,
    verdict,
)
from unrolled.lab.speed.signals import CLASSES, SAMPLES
from unrolled.lab.speed.training import HELD_SIGNALS
from unrolled.lab.speed.variants import FAMILIES, Family
from unrolled.lab.spread import spread

__all__ = ["curve_of", "summary"]

SETTINGS = (
    "embedding_size", "hidden_size", "train_targets", "held_targets", "targets", "seconds", "longest",
    "learning_rate", "rounds", "threads", "warmup_targets",
)  # fmt: skip

FIXED = {
    "speed_margin": SPEED_MARGIN,
    "loss_margin": LOSS_MARGIN,
    "samples": SAMPLES,
    "classes": CLASSES,
    "held_signals": HELD_SIGNALS,
}


def summary(done: Sequence[Done]) -> dict[str, Any]:
    """Sum up over seeds, a row a variant."""
    settings = {name: done[0].settings[name] for name in SETTINGS}
    families = [_family(family, pick(done, family=family.name)) for family in FAMILIES]
    timings = [row["timing"] for family in families for row in family["rows"] if row["factor"]]
    faster = [timing for timing in timings if timing["pace"] == "faster"]
    return {
        "settings": {**settings, **FIXED},
        "families": families,
        "compared": len(timings),
        "timing": {
            "faster": len(faster),
            "faster_and_worse": sum(timing["quality"] in ("worse", "diverged") for timing in faster),
            "load": _spread([run.result["timing"]["load"] for run in done]),
        },
    }


def curve_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variant's curve with its seconds and its useful share, wherever they stand."""
    held = result if "curve" in result else result["timing"]
    share = held["useful_share"]
    return {**held["curve"], "seconds": result["timing"]["seconds"], "useful_share": share}


def _family(family: Family, runs: Sequence[Done]) -> dict[str, Any]:
    variants = {v["name"]: v for v in runs[0].settings["variants"]}
    baseline = runs[0].settings["variants"][0]
    curves = [{name: curve_of(run.result["variants"][name]) for name in variants} for run in runs]
    compared = [_compared(of_run) for of_run in curves]
    return {
        "name": family.name,
        "title": family.title,
        "long_text": baseline["batching"] == "windows",
        "ragged": baseline["batching"] not in ("windows", "signals"),
        "absent": [v.name for v in family.variants if v.name not in variants],
        "timing": {"equal_seconds": spread([equal_seconds(list(c.values())) for c in curves])},
        "rows": [
            {
                "name": name,
                "factor": variant["factor"],
                "parameters": runs[0].result["variants"][name]["parameters"],
                "timing": _row([figures[name] for figures in compared]),
            }
            for name, variant in variants.items()
        ],
    }


def _compared(curves: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the figures of one run, a dictionary a variant."""
    seconds = equal_seconds(list(curves.values()))
    baseline = next(iter(curves.values()))
    base = loss_at(seconds, baseline)
    found = {}
    for name, curve in curves.items():
        nats, cold = loss_at(seconds, curve), loss_at(seconds, curve, "cold_nats")
        found[name] = {
            "useful_share": curve["useful_share"],
            "targets_per_s": targets_per_s(curve),
            "ratio": speedup(curve, baseline),
            "nats": nats,
            "cold_nats": cold,
            "difference": None if nats is None or base is None else nats - base,
        }
    return found


def _row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row = {name: _spread([run[name] for run in runs]) for name in runs[0]}
    ratio = spread([run["ratio"] for run in runs])
    pace, quality = verdict(ratio, row["difference"])
    return {**row, "pace": pace, "quality": quality}


def _spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return the spread; None where a run gave none, which is no better for the others."""
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else None
