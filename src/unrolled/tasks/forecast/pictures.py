"""Pictures of a run on series: forecasts on held-out windows, errors and intervals by how far ahead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import figures
from unrolled.spec import RunDirectory, register_picture
from unrolled.tasks.forecast.answers import Answers, truth
from unrolled.tasks.forecast.dataset import Forecasts, Part
from unrolled.tasks.forecast.evaluation import Evaluation, before, forecasts_of
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.schema import Schema

__all__ = ["PICTURES", "draw", "side_by_side"]

Array: TypeAlias = npt.NDArray[Any]
PICTURES = tuple(map(register_picture, ("forecasts.png", "error_by_horizon.png", "coverage_by_horizon.png")))
DRAWN = 6  # windows


def draw(
    place: RunDirectory, network: ForecastNetwork, dataset: Forecasts, found: Evaluation
) -> Iterator[Path]:
    """Draw what there is to see of the part that the network is judged by, yielding each file's path."""
    where = f"{dataset.name}, {found.part} part"
    part, schema = dataset.part(found.part), dataset.schema
    given = forecasts_of(network, dataset, found.part)
    windows = _shown(part, given, schema, dataset.window)
    figures.forecasts(place.picture("forecasts.png"), windows=windows, ylabel="value", title=where)
    yield place.picture("forecasts.png")
    if found.horizon == 1:
        return
    unit = "steps ahead" if schema.freq is None else f"steps ahead (frequency: {schema.freq})"
    errors = {"network": _numbers(found.by_horizon["mae"]), **dataset.scored.get("control curves", {})}
    words = {"xlabel": unit, "title": where}
    path = place.picture("error_by_horizon.png")
    figures.error_by_horizon(path, errors=errors, ylabel="mean absolute error, standardised", **words)
    yield path
    if schema.levels:
        shares = {level: _numbers(found.by_horizon[f"coverage_{level:g}"]) for level in schema.levels}
        widths = {level: _numbers(found.by_horizon[f"width_{level:g}"]) for level in schema.levels}
        path = place.picture("coverage_by_horizon.png")
        figures.coverage_by_horizon(
            path, coverage=shares, width=widths, ylabel="mean width, standardised", **words
        )
        yield path


def side_by_side(part: Part, given: Answers, horizon: int, most: int) -> tuple[Part, Answers]:
    """Return the forecasts of a part that do not overlap, from the end of each series backwards."""
    windows = part.windows
    last = np.full(len(part.channels), -1, np.int64)
    np.maximum.at(last, windows.series, windows.origins)
    chosen = np.flatnonzero((last[windows.series] - windows.origins) % horizon == 0)
    chosen = chosen[-max(1, most // horizon) :]
    some = part._replace(windows=windows.take(chosen))
    return some, Answers(*(each[chosen] for each in given))


def _shown(part: Part, given: Answers, schema: Schema, window: int) -> list[figures.ForecastWindow]:
    """Return a few windows, of different series and times."""
    count = len(part.windows.series)
    chosen = np.unique(np.linspace(0, count - 1, min(DRAWN, count)).round().astype(np.int64))
    windows, channels = part.windows.take(chosen), part.channels
    own = Answers(*(each[chosen] for each in given)).in_units(channels, windows)
    scale, mean = channels.scale[windows.series][:, None], channels.mean[windows.series][:, None]
    history = before(channels, windows, window) * scale + mean
    came = truth(channels, windows, schema.horizon) * scale + mean
    found = []
    for row, (number, origin) in enumerate(
        zip(windows.series.tolist(), windows.origins.tolist(), strict=True)
    ):
        bands = {level: (own.lower[row, k], own.upper[row, k]) for k, level in enumerate(schema.levels)}
        times = part.series.times[number][origin - window : origin + schema.horizon]
        found.append(
            figures.ForecastWindow(
                history=history[row],
                truth=came[row],
                point=own.point[row],
                bands=bands,
                title=part.series.ids[number],
                times=None if schema.freq is None else times,
            )
        )
    return found


def _numbers(values: tuple[float | None, ...]) -> Array:
    return np.array([np.nan if value is None else value for value in values])
