"""From what a network gives to forecasts in the series' unit: a point, and corrected intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Series
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.distributions import quantiles
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.windows import Windows

__all__ = ["NAME", "Answers", "answered", "columns", "moments", "truth"]

Array: TypeAlias = npt.NDArray[Any]
NAME = "Unrolled"  # of the column of forecasts, as Nixtla's packages name one by its model


class Answers(NamedTuple):
    """Forecasts of M windows; of L intervals, the narrowest first."""

    point: Array  # [M, H], the median
    lower: Array  # [M, L, H]
    upper: Array  # [M, L, H]

    def in_units(self, channels: Channels, windows: Windows) -> Answers:
        """Return standardised forecasts in the unit of their series."""
        mean = channels.mean[windows.series][:, None]
        scale = channels.scale[windows.series][:, None]
        sides = [each * scale[..., None] + mean[..., None] for each in (self.lower, self.upper)]
        return Answers(self.point * scale + mean, *sides)


def answered(
    network: ForecastNetwork, channels: Channels, windows: Windows, *, corrected: bool = True
) -> Answers:
    """Return forecasts in standardised units.

    Args:
        corrected: widen or narrow intervals by what validation asked for.
    """
    schema = network.schema
    assert schema is not None  # by `load`, and by the task
    return read_answers(network.answers(channels, windows), schema, channels, windows, corrected=corrected)


def read_answers(
    given: Array, schema: Schema, channels: Channels, windows: Windows, *, corrected: bool
) -> Answers:
    """Return forecasts of what a network gave [M, H, O]."""
    points = schema.quantiles
    scale = channels.scale[windows.series][:, None]
    found = quantiles(schema.distribution, given, points, np.broadcast_to(scale, given.shape[:2]))
    middle = points.index(0.5)
    count = len(schema.levels)
    lower = np.stack([found[..., middle - 1 - k] for k in range(count)], 1) if count else _none(found)
    upper = np.stack([found[..., middle + 1 + k] for k in range(count)], 1) if count else _none(found)
    if corrected and schema.corrections:
        change = np.array(schema.corrections)
        point = found[..., middle][:, None]
        lower = np.minimum(lower - change, point)  # an interval that was too wide keeps its median
        upper = np.maximum(upper + change, point)
        lower, upper = np.minimum.accumulate(lower, 1), np.maximum.accumulate(upper, 1)
        if schema.distribution == "negative-binomial":
            lower = np.maximum(lower, 0.0)
    return Answers(found[..., middle], lower, upper)


def _none(found: Array) -> Array:
    return np.zeros((len(found), 0, found.shape[1]), found.dtype)


def truth(channels: Channels, windows: Windows, horizon: int) -> Array:
    """Return the values [M, H] that were to be forecast, standardised, NaN where missing."""
    rows = (channels.starts[windows.series] + windows.origins)[:, None] + np.arange(horizon)
    found: Array = channels.values[rows]
    return found


def columns(
    series: Series,
    windows: Windows,
    answers: Answers,
    schema: Schema,
    known: Array | None = None,
) -> dict[str, list[Any]]:
    """Return a table of forecasts with a row for each value, by the names that Nixtla's packages use.

    Args:
        answers: in the series' unit. known: [M, H] what came, in the series' unit.
    """
    count, horizon = answers.point.shape
    ids, times, cutoffs = [], [], []
    ahead = [np.concatenate([t[: len(v)], f]) for t, v, f in _times(series, windows, horizon)]
    place = {int(number): k for k, number in enumerate(np.unique(windows.series))}
    for number, origin in zip(windows.series.tolist(), windows.origins.tolist(), strict=True):
        when = ahead[place[number]]
        ids += [series.ids[number]] * horizon
        times.append(when[origin : origin + horizon])
        cutoffs.append(np.full(horizon, when[origin - 1]))
    found: dict[str, list[Any]] = {
        "unique_id": ids,
        "ds": moments(np.concatenate([*times, np.zeros(0)]), series.freq),
    }
    if known is not None:
        found["cutoff"] = moments(np.concatenate([*cutoffs, np.zeros(0)]), series.freq)
        found["y"] = [None if np.isnan(value) else value for value in known.reshape(-1).tolist()]
    found[NAME] = answers.point.reshape(-1).tolist()
    for number, level in enumerate(schema.levels):
        found[f"{NAME}-lo-{level:g}"] = answers.lower[:, number].reshape(-1).tolist()
        found[f"{NAME}-hi-{level:g}"] = answers.upper[:, number].reshape(-1).tolist()
    assert all(len(column) == count * horizon for column in found.values())
    return found


def _times(series: Series, windows: Windows, horizon: int) -> list[tuple[Array, Array, Array]]:
    """Return times, values, and the times behind the last value, of each series that has a window."""
    used = np.unique(windows.series)
    chosen = series.take(used)
    return list(zip(chosen.times, chosen.values, chosen.future_times(horizon), strict=True))


def moments(seconds: Array, freq: str | None) -> list[Any]:
    """Return times as Python has them: dates with a clock; numbers where times are steps."""
    if freq is None:
        return [int(value) if float(value).is_integer() else float(value) for value in seconds.tolist()]
    found: list[Any] = np.round(seconds * 1e6).astype("datetime64[us]").tolist()
    return found


def listed(values: Mapping[str, Array]) -> dict[str, list[float]]:
    """Return arrays as lists."""
    return {name: array.tolist() for name, array in values.items()}
