"""Median and spread of a figure over seeds, with runs that did not get there; and how a report prints them.

Aggregates are dictionaries, so that results.json can hold them; texts are made from these alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, expected

__all__ = [
    "band", "capped", "finite", "number", "shortened", "spread", "spread_text", "within_cap",
    "within_text",
]  # fmt: skip

DIGITS = 5  # of the values that pictures are drawn from


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
    ends = {"median": statistics.median(ordered), "low": ordered[0], "high": ordered[-1]}
    return {
        **{name: finite(value) for name, value in ends.items()},
        "runs": len(ordered),
        "solved": sum(math.isfinite(value) for value in ordered),
        "censored": sum(math.isinf(value) for value in ordered),
        "cap": cap,
    }


def capped(values: Sequence[float | None], cap: float) -> dict[str, Any]:
    """Return `within_cap` of figures of which one above the cap counts as more than the cap, as None does."""
    return within_cap([None if value is None or value > cap else value for value in values], cap)


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


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


def band(
    runs: Sequence[tuple[Sequence[float], Sequence[float | None]]], *, stays: bool = True
) -> dict[str, Any]:
    """Return the median and both ends over runs: {x, middle, low, high}, as `figures.series` takes them.

    Args:
        runs: (x, y) each, all along the same x; None is a value that there is none of. Where a run has
            no value the median has none.
        stays: a run that ended early stays at its last value; otherwise it has none from there on.
    """
    longest = max((x for x, _ in runs), key=len)
    values = np.full((len(runs), len(longest)), np.nan)
    for row, (_, y) in zip(values, runs, strict=True):
        row[: len(y)] = np.array(y, dtype=np.float64)
        if stays and len(y):
            row[len(y) :] = row[len(y) - 1]
    ends = {"middle": np.median(values, axis=0), "low": values.min(axis=0), "high": values.max(axis=0)}
    return {"x": list(longest), **{name: shortened(value) for name, value in ends.items()}}


def shortened(values: npt.ArrayLike) -> list[float | None]:
    """Return values of a curve as results.json keeps them: to five digits, None where not finite."""
    rounded = (
        float(f"{value:.{DIGITS}g}") for value in np.asarray(values, dtype=np.float64).ravel().tolist()
    )
    return [finite(value) for value in rounded]
