"""An error by ranges of something, such as the lengths of samples, with standard errors; numpy alone."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Ranges", "ranges", "standard_error"]

Array: TypeAlias = npt.NDArray[Any]
RANGES = 6  # of lengths


class Ranges(NamedTuple):
    """An error by ranges of something."""

    labels: list[str]
    error: Array
    spread: Array  # the standard error
    samples: Array


def ranges(lengths: Array, errors: Array) -> Ranges:
    """Return the mean error of about equally many samples each, by length."""
    borders = np.unique(np.quantile(lengths, np.linspace(0, 1, RANGES + 1)).astype(int))
    found = Ranges([], *(np.zeros(0) for _ in range(3)))
    rows: list[tuple[str, float, float, int]] = []
    low = int(borders[0])
    for high in borders[1:] if len(borders) > 1 else borders:
        held = errors[(lengths >= low) & (lengths <= high)]
        if len(held):
            name = f"{low} to {high}" if low < high else f"{low}"
            rows.append((name, float(held.mean()), standard_error(held), len(held)))
        low = int(high) + 1
    return (
        found
        if not rows
        else Ranges([row[0] for row in rows], *(np.array(c) for c in list(zip(*rows, strict=True))[1:]))
    )


def standard_error(values: Array) -> float:
    """Return the standard error of the mean of values [N]."""
    return float(values.std() / np.sqrt(max(len(values), 1)))
