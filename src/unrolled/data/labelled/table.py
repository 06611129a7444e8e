"""Tables: columns of numbers and of texts, with the number of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.labelled.source import most_bytes, named
from unrolled.errors import DataError
from unrolled.files import quoted, refusal
from unrolled.schema import MOST_TIME, float32_numbers

__all__ = ["NAMELESS", "ONE_HOT", "Table", "as_seconds", "table_of_records"]

Numbers: TypeAlias = npt.NDArray[np.float64]
Texts: TypeAlias = Sequence[str | None]

ONE_HOT = "make of categories a column of 0 and 1 for each value (one-hot)"
NAMELESS = "column "  # begins the names of columns that have none


class Table:
    """Rows and named columns. A row's number is the one that a spreadsheet shows: the header is row 1."""

    def __init__(self, names: Sequence[str], numbering: Sequence[int], *, header: bool = True) -> None:
        self.names = tuple(names)
        self.rows = len(numbering)
        self._numbering = numbering
        self.header = header  # whether the names are those of the source
        self._numbers: dict[str, Numbers] = {}
        self._texts: dict[str, Any] = {}
        self._bad: dict[str, tuple[int, str]] = {}
        self._moments: dict[str, Numbers] = {}
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise refusal(DataError, "source", "columns of different names", f"two called {named(twice)}")

    def set(self, name: str, numbers: Numbers | None, texts: Any, bad: tuple[int, str] | None = None) -> None:
        """Add a column. `texts`: a list, its maker, or polars' Series; `bad`: a row and what is no number."""
        if numbers is not None:
            self._numbers[name] = numbers
        if bad is not None:
            self._bad[name] = bad
        self._texts[name] = texts

    def set_moments(self, name: str, seconds: Numbers) -> None:
        """Add a column of times in seconds since 1970, NaN where missing."""
        self._moments[name] = seconds

    def moments(self, name: str) -> Numbers | None:
        """Return a column of times in seconds since 1970; None: it is of another type."""
        return self._moments.get(name)

    def is_number(self, name: str) -> bool:
        """Whether a column holds numbers: all of it, or most of it, so that the rest is a mistake."""
        return name in self._numbers

    def is_empty(self, name: str) -> bool:
        """Whether no cell of a column has anything in it."""
        return name in self._numbers and bool(np.isnan(self._numbers[name]).all())

    def numbers(self, name: str, *, advice: str = "") -> Numbers:
        """Return a column of numbers, NaN where missing. Raises DataError: a text, or infinity, in a row.

        `advice`: what to do with a column of texts.
        """
        if name in self._bad:
            row, text = self._bad[name]
            got = f"{quoted(text)} in row {row}"
            raise refusal(DataError, f"column {quoted(name)}", "numbers", got)
        if name not in self._numbers:
            got = f"{quoted(str(next((t for t in self.texts(name) if t), '')))}, a text"
            got += f"; {advice}" if advice else ""
            raise refusal(DataError, f"column {quoted(name)}", "numbers", got)
        return self._numbers[name]

    def texts(self, name: str) -> Texts:
        """Return a column as it is written, None where there is nothing."""
        if name in self._moments:
            return _written(self._moments[name])
        found = self._texts[name]
        if callable(found):
            found = self._texts[name] = found()
        if isinstance(found, list):
            return found
        if int(found.str.len_bytes().sum()) > most_bytes():  # Parquet keeps a text that repeats once
            raise refusal(DataError, f"column {quoted(name)}", "texts that fit into memory", "longer ones")
        texts: Texts = found.to_list()
        return texts

    def beginning(self, name: str, rows: int) -> list[str | None]:
        """Return what is written in the first rows of a column."""
        found = (
            self.texts(name) if name in self._moments or callable(self._texts[name]) else self._texts[name]
        )
        return list(found[:rows])

    def row(self, index: int) -> int:
        """Return the number of a row for messages."""
        return self._numbering[index]

    def matrix(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return columns side by side [rows, names]. Raises DataError: a text, or infinity, in a row."""
        matrix = np.empty((self.rows, len(names)), np.float32)
        with np.errstate(over="ignore"):
            for index, name in enumerate(names):
                matrix[:, index] = self.numbers(name, advice=ONE_HOT)
        infinite = np.isinf(matrix)
        if infinite.any():
            row, index = np.argwhere(infinite)[0]
            value = self.numbers(names[index])[row]
            got = f"{value:g} in row {self.row(int(row))}"
            raise refusal(DataError, f"column {quoted(names[index])}", float32_numbers(value), got)
        return matrix


def table_of_records(records: Sequence[tuple[int, Mapping[str, Any]]], names: Sequence[str]) -> Table:
    """Return the table of objects that hold numbers, texts, truth values and null, each with its line."""
    table = Table(names, [line for line, _ in records])
    for name in names:
        values = [record.get(name) for _, record in records]
        texts = [None if value is None else str(value) for value in values]
        numeric = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in values]
        right, there = sum(numeric), sum(value is not None for value in values)
        if 2 * right <= there and there:
            table.set(name, None, texts)
            continue
        found = np.array(
            [float(v) if n and v is not None else np.nan for v, n in zip(values, numeric, strict=True)],
            np.float64,
        )
        wrong = next((i for i, n in enumerate(numeric) if not n and values[i] is not None), None)
        table.set(name, found, texts, None if wrong is None else (table.row(wrong), str(values[wrong])))
    return table


def as_seconds(table: Table, name: str) -> Numbers:
    """Return a column of times: numbers as they are, dates and clock times in seconds since 1970.

    Raises DataError: a row has no time, or one that is none.
    """
    moments = table.moments(name)
    if moments is not None:
        times = moments
    elif table.is_number(name):
        times = table.numbers(name)
    else:
        times = np.array([_seconds(text) for text in table.texts(name)])
    wrong = ~(np.abs(times) < MOST_TIME)
    if wrong.any():
        row = int(np.argmax(wrong))
        got = f"{quoted(str(table.texts(name)[row] or ''))} in row {table.row(row)}"
        want = "numbers or times such as 2024-05-01 12:00"
        if np.isfinite(times[row]):
            want = f"numbers within ±{MOST_TIME:.2g}"
        raise refusal(DataError, f"column {quoted(name)}", want, got)
    return times


def _written(seconds: Numbers) -> list[str | None]:
    """Return times as ISO 8601 texts, None where there is none."""
    with np.errstate(invalid="ignore"):
        moments = np.where(np.isnan(seconds), 0, np.round(seconds * 1e6)).astype(np.int64)
    texts = moments.astype("datetime64[us]").astype(str).tolist()
    return [None if none else text for text, none in zip(texts, np.isnan(seconds).tolist(), strict=True)]


def _seconds(text: str | None) -> float:
    """Return an ISO 8601 time in seconds since 1970, in UTC where it names no zone; else NaN."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
