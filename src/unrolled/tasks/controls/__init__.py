"""Simple models on the same split as a network: what it must beat to be worth its cost. numpy alone.

ridge.py    ridge regression, its penalty by leave-one-out     texts.py         a linear model on n-grams
series.py   statistics, random convolution kernels             forecasts.py     forecasts, ridge on the window
tags.py     the most frequent tag, a linear chain of tags      tag_features.py  words, affixes, neighbours
chain.py    a conditional random field on sparse features
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Samples
from unrolled.tasks.controls.ridge import fit_ridge
from unrolled.tasks.controls.series import Standard, fit_kernels, raw_values, statistics
from unrolled.tasks.controls.tags import FittedTags, suited_tags
from unrolled.tasks.controls.texts import NGrams, fit_linear

__all__ = ["Fitted", "FittedTags", "suited", "suited_tags"]

Array: TypeAlias = npt.NDArray[Any]
MOST_RAW = 1000  # values of a series, up to which a control reads them all as they are


@dataclass(frozen=True, eq=False)
class Fitted:
    """A control after its training."""

    predict: Callable[[Sequence[Any]], Array]  # inputs → probabilities or scores [N, K], or numbers [N]
    parameters: int
    calibrated: bool  # whether what it gives are probabilities


Fit: TypeAlias = Callable[[Sequence[Any], Array], Fitted]


def suited(train: Samples, classes: int) -> Mapping[str, Fit]:
    """Return the controls for samples of this kind, by name; each is fitted with (inputs, targets).

    Args:
        classes: how many; 0: targets are numbers.
    """
    if classes:
        found: dict[str, Fit] = {"most frequent class": lambda _, targets: _frequent(targets, classes)}
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


def _frequent(targets: Array, classes: int) -> Fitted:
    shares = np.bincount(targets, minlength=classes) / len(targets)
    return Fitted(lambda inputs: np.tile(shares, (len(inputs), 1)), classes, True)


def _mean(targets: Array) -> Fitted:
    return Fitted(lambda inputs: np.full(len(inputs), targets.mean()), 1, True)


def _ngrams(texts: Sequence[str], targets: Array, classes: int) -> Fitted:
    grams = NGrams.fit(texts)
    centre, scale = (0.0, 1.0) if classes else (float(targets.mean()), float(targets.std()) or 1.0)
    weights, intercept = fit_linear(grams(texts), targets if classes else (targets - centre) / scale, classes)

    def predict(inputs: Sequence[str]) -> Array:
        answers = (grams(inputs).times(weights) + intercept).astype(np.float64)
        if not classes:
            return answers[:, 0] * scale + centre
        exponents = np.exp(answers - answers.max(1, keepdims=True))
        shares: Array = exponents / exponents.sum(1, keepdims=True)
        return shares

    return Fitted(predict, weights.size + intercept.size, True)


def _ridge(
    features: Callable[[Sequence[Array]], Array], series: Sequence[Array], targets: Array, classes: int
) -> Fitted:
    wanted = 2.0 * np.eye(classes)[targets] - 1.0 if classes else targets[:, None]
    fitted = fit_ridge(features(series), wanted)

    def predict(inputs: Sequence[Array]) -> Array:
        given = fitted(features(inputs))
        return given if classes else given[:, 0]

    return Fitted(predict, fitted.weights.size + fitted.intercept.size, False)
