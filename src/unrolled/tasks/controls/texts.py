"""A linear model on hashed character n-grams: softmax or squared loss, by L-BFGS, in numpy."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["NGrams", "Sparse", "fit_linear", "minimise"]

Array: TypeAlias = npt.NDArray[Any]
BUCKETS = 2**18
LONGEST = 4
PENALTY = 0.05  # of the squared weights, against a sum over samples
ITERATIONS, MEMORY = 60, 8
TOLERANCE = 1e-4  # of the objective from one iteration to the next, relative
MOST_HALVINGS = 20


@dataclass(frozen=True, eq=False)
class Sparse:
    """A matrix [N, F] by rows: columns and values, and where each row begins; no row is empty."""

    columns: Array
    values: Array
    begins: Array
    width: int

    def times(self, weights: Array) -> Array:
        """Return [N, K] of weights [F, K]."""
        products = weights[self.columns] * self.values[:, None]
        return np.add.reduceat(products, self.begins, axis=0)

    def turned(self) -> Sparse:
        """Return the transpose, without its empty rows: see `used`."""
        rows = np.repeat(np.arange(len(self.begins)), np.diff([*self.begins, len(self.columns)]))
        order = np.argsort(self.columns, kind="stable")
        begins = np.flatnonzero(np.diff(self.columns[order], prepend=-1))
        return Sparse(rows[order], self.values[order], begins, len(self.begins))

    @property
    def used(self) -> Array:
        """The columns that hold a value, rising: the rows of `turned`."""
        return np.unique(self.columns)


@dataclass(frozen=True, eq=False)
class NGrams:
    """From texts to rows: hashed n-grams of 1 to 4 characters, edges marked, by tf-idf, of length 1.

    Only buckets that training fills have a column.
    """

    known: Array  # buckets that have a column, rising
    weight: Array  # [F] of a column

    @classmethod
    def fit(cls, texts: Sequence[str]) -> NGrams:
        """Count in how many of the texts each n-gram occurs."""
        every = [np.unique(_buckets(text)) for text in texts]
        known, counts = np.unique(np.concatenate(every), return_counts=True)
        return cls(known, np.log((1 + len(texts)) / (1 + counts)) + 1)

    def __call__(self, texts: Sequence[str]) -> Sparse:
        """Return the rows of texts. One without any known n-gram has a single value 0."""
        columns, values, begins, place = [], [], [], 0
        for text in texts:
            buckets, counts = np.unique(_buckets(text), return_counts=True)
            at = np.minimum(np.searchsorted(self.known, buckets), len(self.known) - 1)
            found = self.known[at] == buckets
            own, count = at[found], (1 + np.log(counts[found])) * self.weight[at[found]]
            if not len(own):
                own, count = np.zeros(1, np.int64), np.zeros(1)
            columns.append(own)
            values.append(count / max(float(np.sqrt((count**2).sum())), 1e-12))
            begins.append(place)
            place += len(own)
        flat = np.concatenate(values).astype(np.float32)
        return Sparse(np.concatenate(columns), flat, np.array(begins), len(self.known))


def _buckets(text: str) -> Array:
    edged = f"\n{text}\n".encode("utf-32-le", "surrogatepass")
    grams = [
        edged[4 * begin : 4 * (begin + size)]
        for size in range(1, LONGEST + 1)
        for begin in range(len(text) + 3 - size)
    ]
    return np.array([zlib.crc32(gram) % BUCKETS for gram in grams])


def fit_linear(rows: Sparse, targets: Array, classes: int) -> tuple[Array, Array]:
    """Return weights [F, K] and intercepts [K]: multinomial logistic regression, or least squares.

    Args:
        targets: [N] numbers of classes; [N, K] which of several labels hold, each by a logistic regression of
            its own; or float [N] or [N, K] with `classes` 0.
    """
    several = targets.ndim == 2
    outputs = targets.shape[1] if several else classes or 1
    turned, used = rows.turned(), rows.used
    if several or not classes:
        wanted = targets.reshape(len(targets), -1).astype(np.float32)
    else:
        wanted = np.eye(classes, dtype=np.float32)[targets]
    measured = _squared_loss if not classes else _logistic_loss if several else _softmax_loss
    shape = (rows.width, outputs)

    def objective(flat: Array) -> tuple[float, Array]:
        weights, intercept = flat[:-outputs].reshape(shape), flat[-outputs:]
        answers = rows.times(weights) + intercept
        loss, error = measured(answers, wanted)
        gradient = PENALTY * weights
        gradient[used] += turned.times(error)
        whole = np.concatenate([gradient.ravel(), error.sum(0)])
        return loss + PENALTY / 2 * float((weights.astype(np.float64) ** 2).sum()), whole

    found = minimise(objective, np.zeros(rows.width * outputs + outputs, np.float32))
    return found[:-outputs].reshape(shape), found[-outputs:]


def _softmax_loss(answers: Array, wanted: Array) -> tuple[float, Array]:
    shifted = answers - answers.max(1, keepdims=True)
    exponents = np.exp(shifted)
    total = exponents.sum(1, keepdims=True)
    loss = float((np.log(total)[:, 0] - (shifted * wanted).sum(1)).sum(dtype=np.float64))
    return loss, exponents / total - wanted


def _logistic_loss(answers: Array, wanted: Array) -> tuple[float, Array]:
    loss = float((np.logaddexp(0, answers) - answers * wanted).sum(dtype=np.float64))
    return loss, 0.5 + 0.5 * np.tanh(answers / 2) - wanted


def _squared_loss(answers: Array, wanted: Array) -> tuple[float, Array]:
    error = answers - wanted
    return float((error.astype(np.float64) ** 2).sum() / 2), error


def minimise(objective: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    """Return where a smooth convex function is least, nearly: L-BFGS with backtracking.

    Args:
        objective: point → value and gradient.
    Source: Nocedal & Wright 2006, algorithms 7.4 and 7.5.
    """
    point = start
    value, gradient = objective(point)
    steps: list[Array] = []
    changes: list[Array] = []
    for _ in range(ITERATIONS):
        direction = -_times_inverse(gradient, steps, changes)
        slope = float(direction @ gradient)
        size = 1.0 if steps else min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-12))
        for _ in range(MOST_HALVINGS):
            moved = point + np.float32(size) * direction
            new_value, new_gradient = objective(moved)
            if new_value <= value + 1e-4 * size * slope:
                break
            size /= 2
        else:
            return point
        step, change = moved - point, new_gradient - gradient
        if float(step @ change) > 1e-12:
            steps, changes = [*steps[1 - MEMORY :], step], [*changes[1 - MEMORY :], change]
        gained = value - new_value
        point, value, gradient = moved, new_value, new_gradient
        if gained < TOLERANCE * max(abs(value), 1e-12):
            break
    return point


def _times_inverse(gradient: Array, steps: list[Array], changes: list[Array]) -> Array:
    """Return the approximate inverse Hessian times a gradient: the two loops of L-BFGS."""
    q = gradient.copy()
    rates = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        rate = float(step @ q) / float(step @ change)
        q = q - np.float32(rate) * change
        rates.append(rate)
    if steps:
        q = q * np.float32(float(steps[-1] @ changes[-1]) / float(changes[-1] @ changes[-1]))
    for step, change, rate in zip(steps, changes, reversed(rates), strict=True):
        back = float(change @ q) / float(step @ change)
        q = q + np.float32(rate - back) * step
    return q
