"""Tables: columns of numbers and of texts, from CSV, TSV and Parquet, by polars."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.labelled.source import EXPANSION, Asked, bytes_of, most_bytes, named, text_of
from unrolled.errors import DataError, MissingExtraError, expected
from unrolled.files import quoted, refusal

__all__ = [
    "NAMELESS",
    "Table",
    "as_seconds",
    "csv_table",
    "parquet_frame",
    "polars",
    "table_of_frame",
    "table_of_records",
]

Numbers: TypeAlias = npt.NDArray[np.float64]
Texts: TypeAlias = Sequence[str | None]

SEPARATORS = ",\t;|"
HEAD = 64 * 1024  # characters in which the separator is looked for
LINES = 20
ABSENT = ("", "?", "na", "n/a", "nan", "null", "none")  # what stands for a missing number, in any case
MOST_COLUMNS = 100_000
NAMELESS = "column "  # begins the names of columns that have none
REPEATS = 1000  # rows in which a name is looked for among the values
CELL = 64  # bytes that one takes while it is read


class Table:
    """Rows and named columns. A row's number is the one that a spreadsheet shows: the header is row 1."""

    def __init__(self, names: Sequence[str], rows: int, first_row: int, *, header: bool = True) -> None:
        self.names = tuple(names)
        self.rows = rows
        self.first_row = first_row
        self.header = header  # whether the names are those of the source
        self._numbers: dict[str, Numbers] = {}
        self._texts: dict[str, Any] = {}
        self._bad: dict[str, tuple[int, str]] = {}
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise refusal(DataError, "source", "columns of different names", f"two called {named(twice)}")

    def set(self, name: str, numbers: Numbers | None, texts: Any, bad: tuple[int, str] | None = None) -> None:
        """Add a column. `texts`: a list, or a polars Series; `bad`: a row and what is no number."""
        if numbers is not None:
            self._numbers[name] = numbers
        if bad is not None:
            self._bad[name] = bad
        self._texts[name] = texts

    def is_number(self, name: str) -> bool:
        """Whether a column holds numbers: all of it, or most of it, so that the rest is a mistake."""
        return name in self._numbers

    def is_empty(self, name: str) -> bool:
        """Whether no cell of a column has anything in it."""
        return name in self._numbers and bool(np.isnan(self._numbers[name]).all())

    def numbers(self, name: str) -> Numbers:
        """Return a column of numbers, NaN where missing. Raises DataError: a text, or infinity, in a row."""
        if name in self._bad:
            row, text = self._bad[name]
            got = f"{quoted(text)} in row {row}"
            raise refusal(DataError, f"column {quoted(name)}", "numbers", got)
        if name not in self._numbers:
            got = f"{quoted(str(next((t for t in self.texts(name) if t), '')))}, a text"
            raise refusal(DataError, f"column {quoted(name)}", "numbers", got)
        return self._numbers[name]

    def texts(self, name: str) -> Texts:
        """Return a column as it is written, None where there is nothing."""
        found = self._texts[name]
        if isinstance(found, list):
            return found
        if int(found.str.len_bytes().sum()) > most_bytes():  # Parquet keeps a text that repeats once
            raise refusal(DataError, f"column {quoted(name)}", "texts that fit into memory", "longer ones")
        texts: Texts = found.to_list()
        return texts

    def row(self, index: int) -> int:
        """Return the number of a row for messages."""
        return index + self.first_row

    def matrix(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return columns side by side [rows, names]. Raises DataError: a text, or infinity, in a row."""
        matrix = np.empty((self.rows, len(names)), np.float32)
        with np.errstate(over="ignore"):
            for index, name in enumerate(names):
                matrix[:, index] = self.numbers(name)
        infinite = np.isinf(matrix)
        if infinite.any():
            row, index = np.argwhere(infinite)[0]
            got = f"{self.numbers(names[index])[row]:g} in row {self.row(int(row))}"
            raise refusal(DataError, f"column {quoted(names[index])}", "finite float32 numbers", got)
        return matrix


def polars(what: str) -> Any:
    """Return polars. Raises MissingExtraError: it is not installed. `what`: needs it."""
    try:
        import polars
    except ImportError as error:
        want = "the package polars, pip install 'unrolled[tables]'"
        raise MissingExtraError(expected("source", f"{want}, for {what}", "none")) from error
    return polars


def csv_table(path: Path, data: bytes, asked: Asked) -> Table:
    """Return the table of a CSV or TSV file, every line as many fields.

    Raises DataError: not UTF-8, no table, two columns of one name. MissingExtraError: no polars.
    """
    pl = polars("a CSV file")
    text = text_of(data, path)
    first = next((line for line in text.split("\n", 1)[0:1] if line.strip()), None)
    if first is None:
        raise refusal(DataError, "source", "a table", f"an empty first line in {path}")
    separator = _separator(text, path)
    cells = text.count(separator) + text.count("\n")
    if cells > most_bytes() * EXPANSION // CELL:
        raise refusal(DataError, "source", "a table that fits into memory", f"{cells} cells in {path}")
    columns = 1 + text.split("\n", 1)[0].count(separator)
    if columns > MOST_COLUMNS:
        raise refusal(DataError, "source", f"at most {MOST_COLUMNS} columns", f"{columns} in {path}")
    try:
        frame = pl.read_csv(
            text.encode("utf-8"),
            has_header=False,
            separator=separator,
            infer_schema=False,
            raise_if_empty=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise refusal(DataError, "source", "a table", f"{_reason(error)} in {path}") from None
    if not frame.width or not frame.height:
        raise refusal(DataError, "source", "a table", f"no rows in {path}")
    names = [_stripped(cell) for cell in frame.row(0)]
    header = _is_header(names, asked, frame)
    if header:
        frame = frame[1:]
    else:
        names = [str(index + 1) for index in range(frame.width)]
    frame.columns = [str(index) for index in range(frame.width)]
    return table_of_frame(
        pl, frame, _filled(names), 2 if header else 1, header=header, comma=separator == ";"
    )


def _reason(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _stripped(cell: str | None) -> str:
    return "" if cell is None else cell.strip()


def _filled(names: Sequence[str]) -> list[str]:
    """Return names with one for a column that has none, as the index of a saved data frame."""
    return [name or f"{NAMELESS}{index + 1}" for index, name in enumerate(names)]


def _separator(text: str, path: Path) -> str:
    """Return what separates the fields of the first lines: what gives most of them, each line as many."""
    lines = text[:HEAD].split("\n")[: LINES + 1]
    lines = [line for line in (lines[:-1] if len(lines) > 1 else lines) if line.strip()] or lines[:1]
    counts: dict[str, int] = {}
    for separator in SEPARATORS:
        try:
            fields = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        except csv.Error:
            continue
        if fields and max(fields) > 1:
            counts[separator] = fields[0] if len(set(fields)) == 1 else 1
    if path.name.lower().removesuffix(".gz").endswith(".tsv") and "\t" in counts:
        return "\t"
    return max(counts, key=lambda separator: counts[separator]) if counts else ","


def _is_header(names: Sequence[str], asked: Asked, frame: Any) -> bool:
    """Whether a first row names the columns: it has no number, or its numbers count the steps.

    A text that its column has again is no name, as the label in rows of a text and a label.
    """
    roles = {asked.label, asked.target, asked.group, asked.id, asked.time, *(asked.columns or ())} - {None}
    if roles & {name for name in names if not _is_number(name)}:
        return True
    numbers = [name for name in names if _is_number(name)]
    if not numbers:
        rows = frame[1:REPEATS]
        again = any(name and (rows.to_series(index) == name).any() for index, name in enumerate(names))
        return any(names) and not (again and frame.width < REPEATS)
    if len(numbers) == len(names) or not all(number.isdecimal() for number in numbers):
        return False
    counted_from = int(numbers[0]) if len(numbers[0]) < 10 else -1
    return counted_from in (0, 1) and numbers == [str(counted_from + i) for i in range(len(numbers))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def table_of_frame(
    pl: Any, frame: Any, names: Sequence[str], first_row: int, *, header: bool = True, comma: bool = False
) -> Table:
    """Return the table of a polars frame whose columns are called "0", "1", …; `comma`: 0,5 is a number."""
    if frame.width * frame.height > most_bytes() * EXPANSION // CELL:
        raise refusal(DataError, "source", "a table that fits into memory", f"{frame.height} x {frame.width}")
    table = Table(names, frame.height, first_row, header=header)
    texts = frame.select(pl.all().cast(pl.String, strict=False))
    numbers = frame.select(pl.all().cast(pl.Float64, strict=False))
    for index, name in enumerate(names):
        column, number = texts.to_series(index), numbers.to_series(index)
        wrong = None
        if number.null_count() > column.null_count():
            number, bad = _with_care(pl, column, comma)
            if int(bad.sum()) >= max(1, table.rows - int(number.null_count())):
                table.set(name, None, column)
                continue
            where = int(bad.arg_max() or 0)
            wrong = (where + first_row, str(column[where])) if bad.any() else None
        table.set(name, number.to_numpy().astype(np.float64, copy=False), column, wrong)
    return table


def _with_care(pl: Any, column: Any, comma: bool) -> tuple[Any, Any]:
    """Return the numbers among texts, with spaces or decimal commas, and where there is another text."""
    plain = column.str.strip_chars()
    absent = plain.is_null() | plain.str.to_lowercase().is_in(list(ABSENT))
    number = (plain.str.replace(",", ".", literal=True) if comma else plain).cast(pl.Float64, strict=False)
    return number, number.is_null() & ~absent


def parquet_frame(path: Path) -> tuple[Any, Any]:
    """Return polars and the frame of a Parquet file.

    Raises DataError: no Parquet, or more than fits into memory. MissingExtraError: no polars.
    """
    pl = polars("a Parquet file")
    data = bytes_of(path)
    try:
        width = len(pl.read_parquet_schema(data))
        if width > MOST_COLUMNS:
            raise refusal(DataError, "source", f"at most {MOST_COLUMNS} columns", f"{width} in {path}")
        rows = pl.scan_parquet(data).select(pl.len()).collect().item()
        if max(1, width) * rows > most_bytes() * EXPANSION // CELL:
            got = f"{rows} rows of {width} columns in {path}"
            raise refusal(DataError, "source", "a table that fits into memory", got)
        return pl, pl.read_parquet(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise refusal(DataError, "source", "a Parquet file", f"{_reason(error)} in {path}") from None


def table_of_records(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Return the table of objects that hold numbers, texts, truth values and null; row n is line n."""
    table = Table(names, len(records), 1)
    for name in names:
        values = [record.get(name) for record in records]
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
        table.set(name, found, texts, None if wrong is None else (wrong + 1, str(values[wrong])))
    return table


def as_seconds(table: Table, name: str) -> Numbers:
    """Return a column of times: numbers as they are, dates and clock times in seconds since 1970.

    Raises DataError: a row has no time, or one that is none.
    """
    if table.is_number(name):
        times = table.numbers(name)
    else:
        times = np.array([_seconds(text) for text in table.texts(name)])
    wrong = ~np.isfinite(times)
    if wrong.any():
        row = int(np.argmax(wrong))
        got = f"{quoted(str(table.texts(name)[row] or ''))} in row {table.row(row)}"
        raise refusal(DataError, f"column {quoted(name)}", "numbers or times such as 2024-05-01 12:00", got)
    return times


def _seconds(text: str | None) -> float:
    """Return an ISO 8601 time in seconds since 1970, in UTC where it names no zone; else NaN."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
