"""What is left of a gradient some steps back, and at what rate it shrinks or grows."""

from __future__ import annotations

import math
from typing import Any

from unrolled.data import Batch
from unrolled.errors import NonFiniteError
from unrolled.probe import Flow, gradient_flow, lyapunov
from unrolled.tasks import LanguageModel

__all__ = ["FATES", "FOLD", "fate", "flow"]

FOLD = 100.0  # a gradient that is this much smaller, or larger, after the lags vanishes, or explodes
FATES = ("vanishes", "holds", "explodes", "not finite")
LOSSES = 8  # a row, whose gradients are followed


def flow(model: LanguageModel, batch: Batch, lags: int) -> dict[str, Any]:
    """Measure the state through which most is left; rates are None where there is no finite one.

    The leading Lyapunov exponent is that of the state itself, without the loss.
    """
    try:
        found = gradient_flow(model, batch, lags=lags, steps=LOSSES)
        leading = lyapunov(model, batch, count=1).leading
    except NonFiniteError:
        return {"rate": None, "lyapunov": None, "verdict": "not finite", "fate": "not finite", "nats": []}
    best = max(found.flows, key=_rate)
    return {
        "state": best.state,
        "rate": _finite(best.rate),
        "lyapunov": _finite(leading),
        "verdict": found.verdict,
        "fate": fate(_rate(best), lags),
        "nats": [_finite(value) for value in best.nats],
    }


def fate(rate: float, lags: int) -> str:
    """Return what becomes of a gradient at this rate, in nats a step, within the lags."""
    grown, limit = rate * lags, math.log(FOLD)
    return "vanishes" if grown < -limit else "explodes" if grown > limit else "holds"


def _rate(found: Flow) -> float:
    return -math.inf if math.isnan(found.rate) else found.rate


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
