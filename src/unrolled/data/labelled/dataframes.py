"""Data frames of any library (pandas, polars, pyarrow, …) as tables, by narwhals."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from unrolled.data.labelled.source import EXPANSION, most_bytes
from unrolled.data.labelled.table import Table
from unrolled.errors import DataError, DtypeError, MissingExtraError, expected
from unrolled.files import quoted, refusal

__all__ = ["table_of_data_frame"]

FEW_CELLS = 1_000_000  # that are read without asking how much memory there is
CELL = 16  # bytes that one takes


def table_of_data_frame(frame: Any) -> Table:
    """Return the table of a data frame; its rows are numbered from 0, and pandas' index of times is a column.

    Raises:
        DtypeError: no data frame that narwhals knows. DataError: a column of something else than numbers,
            texts, truth values and times. MissingExtraError: no narwhals.
    """
    try:
        import narwhals as nw
    except ImportError as error:
        want = "the package narwhals, pip install 'unrolled[tables]', for a data frame"
        raise MissingExtraError(expected("df", want, "none")) from error
    if type(getattr(frame, "index", None)).__name__ == "DatetimeIndex":
        frame = frame.reset_index()
    try:
        found = nw.from_native(frame, eager_only=True)
    except TypeError:
        want = "a data frame, such as pandas' or polars'"
        raise DtypeError(expected("df", want, type(frame).__name__)) from None
    cells = len(found) * len(found.columns)
    if cells > FEW_CELLS and cells > most_bytes() * EXPANSION // CELL:
        got = f"{len(found)} x {len(found.columns)}"
        raise refusal(DataError, "df", "a data frame that fits into memory", got)
    table = Table([str(name) for name in found.columns], range(len(found)))
    for name, column in zip(table.names, found.iter_columns(), strict=True):
        _set(nw, table, name, column)
    return table


def _set(nw: Any, table: Table, name: str, column: Any) -> None:
    """Add a column of narwhals to a table."""
    kind = column.dtype
    if kind in (nw.Datetime, nw.Date):
        ticks = column.cast(nw.Datetime("us")) if kind == nw.Date else column
        micro = ticks.dt.timestamp("us").cast(nw.Float64).to_numpy()
        missing = column.is_null().to_numpy()
        table.set_moments(name, np.where(missing, np.nan, micro.astype(np.float64) / 1e6))
    elif kind.is_numeric() or kind == nw.Boolean:
        missing = column.is_null()
        numbers = column.cast(nw.Float64).to_numpy().astype(np.float64)
        table.set(name, np.where(missing.to_numpy(), np.nan, numbers), lambda: _texts(column))
    elif kind in (nw.String, nw.Categorical, nw.Enum, nw.Object):
        _set_objects(table, name, column)
    else:
        raise refusal(DataError, f"column {quoted(name)}", "numbers, texts or times", str(kind))


def _set_objects(table: Table, name: str, column: Any) -> None:
    """Add a column of texts, of Python's dates, or of its numbers; a text among these is named when read."""
    missing = column.is_null().to_list()
    values: list[Any] = [None if n else v for v, n in zip(column.to_list(), missing, strict=True)]
    if all(value is None or isinstance(value, date) for value in values):
        table.set_moments(name, np.array([np.nan if v is None else _seconds(v) for v in values], np.float64))
        return
    numeric = [isinstance(value, int | float | np.number) for value in values]
    there = sum(value is not None for value in values)
    for row, (value, number) in enumerate(zip(values, numeric, strict=True)):
        if value is not None and not number and not isinstance(value, str):
            got = f"{type(value).__name__} in row {row}"
            raise refusal(DataError, f"column {quoted(name)}", "numbers, texts or times", got)
    texts = [None if value is None else str(value) for value in values]
    if 2 * sum(numeric) <= there:
        table.set(name, None, texts)
        return
    numbers = [_number(v) if n else np.nan for v, n in zip(values, numeric, strict=True)]
    wrong = next((i for i, number in enumerate(numeric) if not number and values[i] is not None), None)
    table.set(name, np.array(numbers), texts, None if wrong is None else (wrong, str(values[wrong])))


def _number(value: Any) -> float:
    """Return a number in float64; infinity where it is too large an int."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _seconds(moment: date) -> float:
    """Return a day or a time in seconds since 1970, in UTC where it names no zone."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _texts(column: Any) -> list[str | None]:
    """Return numbers as texts, None where missing."""
    missing = column.is_null().to_list()
    return [None if n else str(value) for value, n in zip(column.to_list(), missing, strict=True)]
