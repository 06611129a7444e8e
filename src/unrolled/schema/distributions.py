"""What a network gives for a value, as quantiles: of a point, of quantiles and of distributions."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["FREEDOM", "LEAST", "log_gamma", "quantiles", "rising", "softplus"]

Array: TypeAlias = npt.NDArray[Any]
LEAST = 1e-3  # of a scale, in standardised units
MOST_HALVINGS = 60
FREEDOM = 2.0  # degrees that a Student t has at least, so that its variance is finite


def quantiles(distribution: str, given: Array, points: tuple[float, ...], scale: Array | None) -> Array:
    """Return quantiles […, Q] in standardised units, rising; of a point, the point.

    Args:
        given: […, O] as `loss` takes them. points: the quantiles, rising. scale: of counts, […].
    """
    if distribution == "point":
        return np.repeat(given[..., :1], len(points), -1)
    if distribution == "quantiles":
        return given
    if distribution == "gaussian":
        z = np.array([NormalDist().inv_cdf(point) for point in points])
        found: Array = given[..., :1] + (softplus(given[..., 1:2]) + LEAST) * z
        return found
    if distribution == "student-t":
        freedom = softplus(given[..., 2]) + FREEDOM
        spread = softplus(given[..., 1]) + LEAST
        sides = [given[..., 0] + spread * student_quantile(freedom, point) for point in points]
        return np.stack(sides, -1)
    assert scale is not None
    mean = softplus(given[..., 0]) * scale + 1e-6
    number = 1 / (softplus(given[..., 1]) + LEAST)
    return np.stack([count_quantile(mean, number, point) / scale for point in points], -1)


def rising(given: Array) -> Array:
    """Return quantiles […, Q] that do not cross: the median, and a distance above 0 to each next one."""
    given = given.astype(np.float64)
    middle = given.shape[-1] // 2
    steps, median = softplus(given), given[..., middle : middle + 1]
    above = np.add.accumulate(steps[..., middle + 1 :], axis=-1)
    below = np.add.accumulate(steps[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([median - below, median, median + above], axis=-1)


def softplus(x: Array) -> Array:
    """Return log(1 + eˣ)."""
    found: Array = np.logaddexp(0.0, x.astype(np.float64))
    return found


def student_quantile(freedom: Array, point: float) -> Array:
    """Return the quantile of Student's t, by halving an interval of its distribution function."""
    if point == 0.5:
        return np.zeros_like(freedom)
    upper = max(point, 1 - point)
    low, high = np.zeros_like(freedom), np.ones_like(freedom)
    while (short := student_below(high, freedom) < upper).any():
        high = np.where(short, 2 * high, high)
    for _ in range(MOST_HALVINGS):
        middle = (low + high) / 2
        below = student_below(middle, freedom) < upper
        low, high = np.where(below, middle, low), np.where(below, high, middle)
        if ((high - low) <= 1e-7 * high).all():
            break
    found: Array = (low + high) / 2 * (1 if point > 0.5 else -1)
    return found


def student_below(x: Array, freedom: Array) -> Array:
    """Return P(t ≤ x) for x ≥ 0."""
    return 1 - 0.5 * beta_share(freedom / 2, np.full_like(freedom, 0.5), freedom / (freedom + x**2))


def count_quantile(mean: Array, number: Array, point: float) -> Array:
    """Return the least count k with P(count ≤ k) ≥ point, of a negative binomial."""
    share = number / (number + mean)
    low, high = np.full_like(mean, -1.0), np.ceil(mean) + 1
    while (short := beta_share(number, high + 1, share) < point).any():
        high = np.where(short, 2 * high, high)
    while True:
        middle = np.floor((low + high) / 2)
        inside = (low < middle) & (middle < high)  # past 2**53 there may be no count between two
        if not inside.any():
            return high
        below = beta_share(number, np.maximum(middle, 0) + 1, share) < point
        low = np.where(inside & below, middle, low)
        high = np.where(inside & ~below, middle, high)


def beta_share(a: Array, b: Array, x: Array) -> Array:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz 1976)."""
    a, b, x = (np.asarray(each, np.float64) for each in np.broadcast_arrays(a, b, x))
    turned = x > (a + 1) / (a + b + 2)  # where the fraction converges fast for the other side
    a, b, x = np.where(turned, b, a), np.where(turned, a, b), np.where(turned, 1 - x, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        front = np.exp(
            log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * np.log(x) + b * np.log1p(-x) - np.log(a)
        )
    front = np.where(x <= 0, 0.0, front)
    value = front * (_fraction(a, b, np.clip(x, 0.0, 1.0)) - 1)
    found: Array = np.where(turned, 1 - value, value)
    return found


def _fraction(a: Array, b: Array, x: Array) -> Array:
    """Return the continued fraction of the incomplete beta function."""
    tiny = 1e-300
    value, c, d = np.ones_like(a), np.ones_like(a), np.zeros_like(a)
    for step in range(300):
        m = step // 2
        if step == 0:
            term = np.ones_like(a)
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 + term * d
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = 1 + term / np.where(np.abs(c) < tiny, tiny, c)
        change = c * d
        value = value * change
        if step > 1 and (np.abs(change - 1) < 1e-11).all():
            break
    return value


def log_gamma(x: Array) -> Array:
    """Return log Γ(x) of x above 0, by Stirling's series from 10 on."""
    x = np.asarray(x, np.float64)
    shift = np.zeros_like(x)
    low = x < 10
    if low.any():
        moved, product = x.copy(), np.ones_like(x)
        for _ in range(10):
            small = moved < 10
            product = np.where(small, product * moved, product)
            moved = np.where(small, moved + 1, moved)
        shift, x = np.log(product), moved
    y = 1 / (x * x)
    series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x
    found: Array = (x - 0.5) * np.log(x) - x + 0.5 * math.log(2 * math.pi) + series - shift
    return found
