"""Forecasts that cost little or nothing: the last value, the season, its mean, a linear map of the window."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["FittedForecast", "WindowRidge", "fit_window_ridge", "suited_forecasts"]

Array: TypeAlias = npt.NDArray[Any]

MOST_SEASONS = 14  # that a mean takes
TRIED = 4000  # training windows on which the number of seasons is chosen
ROWS = 4096  # windows at a time
FOLDS = 5  # runs of neighbouring windows, each left out once to choose the penalty
PENALTIES = np.logspace(-6, 1, 8)  # times the mean square of an input
FIRST_PENALTY = 1e-3  # while missing targets are replaced
ROUNDS = 12  # of replacing missing targets: with a share of 0.3 that are missing, 0.3¹² of the way is left


@dataclass(frozen=True, eq=False)
class FittedForecast:
    """A control after its training."""

    predict: Callable[[Array], Array]  # windows [N, W], NaN where missing → [N, H]
    parameters: int


Fit: TypeAlias = Callable[[Array, Array], FittedForecast]


def suited_forecasts(*, season: int, window: int, horizon: int) -> Mapping[str, Fit]:
    """Return the controls by name, each fitted with (inputs [N, W], targets [N, H]) of the training part.

    Args:
        season: steps of the main season; 1: there is none, and no control that needs one. window, horizon:
            W and H. A window shorter than a season leaves those out too.
    """
    last: Fit = lambda _, __: FittedForecast(lambda x: np.repeat(last_values(x)[:, None], horizon, 1), 0)  # noqa: E731
    found: dict[str, Fit] = {"last value": last}
    if 1 < season <= window:
        naive = functools.partial(seasonal_mean, season=season, seasons=1, horizon=horizon)
        found[f"seasonal naive, {season} steps"] = lambda _, __: FittedForecast(naive, 0)
    if 1 < season <= window // 2:
        found["mean of the last seasons"] = functools.partial(_fit_mean, season=season)
    found["ridge on the window"] = _fit_ridge
    return found


def last_values(inputs: Array) -> Array:
    """Return the last value of each window [N, W] that is there; 0 where none is."""
    there = ~np.isnan(inputs)
    place = inputs.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    found: Array = np.nan_to_num(inputs[np.arange(len(inputs)), place], nan=0.0)
    return found


def seasonal_mean(inputs: Array, *, season: int, seasons: int, horizon: int) -> Array:
    """Return the mean of the same phase over the last seasons of each window [N, W], as forecast [N, H].

    A phase without any value in them takes the last one that the window has of it, else the last value.
    """
    whole = inputs.shape[1] // season
    blocks = np.asarray(inputs[:, -whole * season :], np.float64).reshape(len(inputs), whole, season)
    recent = blocks[:, -seasons:]
    there = ~np.isnan(recent)
    count = there.sum(1)
    mean = np.where(there, recent, 0).sum(1) / np.maximum(count, 1)
    if (count == 0).any():
        latest = np.repeat(last_values(inputs)[:, None], season, 1)
        for block in np.moveaxis(blocks, 1, 0):
            latest = np.where(np.isnan(block), latest, block)
        mean = np.where(count == 0, latest, mean)
    found: Array = mean[:, np.arange(horizon) % season]
    return found


def _fit_mean(inputs: Array, targets: Array, *, season: int) -> FittedForecast:
    """Choose over how many seasons the mean is best, on training windows."""
    every = max(1, len(inputs) // TRIED)
    x, y = inputs[::every], targets[::every]
    most = min(MOST_SEASONS, inputs.shape[1] // season)
    horizon = targets.shape[1]

    def error(seasons: int) -> float:
        off = (seasonal_mean(x, season=season, seasons=seasons, horizon=horizon) - y) ** 2
        return float(off[~np.isnan(off)].mean()) if (~np.isnan(off)).any() else 0.0

    best = min(range(2, most + 1), key=error)
    mean = functools.partial(seasonal_mean, season=season, seasons=best, horizon=horizon)
    return FittedForecast(mean, 1)


@dataclass(frozen=True, eq=False)
class WindowRidge:
    """A linear map from a window to the horizon, of what lies above or below the window's last value."""

    weights: Array  # [W, H]
    intercept: Array  # [H]
    penalty: float

    def __call__(self, inputs: Array) -> Array:
        """Return forecasts [N, H] of windows [N, W]; a missing value counts as the one before it."""
        found = np.empty((len(inputs), len(self.intercept)))
        for first in range(0, len(inputs), ROWS):
            x, last = _above_last(inputs[first : first + ROWS])
            found[first : first + ROWS] = x @ self.weights + self.intercept + last[:, None]
        return found


def _fit_ridge(inputs: Array, targets: Array) -> FittedForecast:
    ridge = fit_window_ridge(inputs, targets)
    return FittedForecast(ridge, ridge.weights.size + ridge.intercept.size)


def _above_last(inputs: Array) -> tuple[Array, Array]:
    """Return windows less their last value, missing ones as the value before them; and that value [N]."""
    x = np.array(inputs, np.float64)
    last = last_values(x)
    missing = np.isnan(x)
    if missing.any():
        steps = np.where(missing, 0, np.arange(x.shape[1]))
        before = np.maximum.accumulate(steps, axis=1)
        x = np.take_along_axis(x, before, 1)
        begin = np.isnan(x)  # before the first value: that one
        first = np.take_along_axis(np.asarray(inputs, np.float64), np.argmax(~missing, axis=1)[:, None], 1)
        x = np.nan_to_num(np.where(begin, first, x), nan=0.0)
    return x - last[:, None], last


def fit_window_ridge(inputs: Array, targets: Array, penalty: float | None = None) -> WindowRidge:
    """Fit the map from windows [N, W] to targets [N, H], by normal equations summed over blocks of windows.

    Memory is that of (W + 1)(W + H) numbers, not of the windows. The intercept is not penalised.
    Targets that are missing take the fitted values, several times over, which leads to the fit of those that
    are there (expectation maximisation, Dempster, Laird & Rubin 1977).

    Args:
        penalty: of the squared weights; default the one with the least error on runs of neighbouring windows
            that are left out, five of them: windows overlap, so that one alone is never left out.
    """
    folds = 1 if penalty is not None else min(FOLDS, len(inputs))
    borders = [len(inputs) * fold // folds for fold in range(folds + 1)]
    runs = list(itertools.pairwise(borders))
    ridge = None
    if any(np.isnan(targets[first : first + ROWS]).any() for first in range(0, len(targets), ROWS)):
        for _ in range(ROUNDS):
            total = _moments(inputs, targets, (0, len(inputs)), ridge)
            ridge = _solved(total, FIRST_PENALTY * _size(total) if penalty is None else penalty)
    parts = [_moments(inputs, targets, run, ridge) for run in runs]
    total = _sum(parts)
    if penalty is None:
        tried = PENALTIES * _size(total)
        penalty = float(min(tried, key=lambda each: _left_out(total, parts, each))) if folds > 1 else tried[3]
    return _solved(total, float(penalty))


Moments: TypeAlias = tuple[Array, Array, float, int]  # XᵀX [W+1, W+1] with ones, XᵀY [W+1, H], ΣY², N


def _moments(inputs: Array, targets: Array, run: tuple[int, int], ridge: WindowRidge | None) -> Moments:
    """Return the sums of a run of windows; a missing target is what the map gives, or the last value."""
    window, horizon = inputs.shape[1], targets.shape[1]
    gram, cross, squares = np.zeros((window + 1, window + 1)), np.zeros((window + 1, horizon)), 0.0
    for first in range(run[0], run[1], ROWS):
        block = slice(first, min(first + ROWS, run[1]))
        x, last = _above_last(inputs[block])
        y = targets[block] - last[:, None]
        missing = np.isnan(y)
        if missing.any():
            y = np.where(missing, 0.0 if ridge is None else x @ ridge.weights + ridge.intercept, y)
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
        gram += x.T @ x
        cross += x.T @ y
        squares += float((y * y).sum())
    return gram, cross, squares, run[1] - run[0]


def _sum(parts: list[Moments]) -> Moments:
    gram, cross, squares, counts = zip(*parts, strict=True)
    return np.sum(gram, axis=0), np.sum(cross, axis=0), sum(squares), sum(counts)


def _size(total: Moments) -> float:
    """Return the mean of the squared inputs, summed over windows."""
    return float(np.trace(total[0][:-1, :-1]) / (len(total[0]) - 1)) or 1.0


def _solved(total: Moments, penalty: float) -> WindowRidge:
    """Return the map of least penalised squares."""
    gram, cross, _, count = total
    mean, level = gram[-1, :-1] / count, cross[-1] / count  # centred: the intercept bears no penalty
    centred = gram[:-1, :-1] - count * np.outer(mean, mean)
    moved = cross[:-1] - count * np.outer(mean, level)
    ridge = centred + penalty * np.eye(len(centred))
    weights = np.linalg.lstsq(ridge, moved, rcond=None)[0] if penalty == 0 else np.linalg.solve(ridge, moved)
    return WindowRidge(weights, level - mean @ weights, penalty)


def _left_out(total: Moments, parts: list[Moments], penalty: float) -> float:
    """Return the squared error of every run by the map of the others."""
    error = 0.0
    for gram, cross, squares, count in parts:
        rest = total[0] - gram, total[1] - cross, total[2] - squares, total[3] - count
        ridge = _solved(rest, penalty)
        map_ = np.concatenate([ridge.weights, ridge.intercept[None]])
        error += squares - 2 * float((map_ * cross).sum()) + float((map_ * (gram @ map_)).sum())
    return error
