"""Rows with times as steps of one frequency: what is missing is NaN, never filled; the rest is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.frequency import DAY, Frequency, infer
from unrolled.data.labelled.source import EXPANSION, most_bytes, named
from unrolled.data.timeseries.clock import shown
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal

__all__ = ["Grid", "Rows", "grids_of"]

Array: TypeAlias = npt.NDArray[Any]
Times: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int64]

HOUR = 3600.0
FEW_CELLS = 1_000_000  # that are read without asking how much memory there is
CELL = 32  # bytes that a value of a step takes while it is read
SPARSE, FEW = 100, 1000  # a series may have so many steps for a row, and so many without a question
CHANGES_BY = (HOUR, HOUR / 2)  # that clocks are put forward or back
SUNDAY, LATEST_HOUR = 6, 3  # most clocks change on one, before four in the morning


@dataclass(frozen=True)
class Rows:
    """The rows of one series in the order of the file, with their times."""

    id: str
    index: Whole  # [R], of the table
    times: Times  # [R]


@dataclass(frozen=True)
class Grid:
    """The steps of one series: each row's place, and the time of each step."""

    index: Whole  # [R]
    places: Whole  # [R]
    times: Times  # [L]

    def spread(self, array: Array) -> Array:
        """Return values of rows [rows, C] as those of the steps [L, C], NaN where there is no row."""
        chosen = array[self.index]
        if len(self.index) == len(self.times):
            return chosen
        found = np.full((len(self.times), *array.shape[1:]), np.nan, array.dtype)
        found[self.places] = chosen
        return found


@dataclass
class Gaps:
    """Times that are missing: how many in all, and of which series."""

    steps: int = 0
    absent: int = 0
    ids: list[str] = field(default_factory=list)
    forward: int = 0  # as clocks that are put forward leave out
    first: str = ""

    def notes(self) -> list[str]:
        """Return remarks on them."""
        if not self.absent:
            return []
        share = f"{self.absent:,} of {counted(self.steps, 'time')} ({self.absent / self.steps:.1%})"
        where = f"in {named(self.ids)}, the first {self.first}"
        found = [f"missing: {share} {where}; their values are treated as missing"]
        if self.forward:
            found.append(
                f"{self.forward} of them when clocks are put forward: local times; in UTC none is missing"
            )
        return found


def grids_of(
    series: Sequence[Rows], name: str, numbering: Any, freq: Frequency | None, *, clock: bool, columns: int
) -> tuple[list[Grid], Frequency | None, list[str]]:
    """Place the rows of every series on steps of one frequency.

    Args:
        name: the column of times. numbering: index of a row → its number for messages.
        freq: given, or to be inferred. clock: whether times are seconds. columns: that each step will have.
    Returns:
        The grids, the frequency (None where it is not known), notes.
    Raises:
        DataError: a time twice, out of order, or between two steps; times far more apart than steps; more
            steps than fit into memory.
    """
    _check_rising(series, name, numbering, clock)
    inferred = freq is None or not clock
    found = infer([each.times for each in series], clock=clock) if inferred else freq
    if found is None and clock and any(len(each.times) for each in series):
        want = "the frequency, which a single time in each series does not show"
        raise refusal(DataError, "freq", want, "none")
    if found is None:
        return [Grid(each.index, np.arange(len(each.index)), each.times) for each in series], None, []
    found = found.fitted([each.times for each in series])
    gaps, grids, most = Gaps(), [], FEW_CELLS
    if sum(max(FEW, SPARSE * len(each.times)) for each in series) * (columns + 1) > FEW_CELLS:
        most = most_bytes() * EXPANSION // CELL  # it takes a while to find out
    for each in series:
        places, right = found.positions(each.times)
        if not right.all() or (len(places) > 1 and (np.diff(places) <= 0).any()):
            raise _off(each, name, numbering, found, right, places, inferred, clock)
        steps = int(places[-1]) + 1
        if steps > max(FEW, SPARSE * len(places)):
            got = f"{counted(len(places), 'row')} for {counted(steps, 'step')} in {quoted(each.id)}"
            raise refusal(DataError, "freq", f"a row for one step in {SPARSE}, at least", got)
        if (gaps.steps + steps) * (columns + 1) > most:
            got = f"more than {counted(gaps.steps + steps, 'step')} of {counted(columns, 'column')}"
            raise refusal(DataError, "source", "steps that fit into memory", got)
        grids.append(_grid(each, places, steps, found, gaps, clock))
    return grids, found, gaps.notes()


def _grid(rows: Rows, places: Whole, steps: int, freq: Frequency, gaps: Gaps, clock: bool) -> Grid:
    """Return the grid of a series, and count its gaps."""
    gaps.steps += steps
    if steps == len(places):
        return Grid(rows.index, places, rows.times)
    times = freq.after(rows.times, np.arange(steps))
    absent = np.ones(steps, bool)
    absent[places] = False
    lacking = times[absent]
    gaps.first = gaps.first or shown(float(lacking[0]), clock)
    gaps.absent += len(lacking)
    gaps.ids.append(rows.id)
    if clock and freq.seconds in (HOUR, HOUR / 2, HOUR / 4, HOUR / 6):
        hours = np.unique(np.floor(lacking / HOUR)) * HOUR
        alone = [hour for hour in hours if hour - HOUR not in hours and hour + HOUR not in hours]
        gaps.forward += sum(_when_clocks_change(hour) for hour in alone)
    return Grid(rows.index, places, times)


def _when_clocks_change(time: float) -> bool:
    """Whether a time is on a Sunday before four in the morning in a month in which clocks are changed."""
    moment = datetime.fromtimestamp(time, UTC)
    return moment.weekday() == SUNDAY and moment.hour <= LATEST_HOUR and moment.month in (3, 4, 9, 10, 11)


def _check_rising(series: Sequence[Rows], name: str, numbering: Any, clock: bool) -> None:
    """Raise DataError where a time is not later than the one before it in the same series."""
    for each in series:
        wrong = np.flatnonzero(np.diff(each.times) <= 0)
        if not len(wrong):
            continue
        at = int(wrong[0]) + 1
        now, before = float(each.times[at]), float(each.times[at - 1])
        again = now in each.times[:at]
        what = "a second time" if again else f"after {shown(before, clock)}"
        got = f"{shown(now, clock)} {what} in {quoted(each.id)}, row {numbering(int(each.index[at]))}"
        if again and clock and _when_clocks_change(now):
            got += ": clocks that are put back give an hour twice; times in UTC do not"
        want = "each time once in a series" if again else "rising times in each series"
        raise refusal(DataError, f"column {quoted(name)}", want, got)


def _off(
    rows: Rows,
    name: str,
    numbering: Any,
    freq: Frequency,
    right: npt.NDArray[np.bool_],
    places: Whole,
    inferred: bool,
    clock: bool,
) -> DataError:
    """Return an error that names the first time that lies on no step, or shares one."""
    wrong = ~right
    wrong[1:] |= np.diff(places) <= 0
    at = int(np.argmax(wrong))
    now, before = float(rows.times[at]), float(rows.times[max(at - 1, 0)])
    place = f"{shown(now, clock)} after {shown(before, clock)} in {quoted(rows.id)}, row"
    got = f"{place} {numbering(int(rows.index[at]))}"
    aside = abs((now - before) % DAY)
    if clock and freq.seconds >= DAY < now - before + 2 * HOUR and min(aside, DAY - aside) in CHANGES_BY:
        got += ": clocks change; give dates alone, or times in UTC"
    source = "as most neighbouring times have" if inferred else "as freq= says"
    step = str(freq) if clock else f"{freq.count:g}"
    return refusal(DataError, f"column {quoted(name)}", f"steps of {step}, {source}", got)
