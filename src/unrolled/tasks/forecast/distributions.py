"""What a network gives for a value: a point, quantiles or a distribution; its loss."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.schema import FREEDOM, LEAST

__all__ = ["loss", "outputs_of"]

Array: TypeAlias = npt.NDArray[Any]


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
