"""What measurements return: frozen dataclasses of numpy arrays that JSON can hold, and 95 % intervals."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Result:
    """The base of the results: `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it: lists for arrays, None for what is not finite."""
        assert dataclasses.is_dataclass(self)
        return {field.name: _json(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _json(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, dict):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    if isinstance(value, complex):
        return [_json(value.real), _json(value.imag)]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def mean_interval(repeats: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean over the first axis, and the two ends of its 95 % interval.

    The repeats must be independent of each other; what lies within one may depend on itself in any way, since
    only their means are compared (Ibragimov and Müller 2010: valid for few and unequal repeats). Here they
    are the rows of a batch. One repeat has no interval: its ends are NaN.
    """
    mean = repeats.mean(axis=0)
    count = len(repeats)
    if count < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = student(count - 1) * repeats.std(axis=0, ddof=1) / math.sqrt(count)
    return mean, mean - reach, mean + reach


@functools.cache
def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, by bisection of its distribution in closed form.

    Source: Abramowitz and Stegun 26.7.3 and 26.7.4.

    >>> [round(student(n), 3) for n in (1, 2, 15, 1000)]
    [12.706, 4.303, 2.131, 1.962]
    """
    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < CONFIDENCE else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return P(|T| < t)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = 0.0 if freedom == 1 else (cosine if odd else 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
