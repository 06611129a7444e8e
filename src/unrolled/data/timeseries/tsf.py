"""The .tsf format of the Monash archive: a header of @ lines, then a series a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unrolled.data.frequency import Frequency
from unrolled.data.labelled.source import check_line, named, text_of
from unrolled.data.labelled.ts import numbers_of, wrong_line
from unrolled.data.timeseries.starts import Starts
from unrolled.data.timeseries.wanted import Observed, Wanted
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal
from unrolled.schema import MOST_NUMBER, a_number

__all__ = ["series_of_tsf"]

WORDS = {
    "minutely": "min", "hourly": "h", "daily": "D", "weekly": "W", "monthly": "MS", "quarterly": "QS",
    "yearly": "YS",
}  # fmt: skip
SEVERAL = re.compile(r"(\d{1,6}|half)_?(second|minut|hour|dai|day|week|month|quarter|year)\w*")
UNITS = {
    "second": "s", "minut": "min", "hour": "h", "dai": "D", "day": "D", "week": "W", "month": "MS",
    "quarter": "QS", "year": "YS",
}  # fmt: skip
KINDS = ("string", "numeric", "date")
MOST_ATTRIBUTES = 1000


@dataclass
class _Header:
    """What the @ lines say."""

    attributes: list[tuple[str, str]] = field(default_factory=list)  # names and kinds, in order
    freq: Frequency | None = None


def series_of_tsf(path: Path, data: bytes, want: Wanted) -> Observed:
    """Return the series of a .tsf file. Raises DataError, with the line: anything that is not one."""
    lines = enumerate(text_of(data, path).split("\n"), 1)
    header = _Header()
    for number, line in lines:
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if word.lower() == "@data":
            break
        if not word.startswith("@"):
            wrong_line(number, "an @ line or @data", line)
        _take(header, word.split(), number)
    else:
        raise refusal(DataError, "source", "a line @data", f"none in {path}")
    rows = [(number, line.strip()) for number, line in lines if line.strip() and line.strip()[0] != "#"]
    if not rows:
        raise refusal(DataError, "source", "series after @data", f"none in {path}")
    return _observed(header, rows, want)


def _take(header: _Header, words: Sequence[str], line: int) -> None:
    key = words[0].lower()
    if key == "@attribute":
        if len(words) != 3 or words[2].lower() not in KINDS or len(header.attributes) >= MOST_ATTRIBUTES:
            wrong_line(line, f"@attribute, a name, and one of {', '.join(KINDS)}", " ".join(words))
        header.attributes.append((words[1], words[2].lower()))
    elif key == "@frequency":
        header.freq = _frequency(words[1].lower() if len(words) == 2 else "", line)


def _frequency(word: str, line: int) -> Frequency:
    """Return what hourly, half_hourly or 10_minutes means."""
    if word in WORDS:
        return Frequency(WORDS[word])
    match = SEVERAL.fullmatch(word)
    if match is None or match[1] == "0" or (match[1] == "half" and match[2] != "hour"):
        wrong_line(line, "a frequency such as hourly, 10_minutes or monthly", word)
    return Frequency("min", 30) if match[1] == "half" else Frequency(UNITS[match[2]], int(match[1]))


def _observed(header: _Header, rows: Sequence[tuple[int, str]], want: Wanted) -> Observed:
    names = [name for name, _ in header.attributes]
    if len(set(names)) < len(names):
        raise refusal(DataError, "source", "attributes of different names", named(names))
    asked = [("id", want.id), ("time", want.time), *(("static", name) for name in want.static)]
    for role, name in [*asked, *(("known", n) for n in want.known), *(("columns", n) for n in want.columns)]:
        if name is not None and (name not in names or role in ("known", "columns")):
            raise refusal(DataError, role, f"an attribute of the file: {named(names) or 'none'}", repr(name))
    texts = [name for name, kind in header.attributes if kind == "string"]
    start = want.time or next((name for name, kind in header.attributes if kind == "date"), None)
    freq = want.freq or header.freq
    ids = [want.id] if want.id is not None else texts[:1]
    if want.id is None and len(texts) > 1:  # of series in groups, one text alone may repeat
        known = [_attributes(text, names, line)[texts[0]] for line, text in rows]
        ids = texts if len(set(known)) < len(known) else ids
    starts, found = Starts(freq), Observed(static_names=want.static)
    for line, text in rows:
        attributes = _attributes(text, names, line)
        values = numbers_of(text.rpartition(":")[2], line)
        far = np.abs(values) >= MOST_NUMBER
        if far.any():
            wrong = values[int(np.argmax(far))]
            wrong_line(line, f"{a_number(wrong)}, or ? for a missing one", f"{wrong:g}")
        times = starts.times(None if start is None else attributes[start], len(values), f"source line {line}")
        static = np.array([_static(attributes[name], name, line) for name in want.static], np.float32)
        empty = np.zeros((len(values), 0), np.float32)
        name = "/".join(attributes[name] for name in ids) if ids else str(line)
        found.add(name, values, empty, empty, times, static, needs_values=want.needs_values)
    found.freq = starts.frequency()
    left = [name for name in names if name not in (*ids, start, *want.static)]
    if left:
        found.notes.append(f"left out: {named(left)}; to use numeric ones, name them as static")
    found.read_as = want.read_as(freq=None if freq is None else str(freq))
    return found


def _attributes(text: str, names: Sequence[str], line: int) -> dict[str, str]:
    """Return the attributes of a series, which stand before its values."""
    check_line(text, ":", line)
    parts = text.split(":")
    if len(parts) != len(names) + 1:
        wrong_line(line, f"{counted(len(names), 'attribute')} and values, separated by colons", text)
    return dict(zip(names, map(str.strip, parts), strict=False))


def _static(text: str, name: str, line: int) -> float:
    value = numbers_of(text, line)
    if len(value) != 1 or not np.isfinite(value[0]):
        wrong_line(line, f"a number in {quoted(name)}", text)
    return float(value[0])
