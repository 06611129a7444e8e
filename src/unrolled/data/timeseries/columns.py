"""From a table to series: the rows of an id, columns side by side, or a series a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.labelled.columns import check_one, coded
from unrolled.data.labelled.roles import TIMES, called
from unrolled.data.labelled.source import named
from unrolled.data.labelled.table import Table
from unrolled.data.timeseries.clock import Clock, clock_of, shown
from unrolled.data.timeseries.grid import Grid, Rows, grids_of
from unrolled.data.timeseries.roles import Roles, roles_of
from unrolled.data.timeseries.wanted import Observed, Wanted
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal
from unrolled.schema import MOST_NUMBER, a_number

__all__ = ["series_of_table"]

Array: TypeAlias = npt.NDArray[Any]
NONE = np.zeros(0, np.float32)


def series_of_table(table: Table, want: Wanted) -> Observed:
    """Return the series of a table. Raises DataError: what a column is, is not clear, or a row is wrong."""
    if not table.rows:
        raise refusal(DataError, "source", "a table with rows", "a header alone")
    roles = roles_of(table, want)
    found = _across(table, roles, want) if roles.across else _down(table, roles, want)
    found.notes[:0] = roles.notes
    target = [] if roles.across else list(roles.targets) or list(want.target)
    found.read_as = want.read_as(target=target, id=None if roles.across else roles.id, time=roles.time)
    return found


def _across(table: Table, roles: Roles, want: Wanted) -> Observed:
    """Each row is a series; empty cells at its end are none."""
    values = _numbers(table, roles.targets)
    found = Observed()
    for id, row in zip(table.texts(str(roles.id)), values, strict=True):
        steps = np.arange(len(row), dtype=np.float64)
        empty = np.zeros((len(row), 0), np.float32)
        found.add(str(id).strip(), row, empty, empty, steps, NONE, needs_values=want.needs_values)
    for index, times in enumerate(found.times):  # steps after the last value are none to be forecast
        found.times[index] = times[: len(found.values[index])]
        found.known[index] = found.known[index][: len(found.values[index])]
    return found


def _down(table: Table, roles: Roles, want: Wanted) -> Observed:
    """The rows of an id are a series, or one for each of several targets; without an id, all rows are."""
    ids, codes = ([""], np.zeros(table.rows, np.int64)) if roles.id is None else coded(table, roles.id)
    clock = None if roles.time is None else clock_of(table, roles.time, want.freq)
    there = [name for name in roles.targets if name in table.names]
    names = list(roles.targets) or [""]
    values = np.full((table.rows, len(names)), np.nan)
    if there:
        values[:, [name in there for name in names]] = _numbers(table, there)
    width = len(names) + len(want.columns) + len(want.known)
    grids, freq, notes = _grids(table, roles, want, ids, codes, clock, width)
    past, known = table.matrix(want.columns), table.matrix(want.known)
    _check_copies(table, there, want, found := Observed(notes=notes))
    found.past_names, found.known_names, found.static_names = want.columns, want.known, want.static
    found.freq = freq if clock is not None and clock.is_clock else None
    found.gaps = len(names) * sum(len(grid.times) - len(grid.index) for grid in grids)
    static = _static(table, want, ids, codes)
    for number, (id, grid) in enumerate(zip(ids, grids, strict=True)):
        columns, ahead, seen = grid.spread(values), grid.spread(known), grid.spread(past)
        for name, column in zip(names, columns.T, strict=True):
            full = (name or "0") if roles.id is None else id if len(names) == 1 else f"{id}/{name}"
            _check_future(table, want, full, grid, column, ahead, clock)
            found.add(
                full, np.ascontiguousarray(column), seen, ahead, grid.times, static[number],
                needs_values=want.needs_values,
            )  # fmt: skip
    if clock is not None and clock.note:
        found.notes.append(clock.note)
    if roles.id is None and len(names) > 1:
        found.notes.append(f"{counted(len(names), 'series', 'series')}, a column each: {named(names)}")
    return found


def _grids(
    table: Table,
    roles: Roles,
    want: Wanted,
    ids: Sequence[str],
    codes: Array,
    clock: Clock | None,
    columns: int,
) -> tuple[list[Grid], Any, list[str]]:
    """Return the grid of every id; rows without times are steps in their order."""
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(ids)))[:-1])
    if clock is None:
        notes = ["no column of times: each row is one step, in the order of the source"]
        return (
            [Grid(rows, np.arange(len(rows)), np.arange(len(rows), dtype=np.float64)) for rows in parts],
            None,
            notes,
        )
    if not clock.is_clock and want.freq is not None:
        clock_notes = [
            f"{quoted(str(roles.time))} holds step numbers, so the frequency only determines the season"
        ]
    else:
        clock_notes = []
    label = [id or str(roles.time) for id in ids]
    series = [Rows(id, rows, clock.times[rows]) for id, rows in zip(label, parts, strict=True)]
    try:
        grids, freq, notes = grids_of(
            series, str(roles.time), table.row, want.freq, clock=clock.is_clock, columns=columns
        )
    except DataError as error:
        raise _with_hint(table, roles, want, error) from None
    return grids, freq, clock_notes + notes


def _with_hint(table: Table, roles: Roles, want: Wanted, error: DataError) -> DataError:
    """Add to an error on times which column may tell several series apart."""
    if roles.id is not None:
        return error
    used = {roles.time, *roles.targets, *(name for _, name in want.names)}
    free = [name for name in table.names if name not in used]
    for name in called(free, TIMES):  # a date and a clock in two columns
        return DataError(f"{error}; join {quoted(str(roles.time))} and {quoted(name)} to one column of times")
    for name in [name for name in free if not table.is_number(name)]:
        values = table.texts(name)
        if 1 < len(set(values)) <= len(values) // 2:
            return DataError(f"{error}; id={quoted(name)} would tell series apart")
    return error


def _numbers(table: Table, names: Sequence[str]) -> Array:
    """Return columns [rows, names] in float64. Raises DataError: a text, or too large a number, in a row."""
    values = np.stack([table.numbers(name) for name in names], axis=1)
    far = np.abs(values) >= MOST_NUMBER
    if far.any():
        row, index = np.argwhere(far)[0]
        got = f"{values[row, index]:g} in row {table.row(int(row))}"
        raise refusal(DataError, f"column {quoted(names[index])}", a_number(values[row, index]), got)
    return values


def _static(table: Table, want: Wanted, ids: Sequence[str], codes: Array) -> Array:
    """Return one row of static values [S] for each id. Raises DataError: two values, or none."""
    if not want.static:
        return np.zeros((len(ids), 0), np.float32)
    firsts = np.unique(codes, return_index=True)[1]
    for name in want.static:
        check_one(table, name, "static", codes, firsts, ids, "series")
    static = table.matrix(want.static)[firsts]
    lacking = np.argwhere(np.isnan(static))
    if len(lacking):
        series, column = lacking[0]
        got = f"none in row {table.row(int(firsts[series]))}"
        raise refusal(DataError, f"column {quoted(want.static[column])}", "a value for each series", got)
    return static


def _check_copies(table: Table, targets: Sequence[str], want: Wanted, found: Observed) -> None:
    """Refuse a column known ahead that is the target; note an observed one that is."""
    for target in targets:
        values = table.numbers(target)
        for role, names in (("known", want.known), ("columns", want.columns)):
            for name in names:
                if not np.array_equal(table.numbers(name), values, equal_nan=True):
                    continue
                if role == "known" and not np.isnan(values).all():
                    want_text = f"columns that differ from the target {quoted(target)}"
                    raise refusal(DataError, role, want_text, f"{quoted(name)}, equal to it in every row")
                found.notes.append(f"warning: {quoted(name)} equals the target {quoted(target)} in every row")


def _check_future(
    table: Table, want: Wanted, id: str, grid: Grid, column: Array, known: Array, clock: Clock | None
) -> None:
    """Raise DataError where a column known ahead has no value after the last one of the target."""
    there = np.flatnonzero(~np.isnan(column))
    begin = int(there[-1]) + 1 if len(there) else 0
    lacking = np.argwhere(np.isnan(known[begin:]))
    if not len(lacking):
        return
    step, index = int(lacking[0][0]) + begin, int(lacking[0][1])
    row = np.flatnonzero(grid.places == step)
    when = shown(float(grid.times[step]), clock is not None and clock.is_clock)
    place = f"row {table.row(int(grid.index[row[0]]))}" if len(row) else "which has no row"
    behind = "a value in each row after the last one of the target"
    got = f"none at {when} in {quoted(id)}, {place}"
    raise refusal(DataError, f"column {quoted(want.known[index])}", behind, got)
