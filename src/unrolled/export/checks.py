"""What a comparison of an exported network with ours found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import counted
from unrolled.files import for_json

__all__ = ["Check"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Check:
    """What a comparison found.

    Attributes:
        what: by what, and on what, in words: "ONNX Runtime 1.32.0, lengths 1, 7 and 16".
        count: how many numbers were compared.
        largest: the largest of |theirs − ours| / max(1, |ours|); NaN where one of them alone is not finite.
        tolerance: what it may be.
        obstacle: why it was not compiled, and so not compared; "" where it was.
    """

    what: str
    count: int
    largest: float
    tolerance: float
    obstacle: str = ""

    @classmethod
    def of(cls, what: str, pairs: Iterable[tuple[Array, Array]], tolerance: float) -> Check:
        """Compare pairs of arrays, theirs and ours, of equal shapes."""
        count, largest = 0, 0.0
        for theirs, ours in pairs:
            count += ours.size
            largest = _larger(largest, _difference(np.asarray(theirs), np.asarray(ours)))
        return cls(what, count, largest, tolerance)

    @property
    def passed(self) -> bool:
        """Whether numbers were compared, and none differs by more than the tolerance."""
        return not self.obstacle and self.count > 0 and self.largest <= self.tolerance

    @property
    def result(self) -> str:
        """ "equal", "different" or "not compiled"."""
        if self.obstacle:
            return "not compiled"
        return "equal" if self.passed else "different"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON; a difference that is not finite is None."""
        told = {name: for_json(value) for name, value in vars(self).items()}
        return {**told, "result": self.result, "passed": self.passed}

    def __str__(self) -> str:
        if self.obstacle:
            return f"not compiled, and not compared with ours: {self.obstacle}"
        verdict = "equal" if self.passed else "DIFFERENT"
        return (
            f"{verdict}: the largest difference is {self.largest:.1e}, allowed are {self.tolerance:.0e} "
            f"({counted(self.count, 'number')}; {self.what})"
        )


def _difference(theirs: Array, ours: Array) -> float:
    """Return the largest difference relative to max(1, |ours|); equal infinities and NaN are equal."""
    if theirs.shape != ours.shape:
        return float("nan")
    theirs, ours = theirs.astype(np.float64).ravel(), ours.astype(np.float64).ravel()
    same = (theirs == ours) | (np.isnan(theirs) & np.isnan(ours))
    theirs, ours = theirs[~same], ours[~same]
    if not len(ours):
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.abs(theirs - ours) / np.maximum(1.0, np.abs(ours))
    return float(found.max()) if np.isfinite(found).all() else float("nan")


def _larger(one: float, other: float) -> float:
    return float("nan") if np.isnan(one) or np.isnan(other) else max(one, other)
