"""How often a series is observed: from seconds to years, months and quarters by the calendar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, expected

__all__ = ["DAY", "LATEST", "Frequency", "infer", "parse"]

Times: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int64]

DAY = 86400.0
LATEST = 4e12  # seconds since 1970 of a time with a clock: microseconds fit into 64 bits
LONGEST = 1e11  # seconds of a step: 3,000 years
STEP = "step"  # the unit of times without a clock
UNITS = {"W": 7 * DAY, "D": DAY, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
MONTHS = {"MS": 1, "ME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}
BUSINESS = "B"
OTHER_NAMES = {
    "H": "h", "T": "min", "m": "min", "S": "s", "L": "ms", "U": "us", "d": "D", "w": "W",
    "M": "MS", "Q": "QS", "Y": "YS", "A": "YS", "AS": "YS", "y": "YS", "BMS": "MS", "BME": "ME",
}  # fmt: skip
SEASONS = {"h": DAY, "min": DAY, "D": 7 * DAY, "W": 52 * 7 * DAY}  # what repeats, in seconds
FORM = re.compile(r"(\d{0,9})([A-Za-z]+)(?:-[A-Z]{3})?")
MONTH = 30.4375 * DAY
MOST = 2.0**53  # steps that are told apart
NEAR = 1e-3  # of a step: a time that is not further from the grid lies on it
WANTED = "such as 'h', '15min', 'D', 'B', 'W', 'MS', 'QS' or 'YS'"
BUSINESS_ROWS = 10  # from where days without a weekend are business days


@dataclass(frozen=True)
class Frequency:
    """One step of a series: a number of units.

    A unit MS, QS or YS is a month, a quarter or a year on the day that the first time has; ME, QE or YE at
    the end of the month; B a weekday; "step" the count itself, of times without a clock.
    """

    unit: str
    count: float = 1

    def __str__(self) -> str:
        return f"{'' if self.count == 1 else f'{self.count:g}'}{self.unit}"

    @property
    def months(self) -> int:
        """The months of a step; 0 for other units."""
        return MONTHS.get(self.unit, 0) * int(self.count)

    @property
    def seconds(self) -> float:
        """The seconds of a step; about as many for months."""
        if self.months:
            return self.months * MONTH
        return DAY if self.unit == BUSINESS else UNITS.get(self.unit, 1.0) * self.count

    @property
    def season(self) -> int:
        """The steps of the main season: a day of hours, a week of days, a year of months; 1 without one."""
        if self.unit == BUSINESS:
            return 5
        whole = 12.0 if self.months else SEASONS.get(self.unit, 0.0)
        steps = whole / (self.months or self.seconds)
        return int(steps) if steps >= 1 and steps == int(steps) else 1

    def positions(self, times: Times) -> tuple[Whole, npt.NDArray[np.bool_]]:
        """Return the steps of times [T] since the first one, and which of them lie on a step."""
        if self.months:
            return self._months(times)
        if self.unit == BUSINESS:
            days = np.floor(times / DAY)
            dates = days.astype("datetime64[D]")
            clock = times - days * DAY
            steps = np.busday_count(dates[0], dates).astype(np.int64)
            return steps, np.is_busday(dates) & (np.abs(clock - clock[0]) < NEAR * DAY)
        with np.errstate(over="ignore"):
            exact = (times - times[0]) / self.seconds
        steps = np.round(np.clip(exact, -MOST, MOST)).astype(np.int64)
        return steps, np.abs(exact - steps) <= NEAR

    def _months(self, times: Times) -> tuple[Whole, npt.NDArray[np.bool_]]:
        month, day, clock, last = _parts(times)
        elapsed = month - month[0]
        anchor = _anchor(day, last)
        right = (day == np.minimum(anchor, last)) & (np.abs(clock - clock[0]) < 1.0)
        return elapsed // self.months, right & (elapsed % self.months == 0)

    def after(self, times: Times, steps: Whole) -> Times:
        """Return the times that are some steps after the first of times [T]; these lie on steps."""
        found: Times
        if self.months:
            month, day, clock, last = _parts(times)
            starts = (month[0] + steps * self.months).astype("datetime64[M]")
            days = np.minimum(_anchor(day, last), _length(starts)) - 1
            found = starts.astype("datetime64[s]").astype(np.float64) + days * DAY + clock[0]
        elif self.unit == BUSINESS:
            day = np.floor(times[0] / DAY)
            dates = np.busday_offset(day.astype("datetime64[D]"), steps, roll="forward")
            found = dates.astype(np.float64) * DAY + (times[0] - day * DAY)
        else:
            found = times[0] + steps * self.seconds
        return found

    def fitted(self, series: Sequence[Times]) -> Frequency:
        """Return the frequency with months named by where the times lie: MS or ME, QS or QE, YS or YE."""
        if not self.months:
            return self
        parts = [_parts(times) for times in series if len(times)]
        ends = bool(parts) and all((day == last).all() for _, day, _, last in parts)
        return Frequency(self.unit[0] + ("E" if ends else "S"), self.count)


def _parts(times: Times) -> tuple[Whole, Whole, Times, Whole]:
    """Return months since 1970, days 1 to 31, seconds of the day, and the last day of the month."""
    moments = np.floor(times).astype(np.int64).astype("datetime64[s]")
    starts = moments.astype("datetime64[M]")
    days = moments.astype("datetime64[D]")
    day = (days - starts.astype("datetime64[D]")).astype(np.int64) + 1
    clock = times - days.astype("datetime64[s]").astype(np.float64)
    return starts.astype(np.int64), day, clock, _length(starts)


def _length(starts: npt.NDArray[np.datetime64]) -> Whole:
    """Return the days of months."""
    days = (starts + 1).astype("datetime64[D]") - starts.astype("datetime64[D]")
    length: Whole = days.astype(np.int64)
    return length


def _anchor(day: Whole, last: Whole) -> int:
    """Return the day of the month that times are on, 31 for its end; where they differ, most of them."""
    anchor = 31 if (day == last).all() else int(day.max())
    if (day == np.minimum(anchor, last)).all():
        return anchor
    counts = np.bincount(day)
    return int(np.flatnonzero(counts == counts.max())[-1])


def parse(text: str) -> Frequency:
    """Return a frequency from its name: a number and a unit of pandas, "15min", "MS", "W-SUN".

    Raises:
        ConfigError: it is none.
    """
    match = FORM.fullmatch(text) if isinstance(text, str) else None
    unit = "" if match is None else OTHER_NAMES.get(match[2], match[2])
    count = int(match[1] or 1) if match is not None else 0
    if unit not in UNITS and unit not in MONTHS and unit != BUSINESS:
        raise ConfigError(expected("freq", f"a frequency {WANTED}", repr(text)[:80]))
    if count < 1 or (unit == BUSINESS and count > 1):
        raise ConfigError(expected("freq", "at least 1 step, and 1 of a unit B", repr(text)[:80]))
    found = Frequency(unit, count)
    if found.seconds > LONGEST:
        raise ConfigError(expected("freq", "a step of at most 3,000 years", repr(text)[:80]))
    return found


def infer(series: Sequence[Times], *, clock: bool) -> Frequency | None:
    """Return the frequency that most neighbouring times [T] of series have; None where no two follow another.

    Times rise. Steps of whole months on one day of the month are months.

    Args:
        clock: whether times are seconds; else they are steps.
    """
    steps = [np.diff(times) for times in series if len(times) > 1]
    if not steps:
        return None
    every = np.concatenate(steps)
    values, counts = np.unique(every.round(6), return_counts=True)
    step = float(values[int(np.argmax(counts))])
    if not clock:
        return Frequency(STEP, step or float(np.median(every)))
    months = round(step / MONTH)
    if months and step >= 28 * DAY and step % DAY == 0:
        by_month = Frequency("MS", months)
        if all(by_month.positions(times)[1].all() for times in series if len(times)):
            unit = next(unit for unit in ("YS", "QS", "MS") if months % MONTHS[unit] == 0)
            return Frequency(unit, months // MONTHS[unit]).fitted(series)
    if step == DAY and _without_weekends(series, 3 * DAY in values):
        return Frequency(BUSINESS)
    for unit, seconds in UNITS.items():
        count = step / seconds
        if count >= 1 and abs(count - round(count)) < 1e-9 * count:
            return Frequency(unit, round(count))
    return Frequency("us", max(1, round(step / UNITS["us"])))


def _without_weekends(series: Sequence[Times], weekends: bool) -> bool:
    """Whether days are weekdays alone, over at least one weekend."""
    days = np.floor(np.concatenate(list(series)) / DAY).astype("datetime64[D]")
    return weekends and len(days) >= BUSINESS_ROWS and bool(np.is_busday(days).all())
