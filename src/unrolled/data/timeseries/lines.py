"""GluonTS's JSON lines: a series an object, with its start, target and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.labelled.roles import IDS, called
from unrolled.data.labelled.source import named
from unrolled.data.timeseries.starts import Starts
from unrolled.data.timeseries.wanted import Observed, Wanted
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal, shortened
from unrolled.schema import a_number, within

__all__ = ["holds_lists", "series_of_records"]

Array: TypeAlias = npt.NDArray[Any]
Records: TypeAlias = Sequence[tuple[int, Mapping[str, Any]]]

TARGET, START = "target", "start"
KNOWN = ("feat_dynamic_real", "feat_dynamic_cat")
PAST = ("past_feat_dynamic_real",)
STATIC = ("feat_static_real", "feat_static_cat")


def holds_lists(records: Records, want: Wanted) -> bool:
    """Whether an object is a series, and not a row of a table."""
    name = want.target[0] if want.target else TARGET
    return any(isinstance(record.get(name), list) for _, record in records)


def series_of_records(records: Records, want: Wanted) -> Observed:
    """Return the series of objects. Raises DataError: a key is missing or holds something else.

    Features are taken as their keys say; with known=, static= or columns=, those alone that are named.
    """
    names = list(dict.fromkeys(name for _, record in records for name in record))
    target = want.target[0] if want.target else TARGET
    usual = called([name for name in names if name != target], IDS)
    id = want.id or (usual[0] if usual else None)
    start = want.time or START
    _check_keys(names, want, target)
    starts, found = Starts(want.freq), Observed()
    first = records[0][1]
    known, past, static = (_features(first, keys, want) for keys in (KNOWN, PAST, STATIC))
    _check_features(want, [name for name, _, _ in (*known, *past, *static)])
    for line, record in records:
        where = f"source line {line}"
        _check_alike(first, record, where)
        values = _matrix(record.get(target), target, where, np.float64)
        name = str(line) if id is None else _name(record.get(id), id, where)
        steps = values.shape[1]
        ahead = _feature_rows(record, known, where, steps, more=True)
        length = max(steps, len(ahead)) if known else steps
        times = starts.times(_start(record.get(start), start, where), length, where)
        seen = np.full((length, len(past)), np.nan, np.float32)
        seen[:steps] = _feature_rows(record, past, where, steps)
        fixed = _feature_rows(record, static, where, 1, flat=True)[0]
        for row, dimension in enumerate(values):
            column = np.full(length, np.nan)
            column[:steps] = dimension
            there = np.flatnonzero(~np.isnan(column))
            if np.isnan(ahead[there[-1] + 1 if len(there) else 0 :]).any():
                raise refusal(DataError, where, "features of every step behind the target", "a missing one")
            full = name if len(values) == 1 else f"{name}/{row}"
            found.add(full, column, seen, ahead, times, fixed, needs_values=want.needs_values)
    found.known_names, found.past_names, found.static_names = (
        tuple(name for name, _, _ in chosen) for chosen in (known, past, static)
    )
    found.freq = starts.frequency()
    if want.freq is None and start in names:
        found.notes.append(
            f"{quoted(start)} is not used, as no frequency is given: series are counted in steps"
        )
    found.notes += _left_out(names, {target, id, start, *KNOWN, *PAST, *STATIC})
    used = {"known": found.known_names, "columns": found.past_names, "static": found.static_names}
    found.read_as = want.read_as(
        target=[target], id=id, **{role: list(given) for role, given in used.items()}
    )
    return found


def _check_keys(names: Sequence[str], want: Wanted, target: str) -> None:
    for role, name in (("target", target), ("id", want.id), ("time", want.time)):
        if name is not None and name not in names:
            raise refusal(DataError, role, f"a key of the objects: {named(names)}", repr(name))
    if len(want.target) > 1:
        raise refusal(DataError, "target", "one key of the objects", named(want.target))


def _check_features(want: Wanted, names: Sequence[str]) -> None:
    """Raise DataError where a feature is asked for that the first object has not."""
    for role, name in want.names:
        if role in ("known", "columns", "static") and name not in names:
            raise refusal(
                DataError, role, f"a feature of the first line: {named(names) or 'none'}", repr(name)
            )


def _check_alike(first: Mapping[str, Any], record: Mapping[str, Any], where: str) -> None:
    """Raise DataError where an object has more or fewer features than the first one."""
    for key in (*KNOWN, *PAST, *STATIC):
        want, got = (len(each[key]) if isinstance(each.get(key), list) else 0 for each in (first, record))
        if want != got:
            raise refusal(DataError, where, f"{want} of {quoted(key)}, as in the first line", got)


def _left_out(names: Sequence[str], used: set[str | None]) -> list[str]:
    left = [name for name in names if name not in used]
    return [f"left out: {named(left)}"] if left else []


Feature: TypeAlias = tuple[str, str, int]  # its name, its key, its row


def _features(record: Mapping[str, Any], keys: Sequence[str], want: Wanted) -> list[Feature]:
    """Return the features that the first object has, or those of them that are asked for."""
    asked = {*want.known, *want.columns, *want.static}
    found = []
    for key in keys:
        rows = record.get(key)
        if isinstance(rows, list):
            found += [(f"{key}_{row}", key, row) for row in range(len(rows))]
    return [feature for feature in found if not asked or feature[0] in asked]


def _feature_rows(
    record: Mapping[str, Any],
    features: Sequence[Feature],
    where: str,
    steps: int,
    *,
    more: bool = False,
    flat: bool = False,
) -> Array:
    """Return features [steps, F], or more steps. Raises DataError: one is missing, or of another length."""
    columns = []
    for name, key, row in features:
        rows = record.get(key)
        if not isinstance(rows, list) or len(rows) <= row:
            raise refusal(DataError, where, f"{quoted(name)}, as in the first line", "none")
        values = _matrix([rows[row]] if flat else rows[row], key, where, np.float32)[0]
        if len(values) < steps or (len(values) > steps and not more):
            want = f"{counted(steps, 'value')} of {quoted(name)}"
            raise refusal(DataError, where, f"at least {want}" if more else want, len(values))
        columns.append(values)
    if len({len(column) for column in columns}) > 1:
        raise refusal(DataError, where, "features of equal length", [len(c) for c in columns][:8])
    return np.stack(columns, 1) if columns else np.zeros((steps, 0), np.float32)


def _matrix(values: Any, key: str, where: str, dtype: Any) -> Array:
    """Return a list of numbers as [1, T], or lists of them as [D, T]; null and "NaN" are missing."""
    rows = values if isinstance(values, list) and values and isinstance(values[0], list) else [values]
    found = []
    for row in rows:
        if not isinstance(row, list) or not all(_is_value(each) for each in row):
            raise refusal(DataError, where, f"a list of numbers in {quoted(key)}", shortened(repr(row)))
        with np.errstate(over="ignore"):
            found.append(
                np.array([np.nan if type(v) not in (int, float) else v for v in row], np.float64).astype(
                    dtype
                )
            )
    if len({len(row) for row in found}) > 1:
        raise refusal(
            DataError, where, f"lists of equal length in {quoted(key)}", [len(r) for r in found][:8]
        )
    matrix = np.stack(found)
    far = ~np.isnan(matrix) & ~within(matrix)
    if far.any():
        got = matrix[far][0]
        want = "a finite float32 number" if matrix.dtype == np.float32 else a_number(got)
        raise refusal(DataError, where, f"{want} in {quoted(key)}", f"{got:g}")
    return matrix


def _is_value(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**1000
    return value is None or type(value) is float or (isinstance(value, str) and value.lower() == "nan")


def _name(value: Any, key: str, where: str) -> str:
    if not isinstance(value, (str, int)) or value == "":
        raise refusal(DataError, where, f"a text in {quoted(key)}", shortened(repr(value)))
    return str(value)


def _start(value: Any, key: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise refusal(DataError, where, f"a time as a text in {quoted(key)}", shortened(repr(value)))
