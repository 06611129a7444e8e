"""Inside an LSTM that learnt the adding problem: recognise, store, preserve, extract, each measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import probe
from unrolled.lab.experiment import Json
from unrolled.lab.learning import ROWS_AT_ONCE, Network
from unrolled.lab.problems import Adding
from unrolled.lab.spread import finite

__all__ = ["CURVES", "Recording", "measured"]

CURVES = {"recognise": "around", "store": "around", "preserve": "along", "extract": "along"}  # for pictures
SEEDS = {"drawn": 1_000_003, "placed": 1_000_033}  # of sequences that training has not seen
REACH = 10  # steps before and after a mark that are shown, or a quarter of the sequence
FITTED = 0.75  # share of the rows that a linear map is fitted to; the others say how good it is

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recording:
    """Sequences, and every gate and state over them."""

    inputs: Tensor  # [T, B, 2]
    marks: Places  # [2, B] the steps that are marked, the first first
    trace: dict[str, Floats]  # i, f, g, o, c, h: [T, B, H]

    @property
    def values(self) -> Floats:
        """[T, B]: the number at each step."""
        found: Floats = self.inputs[..., 0].numpy()
        return found

    @property
    def marked(self) -> npt.NDArray[np.bool_]:
        """[T, B]: whether a step is marked."""
        found: npt.NDArray[np.bool_] = self.inputs[..., 1].numpy() > 0
        return found

    @property
    def changes(self) -> Floats:
        """[T, B, H]: c_t − c_(t−1), from c = 0."""
        c = self.trace["c"]
        found: Floats = np.diff(c, axis=0, prepend=np.zeros_like(c[:1]))
        return found

    @property
    def offsets(self) -> range:
        """Steps from a mark that are shown."""
        reach = min(REACH, max(len(self.values) // 4, 1))
        return range(-reach, reach + 1)


def measured(network: Network, problem: Adding, *, rows: int, seed: int) -> Json:
    """Return the figures for each word, over new sequences; for the last two words the marks are moved.

    The marks are then a tenth from either end; a step that is not marked is compared with them.
    """
    network.eval()
    length = problem.steps
    tenth = max(length // 10, 1)
    steps = {"first": tenth, "unmarked": max(length // 4, tenth + 1), "second": length - 1 - tenth}
    seeds = {name: torch.Generator().manual_seed(first + seed) for name, first in SEEDS.items()}
    free = record(network, problem.draw(rows, seeds["drawn"]).inputs)
    inputs = problem.draw(rows, seeds["placed"]).inputs
    inputs[..., 1] = 0
    inputs[[steps["first"], steps["second"]], :, 1] = 1
    fixed = record(network, inputs)
    return {
        "places": steps,
        "recognise": recognise(free),
        "store": store(free, elsewhere(free, seed)),
        "preserve": preserve(fixed, steps),
        "extract": extract(network, fixed, steps),
    }


def record(network: Network, inputs: Tensor) -> Recording:
    """Record every gate and state of an LSTM over sequences of the adding problem."""
    parts: list[dict[str, Floats]] = []
    for part in torch.split(inputs, ROWS_AT_ONCE, dim=1):  # what is recorded in double precision stays small
        (layer,) = probe.trajectories(network, part).layers.values()
        parts.append({name: values.astype(np.float32) for name, values in layer.items()})
    trace = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    places = inputs[..., 1].T.nonzero()[:, 1]  # row by row, in rising steps
    return Recording(inputs, places.view(-1, 2).T.numpy(), trace)


def around(values: npt.ArrayLike, places: Places, offsets: range) -> Doubles:
    """Return [K, B, …]: what each row has at its place plus each offset; NaN outside of the sequence.

    Args:
        values: [T, B, …]. places: [B].
    """
    array = np.asarray(values, dtype=np.float64)
    steps, rows = array.shape[:2]
    at = places[None] + np.array(offsets)[:, None]  # [K, B]
    found: Doubles = array[at.clip(0, steps - 1), np.arange(rows)]
    found[(at < 0) | (at >= steps)] = np.nan
    return found


def elsewhere(seen: Recording, seed: int) -> Places:
    """Return [B]: for each row a step of the first half that is not marked."""
    half = len(seen.values) // 2
    step = np.random.default_rng(seed).integers(half - 1, size=seen.marks.shape[1])
    found: Places = step + (step >= seen.marks[0])
    return found


def recognise(seen: Recording) -> Json:
    """Compare what is written at marked steps, the length of i·g over the units, with that at others."""
    gates = {
        "written": np.linalg.norm(seen.trace["i"] * seen.trace["g"], axis=-1),
        "input_gate": seen.trace["i"].mean(-1),
        "candidate": np.abs(seen.trace["g"]).mean(-1),
    }  # [T, B] each
    marked, written = seen.marked, gates["written"]
    means = {
        name: {"marked": float(value[marked].mean()), "unmarked": float(value[~marked].mean())}
        for name, value in gates.items()
    }
    curves = {}
    for name, value in gates.items():  # the step of the other mark is left out
        parts = [around(np.where(marked, np.nan, value), mark, seen.offsets) for mark in seen.marks]
        for part, mark in zip(parts, seen.marks, strict=True):
            part[seen.offsets.index(0)] = value[mark, np.arange(len(mark))]
        curves[name] = np.nanmean(np.concatenate(parts, axis=1), axis=1).tolist()
    return {
        "means": means,
        "ratio": means["written"]["marked"] / means["written"]["unmarked"],
        "gate_ratio": means["input_gate"]["marked"] / means["input_gate"]["unmarked"],
        "told_apart": told_apart(written[marked], written[~marked]),
        "around": {"offset": list(seen.offsets), **curves},
    }


def store(seen: Recording, unmarked: Places) -> Json:
    """Measure how the change of c at and around a step follows the number there, marked or not.

    "follows" is the length of the slope over the units, in c per unit of the number: without noise R² alone
    would call a trace of any size readable.
    """
    changes, rows, there = seen.changes, np.arange(len(unmarked)), seen.offsets.index(0)
    curves = {
        name: [_slope(part, seen.values[at, rows]) for part in around(changes, at, seen.offsets)]
        for name, at in (("marked", seen.marks[0]), ("unmarked", unmarked))
    }
    value, change = seen.values[seen.marks[0], rows], changes[seen.marks[0], rows]  # [B], [B, H]
    return {
        "follows": {name: curve[there] for name, curve in curves.items()},
        "ratio": curves["marked"][there] / curves["unmarked"][there],
        "readable": explained(change, value),
        "around": {"offset": list(seen.offsets), **curves},
    }


def preserve(seen: Recording, steps: Mapping[str, int]) -> Json:
    """Read from c, at every step, the two marked numbers, their sum, and one that was not marked."""
    c, first, second = seen.trace["c"], steps["first"], steps["second"]
    wanted = {name: seen.values[step] for name, step in steps.items()}
    along = {
        name: [explained(at, value) for at in c]
        for name, value in {**wanted, "sum": wanted["first"] + wanted["second"]}.items()
    }
    traces = [_slope(at.astype(np.float64), wanted["first"]) for at in (c[first], c[second - 1])]
    gap = second - 1 - first
    gate = seen.trace["f"][first + 1 : second]  # [gap, B, H]: the steps that keep what was stored
    kept = np.exp(np.log(np.maximum(gate, np.finfo(np.float32).tiny)).sum(0, dtype=np.float64).mean(0))
    with np.errstate(divide="ignore"):
        constants = np.abs(gap / np.log(np.minimum(kept, 1.0)))  # steps until all but 1/e is forgotten
    return {
        "stored": along["first"][first],
        "kept": along["first"][second - 1],
        "unmarked": along["unmarked"][second - 1],
        "trace_left": traces[1] / traces[0],  # of the slope of c by the first number
        "sum_at_the_end": along["sum"][-1],
        "gap": gap,
        "forget_gate": float(gate.mean()),
        "time_constant": {"median": finite(np.median(constants)), "longest": finite(constants.max())},
        "units_that_keep": int((kept > np.exp(-1)).sum()),
        "along": {
            "step": list(range(len(c))),
            **along,
            "forget_gate": seen.trace["f"].mean((1, 2)).tolist(),
        },
    }


def extract(network: Network, seen: Recording, steps: Mapping[str, int]) -> Json:
    """Measure how the answer follows the marked inputs.

    "follows": change of the answer over change of one input's number, which is replaced by another;
    "ready": R² of the sum with what the read-out would answer at each step.
    """
    values, gate = seen.values, seen.trace["o"]
    wanted = torch.from_numpy(values[steps["first"]] + values[steps["second"]])
    still = torch.from_numpy(gate.mean((0, 1)) * np.tanh(seen.trace["c"][-1]))  # [B, H]
    with torch.no_grad():
        answers = network.readout(torch.from_numpy(seen.trace["h"]))[..., 0]  # [T, B]
        held = network.readout(still)[..., 0]
    errors = ((answers - wanted) ** 2).mean(1)  # [T]
    share = 1 - errors / wanted.var(correction=0)
    last, between = float(gate[-1].mean()), float(gate[steps["first"] + 1 : steps["second"]].mean())
    leaf = seen.inputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(network(leaf).sum(), leaf)
    return {
        "follows": {name: _follows(network, seen.inputs, step) for name, step in steps.items()},
        "ready_at_the_end": float(share[-1]),
        "mse": float(errors[-1]),
        "mse_mean_gate": float(((held - wanted) ** 2).mean()),
        "output_gate": {"last": last, "between": between},
        "timed": last / between,
        "along": {
            "step": list(range(len(values))),
            "slope": slope[..., 0].abs().mean(1).tolist(),
            "ready": share.tolist(),
            "output_gate": gate.mean((1, 2)).tolist(),
        },
    }


@torch.no_grad()
def _follows(network: Network, inputs: Tensor, step: int) -> float:
    """Return the slope of the answer's change where the number at one step is taken from another row."""
    other = inputs.clone()
    other[step, :, 0] = inputs[step, :, 0].roll(1)
    moved = (other - inputs)[step, :, 0].double()
    change = (network(other) - network(inputs))[:, 0].double()
    return float((moved * change).sum() / (moved**2).sum())


def _slope(changes: Doubles, values: Floats) -> float:
    """Return the length of d changes / d value by least squares, over the rows whose step lies within."""
    within = np.isfinite(changes[:, 0])
    x = values[within].astype(np.float64)
    x -= x.mean()
    return float(np.linalg.norm((x @ changes[within]) / (x @ x)))


def explained(read: npt.ArrayLike, wanted: npt.ArrayLike) -> float:
    """Return R² of the best linear map with an offset, on rows that it was not fitted to.

    1 is all of it, 0 is what knowing the mean gives; below 0 the map was fitted to chance.

    Args:
        read: [N, H] what is read from. wanted: [N] what is to be read.
    """
    x, y = np.asarray(read, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    cut = int(FITTED * len(y))
    # by torch, which keeps to the trial's threads; gelsd bears units that never change
    a, b = torch.from_numpy(x[:cut]), torch.from_numpy(y[:cut, None])
    weights = torch.linalg.lstsq(a, b, driver="gelsd").solution[:, 0]
    missed, rest = y[cut:] - x[cut:] @ weights.numpy(), y[cut:]
    return float(1 - (missed**2).sum() / ((rest - rest.mean()) ** 2).sum())


def told_apart(high: npt.ArrayLike, low: npt.ArrayLike) -> float:
    """Return the share of pairs in which the value of `high` is larger, equals counted half: 0.5 is chance.

    Source: Mann & Whitney 1947; the area under the receiver's curve.
    """
    one, other = np.asarray(high, dtype=np.float64), np.sort(np.asarray(low, dtype=np.float64))
    below = np.searchsorted(other, one, "left") + np.searchsorted(other, one, "right")
    return float(below.mean() / (2 * len(other)))
