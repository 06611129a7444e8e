"""What is asked of a labelled source, and its bytes, bounded."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.columns import Column
from unrolled.data.sources import FileOrigin
from unrolled.data.text import NotText, TextDecoder
from unrolled.errors import DataError, counted
from unrolled.files import memory_limit, printable, quoted, refusal
from unrolled.schema import a_number, within

__all__ = [
    "EXPANSION",
    "Asked",
    "Found",
    "bytes_of",
    "check_line",
    "check_regular",
    "digest",
    "gathered",
    "label_values",
    "most_bytes",
    "named",
    "text_of",
]

Array: TypeAlias = npt.NDArray[Any]

EXPANSION = 8  # bytes of memory that a byte of a file may take, as far as the limit goes
SPLIT = 64  # bytes that a character takes at most in a line that is split into texts
MOST_CHANNELS = 10_000
WITHOUT_LIMIT = 2**33  # bytes of a file where the system gives no limit
MANY = 20  # different whole numbers, from where they may be numbers and no classes
NAMED = 5


@dataclass(frozen=True)
class Asked:
    """The arguments of `read_samples`."""

    label: str | None = None
    target: str | None = None
    group: str | None = None
    id: str | None = None
    time: str | None = None
    columns: tuple[str, ...] | None = None
    labelled: bool = True
    several: tuple[str, ...] = ()  # columns of labels or targets, where more than one was asked for
    as_numbers: bool = False  # whether these are targets
    static: tuple[str, ...] = ()  # columns with one value for each sample
    read_labels: bool = True  # whether columns of label and group are read where they are there

    def read_as(self, **found: Any) -> dict[str, Any]:
        """Return the keywords that read another file in the same way, as JSON can hold them."""
        names = ("label", "target", "group", "id", "time")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        given["columns"] = None if self.columns is None else list(self.columns)
        given["static"] = list(self.static) or None
        if self.several:
            found["target" if self.as_numbers else "label"] = list(self.several)
        return {name: value for name, value in {**given, **found}.items() if value is not None}


@dataclass
class Found:
    """What a reader found: lists of equal length, and remarks."""

    inputs: Any
    channels: tuple[str, ...]
    ids: list[str]
    labels: Array | None = None
    groups: Array | None = None
    times: list[npt.NDArray[np.float64]] | None = None
    notes: list[str] = field(default_factory=list)
    read_as: dict[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    test: Found | None = None
    label_names: tuple[str, ...] = ()
    step_labels: list[Array] | None = None


def most_bytes() -> int:
    """Return how many bytes a file may have."""
    limit = memory_limit()
    return WITHOUT_LIMIT if limit is None else limit // EXPANSION


def check_regular(path: Path) -> None:
    """Raise DataError unless a path is a file that is there."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = "no such path" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else str(error)
        raise refusal(DataError, "source", "a file or a folder", f"{reason}: {quoted(str(path))}") from None
    if not stat.S_ISREG(mode):
        raise refusal(DataError, "source", "a regular file", f"something else: {quoted(str(path))}")


def bytes_of(path: Path, *, empty: bool = False) -> bytes:
    """Return the bytes of a file, unpacked if its name ends in .gz. Raises DataError: too many, or none."""
    check_regular(path)
    most, pieces, total = most_bytes(), [], 0
    size = os.stat(path).st_size
    if size > most:
        raise refusal(DataError, "source", f"at most {most} bytes for this memory", f"{size} in {path}")
    for piece in FileOrigin(str(path), str(path), path.suffix.lower() == ".gz").pieces():
        total += len(piece)
        if total > most:
            raise refusal(DataError, "source", f"at most {most} bytes for this memory", f"more in {path}")
        pieces.append(piece)
    if not total and not empty:
        raise refusal(DataError, "source", "a file with samples", f"an empty one: {path}")
    return b"".join(pieces)


def text_of(data: bytes, path: Path) -> str:
    """Return bytes as a text with "\\n" for line ends. Raises DataError: not UTF-8."""
    try:
        return TextDecoder().feed(data, final=True)
    except NotText as wrong:
        raise wrong.as_error(str(path), advises=False) from None


def check_line(text: str, separators: str, line: int) -> None:
    """Raise DataError for a line whose parts would take too much memory, or are too many channels."""
    if len(text) * SPLIT > most_bytes() * EXPANSION:
        raise refusal(
            DataError, f"source line {line}", "a line that fits into memory", f"{len(text)} characters"
        )
    parts = 1 + max(text.count(separator) for separator in separators.split(" "))
    if parts > MOST_CHANNELS:
        raise refusal(DataError, f"source line {line}", f"at most {MOST_CHANNELS} channels", parts)


def digest(data: bytes) -> str:
    """Return what `sha256sum` prints."""
    return hashlib.sha256(data).hexdigest()


def named(names: Sequence[str], most: int = NAMED) -> str:
    """Return some names for a message."""
    shown = ", ".join(quoted(name) for name in names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def label_values(
    column: str, numbers: npt.NDArray[np.float64], rows: Sequence[int], as_numbers: bool
) -> Array:
    """Return labels that are written as numbers: classes where all are whole, unless numbers are asked for.

    Args:
        column: its name. rows: of each value, for messages. as_numbers: whether the column is a target.
    Raises:
        DataError: one is missing or infinite, or it is not clear what they are.
    """
    right = within(numbers)
    if not right.all():
        bad = int(np.argmin(right))
        got = f"{'none' if np.isnan(numbers[bad]) else format(numbers[bad], 'g')} in row {rows[bad]}"
        raise refusal(DataError, f"column {quoted(column)}", a_number(numbers[bad]), got)
    if as_numbers or not (numbers == np.round(numbers)).all() or np.abs(numbers).max(initial=0) > 2**53:
        return numbers.astype(np.float64)
    different = len(np.unique(numbers))
    if different > max(MANY, len(numbers) // 5):
        want = "classes, or target= to take the column as numbers"
        got = f"{different} different whole numbers in {counted(len(numbers), 'sample')} of {quoted(column)}"
        raise refusal(DataError, "label", want, got)
    return np.array([str(int(number)) for number in numbers])


def gathered(found: Found, keep: Sequence[bool] | Array, why: str) -> Found:
    """Leave out the samples that cannot be used, and note how many. Raises DataError: all of them."""
    kept = np.flatnonzero(np.asarray(keep))
    dropped = len(found.ids) - len(kept)
    if not len(kept):
        raise refusal(DataError, "source", "at least 1 sample", f"none: {why} in all of {dropped}")
    if not dropped:
        return found
    first = next(found.ids[i] for i in range(len(found.ids)) if not keep[i])
    found.notes.append(printable(f"{counted(dropped, 'sample')} left out: {why}, such as {first}"))
    found.inputs = [found.inputs[i] for i in kept]
    found.ids = [found.ids[i] for i in kept]
    found.labels = None if found.labels is None else found.labels[kept]
    found.groups = None if found.groups is None else found.groups[kept]
    found.times = None if found.times is None else [found.times[i] for i in kept]
    found.step_labels = None if found.step_labels is None else [found.step_labels[i] for i in kept]
    return found
