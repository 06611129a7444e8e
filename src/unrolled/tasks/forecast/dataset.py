"""From a source to series in three parts in time, kept with the run, and to the windows of each part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Column, Series, examples_of, read_series
from unrolled.errors import DataError, counted, expected
from unrolled.files import quoted, refusal
from unrolled.schema import MOST_NUMBER, a_number
from unrolled.spec import ForecastData, names_in
from unrolled.tasks.forecast import storing
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.conformal import least_windows
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.split import plan, segment_of
from unrolled.tasks.forecast.steps import StepBatches
from unrolled.tasks.forecast.windows import WindowBatches, Windows, find_windows, spread
from unrolled.tasks.stored_arrays import ARRAYS

__all__ = ["Forecasts", "Part", "described", "prepare", "read_source", "reopen"]

Array: TypeAlias = npt.NDArray[Any]
PARTS = ("train", "validation", "test")
EXAMPLES = 20  # rows that examples are taken from
VALIDATED = 20_000  # windows of a validation while training
WARM_WINDOWS = 4  # that a carried state is warmed up with
READ_STEPS = 1024
MOST_VALUES = 2**25  # that are forecast for a part at the end


class Part(NamedTuple):
    """Windows of a part, and the series that they are of."""

    channels: Channels
    series: Series
    windows: Windows


class Forecasts:
    """Series of a run in three parts in time: they train, choose the best network, and test it once."""

    validation_is_train = False
    tokens = None

    def __init__(self, stored: storing.Stored, data: ForecastData) -> None:
        self.stored, self.data, self.series = stored, data, stored.series
        self.name, self.sha256, self.identity = self.series.name, self.series.sha256, stored.identity
        used = np.flatnonzero(stored.borders[:, 0])
        if not len(used):
            raise DataError(expected("series", "rows to train on", "none"))
        self.schema = Schema.fit(self.series.take(used), stored.borders[used, 0].tolist(), data)
        self.channels = Channels(self.series, self.schema)
        found = plan(self.series.ids, self.channels.lengths.tolist(), self.series.season, data)
        self.window, self.horizon = found.window, data.horizon
        self.segment = 0 if data.causal else segment_of(self.window, self.series.season)
        self._parts: dict[str, Part] = {}
        self.scored: dict[str, Any] = {}  # what the report has measured so far

    @property
    def notes(self) -> list[str]:
        """What was decided about the series, and what could not be kept of them."""
        notes = list(self.stored.notes)
        if not self.schema.keeps_series:
            count = counted(len(self.schema.ids), "series", "series")
            notes.append(
                f"{count} are too many to store the scale of each: the trained model scales a series by "
                "the values that it is given" + (", and does not stream" if self.data.causal else "")
            )
        return notes

    @property
    def has_test(self) -> bool:
        """Whether there is a test part."""
        return self.stored.test is not None or bool(
            (self.stored.borders[:, 2] > self.stored.borders[:, 1]).any()
        )

    def part(self, name: str) -> Part:
        """Return the windows of a part: train, validation or test."""
        if name not in self._parts:
            channels, series, borders = self.channels, self.series, self.stored.borders
            number = PARTS.index(name)
            begin = borders[:, number - 1] if number else np.zeros(len(borders), np.int64)
            end, stride = borders[:, number], 1
            if name == "test" and self.stored.test is not None:
                series = self.stored.test
                channels = Channels(series, self.schema)
                begin, end = self.stored.test_begin, channels.lengths
            if name == "test" and self.data.backtest:
                stride = self.horizon
            self._parts[name] = Part(channels, series, self.windows(channels, begin, end, stride))
        return self._parts[name]

    def windows(self, channels: Channels, begin: Array, end: Array, stride: int = 1) -> Windows:
        """Return the windows whose forecast lies in rows begin … end of series."""
        found = find_windows(
            channels,
            begin,
            end,
            window=self.window,
            horizon=self.horizon,
            whole=not self.schema.masked,
            stride=stride,
        )
        return spread(found, max(1, MOST_VALUES // self.horizon)) if channels is not None else found

    def batches(self, *, rows: int, seed: int, bptt_steps: int) -> WindowBatches | StepBatches:
        """Return the batches of training."""
        if self.segment == 0:
            end = self.stored.borders[:, 0]
            return StepBatches(
                self.channels,
                np.zeros_like(end),
                end,
                horizon=self.horizon,
                batch_size=rows,
                bptt_steps=bptt_steps,
                seed=seed,
            )
        return self._window_batches(self.part("train").windows, rows, seed=seed, shuffle=True)

    def validation(self, rows: int) -> WindowBatches | StepBatches:
        """Return the batches of a validation; of a carried state, it is warmed up before the first target."""
        if self.segment == 0:
            begin, end = self.stored.borders[:, 0], self.stored.borders[:, 1]
            used = end > begin
            return StepBatches(
                self.channels,
                np.maximum(begin - WARM_WINDOWS * self.window, 0),
                np.where(used, end, 0),
                horizon=self.horizon,
                batch_size=min(int(used.sum()), rows),
                bptt_steps=READ_STEPS,
                seed=0,
                targets_from=begin,
            )
        return self._window_batches(spread(self.part("validation").windows, VALIDATED), rows)

    def _window_batches(
        self, windows: Windows, rows: int, *, seed: int = 0, shuffle: bool = False
    ) -> WindowBatches:
        sizes = {"window": self.window, "horizon": self.horizon, "batch_size": rows}
        return WindowBatches(self.channels, windows, **sizes, seed=seed, shuffle=shuffle)


def prepare(data: ForecastData, directory: Path) -> Forecasts:
    """Read a source, divide its series in time and write them into a directory.

    Raises:
        DataError, ConfigError: the source, its columns or the split are not right.
    """
    series = read_source(data, data.source)
    test, begin = None, None
    notes = [*series.notes]
    if data.test is not None:
        test = read_source(data, data.test)
        notes += [f"test file: {note}" for note in test.notes]
        test, begin, more = _continued(series, test)
        notes += more
    found = plan(series.ids, [len(each) for each in series.values], series.season, data)
    notes += found.notes
    notes += _notes_on_levels(found.borders, data)
    stored = storing.write(directory, series, found.borders, notes, test, begin)
    dataset = Forecasts(stored, data)
    _check_parts(dataset)
    return dataset


def reopen(data: ForecastData, directory: Path) -> Forecasts:
    """Return the series that `prepare` wrote. Raises DataError: they are damaged or another run's."""
    return Forecasts(storing.read(directory), data)


def read_source(data: ForecastData, source: str, *, needs_values: bool = True) -> Series:
    """Read series: those that `storing.write` wrote, or a file as `data.read_series` takes it.

    Raises:
        DataError: no such file, no such columns, or a value that is infinite.
    """
    if (Path(source) / ARRAYS).is_file():
        series = storing.read(Path(source)).series
    else:
        columns = names_in(data.columns)
        series = read_series(
            source,
            target=list(names_in(data.target)) or None,
            id=data.id,
            time=data.time,
            freq=data.freq,
            season=data.season,
            known=names_in(data.known),
            static=names_in(data.static),
            columns=columns or None,
            needs_values=needs_values,
        )
    check_values(series)
    return series


def described(series: Series) -> tuple[Column, ...]:
    """Return the columns that series were made of, for people to look at."""
    read_as, first = dict(series.read_as), series.values[0]
    targets = read_as.get("target") or ([] if "id" in read_as else list(series.ids))
    found = []
    if "time" in read_as:
        clock = series.times[0][:EXAMPLES]
        shown = clock if series.freq is None else np.round(clock * 1e6).astype("datetime64[us]")
        found.append(Column(read_as["time"], "time", "time", examples_of(shown.tolist())))
    if "id" in read_as:
        found.append(Column(read_as["id"], "text", "id", examples_of(series.ids[:EXAMPLES])))
    for number, name in enumerate(targets):
        values = series.values[number] if "id" not in read_as and number < len(series) else first
        found.append(Column(name, "number", "target", examples_of(values[:EXAMPLES].tolist())))
    for role, names, rows in (
        ("input", series.past_names, series.past[0]),
        ("known", series.known_names, series.known[0]),
        ("static", series.static_names, series.static),
    ):
        for number, name in enumerate(names):
            assert rows is not None  # where there are names
            found.append(Column(name, "number", role, examples_of(rows[:EXAMPLES, number].tolist())))
    return tuple(found)


def check_values(series: Series) -> None:
    """Raise DataError for a value that is infinite or too large, or a series in which none is known."""
    for name, values in zip(series.ids, series.values, strict=True):
        place = np.flatnonzero(np.abs(values) >= MOST_NUMBER)
        if len(place):
            got = f"{values[place[0]]:g} at its step {int(place[0]) + 1}"
            raise refusal(DataError, f"series {quoted(name)}", a_number(values[place[0]]), got)
        if len(values) and np.isnan(values).all():
            raise refusal(DataError, f"series {quoted(name)}", "a known value", f"{len(values)} missing ones")


def _continued(series: Series, test: Series) -> tuple[Series, Array, list[str]]:
    """Return series of a test file, each behind what training has of it where one goes on from the other.

    Returns:
        the series, the rows [N] at which the test begins, and a note on rows that are in training too.
    """
    place = {name: number for number, name in enumerate(series.ids)}
    parts: dict[str, Any] = {name: [] for name in ("values", "past", "known", "times")}
    begin, shared = np.zeros(len(test), np.int64), 0
    for number, name in enumerate(test.ids):
        own = {key: getattr(test, key)[number] for key in parts}
        before = place.get(name)
        if before is not None and len(own["times"]):
            steps = len(series.values[before])
            then = series.take([before])
            shared += bool(own["times"][0] <= then.times[0][steps - 1])
            if np.isclose(own["times"][0], then.future_times(1)[0][0], rtol=0, atol=1e-3):
                begin[number] = steps
                for key in parts:
                    own[key] = np.concatenate([getattr(series, key)[before][:steps], own[key]])
        for key, rows in own.items():
            parts[key].append(rows)
    count = counted(shared, "series", "series")
    notes = [f"{count} of the test file begin before the end of training"] if shared else []
    return replace(test, **parts), begin, notes


def _notes_on_levels(borders: Array, data: ForecastData) -> list[str]:
    """Say which intervals cannot be corrected."""
    count = int(np.maximum(borders[:, 1] - borders[:, 0] - data.horizon + 1, 0).sum())
    notes = []
    for level in data.levels:
        need = least_windows(level)
        if count < need:
            had = counted(count, "validation window")
            notes.append(f"the {level:g} % intervals are not corrected: there are {had}, {need} are needed")
    return notes


def _check_parts(dataset: Forecasts) -> None:
    for name in PARTS if dataset.has_test else PARTS[:2]:
        if not len(dataset.part(name).windows.series):
            size = f"a window of {dataset.window} steps and a horizon of {dataset.horizon}"
            want = f"at least 1 forecast to make with {size}, from and of known values"
            if dataset.data.missing == "drop":
                want += " and none missing"
            raise DataError(expected(f"{name} part", want, counted(0, "forecast")))
