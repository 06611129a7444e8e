"""Columns of times, as seconds since 1970 or as steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.frequency import DAY, Frequency
from unrolled.data.labelled.table import Table
from unrolled.errors import DataError
from unrolled.files import quoted, refusal
from unrolled.schema import MOST_TIME

__all__ = ["Clock", "clock_of", "is_time", "seconds", "shown"]

Times: TypeAlias = npt.NDArray[np.float64]

MONTH = re.compile(r"(\d{4})[-/]?([01]\d)")
QUARTER = re.compile(r"(\d{4})[- ]?[Qq]([1-4])")
NAMED_MONTH = re.compile(r"(\d{4})[- ]([A-Za-z]{3})[a-z]*|([A-Za-z]{3})[a-z]*[- ](\d{4})")
NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]+(.*))?")
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4})(?:[T ]+(.*))?")
DASHED_CLOCK = re.compile(r"(\d\d)-(\d\d)-(\d\d)")  # Monash's
YEARS = ("year", "years")
EARLIEST, LATEST = 3e8, 5e9  # seconds since 1970 that count as such: 1979 to 2128
MILLI = 1e3


@dataclass(frozen=True)
class Clock:
    """The times of a table's rows."""

    times: Times  # [rows]
    is_clock: bool  # seconds since 1970; else steps
    note: str | None = None


def clock_of(table: Table, name: str, freq: Frequency | None) -> Clock:
    """Return the times in a column: dates, months, quarters; numbers are steps, unless they look like dates.

    Numbers count as days (20240131), as years in a column "year" or with a frequency of years, as seconds or
    milliseconds since 1970 (1979 to 2128); which, is noted. Raises DataError: a row without a time.
    """
    moments = table.moments(name)
    if moments is not None:
        _check_all(table, name, moments)
        return Clock(moments, True)
    if not table.is_number(name):
        texts = table.texts(name)
        day_first, note = _day_first(table, name, texts)
        known = {text: seconds(text, day_first) for text in set(texts)}
        times = np.array([known[text] for text in texts])
        _check_all(table, name, times)
        return Clock(times, True, note)
    numbers = table.numbers(name)
    _check_all(table, name, numbers)
    whole = bool((numbers == np.round(numbers)).all())
    if whole and numbers.min() >= 19000101 and numbers.max() <= 21001231:
        days = np.array([seconds(str(int(number))) for number in numbers])
        if np.isfinite(days).all():
            return Clock(days, True, f"numbers in {quoted(name)} are days, as 20240131")
    if whole and numbers.min() >= 1000 and numbers.max() < 3000 and _yearly(name, freq):
        years = (numbers.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[s]")
        return Clock(years.astype(np.float64), True)
    for factor, unit in ((1.0, "seconds"), (MILLI, "milliseconds")):
        if numbers.min() >= EARLIEST * factor and numbers.max() <= LATEST * factor:
            return Clock(numbers / factor, True, f"numbers in {quoted(name)} are read as {unit} since 1970")
    return Clock(numbers, False)


def _yearly(name: str, freq: Frequency | None) -> bool:
    return name.lower() in YEARS or (freq is not None and freq.unit in ("YS", "YE"))


def _check_all(table: Table, name: str, times: Times) -> None:
    wrong = ~(np.abs(times) < MOST_TIME)
    if wrong.any():
        row = int(np.argmax(wrong))
        text = table.texts(name)[row]
        got = "none" if text is None else quoted(text)
        want = "a time such as 2024-05-01 12:00, 2024-05 or 2024Q2, the year first, or a number"
        if text is not None and np.isfinite(times[row]):
            want = f"numbers within ±{MOST_TIME:.2g}"
        raise refusal(DataError, f"column {quoted(name)}", want, f"{got} in row {table.row(row)}")


def _day_first(table: Table, name: str, texts: Sequence[str | None]) -> tuple[bool, str | None]:
    """Return whether dates with the year last have the day first, and a note; dots always do.

    Raises DataError: such dates, and in no row a number above 12 says which is the day.
    """
    sample = next((text for text in texts if text and text.strip()), None)
    match = YEAR_LAST.fullmatch((sample or "").strip())
    if match is None or match[2] == ".":
        return True, None
    found = [YEAR_LAST.fullmatch(text.strip()) for text in set(texts) if text]
    first = max(int(each[1]) for each in found if each)
    second = max(int(each[3]) for each in found if each)
    if first <= 12 and second <= 12:
        want = "dates that say which number is the day, as 2024-05-01 does"
        raise refusal(
            DataError, f"column {quoted(name)}", want, f"{quoted(str(sample))} in row {table.row(0)}"
        )
    return first > 12, f"dates in {quoted(name)} have the {'day' if first > 12 else 'month'} first"


def seconds(text: str | None, day_first: bool = True) -> float:
    """Return a time in seconds since 1970, in UTC where it names no zone; NaN for what is none.

    >>> seconds("1970-01-02"), seconds("1970-02"), seconds("1970Q2"), seconds("1970-01-01 00-00-09")
    (86400.0, 2678400.0, 7776000.0, 9.0)
    >>> seconds("2.1.1970"), seconds("1/2/1970 0:00", day_first=False), seconds("1970 Feb")
    (86400.0, 86400.0, 2678400.0)
    """
    try:
        moment = _moment((text or "").strip(), day_first)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moment(text: str, day_first: bool) -> datetime:
    """Read a time. Raises ValueError: it is none."""
    if match := QUARTER.fullmatch(text):
        return datetime(int(match[1]), 3 * int(match[2]) - 2, 1)
    if match := MONTH.fullmatch(text):
        return datetime(int(match[1]), int(match[2]), 1)
    if match := NAMED_MONTH.fullmatch(text):
        return datetime(int(match[1] or match[4]), NAMES.index((match[2] or match[3]).lower()) + 1, 1)
    if match := YEAR_FIRST.fullmatch(text):
        year, month, day, clock = match.groups()
    elif match := YEAR_LAST.fullmatch(text):
        day, month, year, clock = match[1], match[3], match[4], match[5]
        if not day_first and match[2] != ".":
            day, month = month, day
    else:
        return datetime.fromisoformat(text)
    clock = DASHED_CLOCK.sub(r"\1:\2:\3", clock or "00:00")
    clock = f"0{clock}" if clock[1:2] == ":" else clock
    return datetime.fromisoformat(f"{year}-{month:>02}-{day:>02} {clock}")


def shown(time: float, is_clock: bool) -> str:
    """Return a time for a message."""
    if not is_clock or abs(time) > 1e11:
        return f"{time:g}"
    moment = np.datetime64(round(time * 1e6), "us")
    text = str(moment)
    if time % DAY == 0:
        return text[:10]
    return text[:19].replace("T", " ") if time == int(time) else text.replace("T", " ")


def is_time(texts: Sequence[str | None]) -> bool:
    """Whether the first text that is there is a time."""
    first = next((text for text in texts if text and text.strip()), None)
    return first is not None and bool(np.isfinite(seconds(first)))
