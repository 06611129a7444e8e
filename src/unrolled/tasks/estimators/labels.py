"""What `fit` is given as labels: one, several or one at each step, and what `predict` makes of it again."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Samples
from unrolled.errors import DataError, expected

__all__ = ["classes_of", "kind_of_labels", "of_steps", "split_steps", "typed", "with_labels"]

Array: TypeAlias = npt.NDArray[Any]
KINDS = {"b": "bool", "i": "int", "u": "int", "f": "float"}  # of schema.labels, by numpy's letters


def of_steps(labels: Any, sequences: Any) -> bool:
    """Whether there is a label of every step: a list of sequences, each as long as its sample."""
    if getattr(labels, "ndim", 1) != 1 or isinstance(labels, str) or not hasattr(labels, "__len__"):
        return False
    inner = [each for each in labels if hasattr(each, "__len__") and not isinstance(each, str)]
    if not inner or len(inner) != len(labels) or len(inner) != len(sequences):
        return False
    return all(len(each) == len(x) for each, x in zip(inner, sequences, strict=True))


def kind_of_labels(labels: Any, steps: bool) -> str:
    """Return the type of labels as a schema holds it: str, int, float or bool.

    Raises DataError: they are neither texts nor numbers, or have axes that labels do not have.
    """
    given = np.concatenate([np.asarray(each) for each in labels]) if steps else np.asarray(labels)
    if given.dtype.kind == "c" or given.dtype.kind not in "OSUbiuf" or given.ndim not in (1, 2):
        got = f"{given.dtype} {list(given.shape)}"
        raise DataError(expected("labels", "[N] or [N, K] texts or numbers, or [T_i] of each sample", got))
    return KINDS.get(given.dtype.kind, "str")


def with_labels(sequences: Any, labels: Any, groups: Any, *, classes: bool) -> Samples:
    """Return samples of what `fit` was given.

    Args:
        sequences: as `Samples.from_arrays` takes them, or `Samples`; without labels theirs are taken.
        labels: [N]; [N, K], 0 and 1 of several labels or K numbers; or a list of [T_i], of every step.
        classes: whether every value is a class; else all are numbers.
    Raises:
        DataError, ShapeError: they do not fit one another.
    """
    if isinstance(sequences, Samples):
        if groups is not None:
            raise DataError(expected("groups", "those of the samples", "others beside them"))
        if labels is None:
            return _checked(sequences, classes)
        known: Any = {"channels": sequences.channels or None, "ids": sequences.ids, "times": sequences.times}
        sequences, groups = sequences.inputs, sequences.groups
    elif labels is None:
        raise DataError(expected("labels" if classes else "numbers", "one for each sample", "none"))
    else:
        known = {}
    if of_steps(labels, sequences):
        return Samples.from_arrays(
            sequences, None, groups, step_labels=_coded_steps(labels, classes), **known
        )
    given = np.asarray(labels)
    if given.ndim == 2 and given.shape[1] > 1:
        coded: Any = _zeros_and_ones(given) if classes else _as_numbers(given)
    elif classes:
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise DataError(expected("labels", "finite numbers or texts", given[~np.isfinite(given)][0]))
        coded = [str(value) for value in _one_column(given).tolist()]
    else:
        coded = _as_numbers(_one_column(given))
    return Samples.from_arrays(sequences, coded, groups, **known)


def _as_numbers(given: Array) -> Array:
    """Return numbers in float64. Raises DataError: an int that is too large."""
    try:
        found: Array = given.astype(np.float64)
    except OverflowError:
        raise DataError(expected("labels", "numbers that float64 holds", "a larger int")) from None
    return found


def _one_column(given: Array) -> Array:
    """Return labels [N] of [N] or [N, 1]. Raises DataError: they have other axes."""
    if given.ndim not in (1, 2):
        raise DataError(expected("labels", "[N], or [N, K] of several", list(given.shape)))
    return given[:, 0] if given.ndim == 2 else given


def _checked(samples: Samples, classes: bool) -> Samples:
    if samples.labels is None and not samples.per_step:
        raise DataError(expected("labels", "those of the samples, or others beside them", "none"))
    if samples.of_numbers == classes:
        want, got = ("classes", "numbers") if classes else ("numbers", "classes")
        raise DataError(expected("labels", want, f"{got} in the samples"))
    return samples


def _coded_steps(labels: Any, classes: bool) -> list[Any]:
    if not classes:
        return [_as_numbers(np.asarray(each)) for each in labels]
    return [
        [None if value is None or value != value else str(value) for value in np.asarray(each).tolist()]
        for each in labels
    ]


def _zeros_and_ones(given: Array) -> Array:
    """Return labels [N, K] as truth values. Raises DataError: there are others than 0 and 1."""
    if given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        raise DataError(expected("labels", "0 and 1 in [N, K], of several labels", "others"))
    return given.astype(bool)


def typed(names: Any, kind: str) -> Array:
    """Return classes in the type that labels had. Raises ValueError: a name is none of that type."""
    types: dict[str, Any] = {"int": int, "float": float, "bool": "True".__eq__, "str": str}
    return np.array(list(map(types[kind], names)))


def classes_of(names: Any, kind: str) -> tuple[Array, Array]:
    """Return classes [K], sorted, and where each stands among the network's, which are in order of texts."""
    classes = typed(names, kind)
    order = np.argsort(classes, kind="stable")
    return classes[order], order


def split_steps(answers: Array, steps: Array) -> list[Array]:
    """Return answers [ΣT_i, …] as one array of each sample."""
    return list(np.split(answers, np.cumsum(steps)[:-1]))
