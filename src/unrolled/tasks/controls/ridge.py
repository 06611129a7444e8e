"""Ridge regression in closed form, its penalty chosen by the exact leave-one-out error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["PENALTIES", "Ridge", "fit_ridge"]

Array: TypeAlias = npt.NDArray[Any]
PENALTIES = np.logspace(-3, 5, 13)
LEAST = 1e-8  # spread of a feature: one that varies less counts as constant
ROWS = 8192  # of a product at a time, in float64


@dataclass(frozen=True, eq=False)
class Ridge:
    """Weights of standardised features."""

    centre: Array  # [F]
    spread: Array  # [F]
    weights: Array  # [F, K]
    intercept: Array  # [K]
    penalty: float

    def __call__(self, features: Array) -> Array:
        """Return [N, K] for features [N, F]."""
        given: Array = (features - self.centre) / self.spread @ self.weights + self.intercept
        return given


def fit_ridge(features: Array, targets: Array, penalties: Array = PENALTIES) -> Ridge:
    """Fit features [N, F] to targets [N, K]; the intercept is not penalised.

    The penalty is the one with the least squared leave-one-out error, which the eigenvalues of the smaller of
    XᵀX and XXᵀ give for every penalty at once (Golub, Heath & Wahba 1979).
    """
    count = len(features)
    centre = features.mean(0, dtype=np.float64)
    spread = features.std(0, dtype=np.float64)
    spread = np.where(spread > LEAST, spread, np.inf)  # a constant one becomes 0
    intercept = targets.mean(0)
    residual = targets - intercept
    x = (features - centre) / spread
    primal = features.shape[1] <= count
    values, vectors = np.linalg.eigh(_gram(x) if primal else x @ x.T)
    values = np.maximum(values, 0.0)
    basis = x @ vectors if primal else vectors  # [N, R]
    inner = basis.T @ residual
    errors = [_left_out(basis, values, inner, residual, penalty, primal) for penalty in penalties]
    penalty = float(penalties[int(np.argmin(errors))])
    solved = inner / (values + penalty)[:, None]
    weights = vectors @ solved if primal else x.T @ (vectors @ solved)
    return Ridge(centre, spread, weights, intercept, penalty)


def _gram(x: Array) -> Array:
    total = np.zeros((x.shape[1], x.shape[1]))
    for first in range(0, len(x), ROWS):
        part = x[first : first + ROWS].astype(np.float64)
        total += part.T @ part
    return total


def _left_out(
    basis: Array, values: Array, inner: Array, residual: Array, penalty: float, primal: bool
) -> float:
    """Return the mean squared error of every sample by the fit without it."""
    shrunk = (1.0 if primal else values) / (values + penalty)
    leverage = 1 / len(basis) + (basis**2) @ shrunk
    fitted = basis @ (shrunk[:, None] * inner)
    return float((((residual - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]) ** 2).mean())
