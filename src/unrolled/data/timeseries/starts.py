"""Times of series that name their first one and a frequency, as GluonTS's and Monash's do."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.frequency import Frequency
from unrolled.data.timeseries.clock import seconds
from unrolled.errors import DataError
from unrolled.files import quoted, refusal

__all__ = ["Starts"]

Times: TypeAlias = npt.NDArray[np.float64]


class Starts:
    """Gives the times of each series; series of one start share theirs, so that they take little memory."""

    def __init__(self, freq: Frequency | None) -> None:
        self.freq = freq
        self._known: dict[str | None, Times] = {}
        self._firsts: list[Times] = []

    def times(self, start: str | None, steps: int, where: str) -> Times:
        """Return the times [steps] from a start on; without a start or a frequency, steps from 0.

        Raises:
            DataError: a start that is no time, or no weekday of a frequency of weekdays; some series with a
                start and some without one.
        """
        key = start if self.freq is not None else None
        if self.freq is not None and self._known and (start is None) != (None in self._known):
            raise refusal(DataError, where, "a start in every series, or in none", repr(start))
        times = self._known.get(key)
        if times is None or len(times) < steps:
            times = self._made(key, max(steps, 1), where)
            self._known[key] = times
        return times[:steps]

    def frequency(self) -> Frequency | None:
        """Return the frequency where the series have starts; its months are named by their days."""
        if self.freq is None or None in self._known:
            return None
        return self.freq.fitted([times[:1] for times in self._known.values()])

    def _made(self, start: str | None, steps: int, where: str) -> Times:
        if start is None or self.freq is None:
            return np.arange(steps, dtype=np.float64)
        first = np.array([seconds(start)])
        if not np.isfinite(first).all():
            raise refusal(DataError, where, "a start such as 2024-05-01 12:00", quoted(start))
        if not self.freq.positions(first)[1].all():
            raise refusal(DataError, where, "a start on a weekday, as freq is B", quoted(start))
        return self.freq.after(first, np.arange(steps))
