"""What is asked of a source of series, and what a reader found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.frequency import Frequency
from unrolled.data.frequency import parse as parse_frequency
from unrolled.data.labelled.source import Asked, named
from unrolled.errors import ConfigError, DataError, counted, expected
from unrolled.files import quoted, refusal

__all__ = ["Observed", "Wanted", "wanted"]

Array: TypeAlias = npt.NDArray[Any]
Times: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Wanted:
    """The arguments of `read_series`."""

    target: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    freq: Frequency | None = None
    season: int | None = None
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    needs_values: bool = True

    @property
    def names(self) -> list[tuple[str, str]]:
        """(argument, column) of every column that is asked for."""
        single = [(role, name) for role in ("id", "time") if (name := getattr(self, role)) is not None]
        several = [
            (role, name) for role in ("target", "known", "static", "columns") for name in getattr(self, role)
        ]
        return [*single, *several]

    def asked(self) -> Asked:
        """Return what the readers of tables look for in a header."""
        columns = tuple(name for _, name in self.names)
        return Asked(id=self.id, time=self.time, columns=columns or None)

    def read_as(self, **found: Any) -> dict[str, Any]:
        """Return the keywords of `read_series` that read another file alike, as JSON can hold them."""
        given: dict[str, Any] = {
            "target": list(self.target), "id": self.id, "time": self.time,
            "freq": None if self.freq is None else str(self.freq), "season": self.season,
            "known": list(self.known), "static": list(self.static), "columns": list(self.columns),
        }  # fmt: skip
        return {name: value for name, value in {**given, **found}.items() if value not in (None, [])}


def wanted(
    target: str | Sequence[str] | None = None,
    id: str | None = None,
    time: str | None = None,
    freq: str | None = None,
    season: int | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    needs_values: bool = True,
) -> Wanted:
    """Return checked arguments. Raises ConfigError: one is of another type, or a column has two roles."""
    if season is not None and (not isinstance(season, int) or isinstance(season, bool) or season < 1):
        raise ConfigError(expected("season", "a whole number of steps, at least 1", repr(season)))
    for role, name in (("id", id), ("time", time)):
        if name is not None and not isinstance(name, str):
            raise ConfigError(expected(role, "the name of a column", repr(name)))
    found = Wanted(
        target=(target,) if isinstance(target, str) else _names("target", target),
        id=id,
        time=time,
        freq=None if freq is None else parse_frequency(freq),
        season=season,
        known=_names("known", known),
        static=_names("static", static),
        columns=_names("columns", columns),
        needs_values=needs_values,
    )
    names = [name for _, name in found.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        roles = " and ".join(dict.fromkeys(role for role, name in found.names if name == twice))
        raise ConfigError(expected(roles, "different columns", f"{quoted(twice)} twice"))
    return found


def _names(role: str, names: Sequence[str] | None) -> tuple[str, ...]:
    listed = names is None or (isinstance(names, Sequence) and not isinstance(names, str))
    if not listed or not all(isinstance(name, str) for name in names or ()):
        raise ConfigError(expected(role, "a list of names of columns", repr(names)))
    return tuple(names or ())


@dataclass
class Observed:
    """What a reader found: lists with an entry for each series, and remarks. Shapes as in `Series`."""

    ids: list[str] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    past: list[Array] = field(default_factory=list)
    known: list[Array] = field(default_factory=list)
    static: list[Array] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    past_names: tuple[str, ...] = ()
    known_names: tuple[str, ...] = ()
    static_names: tuple[str, ...] = ()
    freq: Frequency | None = None
    notes: list[str] = field(default_factory=list)
    read_as: dict[str, Any] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)  # ids of series without a value, left out
    constant: list[str] = field(default_factory=list)
    gaps: int = 0  # values of a column that are missing as their time is, which a note says already

    def add(
        self,
        id: str,
        column: Times,
        past: Array,
        known: Array,
        times: Times,
        static: Array,
        *,
        needs_values: bool,
    ) -> None:
        """Add a series: from its first value to its last one, and the rows of columns known ahead behind it.

        Args:
            column, past, known, times: of all rows [L], in time.
        """
        there = np.flatnonzero(~np.isnan(column))
        if not len(there) and needs_values:
            self.empty.append(id)
            return
        first, end = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
        values = column[first:end]
        if len(there) > 1 and np.nanmin(values) == np.nanmax(values):
            self.constant.append(id)
        self.ids.append(id)
        self.values.append(values)
        self.past.append(past[first:end])
        self.known.append(known[first:])
        self.times.append(times[first:])
        self.static.append(static)

    def remark(self) -> None:
        """Note what is missing, constant or left out. Raises DataError: no series is left."""
        if not self.ids:
            got = f"none in {counted(len(self.empty), 'series', 'series')}" if self.empty else "none"
            raise refusal(DataError, "source", "at least 1 series with a value", got)
        if self.empty:
            left = counted(len(self.empty), "series", "series")
            self.notes.append(f"{left} left out, without a value: {named(self.empty)}")
        if self.constant:
            some = counted(len(self.constant), "constant series", "constant series")
            self.notes.append(f"{some}: {named(self.constant)}")
        self._remark_missing()

    def _remark_missing(self) -> None:
        absent = [int(np.isnan(each).sum()) for each in self.values]
        total = sum(map(len, self.values))
        if sum(absent) not in (0, self.gaps):
            some = [id for id, count in zip(self.ids, absent, strict=True) if count]
            where = f", in {named(some)}" if len(self.ids) > 1 else ""
            share = f"{sum(absent):,} of {counted(total, 'value')}"
            self.notes.append(f"missing: {share} ({sum(absent) / total:.1%}){where}")
        for names, arrays in ((self.past_names, self.past), (self.known_names, self.known)):
            for index, name in enumerate(names):
                count = sum(int(np.isnan(each[:, index]).sum()) for each in arrays)
                if count not in (0, self.gaps):
                    rows = sum(map(len, arrays))
                    self.notes.append(f"missing: {count:,} of {counted(rows, 'value')} of {quoted(name)}")
