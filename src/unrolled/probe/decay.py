"""Decay: how many steps back a half, a tenth and a hundredth of a gradient is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from unrolled.probe.result import Floats, Interval, Mask, Result, mean_interval
from unrolled.probe.words import number, steps

SAMPLES_AT_FLOOR = 0.1  # a lag at which more of the samples have no gradient carries none
LEVEL = 0.01  # nats: norms as close to the largest are as large, and the first of them counts
HALF, TENTH, HUNDREDTH = math.log(1 / 2), math.log(1 / 10), math.log(1 / 100)  # of the largest norm, in nats


@dataclass(frozen=True)
class Left(Result):
    """The distance from which on less than a share of a gradient is left.

    Attributes:
        steps: from the lag with the largest norm; infinite where more is left at the last lag measured.
        interval: of 95 % over rows; NaN with one row.
    """

    steps: float
    interval: Interval


@dataclass(frozen=True)
class Decay(Result):
    """How a gradient falls with the lag. More lags add to it; they do not change what is known already.

    Attributes:
        start: the lag with the largest mean norm. It is 0, or later where what a state adds is read later,
            as in a delay line.
        half, tenth, hundredth: when so much of the largest norm is left.
        fast: nats per step, the mean slope until a tenth is left; NaN where more is left at the last lag.
        slow: nats per step, the mean slope from there until a hundredth is left; NaN likewise.
        lags: how far from `start` was measured, in steps.
    """

    start: int
    half: Left
    tenth: Left
    hundredth: Left
    fast: float
    slow: float
    lags: int

    @property
    def summary(self) -> str:
        """What was found, as a part of a sentence."""
        named = (("half", self.half), ("tenth", self.tenth), ("hundredth", self.hundredth))
        known = [(name, left.steps) for name, left in named if math.isfinite(left.steps)]
        parts = [f"a {name} is left after {steps(float(f'{count:.3g}'))}" for name, count in known]
        if len(known) < len(named):
            missing = named[len(known)][0]
            parts.append(f"more than a {missing} is left after {steps(self.lags)}, the last measured")
        late = f" (counted from lag {self.start}, where it is largest)" if self.start else ""
        return ", ".join(parts) + late

    @property
    def slopes(self) -> str:
        """The fast and the slow part in words; empty where a tenth is left at the last lag."""
        if math.isnan(self.fast):
            return ""
        slow = "" if math.isnan(self.slow) else f", then by {number(-self.slow)}"
        return f"it falls by {number(-self.fast)} nats per step until a tenth is left{slow}"


def decay(logs: Floats, unusable: Mask) -> Decay | None:
    """Return how a gradient falls; None where nothing is carried to any lag beyond 0.

    Args:
        logs: [lags + 1, n, B] ln of the norms, of n losses in each of B rows.
        unusable: of the same shape, where a loss has no gradient at a lag, or does not count.
    """
    alive: Mask = np.any(~unusable[1:], axis=0)  # [n, B]
    if not alive.any():
        return None
    none = (unusable & alive).sum(axis=(1, 2)) > SAMPLES_AT_FLOOR * alive.sum()  # [lags + 1]
    if none[1:].all():
        return None
    rows = []
    for b in np.flatnonzero(alive.any(axis=0)):
        good = alive[:, b] & ~unusable[:, :, b]  # [lags + 1, n]
        sums = np.where(good, logs[:, :, b], 0.0).sum(axis=1)
        counts = good.sum(axis=1)
        rows.append(np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf))
    curves: Floats = np.array(rows)  # [rows, lags + 1]
    curves[:, none] = -np.inf
    typical = _mean(curves)
    start = int(np.argmax(typical >= typical.max() - LEVEL))
    curves = curves[np.isfinite(curves[:, start])]
    curves = curves - curves[:, start : start + 1]
    mean, low, high = _interval(curves)
    half, tenth, hundredth = (
        Left(_from_on(mean, start, share), _ends(low, high, start, share))
        for share in (HALF, TENTH, HUNDREDTH)
    )
    return Decay(
        start, half, tenth, hundredth, _slope(TENTH, tenth.steps),
        _slope(HUNDREDTH - TENTH, hundredth.steps - tenth.steps), len(mean) - 1 - start,
    )  # fmt: skip


def _mean(curves: Floats) -> Floats:
    """Return the mean over the rows that have a gradient; -inf where none has."""
    good = np.isfinite(curves)
    sums = np.where(good, curves, 0.0).sum(axis=0)
    mean: Floats = np.where(good.any(axis=0), sums / np.maximum(good.sum(axis=0), 1), -np.inf)
    return mean


def _interval(curves: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean of the rows by lag and the ends of its 95 % interval."""
    mean = _mean(curves)
    low, high = mean.copy(), mean.copy()
    for k in np.flatnonzero(np.isfinite(mean)):
        values = curves[:, k]
        _, a, b = mean_interval(values[np.isfinite(values)])
        low[k], high[k] = float(a), float(b)
    return mean, low, high


def _ends(low: Floats, high: Floats, start: int, share: float) -> Interval:
    if np.isnan(low).any():
        return Interval(math.nan, math.nan)
    return Interval(_from_on(low, start, share), _from_on(high, start, share))


def _from_on(curve: Floats, start: int, share: float) -> float:
    """Return how many steps after `start` a curve falls below `share` for good; between lags by a line."""
    last = int(np.flatnonzero(curve[start:] >= share)[-1]) + start  # the curve is 0 at `start`
    if last == len(curve) - 1:
        return math.inf
    if not math.isfinite(curve[last + 1]):
        return float(last + 1 - start)
    return float(last + (curve[last] - share) / (curve[last] - curve[last + 1]) - start)


def _slope(nats: float, count: float) -> float:
    """Return nats per step; NaN where the end was not reached."""
    if not math.isfinite(count):
        return math.nan
    return nats / count if count > 0 else -math.inf
