"""Simple models on the same split as a network: what it must beat to be worth its cost. numpy alone.

ridge.py    ridge regression, its penalty by leave-one-out     texts.py         a linear model on n-grams
steps.py    an answer at each step: the last values, ridge
series.py   statistics, random convolution kernels             forecasts.py     forecasts, ridge on the window
tags.py     the most frequent tag, a linear chain of tags      tag_features.py  words, affixes, neighbours
chain.py    a conditional random field on sparse features
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Samples
from unrolled.tasks.controls.ridge import fit_ridge
from unrolled.tasks.controls.series import Standard, fit_kernels, raw_values, statistics
from unrolled.tasks.controls.steps import Window, fit_window
from unrolled.tasks.controls.tags import FittedTags, suited_tags
from unrolled.tasks.controls.texts import NGrams, fit_linear

__all__ = ["Fitted", "FittedTags", "suited", "suited_tags"]

Array: TypeAlias = npt.NDArray[Any]
MOST_RAW = 1000  # values of a series, up to which a control reads them all as they are


@dataclass(frozen=True, eq=False)
class Fitted:
    """A control after its training."""

    # inputs → probabilities or scores [N, K], or numbers [N] or [N, K]
    predict: Callable[[Sequence[Any]], Array]
    parameters: int
    calibrated: bool  # whether what it gives are probabilities


Fit: TypeAlias = Callable[[Sequence[Any], Array], Fitted]


def suited(train: Samples, classes: int) -> Mapping[str, Fit]:
    """Return the controls for samples of this kind, by name; each is fitted with (inputs, targets).

    Args:
        classes: how many; 0: targets are numbers, [N] or [N, K]. Targets [N] of classes are their numbers;
            truth values [N, K] say which of several labels hold.
    """
    if classes:
        several = train.labels is not None and train.labels.ndim == 2
        name = "most frequent labels" if several else "most frequent class"
        found: dict[str, Fit] = {name: lambda _, targets: _frequent(targets, classes)}
    else:
        found = {"mean": lambda _, targets: _mean(targets)}
    if train.is_text:
        found["n-grams, linear"] = lambda inputs, targets: _ngrams(inputs, targets, classes)
        return found
    steps = train.steps
    if steps.min() == steps.max() and steps[0] * len(train.channels) <= MOST_RAW:
        found["raw values, ridge"] = lambda x, y: _ridge(raw_values(Standard.fit(x)), x, y, classes)
    found["statistics, ridge"] = lambda x, y: _ridge(statistics(Standard.fit(x)), x, y, classes)
    found["random kernels, ridge"] = lambda x, y: _ridge(fit_kernels(x), x, y, classes)
    return found


def suited_steps(classes: int, *, causal: bool) -> Mapping[str, Fit]:
    """Return the controls for series with an answer at each step; targets and answers are [ΣT_i].

    Args:
        classes: how many, targets below 0 being none; 0: numbers, NaN where there is none.
        causal: whether an answer may depend on earlier steps alone; else it is of steps on both sides.
    """
    name = "most frequent class" if classes else "mean"
    about = "the last values, ridge" if causal else "the values around, ridge"
    return {
        name: lambda _, targets: _constant_steps(targets, classes),
        about: lambda x, y: _ridge_steps(fit_window(x, causal=causal), x, y, classes),
    }


def _constant_steps(targets: Array, classes: int) -> Fitted:
    known = targets[targets >= 0] if classes else targets[~np.isnan(targets)]
    of_rows = _frequent(known, classes) if classes else _mean(known)
    return replace(of_rows, predict=lambda inputs: of_rows.predict(range(sum(map(len, inputs)))))


def _ridge_steps(window: Window, series: Sequence[Array], targets: Array, classes: int) -> Fitted:
    known = np.flatnonzero(targets >= 0 if classes else ~np.isnan(targets))
    chosen = window.some(known)
    wanted = _coded(targets[chosen], classes)
    fitted = fit_ridge(window(series, chosen), wanted)

    def predict(inputs: Sequence[Array]) -> Array:
        given = np.concatenate([fitted(window([each])) for each in inputs])
        return given if classes else given[:, 0]

    return Fitted(predict, fitted.weights.size + fitted.intercept.size, False)


def _frequent(targets: Array, classes: int) -> Fitted:
    several = targets.ndim == 2
    shares = targets.mean(0) if several else np.bincount(targets, minlength=classes) / len(targets)
    return Fitted(lambda inputs: np.tile(shares, (len(inputs), 1)), classes, True)


def _mean(targets: Array) -> Fitted:
    mean = targets.mean(0)
    return Fitted(lambda inputs: np.tile(mean, (len(inputs), *(1 for _ in mean.shape))), mean.size, True)


def _coded(targets: Array, classes: int) -> Array:
    """Return what a linear model is fitted to, [N, K]: 1 and −1 of classes, else the numbers."""
    if classes:
        return 2.0 * (np.eye(classes)[targets] if targets.ndim == 1 else targets) - 1.0
    return targets[:, None] if targets.ndim == 1 else targets


def _ngrams(texts: Sequence[str], targets: Array, classes: int) -> Fitted:
    grams = NGrams.fit(texts)
    several = targets.ndim == 2
    centre, scale = (
        (0.0, 1.0) if classes else (targets.mean(0), np.where(targets.std(0), targets.std(0), 1.0))
    )
    weights, intercept = fit_linear(grams(texts), targets if classes else (targets - centre) / scale, classes)

    def predict(inputs: Sequence[str]) -> Array:
        answers = (grams(inputs).times(weights) + intercept).astype(np.float64)
        if not classes:
            return (answers if several else answers[:, 0]) * scale + centre
        if several:
            alone: Array = 0.5 + 0.5 * np.tanh(answers / 2)
            return alone
        exponents = np.exp(answers - answers.max(1, keepdims=True))
        shares: Array = exponents / exponents.sum(1, keepdims=True)
        return shares

    return Fitted(predict, weights.size + intercept.size, True)


def _ridge(
    features: Callable[[Sequence[Array]], Array], series: Sequence[Array], targets: Array, classes: int
) -> Fitted:
    fitted = fit_ridge(features(series), _coded(targets, classes))

    def predict(inputs: Sequence[Array]) -> Array:
        given = fitted(features(inputs))
        if classes and targets.ndim == 2:
            return (given + 1) / 2  # a label holds from 0.5 on
        return given if classes or targets.ndim == 2 else given[:, 0]

    return Fitted(predict, fitted.weights.size + fitted.intercept.size, False)
