"""CSV, TSV and Parquet by polars: frames of texts, and tables of them."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.columns import is_number
from unrolled.data.labelled.parquet import leaf_values
from unrolled.data.labelled.source import EXPANSION, Asked, bytes_of, most_bytes, text_of
from unrolled.data.labelled.table import NAMELESS, Table
from unrolled.errors import DataError, MissingExtraError, counted, expected
from unrolled.files import quoted, refusal

__all__ = ["csv_table", "parquet_frame", "table_of_frame"]

SEPARATORS = ",\t;|"
HEAD = 64 * 1024  # characters in which the separator is looked for
LINES = 20
ABSENT = ("", "?", "na", "n/a", "nan", "null", "none")  # what stands for a missing number, in any case
CELL = 64  # bytes that one takes while it is read
MOST_COLUMNS = 100_000
REPEATS = 1000  # rows in which a name is looked for among the values


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
        got = _longer_row(text, separator) or _reason(error)
        raise refusal(DataError, "source", "a table", f"{got} in {path}") from None
    if not frame.width or not frame.height:
        raise refusal(DataError, "source", "a table", f"no rows in {path}")
    names = [_stripped(cell) for cell in frame.row(0)]
    header = _is_header(names, asked, frame)
    if header:
        frame = frame[1:]
    else:
        names = [str(index + 1) for index in range(frame.width)]
    written = ~frame.select(pl.all_horizontal(pl.all().is_null())).to_series()  # all but blank lines
    begin = 2 if header else 1
    numbering: Sequence[int] = range(begin, begin + frame.height)
    if not written.all():
        numbering = (np.flatnonzero(written.to_numpy()) + begin).tolist()
        frame = frame.filter(written)
    frame.columns = [str(index) for index in range(frame.width)]
    return table_of_frame(pl, frame, _filled(names), numbering, header=header, comma=separator == ";")


def _longer_row(text: str, separator: str) -> str | None:
    """Say which row has more fields than the first, if one has."""
    first = 0
    with contextlib.suppress(csv.Error):  # a field of more than 128 kB
        for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=separator), 1):
            first = first or len(row)
            if len(row) > first:
                return f"{counted(len(row), 'field')} in row {number}, more than {first} in row 1,"
    return None


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
    roles = {
        asked.label,
        asked.target,
        asked.group,
        asked.id,
        asked.time,
        *asked.several,
        *asked.static,
        *(asked.columns or ()),
    } - {None}
    if roles & {name for name in names if not is_number(name)}:
        return True
    numbers = [name for name in names if is_number(name)]
    if not numbers:
        rows = frame[1:REPEATS]
        again = any(name and (rows.to_series(index) == name).any() for index, name in enumerate(names))
        return any(names) and not (again and frame.width < REPEATS)
    if len(numbers) == len(names) or not all(number.isdecimal() for number in numbers):
        return False
    counted_from = int(numbers[0]) if len(numbers[0]) < 10 else -1
    return counted_from in (0, 1) and numbers == [str(counted_from + i) for i in range(len(numbers))]


def table_of_frame(
    pl: Any,
    frame: Any,
    names: Sequence[str],
    numbering: Sequence[int],
    *,
    header: bool = True,
    comma: bool = False,
) -> Table:
    """Return the table of a polars frame whose columns are called "0", "1", …; `comma`: 0,5 is a number."""
    if frame.width * frame.height > most_bytes() * EXPANSION // CELL:
        raise refusal(DataError, "source", "a table that fits into memory", f"{frame.height} x {frame.width}")
    table = Table(names, numbering, header=header)
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
            wrong = (table.row(where), str(column[where])) if bad.any() else None
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
        rows, most = pl.scan_parquet(data).select(pl.len()).collect().item(), most_bytes() * EXPANSION // CELL
        values = max(max(1, width) * rows, leaf_values(data))
        if values > most:
            got = f"{values} in {rows} rows of {width} columns in {path}"
            raise refusal(DataError, "source", f"at most {most} values for this memory", got)
        return pl, _plain(pl, pl.read_parquet(data))
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        MemoryError,
        ValueError,
    ) as error:
        if isinstance(error, DataError):
            raise
        raise refusal(DataError, "source", "a Parquet file", f"{_reason(error)} in {path}") from None


def _plain(pl: Any, frame: Any) -> Any:
    """Return a frame of numbers, truth values, texts and lists: times as ISO 8601 texts, spans in seconds.

    Raises DataError: a column of something else, as bytes.
    """
    columns = []
    for column in frame.get_columns():
        kind = column.dtype
        if kind in (pl.Datetime, pl.Date):
            moments = column.cast(pl.Datetime("us"))
            if getattr(kind, "time_zone", None) is not None:
                moments = (
                    column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
                )
            column = moments.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f")
        elif kind == pl.Duration:
            column = column.cast(pl.Duration("us")).dt.total_microseconds() / 1e6
        elif kind in (pl.Categorical, pl.Enum, pl.Time):
            column = column.cast(pl.String)
        elif not (kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null, pl.List, pl.Array)):
            want = "numbers, texts, times or lists"
            raise refusal(DataError, f"column {quoted(column.name)}", want, str(kind))
        columns.append(column)
    return pl.DataFrame(columns)
