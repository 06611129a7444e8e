"""Numbers as words: few digits, true minus signs, and something to say where there is no number."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from unrolled.errors import counted
from unrolled.probe.result import Floats

SMALL, LARGE = 1e-3, 1e6  # magnitudes outside are written with a power of ten
MOST = 100  # rows of a table over lags or windows: more are thinned out


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits.

    >>> [number(value) for value in (-0.10221, 1234.5, 2e-7, float("inf"), 0.0)]
    ['−0.102', '1,234', '2e−07', 'infinite', '0']
    """
    value = float(value)
    if not math.isfinite(value):
        return "not defined" if math.isnan(value) else "infinite" if value > 0 else "minus infinity"
    short, size = f"{value:,.6g}", abs(value)
    if len(short) <= digits + 2 and float(short.replace(",", "")) == value:  # a whole number, or a setting
        words = short
    elif not SMALL <= size < LARGE:
        words = f"{value:.{digits}g}"
    else:
        words = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    return words.replace("-", "−")


def numbers(*values: float) -> list[str]:
    """Return several numbers as words."""
    return [number(value) for value in values]


def percent(share: float) -> str:
    """Return a share in percent."""
    return "not defined" if math.isnan(share) else f"{number(round(100 * share, 1))} %"


def between(low: float, high: float) -> str:
    """Return an interval; the measurements give NaN where they had one row."""
    if math.isnan(low) or math.isnan(high):
        return "none, as there is nothing to compare"
    return f"{number(low)} to {number(high)}"


def steps(count: float) -> str:
    """Return a number of steps.

    >>> steps(1), steps(5.93564)
    ('1 step', '5.94 steps')
    """
    return counted(count, "step") if float(count).is_integer() else f"{number(count)} steps"


def listed(parts: Iterable[str]) -> str:
    """Return parts with commas, and before the last an "and"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def named(column: str) -> str:
    """Return the name of a column as a sentence has it: one that is a number is called a column."""
    return f"column {column}" if column.isdigit() else column


def thinned(values: Floats) -> list[int]:
    """Return at most `MOST` positions of an array, spread evenly, the first and the last among them."""
    count = len(values)
    return sorted({int(at) for at in np.linspace(0, count - 1, min(count, MOST)).round()})
