"""What each column of a table of series is: time, id, target, known ahead, observed, static."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unrolled.data.labelled.roles import IDS, TIMES, called, counts_rows
from unrolled.data.labelled.source import named
from unrolled.data.labelled.table import Table
from unrolled.data.timeseries.clock import is_time
from unrolled.data.timeseries.wanted import Wanted
from unrolled.errors import DataError
from unrolled.files import quoted, refusal

__all__ = ["Roles", "roles_of"]

TARGETS = ("y", "target", "value", "values")
MORE_TIMES = ("date_time", "period", "year", "month")
MORE_IDS = ("series", "series_name", "ts_id")
SURELY_TIMES = ("time", "timestamp", "datetime", "date", "ds", "date_time", "year", "month")
FEWEST = 2  # values of a row that is a series


@dataclass
class Roles:
    """Names of columns."""

    time: str | None = None
    id: str | None = None
    targets: tuple[str, ...] = ()
    across: bool = False  # each row is a series, and the targets are its steps
    notes: list[str] = field(default_factory=list)


def roles_of(table: Table, want: Wanted) -> Roles:
    """Return what each column is. Raises DataError: one is not there, or it is not clear."""
    _check_names(table, want)
    roles = Roles()
    given = {name for _, name in want.names}
    free = [name for name in table.names if name not in given]
    counts = [name for name in free if counts_rows(table, name)]
    numbers = [name for name in counts if table.numbers(name)[0] in (0, 1)]
    if numbers:
        roles.notes.append(f"left out: {named(numbers)}, which numbers the rows")
        free = [name for name in free if name not in numbers]
    counts = [name for name in counts if name not in numbers]  # years, without a name
    roles.time = want.time or _time(table, roles, free) or (counts[0] if counts else None)
    free = [name for name in free if name != roles.time]
    roles.id = want.id or _id(table, free)
    free = [name for name in free if name != roles.id]
    if roles.time is None and not want.target and _is_across(table, want, roles, free):
        roles.across = True
        roles.targets = tuple(name for name in free if table.is_number(name))
        return roles
    if roles.id is None:
        rows = [name for name in called(free, (*IDS, *MORE_IDS)) if table.header]
        if rows:
            roles.notes.append(f"left out: {named(rows)}, different in every row")
            free = [name for name in free if name not in rows]
    if want.static and roles.id is None:
        raise refusal(DataError, "id", "the column that tells series apart, as static= is given", "none")
    roles.targets = _targets(table, want, roles, free)
    return roles


def _check_names(table: Table, want: Wanted) -> None:
    for role, name in want.names:
        if name not in table.names and (role != "target" or want.needs_values):
            raise refusal(DataError, role, f"a column of the table: {named(table.names, 8)}", repr(name))


def _time(table: Table, roles: Roles, free: Sequence[str]) -> str | None:
    """Return the column of times: by its name, or as the only one of texts that are times."""
    usual = called(free, (*TIMES, *MORE_TIMES)) if table.header else []
    possible = [name for name in usual if _may_be_time(table, name)]
    if possible:
        return min(possible, key=table.is_number)  # dates before numbers, which may be hours or counts
    others = [name for name in free if not table.is_number(name) and _may_be_time(table, name)]
    if len(others) > 1:
        got = f"none, with {len(others)} candidates: {named(others)}"
        raise refusal(DataError, "time", "the name of a column", got)
    if others:
        roles.notes.append(f"times are read from column {quoted(others[0])}")
        return others[0]
    unread = [name for name in usual if name.lower() in SURELY_TIMES]
    return unread[0] if unread else None  # reading it says which row is no time


def _may_be_time(table: Table, name: str) -> bool:
    return table.moments(name) is not None or table.is_number(name) or is_time(table.texts(name))


def _id(table: Table, free: Sequence[str]) -> str | None:
    """Return the column that tells series apart: by its name, where its values repeat."""
    for name in called(free, (*IDS, *MORE_IDS)) if table.header else []:
        values = table.texts(name)
        if len(set(values)) < len(values) or len(values) == 1:
            return name
    return None


def _is_across(table: Table, want: Wanted, roles: Roles, free: Sequence[str]) -> bool:
    """Whether each row is a series, as M4's: an id of its own, then numbers; takes the id where it is so."""
    if want.known or want.columns or want.static:
        return False
    usual = called(free, (*IDS, *MORE_IDS)) if table.header else []
    texts = [name for name in free if not table.is_number(name)]
    candidates = [roles.id] if roles.id is not None else [*usual, *texts[:1]]
    numbers = [name for name in free if table.is_number(name) and name not in candidates]
    for name in candidates:
        values = table.texts(str(name))
        if all(values) and len(set(values)) == len(values) and len(numbers) >= FEWEST and len(texts) <= 1:
            roles.id = name
            roles.notes.append(f"each row is a series, called as in {quoted(str(name))}; rows are not dated")
            return True
    return False


def _targets(table: Table, want: Wanted, roles: Roles, free: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to forecast: those asked for; a usual name; the only one; in a wide table, all."""
    if want.target:
        return want.target
    numbers = [name for name in free if table.is_number(name) and not table.is_empty(name)]
    usual = called(numbers, TARGETS) if table.header else []
    texts = [name for name in free if not table.is_number(name)]
    if usual or len(numbers) == 1:
        chosen = (usual or numbers)[0]
        left = [name for name in free if name != chosen]
        if left:
            roles.notes.append(
                f"left out: {named(left)}; to use them, name them as targets, known columns or columns"
            )
        return (chosen,)
    if not numbers and not want.needs_values:
        return ()
    if not numbers:
        got = f"none beside {named(table.names, 8)}"
        raise refusal(DataError, "target", "a column of numbers", got)
    if roles.id is not None:
        got = f"none, with {len(numbers)} candidates: {named(numbers)}"
        raise refusal(DataError, "target", "the name of a column", got)
    left = texts + [name for name in free if table.is_empty(name)]
    if left:
        roles.notes.append(f"left out: {named(left)}, not numeric")
    return tuple(numbers)
