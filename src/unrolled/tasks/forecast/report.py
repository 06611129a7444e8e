"""What a run on series leaves to look at: tables, pictures, and report.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.errors import counted
from unrolled.spec import RunDirectory
from unrolled.tasks.forecast.answers import Table, listed, truth
from unrolled.tasks.forecast.dataset import Forecasts
from unrolled.tasks.forecast.evaluation import Evaluation, evaluate, forecasts_of, label
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.pictures import draw, side_by_side
from unrolled.tasks.run_report import (
    comparison_lines,
    parts_line,
    picture_lines,
    write_controls,
    write_predictions,
)
from unrolled.tasks.stored_arrays import PARTS
from unrolled.tasks.streaming import streaming_lines

__all__ = ["write_report"]

Array: TypeAlias = npt.NDArray[Any]
MOST_ROWS = 1_000_000  # of the table of predictions
STEPS_SHOWN = 12  # of a horizon, in the table of the report


def write_report(network: ForecastNetwork, dataset: Forecasts, directory: Path) -> Iterator[Path]:
    """Write pictures, predictions, controls.json and report.md into a run, yielding each file's path."""
    place, found = RunDirectory(directory), evaluate(network, dataset)
    if dataset.data.controls:
        yield write_controls(place, found)
    yield write_predictions(place, _predictions(network, dataset, found.part))
    drawn = list(draw(place, network, dataset, found))
    yield from drawn
    page = _page(dataset, found, drawn)
    page += "".join(f"{line}\n" for line in streaming_lines(network.streamed(), str(directory)))
    files.replace(place.report, page)
    yield place.report


def _predictions(network: ForecastNetwork, dataset: Forecasts, name: str) -> dict[str, list[Any]]:
    """Return the table of the forecasts of a part that do not overlap."""
    part, given = side_by_side(
        dataset.part(name), forecasts_of(network, dataset, name), dataset.horizon, MOST_ROWS
    )
    channels, windows = part.channels, part.windows
    scale, mean = channels.scale[windows.series][:, None], channels.mean[windows.series][:, None]
    known = truth(channels, windows, dataset.horizon) * scale + mean
    answers = given.in_units(channels, windows)
    return listed(Table.of(part.series, windows, dataset.schema).columns(answers, known))


def _page(dataset: Forecasts, found: Evaluation, pictures: Sequence[Path]) -> str:
    """Return report.md."""
    schema = dataset.schema
    parts = PARTS if dataset.has_test else PARTS[:-1]
    sizes = {name: len(dataset.part(name).windows.series) for name in parts}
    every = "" if schema.freq is None else f", frequency {schema.freq}"
    lines = [
        f"# {files.printable(dataset.name)}",
        "",
        f"{counted(len(schema.ids), 'series', 'series')}{every}, season of "
        f"{counted(schema.season, 'step')}. A forecast of {counted(found.horizon, 'step')} is made from the "
        f"last {counted(found.window, 'step')}. {parts_line(sizes, 'window')}.",
        "",
    ]
    lines += [f"- {note}" for note in dataset.notes] + [""] * bool(dataset.notes)
    lines += comparison_lines(found, label)
    lines += ["", "MSE and MAE are of values standardised by the training rows of each series."]
    if found.levels:
        lines += ["", *_intervals(found)]
    if found.backtest:
        lines += ["", *_backtest(found)]
    lines += picture_lines(pictures)
    return "\n".join(lines) + "\n"


def _intervals(found: Evaluation) -> list[str]:
    """Return the table of the intervals' coverage and width at some steps ahead."""
    steps = np.unique(np.linspace(1, found.horizon, min(STEPS_SHOWN, found.horizon)).round().astype(int))
    names = [f"{kind}_{level:g}" for level in found.levels for kind in ("coverage", "width")]
    lines = [
        f"Intervals on the {found.part} part, widths standardised. They are corrected on the validation "
        "part by split conformal prediction (Romano et al. 2019):",
        "",
        "| steps ahead | MAE | " + " | ".join(map(label, names)) + " |",
        "| --- |" + " --- |" * (len(names) + 1),
    ]
    for step in steps.tolist():
        cells = [found.by_horizon[name][step - 1] for name in ("mae", *names)]
        shown = ["–" if cell is None else f"{cell:.3f}" for cell in cells]
        lines.append(f"| {step} | " + " | ".join(shown) + " |")
    return lines


def _backtest(found: Evaluation) -> list[str]:
    """Return the table of the backtest's cutoffs."""
    names = [name for name in found.backtest[0] if name not in ("windows_from_the_end", "forecasts")]
    lines = [
        "Backtest, with forecasts one horizon apart:",
        "",
        "| horizons before the end | forecasts | " + " | ".join(map(label, names)) + " |",
        "| --- | --- |" + " --- |" * len(names),
    ]
    for row in found.backtest:
        ends, count = (int(row[name] or 0) for name in ("windows_from_the_end", "forecasts"))
        shown = ["–" if row[name] is None else format(row[name], ".4g") for name in names]
        lines.append(f"| {ends} | {count:,} | " + " | ".join(shown) + " |")
    return lines
