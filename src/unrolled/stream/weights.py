"""Weights in the types in which a network runs: float32, bfloat16, or int8 with a scale per row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, DtypeError, expected
from unrolled.spec import STORAGES

__all__ = ["Floats", "Weight", "as_array", "check_weights", "convert"]

Floats = npt.NDArray[np.float32]


class Weight(NamedTuple):
    """A matrix in storage: float32, uint16 that are the bits of bfloat16, or int8 with its scales."""

    data: npt.NDArray[Any]  # [rows, columns]
    scales: Floats | None = None  # [rows]; the matrix is scales[:, None] · data

    @property
    def addresses(self) -> tuple[int, int]:
        return self.data.ctypes.data, 0 if self.scales is None else self.scales.ctypes.data


def as_array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return what an argument is as an array. Raises DtypeError: it cannot be one."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        got = f"{type(value).__name__} with rows of unequal lengths, or something else that is none"
        raise DtypeError(expected(name, "an array", got)) from None


def check_weights(weights: str) -> None:
    """Raises ConfigError: there is no such type of weights."""
    if weights not in STORAGES:
        raise ConfigError(expected("weights", f"one of {', '.join(STORAGES)}", repr(weights)))


def convert(matrix: Floats, weights: str) -> Weight:
    """Return a matrix [rows, columns] in a type of STORAGES.

    bfloat16 rounds to the nearest, ties to even. int8 is symmetric: a row's scale is its largest absolute
    value over 127, and an entry is the nearest multiple of it; a row of zeros has the scale 0.
    """
    matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    if weights == "float32":
        return Weight(matrix)
    if weights == "bfloat16":
        bits = matrix.view(np.uint32)
        return Weight(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))
    most = np.abs(matrix).max(axis=1, initial=0.0)
    scales = (most / np.float32(127)).astype(np.float32)
    steps = np.divide(matrix, scales[:, None], out=np.zeros_like(matrix), where=scales[:, None] > 0)
    return Weight(np.rint(steps).clip(-127, 127).astype(np.int8), scales)
