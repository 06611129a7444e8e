"""What a network gives for a value: a point, quantiles or a distribution; its loss, and its quantiles."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["loss", "outputs_of", "quantiles"]

Array: TypeAlias = npt.NDArray[Any]
LEAST = 1e-3  # of a scale, in standardised units
MOST_HALVINGS = 60
FREEDOM = 2.0  # degrees that a Student t has at least, so that its variance is finite


def outputs_of(distribution: str, levels: tuple[float, ...]) -> int:
    """Return how many numbers describe one value."""
    counts = {"point": 1, "gaussian": 2, "student-t": 3, "negative-binomial": 2}
    return counts.get(distribution) or 2 * len(levels) + 1


def loss(distribution: str, given: Tensor, targets: Tensor, points: Tensor, scale: Tensor | None) -> Tensor:
    """Return the loss of each value, of the shape of `targets`.

    Args:
        given: […, O], as the network gives them, what was taken off its window put back. targets: […].
        points: [Q] the quantiles. scale: of counts, broadcast against `targets`.
    Returns:
        the absolute error of a point; twice the pinball loss, averaged over quantiles; else nats.
    """
    if distribution == "point":
        return (given[..., 0] - targets).abs()
    if distribution == "quantiles":
        error = targets.unsqueeze(-1) - given
        return 2 * torch.maximum(points * error, (points - 1) * error).mean(-1)
    if distribution == "gaussian":
        spread = F.softplus(given[..., 1]) + LEAST
        return spread.log() + 0.5 * ((targets - given[..., 0]) / spread) ** 2 + 0.5 * math.log(2 * math.pi)
    if distribution == "student-t":
        return _student(given, targets)
    assert scale is not None
    return _counts(given, targets * scale, scale)


def _student(given: Tensor, targets: Tensor) -> Tensor:
    spread = F.softplus(given[..., 1]) + LEAST
    freedom = F.softplus(given[..., 2]) + FREEDOM
    z = (targets - given[..., 0]) / spread
    whole = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2)
    return (
        spread.log()
        + 0.5 * (freedom * math.pi).log()
        - whole
        + (freedom + 1) / 2 * torch.log1p(z**2 / freedom)
    )


def _counts(given: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
    """Return nats of counts: a negative binomial of mean μ and variance μ + α μ² (Salinas et al. 2020)."""
    counts = counts.round()
    mean = F.softplus(given[..., 0]) * scale + 1e-6
    number = 1 / (F.softplus(given[..., 1]) + LEAST)  # 1 / α, the failures
    ratio = torch.log1p(mean / number)
    return (
        torch.lgamma(counts + 1)
        + torch.lgamma(number)
        - torch.lgamma(counts + number)
        + number * ratio
        - counts * (mean.log() - number.log() - ratio)
    )


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
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        inside = high - low > 1
        below = beta_share(number, np.maximum(middle, 0) + 1, share) < point
        low = np.where(inside & below, middle, low)
        high = np.where(inside & ~below, middle, high)
    return high


def beta_share(a: Array, b: Array, x: Array) -> Array:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz 1976)."""
    a, b, x = (np.asarray(each, np.float64) for each in np.broadcast_arrays(a, b, x))
    turned = x > (a + 1) / (a + b + 2)  # where the fraction converges fast for the other side
    a, b, x = np.where(turned, b, a), np.where(turned, a, b), np.where(turned, 1 - x, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        front = np.exp(
            _lgamma(a + b) - _lgamma(a) - _lgamma(b) + a * np.log(x) + b * np.log1p(-x) - np.log(a)
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


def _lgamma(x: Array) -> Array:
    found: Array = torch.lgamma(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return found
