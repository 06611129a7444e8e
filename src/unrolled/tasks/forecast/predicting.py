"""Forecasts beyond the end of series, and scores of forecasts within new ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unrolled.data import Series
from unrolled.errors import DataError, counted, expected
from unrolled.files import quoted, refusal
from unrolled.tasks.forecast.answers import Table, answered, listed, truth
from unrolled.tasks.forecast.channels import Channels, check_missing
from unrolled.tasks.forecast.dataset import MOST_VALUES, Part
from unrolled.tasks.forecast.evaluation import Evaluation, by_horizon, score, without_scale
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.windows import Windows, find_windows, spread
from unrolled.tasks.protocol import Predictions
from unrolled.tasks.scores import Scores

__all__ = ["evaluate_series", "predict_series"]

NAMED = 3


class Upcoming:
    """What is to be forecast: the steps after the last value of each series. Reading is done once.

    Args:
        series: with the columns of training; rows after the last value where columns are known ahead.
    Raises:
        DataError: other columns, rows that are missing, or series that are too short.
    """

    def __init__(self, network: ForecastNetwork, series: Series) -> None:
        schema, window = _schema(network), network.config.window
        used, notes = _long_enough(network, series)
        series = series if len(used) == len(series) else series.take(used)
        series.future_known(schema.horizon)  # refuses missing rows
        check_missing(_ends(series, window), schema)
        self.network, self.schema, self.series = network, schema, series
        self.channels = Channels(series, schema)
        self.windows = Windows(np.arange(len(self.channels)), self.channels.lengths.copy())
        _check_known(self.channels, self.windows, series, window)
        self.notes = (*notes, *_unseen(self.channels, series, schema))
        self.table = Table.of(series, self.windows, schema)

    def forecast(self) -> dict[str, Any]:
        """Return a table of the forecasts, in the series' unit, by the names that Nixtla's packages use."""
        given = answered(self.network, self.channels, self.windows)
        return self.table.columns(given.in_units(self.channels, self.windows))


def predict_series(network: ForecastNetwork, series: Series) -> Predictions:
    """Forecast the steps after the last value of each series; see `Upcoming`."""
    upcoming = Upcoming(network, series)
    return Predictions(listed(upcoming.forecast()), upcoming.notes)


def backtested(network: ForecastNetwork, series: Series, count: int, step: int) -> dict[str, Any]:
    """Return a table of `count` forecasts of each series, the last one at its end, each `step` after another.

    Raises:
        DataError: other columns, or a series that is too short.
    """
    schema, config = _schema(network), network.config
    held = config.horizon + step * (count - 1)
    _long_enough(network, series, more=held, every=True)
    channels = Channels(series, schema, until=series.steps - held)
    back = np.arange(count - 1, -1, -1) * step + config.horizon
    numbers = np.repeat(np.arange(len(channels)), count)
    windows = Windows(numbers, channels.lengths[numbers] - np.tile(back, len(channels)))
    _check_known(channels, windows, series, config.window)
    given = answered(network, channels, windows).in_units(channels, windows)
    known = truth(channels, windows, config.horizon)
    known = known * channels.scale[numbers][:, None] + channels.mean[numbers][:, None]
    return Table.of(series, windows, schema).columns(given, known)


def evaluate_series(network: ForecastNetwork, series: Series) -> Evaluation:
    """Score every forecast that can be made within series.

    Raises:
        DataError: other columns, or series that are too short.
    """
    schema, config = _schema(network), network.config
    used, notes = _long_enough(network, series, more=config.horizon)
    series = series.take(used)
    channels = Channels(series, schema)
    windows = find_windows(
        channels,
        np.zeros(len(channels), np.int64),
        channels.lengths,
        window=config.window,
        horizon=config.horizon,
        whole=not schema.masked,
    )
    if not len(windows.series):
        raise DataError(expected("source", "known values to make a forecast from and of", "none"))
    windows = spread(windows, max(1, MOST_VALUES // config.horizon))
    part = Part(channels, series, windows)
    given = answered(network, channels, windows)
    return Evaluation(
        validation=None,
        test=Scores(len(windows.series), score(part, given, schema)),
        parameters=sum(weight.numel() for weight in network.parameters()),
        horizon=config.horizon,
        window=config.window,
        levels=schema.levels,
        notes=(
            *series.notes,
            *notes,
            *_unseen(channels, series, schema),
            *without_scale(part, schema),
        ),
        by_horizon=by_horizon(part, given, schema),
    )


def _schema(network: ForecastNetwork) -> Schema:
    assert network.schema is not None  # by `load`, and by the task
    return network.schema


def _long_enough(
    network: ForecastNetwork, series: Series, *, more: int = 0, every: bool = False
) -> tuple[list[int], list[str]]:
    """Return the series that are not too short, and a note on the others.

    Raises DataError: all are, or with `every` one is.
    """
    need = network.config.window + more
    lengths = [len(values) for values in series.values]
    used = [number for number, length in enumerate(lengths) if length >= need]
    short = [number for number, length in enumerate(lengths) if length < need]
    if short and every:
        number = short[0]
        want = f"at least {need} steps"
        raise refusal(DataError, f"series {quoted(series.ids[number])}", want, lengths[number])
    if not used:
        longest = max(lengths, default=0)
        raise DataError(expected("series", f"at least {need} steps in one", f"{longest} in the longest"))
    if not short:
        return used, []
    named = ", ".join(quoted(series.ids[number]) for number in short[:NAMED])
    more_named = " …" if len(short) > NAMED else ""
    count = counted(len(short), "series", "series")
    return used, [f"{count} shorter than {need} steps, left out: {named}{more_named}"]


def _ends(series: Series, window: int) -> Series:
    """Return the last rows of each series' values, for a look at them alone."""
    return replace(series, values=[values[-window:] for values in series.values])


def _check_known(channels: Channels, windows: Windows, series: Series, window: int) -> None:
    for number, origin in zip(windows.series.tolist(), windows.origins.tolist(), strict=True):
        end = int(channels.starts[number]) + origin
        if not channels.has[max(end - window, int(channels.starts[number])) : end].any():
            want = f"a known value among the last {window} of {quoted(series.ids[number])}"
            raise DataError(expected("series", want, "none"))


def _unseen(channels: Channels, series: Series, schema: Schema) -> list[str]:
    """Say which series training had not."""
    new = np.flatnonzero(channels.ids == len(schema.ids))
    if not len(new):
        return []
    if not schema.ids:
        return ["each series is scaled by its own values, as training had too many to store their scales"]
    named = ", ".join(quoted(series.ids[number]) for number in new[:NAMED])
    count = counted(len(new), "series", "series")
    more = " …" if len(new) > NAMED else ""
    return [f"{count} not in the training data, scaled by their own values: {named}{more}"]
