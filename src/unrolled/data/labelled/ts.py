"""The .ts format of sktime and the UEA archive: a header of @ lines, then a sample a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from unrolled.data.columns import is_number
from unrolled.data.labelled.source import Asked, Found, check_line, gathered, label_values, text_of
from unrolled.data.samples import Numbers, infinite_at
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal

__all__ = ["numbers_of", "samples_of_ts", "wrong_line"]

Clock = npt.NDArray[np.float64]

MOST_DIMENSIONS = 100_000


@dataclass
class _Header:
    """What the @ lines say."""

    labels: bool | None = None  # whether the last field is one
    numbers: bool = False  # it is a number: @targetLabel
    classes: set[str] = field(default_factory=set)
    stamps: bool = False
    dimensions: int | None = None


def samples_of_ts(path: Path, data: bytes, asked: Asked) -> Found:
    """Return the samples of a .ts file. Raises DataError, with the line: anything that is not one."""
    lines = enumerate(text_of(data, path).split("\n"), 1)
    header = _Header()
    for number, line in lines:
        word = line.strip().lower()
        if not word or word.startswith(("#", "%")):
            continue
        if word == "@data":
            break
        if not word.startswith("@"):
            wrong_line(number, "an @ line or @data", line)
        _take(header, line.split(), number)
    else:
        raise refusal(DataError, "source", "a line @data", f"none in {path}")
    rows = [(number, line.strip()) for number, line in lines if line.strip() and line.strip()[0] not in "#%"]
    if not rows:
        raise refusal(DataError, "source", "samples after @data", f"none in {path}")
    return _samples(header, rows, asked)


def wrong_line(line: int, want: str, got: str) -> NoReturn:
    raise refusal(DataError, f"source line {line}", want, quoted(got))


def _take(header: _Header, words: Sequence[str], line: int) -> None:
    key, values = words[0].lower(), words[1:]
    truth = {"true": True, "false": False}.get(values[0].lower()) if values else None
    if key in ("@classlabel", "@targetlabel", "@timestamps") and truth is None:
        wrong_line(line, "true or false", " ".join(words))
    if key in ("@classlabel", "@targetlabel"):
        header.labels = bool(truth)
        header.numbers = key == "@targetlabel"
        header.classes = set(values[1:])
    elif key == "@timestamps":
        header.stamps = bool(truth)
    elif key in ("@dimensions", "@dimension"):
        if len(values) != 1 or not values[0].isdecimal() or len(values[0]) > 6 or not int(values[0]):
            wrong_line(line, f"1 to {MOST_DIMENSIONS} dimensions", " ".join(words))
        header.dimensions = int(values[0])


def _samples(header: _Header, rows: Sequence[tuple[int, str]], asked: Asked) -> Found:
    inputs, labels, times = [], [], []
    for line, text in rows:
        check_line(text, ":", line)
        fields = _fields(text) if header.stamps else text.split(":")
        if header.labels:
            last = fields.pop().strip()
            labels += [_label(last, header, line)] if asked.read_labels else []
        if header.dimensions is not None and len(fields) != header.dimensions:
            wrong_line(line, counted(header.dimensions, "dimension"), str(len(fields)))
        if not fields:
            wrong_line(line, "at least 1 dimension", text)
        header.dimensions = header.dimensions or len(fields)
        clock, array = _dimensions(fields, header.stamps, line)
        inputs.append(array)
        times.append(clock)
    width = inputs[0].shape[1]
    found = Found(inputs, tuple(map(str, range(width))), [str(line) for line, _ in rows])
    found.times = [each for each in times if each is not None] if header.stamps else None
    as_numbers = header.numbers or asked.target is not None
    if labels and as_numbers:
        values = np.array([_number(label, line) for label, (line, _) in zip(labels, rows, strict=True)])
        found.labels = label_values("the label", values, [line for line, _ in rows], True)
    elif labels:
        found.labels = np.array(labels)
    elif asked.labelled:
        raise refusal(DataError, "source", "a line @classLabel true or @targetLabel true", "none")
    found.read_as = asked.read_as()
    return gathered(found, [not np.isnan(each).all() for each in inputs], "no value")


def _label(text: str, header: _Header, line: int) -> str:
    if not text or (header.classes and text not in header.classes):
        wrong_line(line, "a label of the header, after the last colon", text)
    return text


def _number(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        wrong_line(line, "a number as label", text)


def _fields(text: str) -> list[str]:
    """Split at colons that are outside of brackets, as times may have some inside."""
    fields, depth, begin = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ":" and depth <= 0:
            fields.append(text[begin:at])
            begin = at + 1
    return [*fields, text[begin:]]


def _dimensions(fields: Sequence[str], stamps: bool, line: int) -> tuple[Clock | None, Numbers]:
    """Return the times of a sample, where it has some, and its dimensions side by side."""
    clock: Clock | None = None
    columns: list[Clock] = []
    for text in fields:
        if stamps:
            times, text = _stamped(text, line)
            if clock is not None and not np.array_equal(clock, times):
                wrong_line(line, "the same times in each dimension", f"others in dimension {len(columns)}")
            clock = times
        columns.append(numbers_of(text, line))
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        wrong_line(line, "dimensions of equal length", f"{min(lengths)} and {max(lengths)} steps")
    with np.errstate(over="ignore"):
        array = np.stack(columns, axis=1).astype(np.float32)
    bad = infinite_at(array)
    if bad is not None:
        wrong_line(line, "finite float32 numbers", f"infinity at step {bad[0]} of dimension {bad[1]}")
    return clock, array


def numbers_of(text: str, line: int) -> npt.NDArray[np.float64]:
    if not text.strip():
        wrong_line(line, "numbers in each dimension", "none")
    words = text.replace("?", "nan").split(",")
    try:
        return np.array(words, np.float64)
    except ValueError:
        wrong = next((word for word in words if not is_number(word)), text)
        wrong_line(line, "numbers, or ? for a missing one", wrong)


def _stamped(text: str, line: int) -> tuple[Clock, str]:
    """Return the times of "(time,value),(time,value)", and the values alone."""
    body = text.strip()
    if not (body.startswith("(") and body.endswith(")")):
        wrong_line(line, "pairs (time,value)", body)
    pairs = [pair.rsplit(",", 1) for pair in body[1:-1].split("),(")]
    if any(len(pair) != 2 for pair in pairs):
        wrong_line(line, "pairs (time,value)", body)
    clock = np.array([_time(pair[0].strip(), line) for pair in pairs])
    if not (np.diff(clock) > 0).all():
        wrong_line(line, "rising times", pairs[int(np.argmin(np.diff(clock) > 0)) + 1][0])
    return clock, ",".join(pair[1] for pair in pairs)


def _time(text: str, line: int) -> float:
    """Return a number, or an ISO 8601 time in seconds since 1970."""
    try:
        time = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            wrong_line(line, "a number or a time such as 2024-05-01 12:00", text)
        time = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not np.isfinite(time):
        wrong_line(line, "a finite time", text)
    return time
