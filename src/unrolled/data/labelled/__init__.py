"""People's own labelled files: tables, JSON lines, .ts, .arff, .npz, folders of classes, tagged words."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.labelled.arff import samples_of_arff
from unrolled.data.labelled.columns import samples_of_table
from unrolled.data.labelled.dataframes import table_of_data_frame
from unrolled.data.labelled.folder import samples_of_folder, samples_of_lines
from unrolled.data.labelled.frames import csv_table, parquet_frame, table_of_frame
from unrolled.data.labelled.lines import records_of_lines, samples_of_records
from unrolled.data.labelled.npz import npy_header as npy_header  # for other rooms; not public
from unrolled.data.labelled.npz import samples_of_npz
from unrolled.data.labelled.source import Asked, Found, bytes_of, check_regular, digest, named
from unrolled.data.labelled.tagged import read_sentences
from unrolled.data.labelled.ts import samples_of_ts
from unrolled.data.samples import Samples, sha256_of
from unrolled.errors import ConfigError, DataError, counted, expected
from unrolled.files import printable, quoted, refusal

__all__ = ["read_samples", "read_sentences"]

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".ts", ".arff", ".npz")
UNUSED = {
    ".ts": ("group", "id", "time", "columns"),
    ".arff": ("group", "id", "time", "columns"),
    ".npz": ("id", "time"),
}
TRAIN = re.compile(r"^(.*)(train)(\W.*)?$", re.IGNORECASE | re.DOTALL)


def read_samples(
    source: Any,
    *,
    label: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    id: str | None = None,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    static: Sequence[str] = (),
    labelled: bool = True,
    read_labels: bool = True,
) -> Samples:
    """Read the labelled sequences of a file or a folder, whole, into memory.

    A table (.csv, .tsv, .parquet) is wide: each row a sample, its numbers in order the steps; or long, where
    several rows have the same id: the rows of an id are a sample, the other columns of numbers its channels;
    or has a column of texts. Cells that are empty, "?", "NA", "NaN" or "null" are missing; at the end of a
    wide row they shorten the sample. Rows have the numbers that a spreadsheet shows.

    A line of .jsonl or .ndjson is {"text" or "tokens" or "x" or …: …, "label": …}, or a row of a table. .ts
    and .arff are those of the UEA archive; .npz has x and y, and perhaps x_test and y_test. All but .parquet
    and .npz may be packed as .gz. In a folder, each class is a file .txt with a line per sample, or a folder
    with a file per sample (.txt, .npy, .csv; .wav with the extra `audio`).

    Args:
        source: the path; or a data frame of any library, a table whose rows are numbered from 0.
        label: the column of classes, "folder" in a folder; whole numbers are classes, those with fractions
            are numbers. target: instead of it, a column that is taken as numbers. None of the two: the column
            that is called so or alone can be it. Without a header columns are "1", "2", ….
            Where it varies within the samples of a long table, every step has a label. Several names: columns
            of 0 and 1, each a label that a sample may have; or several numbers to predict.
        group: a column whose values must not be on both sides of a split.
        id: the column that says which sample a row is of. time: when a row was; numbers, or dates and clock
            times, which become seconds. Both are found by their usual names.
        columns: the inputs; default every column of numbers without another use.
        static: columns of a table with one number for each sample, such as an age; each becomes a channel
            that has it at every step.
        labelled: False takes a source without the columns of label and group, and a file .txt with a text
            per line.
        read_labels: False takes no notice of what the columns of label and group hold, as of new samples;
            `labelled` is False then too.
    Raises:
        DataError: a source that is missing, empty, torn or too large, columns that are not there or not
            clear, a row with a text for a number, without a label, out of time. MissingExtraError: tables
            without polars, sounds without soundfile, a data frame without narwhals.
            DtypeError: neither a path nor a data frame. ConfigError: arguments that exclude one another.
    """
    asked = _asked(label, target, group, id, time, columns, static, labelled and read_labels)
    asked = replace(asked, read_labels=read_labels)
    if not isinstance(source, str | os.PathLike):
        return _of_frame(source, asked)
    path = Path(source)
    if path.is_dir():
        if asked.static:
            raise refusal(DataError, "static", "a table", f"a folder, {quoted(path.name)}")
        found, sha256 = samples_of_folder(path, asked)
    else:
        found, sha256 = _read_file(path, asked)
    return _finished(found, printable(path.name or str(path)), sha256, _beside(path))


def _of_frame(df: Any, asked: Asked) -> Samples:
    """Return the samples of a data frame."""
    found = _finished(samples_of_table(table_of_data_frame(df), asked), "data frame", "")
    return replace(found, sha256=sha256_of(found))


def _asked(
    label: str | Sequence[str] | None,
    target: str | Sequence[str] | None,
    group: str | None,
    id: str | None,
    time: str | None,
    columns: Sequence[str] | None,
    static: Sequence[str],
    labelled: bool,
) -> Asked:
    if label is not None and target is not None:
        raise ConfigError(expected("label and target", "one of the two", f"{label!r} and {target!r}"))
    for role, given in (("columns", columns), ("static", static)):
        if isinstance(given, str) or not all(isinstance(each, str) for each in given or ()):
            raise ConfigError(expected(role, "a list of names", repr(given)))
    if columns is not None and not columns:
        raise ConfigError(expected("columns", "at least 1 name", "none"))
    names = None if columns is None else tuple(columns)
    several = tuple(label if label is not None else target if target is not None else ())
    if isinstance(label, str) or isinstance(target, str) or not several:
        one = {"label": label, "target": target}
    elif len(several) == 1:
        one = {"label" if label is not None else "target": several[0]}
    else:
        as_numbers = label is None
        return Asked(None, None, group, id, time, names, labelled, several, as_numbers, tuple(static))
    known: Any = {**one, "group": group, "id": id, "time": time, "columns": names, "labelled": labelled}
    return Asked(**known, static=tuple(static))


def _read_file(path: Path, asked: Asked) -> tuple[Found, str]:
    """Return what a file holds, by the end of its name, and its sha256."""
    check_regular(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if asked.several and suffix in UNUSED:
        raise refusal(DataError, "label", f"one for a file {suffix}", named(asked.several))
    if asked.static and suffix in UNUSED:
        raise refusal(DataError, "static", f"none for a file {suffix}", named(asked.static))
    if suffix == ".txt" and not asked.labelled:
        return samples_of_lines(path)
    if suffix not in SUFFIXES:
        want = f"a folder of classes, or a file {', '.join(SUFFIXES)}"
        raise refusal(DataError, "source", want, quoted(path.name))
    for role in UNUSED.get(suffix, ()):
        if getattr(asked, role) is not None:
            raise refusal(DataError, role, f"none for a file {suffix}", repr(getattr(asked, role)))
    if suffix == ".npz":
        return samples_of_npz(path, asked), digest(bytes_of(path))
    if suffix in (".parquet", ".pq"):
        return _read_parquet(path, asked), digest(bytes_of(path))
    data = bytes_of(path)
    if suffix in (".csv", ".tsv"):
        found = samples_of_table(csv_table(path, data, asked), asked)
    elif suffix in (".jsonl", ".ndjson"):
        found = samples_of_records(records_of_lines(path, data), asked)
    else:
        read = samples_of_ts if suffix == ".ts" else samples_of_arff
        found = read(path, data, asked)
    return found, digest(data)


def _read_parquet(path: Path, asked: Asked) -> Found:
    pl, frame = parquet_frame(path)
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if nested:
        return samples_of_records(list(enumerate(frame.to_dicts(), 1)), asked)
    names = list(frame.columns)
    frame.columns = [str(index) for index in range(frame.width)]
    return samples_of_table(table_of_frame(pl, frame, names, range(1, frame.height + 1)), asked)


def _finished(found: Found, name: str, sha256: str, further: Sequence[str] = ()) -> Samples:
    """Return what a reader found as samples, with notes on what is missing, and further ones."""
    if len(set(found.ids)) < len(found.ids):
        twice = Counter(found.ids).most_common(1)[0][0]
        raise refusal(DataError, "id", "a different one for each sample", f"{quoted(twice)} twice")
    if (
        found.labels is not None
        and found.labels.ndim == 1
        and len(found.labels) > 1
        and (found.labels == found.labels[0]).all()
    ):
        found.notes.append(f"warning: every sample has the label {quoted(str(found.labels[0]))}")
    labels = found.labels if found.step_labels is None else found.step_labels[0]
    if labels is not None and labels.dtype.kind == "f" and "label" in found.read_as:
        found.read_as["target"] = found.read_as.pop("label")  # whole ones in another file are numbers too
    return Samples(
        inputs=found.inputs,
        channels=found.channels,
        ids=tuple(found.ids),
        labels=found.labels,
        groups=found.groups,
        times=found.times,
        name=name,
        sha256=sha256,
        notes=(*map(printable, found.notes), *_missing(found), *further),
        test=None if found.test is None else _finished(found.test, "test", sha256),
        read_as=found.read_as,
        label_names=found.label_names,
        step_labels=found.step_labels,
        columns=found.columns,
    )


def _missing(found: Found) -> list[str]:
    """Return a note on how many values are missing, and in which channels."""
    if not found.channels:
        return []
    absent = np.zeros(len(found.channels), np.int64)
    for each in found.inputs:
        absent += np.isnan(each).sum(axis=0)
    if not absent.any():
        return []
    total = sum(each.size for each in found.inputs)
    share = f"{int(absent.sum())} of {counted(total, 'value')}"
    channels = [name for name, count in zip(found.channels, absent, strict=True) if count]
    where = f", in {named(channels)}" if len(found.channels) > 1 else ""
    return [f"missing: {share} ({absent.sum() / total:.1%}){where}"]


def _beside(path: Path) -> list[str]:
    """Return a note on the test part that lies beside a file."""
    beside = test_beside(path)
    return [] if beside is None else [printable(f"there is a test part next to it: {beside.name}")]


def test_beside(path: Path) -> Path | None:
    """Return the file of the test part that lies beside X_TRAIN.ts or train.csv."""
    match = TRAIN.match(path.name)
    if match is None:
        return None
    word = match[2]
    other = "TEST" if word.isupper() else "Test" if word.istitle() else "test"
    beside = path.with_name(f"{match[1]}{other}{match[3] or ''}")
    return beside if beside.is_file() else None
