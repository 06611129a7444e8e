"""The table of answers: a row for each sample, or for each step, with its id."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Samples
from unrolled.tasks.classify.schema import Schema

__all__ = ["answer_columns"]

Array: TypeAlias = npt.NDArray[Any]
MOST_COLUMNS = 100  # classes whose probabilities have a column each
DIGITS = 6  # of a probability


def answer_columns(schema: Schema, samples: Samples, given: Array) -> dict[str, list[Any]]:
    """Return the columns of a table of answers, a row for each of them.

    They are id, and where there is an answer at each step, step from 0 on and time where it is known; label
    where labels are known; prediction; and of classes confidence and "p CLASS" for each of up to 100 classes.
    Of several labels or numbers there are "label NAME" and "prediction NAME" for each.

    Args:
        samples: without labels, or with those of training. given: what `predicted` gives for them.
    """
    columns = _rows(schema, samples)
    names = schema.classes if schema.several else schema.numbers
    labels = _labels(schema, samples)
    if names:
        for k, name in enumerate(names):
            if labels is not None:
                columns[f"label {name}"] = labels[:, k].tolist()
            answers = given[:, k] >= 0.5 if schema.several else given[:, k]
            columns[f"prediction {name}"] = answers.tolist()
            if schema.several:
                columns[f"p {name}"] = np.round(given[:, k], DIGITS).tolist()
        return columns
    if labels is not None:
        columns["label"] = [None if each in ("", None) or each != each else each for each in labels.tolist()]
    if not schema.classes:
        return {**columns, "prediction": given.tolist()}
    columns["prediction"] = [schema.classes[number] for number in given.argmax(-1)]
    columns["confidence"] = np.round(given.max(-1), DIGITS).tolist()
    if len(schema.classes) <= MOST_COLUMNS:
        for k, name in enumerate(schema.classes):
            columns[f"p {name}"] = np.round(given[:, k], DIGITS).tolist()
    return columns


def _rows(schema: Schema, samples: Samples) -> dict[str, list[Any]]:
    """Return the columns that say what a row is of."""
    if not schema.per_step:
        return {"id": list(samples.ids)}
    steps = samples.steps
    columns: dict[str, list[Any]] = {
        "id": [name for name, number in zip(samples.ids, steps.tolist(), strict=True) for _ in range(number)],
        "step": np.concatenate([np.arange(number) for number in steps]).tolist(),
    }
    if samples.times is not None:
        columns["time"] = np.concatenate(samples.times).tolist()
    return columns


def _labels(schema: Schema, samples: Samples) -> Array | None:
    """Return the labels of samples as they were given: [N], [N, K], or one for each step [ΣT_i]."""
    labels = samples.labels
    if labels is None and samples.step_labels is None:
        return None
    if schema.several or not schema.classes:
        return schema.truth(samples)
    if samples.step_labels is not None:
        return np.concatenate(samples.step_labels)
    assert labels is not None
    return np.repeat(labels, samples.steps) if schema.per_step else labels
