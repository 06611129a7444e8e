"""How good forecasts are, beside those of simple models on the same windows, by horizon and by interval."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import DataError, counted, expected
from unrolled.tasks.controls.forecasts import suited_forecasts
from unrolled.tasks.forecast import metrics
from unrolled.tasks.forecast.answers import Answers, answered, read_answers, truth
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.dataset import Forecasts, Part
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.group import Group, gathered
from unrolled.tasks.scores import Control, Judged, Scores, read_controls, read_scores, scores_table
from unrolled.tasks.standing import control_wins

__all__ = [
    "LABELS",
    "Evaluation",
    "before",
    "evaluate",
    "forecast_together",
    "forecasts_of",
    "score",
    "without_scale",
]

Array: TypeAlias = npt.NDArray[Any]
LABELS = {
    "mse": "MSE",
    "mae": "MAE",
    "mae_units": "MAE in units",
    "rmse_units": "RMSE in units",
    "smape": "sMAPE %",
    "mase": "MASE",
}
SHOWN = ("mse", "mae", "mae_units", "mase")  # beside coverage, on the command line
FITTED = 60_000  # training windows that a control is fitted on


@dataclass(frozen=True)
class Evaluation(Judged):
    """Scores on the validation part, which chose the network, and on the test part, read once.

    Figures of errors are of the median. `mse` and `mae` are standardised by the training rows of each series.
    """

    validation: Scores | None  # None: of another file
    test: Scores | None
    parameters: int
    horizon: int
    window: int
    levels: tuple[float, ...] = ()
    controls: tuple[Control, ...] = ()
    notes: tuple[str, ...] = field(default=())
    by_horizon: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)  # of the judged part
    backtest: tuple[Mapping[str, float | None], ...] = ()  # of each cutoff in a row, the earliest first
    task: str = "forecast"

    @property
    def main(self) -> str:
        """The figure that models are compared by."""
        return "mse"

    @property
    def sign(self) -> int:
        """−1: of an error, the smaller one is better."""
        return -1

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_dict` described. Raises DataError: it is something else."""
        try:
            return cls(
                validation=read_scores(stored["validation"]),
                test=read_scores(stored["test"]),
                parameters=int(stored["parameters"]),
                horizon=int(stored["horizon"]),
                window=int(stored["window"]),
                levels=tuple(map(float, stored["levels"])),
                controls=read_controls(stored["controls"]),
                notes=tuple(map(str, stored["notes"])),
                by_horizon={name: tuple(values) for name, values in stored["by_horizon"].items()},
                backtest=tuple(dict(each) for each in stored["backtest"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(expected("evaluation", "what to_dict gives", repr(error))) from error

    def __str__(self) -> str:
        parts = {"validation": self.validation, "test": self.test}
        table = scores_table("forecast", parts, self.parameters, self.controls, label, _shown)
        return "\n".join([table, *self.notes])


def evaluate(network: ForecastNetwork, dataset: Forecasts) -> Evaluation:
    """Score a network on the parts that it was not trained on; the test part is read here, once."""
    parts = {}
    for name in ("validation", "test") if dataset.has_test else ("validation",):
        part = dataset.part(name)
        parts[name] = Scores(
            len(part.windows.series), score(part, forecasts_of(network, dataset, name), dataset.schema)
        )
    judged = "test" if dataset.has_test else "validation"
    part, given = dataset.part(judged), forecasts_of(network, dataset, judged)
    found = Evaluation(
        validation=parts["validation"],
        test=parts.get("test"),
        parameters=sum(weight.numel() for weight in network.parameters()),
        horizon=dataset.horizon,
        window=dataset.window,
        levels=dataset.schema.levels,
        controls=_controls(dataset, judged) if dataset.data.controls else (),
        by_horizon=by_horizon(part, given, dataset.schema),
        backtest=_backtest(part, given, dataset.schema) if dataset.data.backtest else (),
    )
    notes = (*_verdict(found, dataset), *without_scale(part, dataset.schema))
    return replace(found, notes=notes)


def forecasts_of(network: ForecastNetwork, dataset: Forecasts, name: str) -> Answers:
    """Return the forecasts of a part, standardised."""
    key = f"forecasts of {name}"
    if key not in dataset.scored:
        part = dataset.part(name)
        dataset.scored[key] = answered(network, part.channels, part.windows)
    found: Answers = dataset.scored[key]
    return found


def forecast_together(network: ForecastNetwork, dataset: Forecasts, group: Group) -> None:
    """Let every process forecast its windows of the held-out parts, so that `forecasts_of` has all."""
    schema = network.schema
    assert schema is not None  # by `load`
    for name in ("validation", "test") if dataset.has_test else ("validation",):
        part = dataset.part(name)
        given = given_together(network, part, group)
        dataset.scored[f"forecasts of {name}"] = read_answers(
            given, schema, part.channels, part.windows, corrected=True
        )


def given_together(network: ForecastNetwork, part: Part, group: Group) -> Array:
    """Return what `network.answers` gives for a part, of which every process forecasts its windows.

    A network that reads series step by step reads whole ones, so each process has those of some series.
    """
    config, series = network.config, part.windows.series
    dealt = np.unique(series, return_inverse=True)[1] if config.causal else np.arange(len(series))
    order = np.argsort(dealt, kind="stable")
    mine = order[dealt[order] % group.world_size == group.rank]
    own = np.zeros((0, config.horizon, config.outputs), np.float32)
    if len(mine):  # else there is less than one of them for each process
        own = network.answers(part.channels, part.windows.take(mine))
    found = gathered(group, own, np.bincount(dealt))
    given = np.empty_like(found)
    given[order] = found
    return given


def score(part: Part, given: Answers, schema: Schema) -> dict[str, float]:
    """Return the figures of forecasts, by name."""
    channels, windows = part.channels, part.windows
    wanted = truth(channels, windows, schema.horizon)
    units = _units(part, wanted)
    own = given.in_units(channels, windows)
    scale = naive_scales(part, schema)[windows.series]
    found = {
        "mse": metrics.mse(wanted, given.point),
        "mae": metrics.mae(wanted, given.point),
        "mae_units": metrics.mae(units, own.point),
        "rmse_units": metrics.rmse(units, own.point),
        "smape": metrics.smape(units, own.point),
        "mase": metrics.mase(units, own.point, scale),
    }
    for number, level in enumerate(schema.levels):
        lower, upper = own.lower[:, number], own.upper[:, number]
        share = np.nanmean(metrics.coverage(units, lower, upper))
        found[f"coverage_{level:g}"] = float(share)
        found[f"width_{level:g}"] = float(np.nanmean(metrics.width(lower, upper)))
        found[f"msis_{level:g}"] = metrics.msis(units, lower, upper, level, scale)
    if schema.levels:
        sides = {0.5: own.point}
        for number, level in enumerate(schema.levels):
            sides[0.5 - level / 200] = own.lower[:, number]
            sides[0.5 + level / 200] = own.upper[:, number]
        each = [metrics.pinball(units, values, point) for point, values in sides.items()]
        found["pinball"] = float(np.mean(each))
    return found


def naive_scales(part: Part, schema: Schema) -> Array:
    """Return the error of the seasonal naive forecast within what each series has before its windows [N]."""
    found = np.full(len(part.series.ids), np.nan)
    first = np.full(len(found), np.iinfo(np.int64).max)
    np.minimum.at(first, part.windows.series, part.windows.origins)
    for number in np.unique(part.windows.series).tolist():
        before = part.series.values[number][: first[number]]
        found[number] = metrics.naive_scale(before, schema.season)
    return found


def without_scale(part: Part, schema: Schema) -> list[str]:
    """Say which series have no error to scale by, and are left out of scaled figures."""
    used = np.unique(part.windows.series)
    absent = int((~metrics.usable(naive_scales(part, schema)[used])).sum())
    if not absent:
        return []
    figures = "MASE and MSIS" if schema.levels else "MASE"
    reason = (
        f"before the forecasts each value equals the one {counted(schema.season, 'step')} earlier, or there "
        "are too few, so there is no error to scale by"
    )
    if absent == len(used):
        verb = "are" if schema.levels else "is"
        return [f"{figures} {verb} not defined: in every series {reason}."]
    verb = "leave" if schema.levels else "leaves"
    return [f"{figures} {verb} out {absent:,} of {counted(len(used), 'series', 'series')}: {reason}."]


def by_horizon(part: Part, given: Answers, schema: Schema) -> dict[str, tuple[float | None, ...]]:
    """Return mean absolute error, and coverage and width of each level, of each step ahead, standardised."""
    wanted = truth(part.channels, part.windows, schema.horizon)
    found: dict[str, Array] = metrics.by_horizon(wanted, given.point)
    for number, level in enumerate(schema.levels):
        lower, upper = given.lower[:, number], given.upper[:, number]
        found[f"coverage_{level:g}"] = metrics.coverage(wanted, lower, upper)
        found[f"width_{level:g}"] = metrics.width(lower, upper)
    return {name: tuple(map(_finite, values.tolist())) for name, values in found.items()}


def _backtest(part: Part, given: Answers, schema: Schema) -> tuple[Mapping[str, float | None], ...]:
    """Return the figures of each cutoff in a row, counted from the end of each series."""
    windows = part.windows
    back = (part.channels.lengths[windows.series] - windows.origins) // schema.horizon
    rows = []
    for number in sorted(set(back.tolist()), reverse=True):
        chosen = np.flatnonzero(back == number)
        some = part._replace(windows=windows.take(chosen))
        own = Answers(*(each[chosen] for each in given))
        figures = score(some, own, schema)
        row: dict[str, float | None] = {
            "windows_from_the_end": float(number),
            "forecasts": float(len(chosen)),
        }
        rows.append(row | {name: _finite(value) for name, value in figures.items()})
    return tuple(rows)


def _controls(dataset: Forecasts, judged: str) -> tuple[Control, ...]:
    """Fit each control on training windows and score it on the part that the network is judged by."""
    if "controls" in dataset.scored:
        return tuple(dataset.scored["controls"])
    schema, window = dataset.schema, dataset.window
    part = dataset.part(judged)
    train = dataset.part("train")
    chosen = train.windows
    if len(chosen.series) > FITTED:
        at = np.unique(np.linspace(0, len(chosen.series) - 1, FITTED).round().astype(np.int64))
        chosen = chosen.take(at)
    inputs = before(train.channels, chosen, window)
    targets = truth(train.channels, chosen, schema.horizon)
    asked = before(part.channels, part.windows, window)
    wanted = truth(part.channels, part.windows, schema.horizon)
    found, curves = [], {}
    empty = np.zeros((len(asked), 0, schema.horizon))
    plain = replace(schema, levels=(), corrections=())
    for name, fit in suited_forecasts(season=schema.season, window=window, horizon=schema.horizon).items():
        begin = time.perf_counter()
        fitted = fit(inputs, targets)
        point = fitted.predict(asked)
        seconds = time.perf_counter() - begin
        values = score(part, Answers(point, empty, empty), plain)
        found.append(Control(name, fitted.parameters, seconds, values))
        curves[name] = metrics.by_horizon(wanted, point)["mae"]
    dataset.scored |= {"controls": found, "control curves": curves}
    return tuple(found)


def before(channels: Channels, windows: Any, window: int) -> Array:
    """Return the values [M, W] that forecasts are made from, standardised, NaN where missing."""
    rows = (channels.starts[windows.series] + windows.origins)[:, None] + np.arange(-window, 0)
    found: Array = channels.values[rows]
    return found


def _units(part: Part, wanted: Array) -> Array:
    scale = part.channels.scale[part.windows.series][:, None]
    found: Array = wanted * scale + part.channels.mean[part.windows.series][:, None]
    return found


def _verdict(found: Evaluation, dataset: Forecasts) -> list[str]:
    """Say plainly where a control wins."""
    wins = control_wins(found, LABELS.get(found.main, found.main), sign=-1)
    notes = [] if wins is None else [wins]
    if found.better:
        number = len(dataset.part("train").windows.series)
        if number < 1000:
            notes.append(f"This is to be expected: there are only {counted(number, 'window')} to train on.")
    for level in found.levels:
        share = found.judged.values[f"coverage_{level:g}"]
        if abs(share - level / 100) > 0.05:
            notes.append(
                f"The {level:g} % intervals cover {share:.1%} of the {found.part} part, which differs "
                "from the validation part that they were corrected on."
                if found.test is not None
                else f"The {level:g} % intervals cover {share:.1%} of the {found.part} part."
            )
    return notes


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _shown(name: str) -> bool:
    """Whether the command line shows a figure."""
    return name in SHOWN or name.startswith("coverage")


def label(name: str) -> str:
    """Return what people call a figure."""
    kind, _, level = name.partition("_")
    if level and kind in ("coverage", "width", "msis"):
        return f"{'MSIS' if kind == 'msis' else kind} {level} %"
    return LABELS.get(name, name)
