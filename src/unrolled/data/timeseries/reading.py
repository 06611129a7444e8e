"""Reads a file of series, by the end of its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from unrolled.data.labelled.frames import csv_table, parquet_frame, table_of_frame
from unrolled.data.labelled.lines import records_of_lines
from unrolled.data.labelled.source import bytes_of, check_regular, digest
from unrolled.data.labelled.table import table_of_records
from unrolled.data.series import Series, finished
from unrolled.data.timeseries.columns import series_of_table
from unrolled.data.timeseries.lines import holds_lists, series_of_records
from unrolled.data.timeseries.tsf import series_of_tsf
from unrolled.data.timeseries.wanted import Observed, Wanted, wanted
from unrolled.errors import DataError
from unrolled.files import quoted, refusal

__all__ = ["read_series"]

TABLES = (".csv", ".tsv", ".txt")
LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
SUFFIXES = (*TABLES, *PARQUET, *LINES, ".tsf")


def read_series(
    source: str | os.PathLike[str],
    *,
    target: str | Sequence[str] | None = None,
    id: str | None = None,
    time: str | None = None,
    freq: str | None = None,
    season: int | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    needs_values: bool = True,
) -> Series:
    """Read series of one frequency from a file, whole, into memory.

    A table (.csv, .tsv, .txt, .parquet) is long (a row for each id and time), wide (a row for each time, the
    columns are series), or has a series in each row (M4). A line of .jsonl or .ndjson is a row of a table, or
    GluonTS's {"start": …, "target": […], "item_id": …, "feat_dynamic_real": …}. .tsf is that of the Monash
    archive. All but .parquet may be packed as .gz. Rows have the numbers that a spreadsheet shows.

    Missing time stamps and empty cells become missing values, and are counted in the notes; nothing is
    filled. Times that do not rise within a series, that come twice, or lie between two steps are refused.

    Args:
        source: the path.
        target: the column to forecast, or several; default "y", "target" or "value", the only column of
            numbers, or in a table without ids every one.
        id: the column that tells series apart. time: when a row was: dates, times, months, quarters, or
            numbers of steps. Both are found by their usual names.
        freq: the step, as "h", "15min", "D", "W", "MS"; default that of most neighbouring times.
        season: steps of the main season; default that of the frequency (24 of "h", 12 of "MS").
        known: columns whose values are known ahead, as holidays; rows after the last value of the target
            hold those to come. static: columns of numbers with one value for each series.
        columns: further columns, observed as the target is.
        needs_values: False takes rows without a target, as those to come.
    Raises:
        DataError: a source that is missing, empty, torn or too large; columns that are not there or not
            clear; a row with a text or infinity for a number, out of time, between two steps, or behind the
            last value without one of a known column. ConfigError: a wrong argument. MissingExtraError: a
            table without polars.
    """
    want = wanted(target, id, time, freq, season, known, static, columns, needs_values)
    path = Path(source)
    check_regular(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise refusal(DataError, "source", f"a file {', '.join(SUFFIXES)}", quoted(path.name))
    data = bytes_of(path)
    return finished(_observed(path, suffix, data, want), want, path.name or str(path), digest(data))


def _observed(path: Path, suffix: str, data: bytes, want: Wanted) -> Observed:
    """Return the series in a file."""
    if suffix in PARQUET:
        pl, frame = parquet_frame(path)
        names = list(frame.columns)
        frame.columns = [str(index) for index in range(frame.width)]
        return series_of_table(table_of_frame(pl, frame, names, range(1, frame.height + 1)), want)
    if suffix in TABLES:
        return series_of_table(csv_table(path, data, want.asked()), want)
    if suffix == ".tsf":
        return series_of_tsf(path, data, want)
    records = records_of_lines(path, data)
    if holds_lists(records, want):
        return series_of_records(records, want)
    names = list(dict.fromkeys(name for _, record in records for name in record))
    return series_of_table(table_of_records(records, names), want)
