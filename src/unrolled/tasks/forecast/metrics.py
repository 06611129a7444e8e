"""Scores of forecasts: of points, of quantiles and of intervals, over windows [N] and steps ahead [H].

A truth that is missing (NaN) is left out of every mean; a forecast that is NaN makes its score NaN.
numpy alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["by_horizon", "coverage", "mae", "mase", "mse", "msis", "naive_scale", "pinball", "rmse", "smape",
           "usable", "width"]  # fmt: skip

Array: TypeAlias = npt.NDArray[Any]
ROUNDING = 1e-12  # of the largest value: smaller moves are those of numbers of 64 bits
TINY = 1e-200


def mse(truth: Array, point: Array) -> float:
    """Return the mean of (y − f)²; both [N, H]."""
    return _mean(truth, _error(truth, point) ** 2)


def mae(truth: Array, point: Array) -> float:
    """Return the mean of |y − f|; both [N, H]."""
    return _mean(truth, np.abs(_error(truth, point)))


def rmse(truth: Array, point: Array) -> float:
    """Return the root of the mean of (y − f)², in the unit of y; both [N, H]."""
    return float(np.sqrt(mse(truth, point)))


def smape(truth: Array, point: Array) -> float:
    """Return the symmetric mean absolute percentage error, 0 to 200: the mean of 200 |y − f| / (|y| + |f|).

    A term of y = f = 0 is 0. Source: Makridakis, Spiliotis & Assimakopoulos 2020, the M4 competition.
    """
    error = np.abs(_error(truth, point))
    size = np.abs(truth) + np.abs(point)
    return _mean(truth, 200 * np.divide(error, size, out=error.copy(), where=size != 0))


def naive_scale(values: Array, season: int = 1) -> float:
    """Return the mean of |y_t − y_(t−m)| over the training values [T] of one series, m steps a season.

    NaN where no two values are a season apart; 0 of values that repeat but for rounding. Source: Hyndman &
    Koehler 2006.
    """
    values = np.asarray(values, np.float64)
    moves = np.abs(values[season:] - values[:-season])
    moves = moves[~np.isnan(moves)]
    if not len(moves):
        return float("nan")
    found = float(moves.mean())
    return found if found > max(ROUNDING * float(np.nanmax(np.abs(values))), TINY) else 0.0


def usable(scale: Array) -> npt.NDArray[np.bool_]:
    """Return which scales by `naive_scale` an error can be divided by: not 0, and not unknown."""
    found: npt.NDArray[np.bool_] = np.isfinite(scale) & (scale > 0)
    return found


def mase(truth: Array, point: Array, scale: Array) -> float:
    """Return the mean absolute scaled error: the mean of |y − f| / q over windows [N] with a scale q.

    Args:
        scale: [N], of each window's series by `naive_scale`. Windows whose scale is 0 or NaN are left out.
    Source: Hyndman & Koehler 2006. Below 1: better than the seasonal naive forecast one step ahead does on
    the training values.
    """
    return _scaled(truth, np.abs(_error(truth, point)), scale)


def pinball(truth: Array, quantile: Array, q: float) -> float:
    """Return the quantile loss: the mean of max(q (y − f), (q − 1) (y − f)); both [N, H].

    Source: Koenker & Bassett 1978. At q = 0.5 it is half the mean absolute error.
    """
    error = _error(truth, quantile)
    return _mean(truth, np.maximum(q * error, (q - 1) * error))


def msis(truth: Array, lower: Array, upper: Array, level: float, scale: Array) -> float:
    """Return the mean scaled interval score of intervals of a level in percent.

    With α = 1 − level/100, the mean of ((u − l) + 2/α (l − y)₊ + 2/α (y − u)₊) / q.

    Args:
        truth, lower, upper: [N, H]. scale: [N], as for `mase`.
    Source: Gneiting & Raftery 2007, the interval score; scaled as in the M4 competition.
    """
    alpha = 1 - level / 100
    outside = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
    return _scaled(truth, (upper - lower) + 2 / alpha * outside, scale)


def coverage(truth: Array, lower: Array, upper: Array) -> Array:
    """Return the share of truths within the interval, ends included, by step ahead [H]; all are [N, H]."""
    unknown = np.isnan(lower) | np.isnan(upper)
    inside = np.where(unknown, np.nan, (lower <= truth) & (truth <= upper))
    return _by_step(truth, inside)


def width(lower: Array, upper: Array) -> Array:
    """Return the mean of u − l for each step ahead [H]; both [N, H]."""
    found: Array = (np.asarray(upper, np.float64) - lower).mean(0)
    return found


def by_horizon(truth: Array, point: Array) -> dict[str, Array]:
    """Return "mse" and "mae" for each step ahead [H]; both [N, H]."""
    error = _error(truth, point)
    return {"mse": _by_step(truth, error**2), "mae": _by_step(truth, np.abs(error))}


def _error(truth: Array, forecast: Array) -> Array:
    error: Array = np.asarray(truth, np.float64) - forecast
    return error


def _mean(truth: Array, terms: Array) -> float:
    """Return the mean over truths that are there; NaN of none."""
    there = ~np.isnan(truth)
    return float(terms[there].mean()) if there.any() else float("nan")


def _by_step(truth: Array, terms: Array) -> Array:
    """Return the mean over windows for each step [H]; NaN of a step without a truth."""
    there = ~np.isnan(truth)
    count = there.sum(0)
    found: Array = np.where(there, terms, 0.0).sum(0) / np.where(count, count, np.nan)
    return found


def _scaled(truth: Array, terms: Array, scale: Array) -> float:
    """Return the mean of terms over their window's scale."""
    scale = np.asarray(scale, np.float64)
    right = usable(scale)
    return _mean(truth[right], terms[right] / scale[right, None])
