"""From a table to samples: a row each (its steps, or a text), or the rows of one id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.columns import Column, examples_of
from unrolled.data.labelled.roles import Roles, roles_of
from unrolled.data.labelled.source import Array, Asked, Found, gathered, label_values, named
from unrolled.data.labelled.table import Table, as_seconds
from unrolled.errors import DataError, counted
from unrolled.files import printable, quoted, refusal

__all__ = ["check_one", "coded", "samples_of_table"]

Codes: TypeAlias = npt.NDArray[np.int64]
LOOKED_AT = 1000  # rows, for examples
VALUE = "value"  # the channel of a wide table
TRUTH = {
    "1": True,
    "1.0": True,
    "true": True,
    "yes": True,
    "0": False,
    "0.0": False,
    "false": False,
    "no": False,
}
ENOUGH = 10  # rows from which on an input that equals the label does so by no chance


def samples_of_table(table: Table, asked: Asked) -> Found:
    """Return the samples of a table. Raises DataError: what a column is, is not clear, or a row is wrong."""
    if not table.rows:
        raise refusal(DataError, "source", "a table with rows", "a header alone")
    roles = roles_of(table, asked)
    if not asked.read_labels:  # they are no inputs either
        roles.label, roles.several, roles.group = None, (), None
    read = _long if roles.id is not None else _texts if roles.text is not None else _wide
    found = read(table, roles)
    found.notes[:0] = roles.notes
    _check_equal(table, roles, asked, found)
    found.columns = _described(table, roles)
    stored: dict[str, Any] = {
        "target" if roles.as_numbers else "label": roles.label,
        "group": roles.group or asked.group,
    }
    if roles.id is not None or roles.text is not None or asked.columns is not None:
        stored["columns"] = list(roles.inputs or [roles.text])
    found.read_as = asked.read_as(**stored, id=roles.id or asked.id, time=roles.time)
    return found


def _described(table: Table, roles: Roles) -> tuple[Column, ...]:
    """Return what each column is."""
    parts = {roles.label: "target" if roles.as_numbers else "label", roles.group: "group"}
    parts |= {roles.id: "id", roles.row_id: "id", roles.time: "time", roles.text: "input"}
    parts |= dict.fromkeys(roles.several, "target" if roles.as_numbers else "label")
    parts |= dict.fromkeys(roles.inputs, "input")
    parts |= dict.fromkeys(roles.static, "static")
    found = []
    for name in table.names:
        kind = "number" if table.is_number(name) else "time" if name == roles.time else "text"
        shown = examples_of(table.beginning(name, LOOKED_AT))
        found.append(Column(printable(name), kind, parts.get(name, "left out"), shown))
    return tuple(found)


def _wide(table: Table, roles: Roles) -> Found:
    """Each row is a sample of one channel, its columns are the steps; missing ones at the end are none."""
    matrix = table.matrix(roles.inputs)
    has = ~np.isnan(matrix)
    lengths = np.where(has.any(axis=1), matrix.shape[1] - np.argmax(has[:, ::-1], axis=1), 0)
    inputs = [row[:length, None] for row, length in zip(matrix, lengths.tolist(), strict=True)]
    found = Found(inputs, (VALUE,), _row_ids(table, roles))
    if roles.static:
        _add_static(found, table.matrix(roles.static), roles.static)
    _label_rows(table, roles, found)
    some = lengths[lengths > 0]
    if len(some) and some.min() < some.max():
        found.notes.append(f"rows have {some.min()} to {some.max()} steps")
    return gathered(found, lengths > 0, "no value")


def _texts(table: Table, roles: Roles) -> Found:
    """Each row is a sample, and one column its text."""
    assert roles.text is not None
    if roles.static:
        raise refusal(DataError, "static", "none beside texts", named(roles.static))
    texts = [text or "" for text in table.texts(roles.text)]
    found = Found(texts, (), _row_ids(table, roles))
    _label_rows(table, roles, found)
    return gathered(found, [bool(text) for text in texts], "no text")


def _add_static(found: Found, values: npt.NDArray[np.float32], names: Sequence[str]) -> None:
    """Add channels that have the same value at each step of a sample; `values` [N, S]."""
    found.inputs = [
        np.hstack([each, np.tile(own, (len(each), 1))])
        for each, own in zip(found.inputs, values, strict=True)
    ]
    found.channels = (*found.channels, *names)


def _row_ids(table: Table, roles: Roles) -> list[str]:
    """Return a name of each row: its id where all are there and differ, else its number."""
    if roles.row_id is not None:
        ids = table.texts(roles.row_id)
        if all(ids) and len(set(ids)) == len(ids):
            return [str(each) for each in ids]
    return [str(table.row(index)) for index in range(table.rows)]


def _label_rows(table: Table, roles: Roles, found: Found) -> None:
    every = np.arange(table.rows)
    if roles.label is not None:
        found.labels = _labels(table, roles, every)
    if roles.several:
        found.labels, found.label_names = _several(table, roles, every), roles.several
    if roles.group is not None:
        found.groups = _filled(table, roles.group, every)


def _labels(table: Table, roles: Roles, chosen: Codes) -> Array:
    """Return the labels in some of the rows."""
    assert roles.label is not None
    if roles.as_numbers or (table.is_number(roles.label) and not _has_texts(table, roles.label)):
        numbers = table.numbers(roles.label)[chosen]
        rows = [table.row(int(index)) for index in chosen]
        return label_values(roles.label, numbers, rows, roles.as_numbers)
    return _filled(table, roles.label, chosen)


def _has_texts(table: Table, name: str) -> bool:
    """Whether a column of numbers has a text somewhere, as classes 1, 2 and "other"."""
    try:
        table.numbers(name)
    except DataError:
        return True
    return False


def _filled(table: Table, name: str, chosen: Codes) -> Array:
    """Return the texts in some rows of a column. Raises DataError: a row has none."""
    texts = table.texts(name)
    for index in chosen:
        text = texts[index]
        if text is None or not text.strip():
            raise refusal(
                DataError, f"column {quoted(name)}", "a value", f"none in row {table.row(int(index))}"
            )
    return np.array([str(texts[index]).strip() for index in chosen])


def _long(table: Table, roles: Roles) -> Found:
    """The rows of one id are a sample, and the columns its channels."""
    assert roles.id is not None
    names, codes = coded(table, roles.id)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    borders = starts[1:]
    matrix = table.matrix(roles.inputs)
    found = Found(np.split(matrix[order], borders), roles.inputs, names)
    firsts = order[starts]
    for name in roles.static:
        check_one(table, name, "static", codes, firsts, names)
    if roles.static:
        _add_static(found, table.matrix(roles.static)[firsts], roles.static)
    if roles.time is not None:
        times = as_seconds(table, roles.time)[order]
        _check_rising(table, roles, times, codes[order], order, names)
        found.times = list(np.split(times, borders))
    if roles.label is not None and _varies(table, roles, codes):
        found.step_labels = np.split(_step_labels(table, roles)[order], borders)
        found.notes.append(
            f"{quoted(roles.label)} varies within samples, so there is an answer at every step"
        )
    elif roles.label is not None:
        check_one(table, roles.label, "label", codes, firsts, names)
        found.labels = _labels(table, roles, firsts)
    for name in roles.several:
        check_one(table, name, "target" if roles.as_numbers else "label", codes, firsts, names)
    if roles.several:
        found.labels, found.label_names = _several(table, roles, firsts), roles.several
    if roles.group is not None:
        check_one(table, roles.group, "group", codes, firsts, names)
        found.groups = _filled(table, roles.group, firsts)
    lowest, highest = (f.reduce(matrix, axis=0) for f in (np.fmin, np.fmax))  # of those that are not missing
    flat = ~(highest > lowest)
    constant = [name for name, is_flat in zip(roles.inputs, flat, strict=True) if is_flat]
    if constant:
        found.notes.append(f"{counted(len(constant), 'constant column')}: {named(constant)}")
    return gathered(found, [not np.isnan(each).all() for each in found.inputs], "no value")


def coded(table: Table, name: str) -> tuple[list[str], Codes]:
    """Return the different values of a column, as they come, and which one each row has."""
    numbers: dict[str, int] = {}
    codes = np.empty(table.rows, np.int64)
    for index, text in enumerate(table.texts(name)):
        if text is None or not text.strip():
            raise refusal(DataError, f"column {quoted(name)}", "an id", f"none in row {table.row(index)}")
        codes[index] = numbers.setdefault(text.strip(), len(numbers))
    return list(numbers), codes


def _check_rising(
    table: Table,
    roles: Roles,
    times: npt.NDArray[np.float64],
    codes: Codes,
    order: Codes,
    names: Sequence[str],
) -> None:
    """Raise DataError where a time is not later than the one before it in the same sample."""
    wrong = np.flatnonzero((np.diff(times) <= 0) & (np.diff(codes) == 0))
    if not len(wrong):
        return
    at = int(wrong[0]) + 1
    texts = table.texts(str(roles.time))
    now, before = texts[order[at]], texts[order[at - 1]]
    what = "twice" if times[at] == times[at - 1] else f"after {before}"
    got = f"{now} {what} in {quoted(names[codes[at]])}, row {table.row(int(order[at]))}"
    raise refusal(DataError, f"column {quoted(str(roles.time))}", "rising times in each sample", got)


def check_one(
    table: Table,
    name: str,
    role: str,
    codes: Codes,
    firsts: Codes,
    names: Sequence[str],
    noun: str = "sample",
) -> None:
    """Raise DataError where a sample has two values in a column that should have one."""
    values: Any = np.array([text or "" for text in table.texts(name)], object)
    wrong = np.flatnonzero(values != values[firsts][codes])
    if not len(wrong):
        return
    at = int(wrong[0])
    got = f"{quoted(values[firsts[codes[at]]])} and {quoted(values[at])} in {quoted(names[codes[at]])}"
    raise refusal(DataError, role, f"one value of {name!r} in each {noun}", f"{got}, row {table.row(at)}")


def _varies(table: Table, roles: Roles, codes: Codes) -> bool:
    """Whether a sample has two different labels, those that are missing aside."""
    assert roles.label is not None
    if table.is_number(roles.label) and not _has_texts(table, roles.label):
        values = table.numbers(roles.label)
        there = ~np.isnan(values)
    else:
        texts = [(text or "").strip() for text in table.texts(roles.label)]
        values = np.unique(texts, return_inverse=True)[1].astype(np.float64)
        there = np.array([bool(text) for text in texts])
    first = np.full(int(codes.max(initial=0)) + 1, np.nan)
    first[codes[there][::-1]] = values[there][::-1]
    return bool((values[there] != first[codes[there]]).any())


def _step_labels(table: Table, roles: Roles) -> Array:
    """Return the label of every row: of str, "" where there is none, or float64 with NaN."""
    assert roles.label is not None
    if not (roles.as_numbers or table.is_number(roles.label)) or (
        not roles.as_numbers and _has_texts(table, roles.label)
    ):
        return np.array([(text or "").strip() for text in table.texts(roles.label)])
    numbers = table.numbers(roles.label)
    known = np.flatnonzero(~np.isnan(numbers))
    labels = label_values(
        roles.label, numbers[known], [table.row(int(index)) for index in known], roles.as_numbers
    )
    whole: Array = np.full(table.rows, np.nan)
    if labels.dtype.kind != "f":
        whole = np.full(table.rows, "", labels.dtype)
    whole[known] = labels
    return whole


def _several(table: Table, roles: Roles, chosen: Codes) -> Array:
    """Return [rows, K]: numbers, or which labels a row has. Raises DataError: one is missing or none."""
    columns = []
    for name in roles.several:
        if roles.as_numbers:
            rows = [table.row(int(index)) for index in chosen]
            columns.append(label_values(name, table.numbers(name)[chosen], rows, True))
            continue
        texts = [TRUTH.get((text or "").strip().lower()) for text in table.texts(name)]
        found = [texts[int(index)] for index in chosen]
        if None in found:
            at = int(chosen[found.index(None)])
            got = f"{quoted(table.texts(name)[at] or 'none')} in row {table.row(at)}"
            raise refusal(DataError, f"label {quoted(name)}", "0 or 1, as there are several labels", got)
        columns.append(np.array(found, bool))
    return np.stack(columns, axis=1)


def _check_equal(table: Table, roles: Roles, asked: Asked, found: Found) -> None:
    """Refuse inputs that are the label itself, unless they were asked for or the rows are few."""
    for label in (*filter(None, [roles.label]), *roles.several):
        if not table.is_number(label) or _has_texts(table, label):
            continue
        values = table.numbers(label)
        if len(np.unique(values[~np.isnan(values)])) < 2:
            continue
        same = [n for n in roles.inputs if np.array_equal(table.numbers(n), values, equal_nan=True)]
        if not same:
            continue
        if asked.columns is None and table.rows >= ENOUGH:
            want = f"inputs other than the label {quoted(label)}, or columns= with their names"
            raise refusal(DataError, "columns", want, f"{named(same)}, which equals it in every row")
        found.notes.append(f"warning: {named(same)} equals the label {quoted(label)} in every row")
