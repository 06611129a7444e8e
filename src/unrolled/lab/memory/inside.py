"""Inside the LSTM that learnt the adding problem: recognise, store, preserve, extract, each measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.lab.memory.extracting import extract
from unrolled.lab.memory.learning import fitted
from unrolled.lab.memory.readout import explained, told_apart
from unrolled.lab.memory.recording import Places, Recording, around, drawn, placed
from unrolled.lab.tasks import Adding

__all__ = ["inside", "preserve", "recognise", "store"]

SEEDS = {"drawn": 1_000_003, "placed": 1_000_033}  # of sequences that training has not seen
REACH = 10  # steps before and after a mark that are shown, or a quarter of the sequence


def inside(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network as the race does, and measure what its gates and states do at the marks."""
    task = Adding(settings["length"])
    solved, network = fitted(task, settings)
    network.eval()
    seed, rows = settings["seed"], settings["rows"]
    steps = places(task.steps)
    free = drawn(network, task, rows, SEEDS["drawn"] + seed)
    unmarked = elsewhere(free, seed)
    fixed = placed(network, task, rows, SEEDS["placed"] + seed, (steps["first"], steps["second"]))
    return {
        "solved_at": solved.steps if solved.solved else None,
        "final": solved.final,
        "rows": rows,
        "units": settings["hidden_size"],
        "places": steps,
        "recognise": recognise(free),
        "store": store(free, unmarked),
        "preserve": preserve(fixed, steps),
        "extract": extract(network, fixed, steps),
    }


def places(length: int) -> dict[str, int]:
    """Return where the marks are set, a tenth from either end, and a step that none stands at."""
    tenth = max(length // 10, 1)
    return {"first": tenth, "unmarked": max(length // 4, tenth + 1), "second": length - 1 - tenth}


def elsewhere(seen: Recording, seed: int) -> Places:
    """Return [B]: of each row a step of the first half that is not marked."""
    half = len(seen.values) // 2
    step = np.random.default_rng(seed).integers(half - 1, size=seen.marks.shape[1])
    found: Places = step + (step >= seen.marks[0])
    return found


def recognise(seen: Recording) -> dict[str, Any]:
    """Compare what is written at marked steps, the length of i·g over the units, with that at others."""
    gates = {
        "written": np.linalg.norm(seen.trace["i"] * seen.trace["g"], axis=-1),
        "input_gate": seen.trace["i"].mean(-1),
        "candidate": np.abs(seen.trace["g"]).mean(-1),
    }  # [T, B] each
    marked = seen.marked
    means = {
        name: {"marked": float(value[marked].mean()), "unmarked": float(value[~marked].mean())}
        for name, value in gates.items()
    }
    written = gates["written"]
    return {
        "means": means,
        "ratio": means["written"]["marked"] / means["written"]["unmarked"],
        "told_apart": told_apart(written[marked], written[~marked]),
        "around": {"offset": list(_offsets(seen)), **_means_around(seen, gates)},
    }


def _means_around(seen: Recording, gates: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, list[float]]:
    """Return the means over rows and both marks, at each offset; where the other mark stands is left out."""
    offsets = _offsets(seen)
    found = {}
    for name, value in gates.items():
        alone = np.where(seen.marked, np.nan, value)
        parts = []
        for mark in seen.marks:
            part = around(alone, mark, offsets)
            part[offsets.index(0)] = value[mark, np.arange(len(mark))]
            parts.append(part)
        found[name] = [float(v) for v in np.nanmean(np.concatenate(parts, axis=1), axis=1)]
    return found


def store(seen: Recording, unmarked: Places) -> dict[str, Any]:
    """Measure how the change of c at and around a step follows the number there: a marked one, an unmarked.

    "follows" is the length of the slope over the units, in c per unit of the number: without noise R² alone
    would call a trace of any size readable.
    """
    offsets, changes, rows = _offsets(seen), seen.changes, np.arange(len(unmarked))
    curves = {
        name: [_slope(part, seen.values_at(at)) for part in around(changes, at, offsets)]
        for name, at in (("marked", seen.marks[0]), ("unmarked", unmarked))
    }
    there = offsets.index(0)
    value, change = seen.values_at(seen.marks[0]), changes[seen.marks[0], rows]  # [B], [B, H]
    return {
        "follows": {name: curve[there] for name, curve in curves.items()},
        "ratio": curves["marked"][there] / curves["unmarked"][there],
        "readable": explained(change, value),
        "closest_unit": float(np.abs(_correlation(change, value)).max()),
        "around": {"offset": list(offsets), **curves},
    }


def preserve(seen: Recording, steps: Mapping[str, int]) -> dict[str, Any]:
    """Read from c, at every step, the two marked numbers, their sum, and one that was not marked."""
    values, c = seen.values, seen.trace["c"]
    wanted = {name: values[step] for name, step in steps.items()}
    wanted["sum"] = wanted["first"] + wanted["second"]
    along = {name: [explained(at, value) for at in c] for name, value in wanted.items()}
    first, second = steps["first"], steps["second"]
    traces = [_slope(at.astype(np.float64), values[first]) for at in (c[first], c[second - 1])]
    gate = seen.trace["f"][first + 1 : second]  # [gap, B, H]: the steps that keep what was stored
    kept = np.exp(np.log(np.maximum(gate, np.finfo(np.float32).tiny)).sum(0, dtype=np.float64).mean(0))
    return {
        "stored": along["first"][first],
        "kept": along["first"][second - 1],
        "unmarked": along["unmarked"][second - 1],
        "trace_left": traces[1] / traces[0],  # of the slope of c by the first number
        "sum_at_the_end": along["sum"][-1],
        "gap": second - 1 - first,
        "forget_gate": float(gate.mean()),
        "kept_share": {"median": float(np.median(kept)), "highest": float(kept.max())},
        "time_constant": _time_constants(kept, second - 1 - first),
        "units_that_keep": int((kept > np.exp(-1)).sum()),
        "along": {
            "step": list(range(len(c))),
            **along,
            "forget_gate": [float(v) for v in seen.trace["f"].mean((1, 2))],
        },
    }


def _time_constants(kept: npt.NDArray[np.float64], gap: int) -> dict[str, float | None]:
    """Return steps until all but 1/e is forgotten, of the middle unit and of the slowest; None: never."""
    with np.errstate(divide="ignore"):
        found = -gap / np.log(np.minimum(kept, 1.0))
    ends = {"median": float(np.median(np.abs(found))), "longest": float(np.abs(found).max())}
    return {name: value if np.isfinite(value) else None for name, value in ends.items()}


def _offsets(seen: Recording) -> range:
    reach = min(REACH, max(len(seen.values) // 4, 1))
    return range(-reach, reach + 1)


def _slope(changes: npt.NDArray[np.float64], values: npt.NDArray[np.float32]) -> float:
    """Return the length of d changes / d value by least squares, over the rows whose step lies within."""
    within = np.isfinite(changes[:, 0])
    x = values[within].astype(np.float64)
    x -= x.mean()
    return float(np.linalg.norm((x @ changes[within]) / (x @ x)))


def _correlation(units: npt.NDArray[np.float32], value: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return [H]: each unit's correlation with a value; 0 of a unit that never changes."""
    x, y = units.astype(np.float64), value.astype(np.float64)
    x, y = x - x.mean(0), y - y.mean()
    scale = np.sqrt((x**2).sum(0) * (y**2).sum())
    return np.where(scale > 0, (x * y[:, None]).sum(0) / np.where(scale > 0, scale, 1.0), 0.0)
