"""Whether probabilities are what they say, and the temperature that makes them so; numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.schema import softmax

__all__ = ["LEAST", "Reliability", "fit_temperature", "golden_section", "reliability"]

Array: TypeAlias = npt.NDArray[Any]
BINS = 10
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are looked among
FEW = 20  # targets, of which the fitted logarithm counts for half
LEAST = 1e-12  # probability, so that a log loss is finite


class Reliability(NamedTuple):
    """Answers by their confidence: what share of them is right."""

    confidence: Array  # [BINS] mean of each bin
    accuracy: Array  # [BINS]
    samples: Array  # [BINS] how many
    error: float  # the expected calibration error: mean distance of the two, by count


def reliability(probabilities: Array, targets: Array) -> Reliability:
    """Return the reliability of the most probable answers, in ten bins of equal width."""
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == targets
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    mean = np.bincount(bins, confidence, BINS) / np.maximum(count, 1)
    hit = np.bincount(bins, right, BINS) / np.maximum(count, 1)
    error = float((count * np.abs(mean - hit)).sum() / max(count.sum(), 1))
    return Reliability(mean, hit, count, error)


def fit_temperature(logits: Array, targets: Array) -> float:
    """Return the temperature under which the log loss of known targets is least (Guo et al. 2017).

    Targets are as soft as those of Platt 1999, 1 − 1/(N + 2) for the right class, so that answers which are
    all right do not ask for a temperature of 0. By a golden-section search over its logarithm, which is then
    shrunk by N/(N + 20): few targets say little, and the softness of theirs is great.
    """
    known = targets >= 0
    if not known.any():
        return 1.0
    logits, targets = logits[known], targets[known]
    soft = 1 / (len(targets) + 2)

    def loss(logarithm: float) -> float:
        nats = -np.log(np.maximum(softmax(logits, float(np.exp(logarithm))), LEAST))
        right = nats[np.arange(len(targets)), targets]
        others = (nats.sum(1) - right) / max(nats.shape[1] - 1, 1)
        return float(((1 - soft) * right + soft * others).mean())

    low, high = float(np.log(COLDEST)), float(np.log(HOTTEST))
    share = (5**0.5 - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    left_loss, right_loss = loss(left), loss(right)
    while high - low > 1e-3:
        if left_loss < right_loss:
            high, right, right_loss = right, left, left_loss
            left = high - share * (high - low)
            left_loss = loss(left)
        else:
            low, left, left_loss = left, right, right_loss
            right = low + share * (high - low)
            right_loss = loss(right)
    return float(np.exp((low + high) / 2 * len(targets) / (len(targets) + FEW)))


def golden_section(
    function: Callable[[float], float], low: float, high: float, *, tolerance: float
) -> tuple[float, float]:
    """Return where a function of one valley is least between two points, and its value (Kiefer 1953)."""
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (left, at_left) if at_left <= at_right else (right, at_right)
