"""Scores of answers: of classes with their probabilities, and of numbers. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.tasks.calibration import LEAST, reliability

__all__ = ["accuracy", "classification", "confusion", "regression", "several_labels", "several_numbers"]

Array: TypeAlias = npt.NDArray[Any]


def accuracy(predicted: Array, targets: Array) -> float:
    """Return the share of right answers; a target of an unseen class is never met."""
    return float((predicted == targets).mean())


def confusion(predicted: Array, targets: Array, classes: int) -> Array:
    """Return counts [K, K]: row the class that is right, column the answer; unseen classes left out."""
    known = targets >= 0
    pairs = targets[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def classification(probabilities: Array, targets: Array, *, calibrated: bool = True) -> dict[str, float]:
    """Return accuracy, balanced accuracy, macro F1, log loss and expected calibration error.

    Balanced accuracy is the mean recall over classes that occur among the targets; macro F1 the mean over
    classes that occur among targets or answers. Log loss and calibration are of targets that training knows;
    without `calibrated` the numbers are scores, which have neither.
    """
    predicted, classes = probabilities.argmax(-1), probabilities.shape[-1]
    counts = confusion(predicted, targets, classes).astype(np.float64)
    right, given, answered = np.diag(counts), counts.sum(1), counts.sum(0)
    unseen = predicted[targets < 0]
    answered = answered + np.bincount(unseen, minlength=classes)
    present, either = given > 0, given + answered > 0
    found = {"accuracy": accuracy(predicted, targets)}
    if present.any():
        found["balanced_accuracy"] = float((right[present] / given[present]).mean())
        found["macro_f1"] = float((2 * right[either] / (given + answered)[either]).mean())
    known = targets >= 0
    if calibrated and known.any():
        found["nats_per_sample"] = _log_loss(probabilities[known], targets[known])
        found["calibration_error"] = reliability(probabilities[known], targets[known]).error
    return found


def _log_loss(probabilities: Array, targets: Array) -> float:
    of_right = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(of_right, LEAST)).mean())


def regression(predicted: Array, targets: Array) -> dict[str, float]:
    """Return MAE and RMSE in the targets' unit, and R²; R² of targets that are all alike is left out."""
    error = predicted.astype(np.float64) - targets
    spread = float(((targets - targets.mean()) ** 2).sum())
    found = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
    if spread > 0:
        found["r2"] = 1.0 - float((error**2).sum()) / spread
    return found


def several_labels(
    probabilities: Array, targets: Array, *, calibrated: bool = True, threshold: float = 0.5
) -> dict[str, float]:
    """Return scores of any number of labels for each sample.

    Subset accuracy: the share of samples with every label right. Macro F1: the mean over labels of 2 · right
    / (given + answered), 0 where a label was given or answered and never right; labels that occur nowhere are
    left out. Micro F1: of all labels together. Log loss: nats of a sample, its labels summed.

    Args:
        probabilities: [N, K]; or scores, without `calibrated`. targets: [N, K] bool.
        threshold: from which on a label is answered.
    """
    answered = probabilities >= threshold
    right = (answered & targets).sum(0).astype(np.float64)
    given, all_answered = targets.sum(0), answered.sum(0)
    occurs = given + all_answered > 0
    found = {"subset_accuracy": float((answered == targets).all(1).mean())}
    if occurs.any():
        found["macro_f1"] = float((2 * right[occurs] / (given + all_answered)[occurs]).mean())
        found["micro_f1"] = float(2 * right.sum() / (given.sum() + all_answered.sum()))
    if calibrated:
        of_right = np.where(targets, probabilities, 1 - probabilities)
        found["nats_per_sample"] = float(-np.log(np.maximum(of_right, LEAST)).sum(1).mean())
    return found


def several_numbers(predicted: Array, targets: Array, names: Sequence[str], scale: Array) -> dict[str, float]:
    """Return the RMSE of several numbers [N, K] in deviations of training, and `regression` of each by name.

    Args:
        scale: [K], a standard deviation of each.
    """
    error = (predicted - targets) / scale
    found = {"standardised_rmse": float(np.sqrt((error**2).mean()))}
    for column, name in enumerate(names):
        own = regression(predicted[:, column], targets[:, column])
        found |= {f"{key} {name}": value for key, value in own.items()}
    return found
