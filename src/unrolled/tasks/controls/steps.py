"""Features of a step: the values of the steps up to it, or around it, and how many there were before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.tasks.controls.series import Standard

__all__ = ["Window", "fit_window"]

Array: TypeAlias = npt.NDArray[Any]
LONGEST = 32  # steps of a window
MOST_FEATURES = 1_000
MOST_ROWS = 100_000  # steps that a model is fitted to


@dataclass(frozen=True, eq=False)
class Window:
    """The values from `back` steps before a step to `ahead` after it, 0, the mean, beyond an end."""

    standard: Standard
    back: int
    ahead: int

    def some(self, known: Array) -> Array:
        """Return at most `MOST_ROWS` of the steps, evenly chosen."""
        if len(known) <= MOST_ROWS:
            return known
        return known[np.linspace(0, len(known) - 1, MOST_ROWS).astype(np.int64)]

    def __call__(self, series: Sequence[Array], chosen: Array | None = None) -> Array:
        """Return features [ΣT_i, F] of the steps of series [T_i, C], or of the chosen ones, rising."""
        sizes = np.array([len(each) for each in series])
        begins = np.cumsum(sizes) - sizes
        rows = np.arange(int(sizes.sum())) if chosen is None else chosen
        width = len(self.standard.mean)
        found = np.zeros((len(rows), (self.back + 1 + self.ahead) * width + 2), np.float32)
        borders = np.searchsorted(rows, [*begins, int(sizes.sum())])
        for number, each in enumerate(series):
            first, last = int(borders[number]), int(borders[number + 1])
            if first < last:
                found[first:last] = self._of(each, rows[first:last] - begins[number])
        return found

    def _of(self, each: Array, steps: Array) -> Array:
        """Return features of some steps of one series."""
        values = np.nan_to_num((each - self.standard.mean) / self.standard.scale, nan=0.0)
        padded = np.pad(values, ((self.back, self.ahead), (0, 0)))
        views = np.lib.stride_tricks.sliding_window_view(padded, self.back + 1 + self.ahead, axis=0)
        clock = np.stack([steps, np.log1p(steps)], 1)
        return np.hstack([views[steps].reshape(len(steps), -1), clock])


def fit_window(series: Sequence[Array], *, causal: bool) -> Window:
    """Measure the training series; the window is as long as its features stay below a bound."""
    standard = Standard.fit(series)
    length = max(1, min(LONGEST, MOST_FEATURES // len(standard.mean)))
    back = length - 1 if causal else length // 2
    return Window(standard, back, length - 1 - back)
