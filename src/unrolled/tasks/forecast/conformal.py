"""Split-conformal intervals: widened or narrowed by what held-out windows show, for each step ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import CheckpointError, ConfigError, DataError, ShapeError, counted, expected
from unrolled.files import refusal

__all__ = ["Conformal", "corrections", "least_windows"]

Array: TypeAlias = npt.NDArray[Any]
MOST_LEVELS, MOST_STEPS = 100, 100_000
KEYS = ("levels", "corrections")


def least_windows(level: float) -> int:
    """Return how many held-out windows a level in percent needs: n with ⌈(n + 1) level/100⌉ ≤ n."""
    share = _share(level)
    return math.ceil(share / (1 - share) - 1e-9)


def corrections(truth: Array, lower: Array, upper: Array, levels: Sequence[float]) -> Array:
    """Return what to subtract from lower bounds and add to upper ones [L, H], from held-out windows.

    For each level and step it is the k-th smallest of max(l − y, y − u) over n windows, k = ⌈(n + 1) level⌉:
    on exchangeable windows an interval then holds at least that share of truths, whatever the bounds come
    from. Windows that overlap are not exchangeable, and a share of them in the mean is all to be expected.
    Equal bounds, a point forecast twice, give the quantiles of its absolute residuals.

    Args:
        truth: [M, H], NaN where missing. lower, upper: [M, L, H]. levels: L in percent.
    Raises:
        ShapeError: sizes disagree. ConfigError: a level is not between 0 and 100.
        DataError: too few windows for a level, at some step.
    Source: Romano, Patterson & Candès 2019, conformalised quantile regression.
    """
    count, horizon = truth.shape
    shape = (count, len(levels), horizon)
    for name, array in (("lower", lower), ("upper", upper)):
        if array.shape != shape:
            raise ShapeError(expected(name, list(shape), list(array.shape)))
    found = np.empty((len(levels), horizon))
    wanted = np.asarray(truth, np.float64)
    for index, level in enumerate(levels):
        outside = np.maximum(lower[:, index] - wanted, wanted - upper[:, index])
        found[index] = _ranked(outside, level)
    return found


def _share(level: float) -> float:
    if not 0 < level < 100:
        raise ConfigError(expected("level", "percent between 0 and 100", level))
    return level / 100


def _ranked(scores: Array, level: float) -> Array:
    """Return the ⌈(n + 1) level⌉-th smallest of n scores that are there, for each column of [M, H]."""
    share = _share(level)
    there = (~np.isnan(scores)).sum(0)
    rank = np.ceil((there + 1) * share - 1e-9).astype(int)
    if (rank > there).any():
        want = f"{counted(least_windows(level), 'held-out window')} for {level:g} %, at least"
        raise refusal(DataError, "level", want, int(there.min()))
    ordered = np.sort(scores, axis=0)  # NaN at the end
    chosen: Array = np.take_along_axis(ordered, rank[None] - 1, 0)[0]
    return chosen


@dataclass(frozen=True, eq=False)
class Conformal:
    """Corrections of intervals by level and step ahead; part of a model's schema."""

    levels: tuple[float, ...]  # L, percent, rising
    corrections: Array  # [L, H], in the unit of the bounds that they were fitted to

    @classmethod
    def fit(cls, truth: Array, lower: Array, upper: Array, levels: Sequence[float]) -> Conformal:
        """Fit to held-out windows; arguments and errors as of `corrections`, levels rising."""
        if list(levels) != sorted(set(levels)):
            raise ConfigError(expected("levels", "rising ones", list(levels)))
        found = corrections(truth, lower, upper, levels)
        return cls(tuple(float(level) for level in levels), found)

    @classmethod
    def fit_points(cls, truth: Array, point: Array, levels: Sequence[float]) -> Conformal:
        """Fit to point forecasts [M, H] alone: intervals of the quantiles of their absolute residuals."""
        bounds = np.repeat(point[:, None], len(levels), 1)
        return cls.fit(truth, bounds, bounds, levels)

    def apply(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return corrected bounds [N, L, H]; a wider level holds a narrower one, and no bounds are crossed.

        Raises:
            ShapeError: bounds of other levels or steps.
        """
        for name, bounds in (("lower", lower), ("upper", upper)):
            if bounds.shape[-2:] != self.corrections.shape:
                want = f"[N, {', '.join(map(str, self.corrections.shape))}]"
                raise ShapeError(expected(name, want, list(bounds.shape)))
        low, high = lower - self.corrections, upper + self.corrections
        middle = (low + high) / 2
        low, high = np.minimum(low, middle), np.maximum(high, middle)
        return np.minimum.accumulate(low, -2), np.maximum.accumulate(high, -2)

    def around(self, point: Array) -> tuple[Array, Array]:
        """Return the bounds [N, L, H] around point forecasts [N, H]."""
        bounds = np.repeat(point[:, None], len(self.levels), 1)
        return self.apply(bounds, bounds)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {"levels": list(self.levels), "corrections": self.corrections.tolist()}

    @classmethod
    def from_json(cls, stored: object, *, where: str = "config.json schema.conformal") -> Conformal:
        """Read what a checkpoint holds; it may come from a stranger.

        Raises:
            CheckpointError: a key is missing or unknown, or a value of another type or out of range.
        """
        if not isinstance(stored, Mapping) or set(stored) != set(KEYS):
            raise refusal(CheckpointError, where, "the keys " + ", ".join(KEYS), "others")
        levels, rows = stored["levels"], stored["corrections"]
        rising = _numbers(levels, MOST_LEVELS) and all(0 < level < 100 for level in levels)
        if not rising or list(levels) != sorted(set(levels)):
            raise refusal(CheckpointError, f"{where}.levels", "rising percents", "something else")
        shaped = isinstance(rows, list) and len(rows) == len(levels)
        if not shaped or not all(_numbers(row, MOST_STEPS) and len(row) == len(rows[0]) for row in rows):
            want = "a list of finite numbers for each level"
            raise refusal(CheckpointError, f"{where}.corrections", want, "something else")
        return cls(tuple(float(level) for level in levels), np.array(rows, np.float64))


def _numbers(values: object, most: int) -> bool:
    """Whether something is a list of finite numbers, at least one."""
    return (
        isinstance(values, list)
        and 1 <= len(values) <= most
        and all(type(each) in (int, float) and abs(each) < 1e300 for each in values)
    )
