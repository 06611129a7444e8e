"""From curves to comparisons: the loss at equal wall-clock, the speed beside the baseline's, a verdict."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["LOSS_MARGIN", "SPEED_MARGIN", "equal_seconds", "loss_at", "speedup", "targets_per_s", "verdict"]

SPEED_MARGIN = 1.05  # times as fast, in every run, is faster
LOSS_MARGIN = 0.02  # nats per character higher, in every run, is worse

Curve = Mapping[str, Any]  # "seconds", "targets", "nats", "cold_nats": a value a round, the first at no time


def equal_seconds(curves: Sequence[Curve]) -> float:
    """Return the seconds of training that all variants reached."""
    return float(min(curve["seconds"][-1] for curve in curves))


def loss_at(seconds: float, curve: Curve, name: str = "nats") -> float | None:
    """Return a curve's loss after so many seconds, on the line between its points; None if it diverged."""
    if any(value is None for value in curve[name]):
        return None
    return float(np.interp(seconds, curve["seconds"], curve[name]))


def targets_per_s(curve: Curve) -> float:
    """Return the valid targets that were trained on in a second."""
    return float(curve["targets"][-1] / curve["seconds"][-1])


def speedup(curve: Curve, baseline: Curve) -> float:
    """Return how many times the baseline's targets per second a variant had: the median over the rounds.

    Rounds are compared each with the baseline's of about the same minute; one in which nothing was done
    (an update may be longer than a round) is left out.
    """
    pairs = zip(_rates(curve), _rates(baseline), strict=True)
    return statistics.median(one / other for one, other in pairs if one is not None and other is not None)


def _rates(curve: Curve) -> list[float | None]:
    seconds, targets = np.diff(curve["seconds"]), np.diff(curve["targets"])
    return [
        float(n / s) if n > 0 and s > 0 else None
        for n, s in zip(targets.tolist(), seconds.tolist(), strict=True)
    ]


def verdict(ratio: Mapping[str, Any], difference: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a word for the speed and one for the loss, each only where all runs say the same.

    Args:
        ratio: the spread of the speed beside the baseline's.
        difference: the spread of the loss at equal wall-clock less the baseline's; None where a run diverged.
    Returns:
        "faster", "slower" or "as fast"; "better", "worse", "as good" or "diverged".
    """
    return _pace(ratio), "diverged" if difference is None else _quality(difference)


def _pace(ratio: Mapping[str, Any]) -> str:
    if ratio["low"] > SPEED_MARGIN:
        return "faster"
    return "slower" if ratio["high"] < 1 / SPEED_MARGIN else "as fast"


def _quality(difference: Mapping[str, Any]) -> str:
    if difference["low"] > LOSS_MARGIN:
        return "worse"
    return "better" if difference["high"] < -LOSS_MARGIN else "as good"
