"""Median and spread of a figure over seeds, with runs that did not get there; and how a report prints them.

Aggregates are dictionaries, so that results.json can hold them; texts are made from these alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.errors import ConfigError, expected

__all__ = ["number", "spread", "spread_text", "within_cap", "within_text"]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return {median, low, high, runs} of at least one finite value."""
    if not values or not all(math.isfinite(value) for value in values):
        raise ConfigError(expected("values", "finite numbers, at least one", list(values)))
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "runs": len(values),
    }


def within_cap(values: Sequence[float | None], cap: float) -> dict[str, Any]:
    """Return the same of steps or seconds to a goal, where None is a run that did not reach it within `cap`.

    Such a run is censored: it counts as more than the cap, so a median or an end of the spread that falls
    among these is None. `solved` and `censored` add up to `runs`.
    """
    if not values:
        raise ConfigError(expected("values", "at least one run", "none"))
    ordered = sorted(math.inf if value is None else value for value in values)
    median = statistics.median(ordered)
    return {
        "median": median if math.isfinite(median) else None,
        "low": ordered[0] if math.isfinite(ordered[0]) else None,
        "high": ordered[-1] if math.isfinite(ordered[-1]) else None,
        "runs": len(ordered),
        "solved": sum(math.isfinite(value) for value in ordered),
        "censored": sum(math.isinf(value) for value in ordered),
        "cap": cap,
    }


def number(value: float, digits: int = 3) -> str:
    """Print a number to `digits` significant ones, whole numbers whole: 0.123, 12.3, 1,234, 1.2e-05."""
    if value == 0 or (float(value).is_integer() and abs(value) < 1e15):
        return f"{value:,.0f}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(digits - 1 - magnitude, 0)}f}"


def spread_text(found: Mapping[str, Any], digits: int = 3) -> str:
    """Print `spread` or `within_cap`: 0.123 (0.119 to 0.13); more than the cap as "> 500"."""
    middle, low, high = (_part(found, name, digits) for name in ("median", "low", "high"))
    return middle if low == high == middle else f"{middle} ({low} to {high})"


def within_text(found: Mapping[str, Any], digits: int = 3) -> str:
    """Print `within_cap` with its count: 150 (120 to > 500), solved by 2 of 3, 1 censored."""
    count = f"solved by {found['solved']} of {found['runs']}"
    censored = f", {found['censored']} censored" if found["censored"] else ""
    return f"{spread_text(found, digits)}, {count}{censored}"


def _part(found: Mapping[str, Any], name: str, digits: int) -> str:
    value = found[name]
    return f"> {number(found['cap'], digits)}" if value is None else number(value, digits)
