"""From what a network gives to forecasts in the series' unit: a point, and corrected intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Series
from unrolled.errors import DataError, expected
from unrolled.schema import MOST_TIME
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.windows import Windows

__all__ = ["NAME", "Answers", "Table", "answered", "listed", "read_answers", "truth"]

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


def answered(network: ForecastNetwork, channels: Channels, windows: Windows) -> Answers:
    """Return forecasts in standardised units, their intervals as validation asked for."""
    schema = network.schema
    assert schema is not None  # by `load`, and by the task
    return read_answers(network.answers(channels, windows), schema, channels, windows, corrected=True)


def read_answers(
    given: Array, schema: Schema, channels: Channels, windows: Windows, *, corrected: bool
) -> Answers:
    """Return forecasts of what a network gave [M, H, O].

    Args:
        corrected: widen or narrow intervals by what validation asked for.
    """
    scale = channels.scale[windows.series][:, None]
    return Answers(*schema.forecasts(given, scale, corrected=corrected))


def truth(channels: Channels, windows: Windows, horizon: int) -> Array:
    """Return the values [M, H] that were to be forecast, standardised, NaN where missing."""
    rows = (channels.starts[windows.series] + windows.origins)[:, None] + np.arange(horizon)
    found: Array = channels.values[rows]
    return found


@dataclass(frozen=True)
class Table:
    """The columns of a table of forecasts that do not depend on them, a row for each value of each window."""

    ids: list[str]
    times: Array  # datetime64 with a clock; else steps
    cutoffs: Array
    levels: tuple[float, ...]

    @classmethod
    def of(cls, series: Series, windows: Windows, schema: Schema) -> Table:
        """Return the table of windows, whose forecasts may lie behind the end of a series."""
        used, at = np.unique(windows.series, return_inverse=True)
        chosen = series.take(used)
        ahead = chosen.future_times(schema.horizon)
        every = [
            np.concatenate([times[: len(values)], after])
            for times, values, after in zip(chosen.times, chosen.values, ahead, strict=True)
        ]
        ids: list[str] = []
        times, cutoffs = [np.zeros(0)], [np.zeros(0)]
        places = (windows.series.tolist(), at.tolist(), windows.origins.tolist())
        for number, place, origin in zip(*places, strict=True):
            ids += [series.ids[number]] * schema.horizon
            times.append(every[place][origin : origin + schema.horizon])
            cutoffs.append(np.full(schema.horizon, every[place][origin - 1]))
        found, before = (_moments(np.concatenate(each), series.freq) for each in (times, cutoffs))
        return cls(ids, found, before, schema.levels)

    def columns(self, answers: Answers, known: Array | None = None) -> dict[str, Any]:
        """Return the table, by the names that Nixtla's packages use.

        Args:
            answers: in the series' unit. known: [M, H] what came, in the series' unit; with it the table has
                the columns cutoff, the last time that a forecast knew of, and y.
        """
        found: dict[str, Any] = {"unique_id": self.ids, "ds": self.times}
        if known is not None:
            found |= {"cutoff": self.cutoffs, "y": known.reshape(-1)}
        found[NAME] = answers.point.reshape(-1)
        for number, level in enumerate(self.levels):
            found[f"{NAME}-lo-{level:g}"] = answers.lower[:, number].reshape(-1)
            found[f"{NAME}-hi-{level:g}"] = answers.upper[:, number].reshape(-1)
        return found


def listed(columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the columns of a table as lists of texts, numbers, times, and None where a value is missing."""
    found = {}
    for name, values in columns.items():
        found[name] = values if isinstance(values, list) else values.tolist()
    if "y" in found:
        found["y"] = [None if np.isnan(value) else value for value in found["y"]]
    return found


def _moments(seconds: Array, freq: str | None) -> Array:
    """Return times as datetime64; numbers where they are steps, whole ones where all are.

    Raises DataError: a horizon that ends later than microseconds of 64 bits tell.
    """
    latest = float(np.abs(seconds).max(initial=0))
    if latest >= (MOST_TIME if freq is None else MOST_TIME / 1e6):
        want = "times within 146,000 years of 1970" if freq is not None else f"times within ±{MOST_TIME:.2g}"
        raise DataError(expected("horizon", want, f"one that ends at {latest:g}"))
    if freq is not None:
        return np.round(seconds * 1e6).astype("datetime64[us]")
    whole = seconds.astype(np.int64)
    return whole if (whole == seconds).all() else seconds
