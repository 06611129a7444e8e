"""Series of what Python holds: arrays of values, columns and times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.frequency import LATEST, Frequency, infer
from unrolled.data.frequency import parse as parse_frequency
from unrolled.data.timeseries.wanted import Observed, Wanted
from unrolled.errors import DataError, DtypeError, ShapeError, counted, expected
from unrolled.schema import MOST_NUMBER, MOST_TIME, a_number

__all__ = ["FromArrays"]

Values: TypeAlias = npt.NDArray[np.float64]
Columns: TypeAlias = npt.NDArray[np.float32]

FARTHEST_YEAR = 1.2e5  # from 1970 on: a time in microseconds fits into 64 bits


class FromArrays:
    """Checks what Python holds, and makes it what a reader finds."""

    def __init__(
        self, values: Any, ids: Any, past: Any, known: Any, static: Any, times: Any, freq: str | None
    ) -> None:
        single = hasattr(values, "ndim") and values.ndim == 1 and values.dtype.kind in "biuf"
        self.values = [_column(each, f"values[{i}]") for i, each in enumerate([values] if single else values)]
        if not self.values:
            raise DataError(expected("values", "at least 1 series", "none"))
        count = len(self.values)
        self.ids = [str(index) for index in range(count)] if ids is None else [str(each) for each in ids]
        if len(self.ids) != count:
            raise ShapeError(expected("ids", f"[{count}]", f"[{len(self.ids)}]"))
        self.past = _tables(past, "past", self.values)
        self.known = _tables(known, "known", self.values, more=True)
        self.static = np.zeros((count, 0), np.float32) if static is None else np.asarray(static, np.float32)
        if self.static.ndim != 2 or len(self.static) != count:
            raise ShapeError(expected("static", f"[{count}, S]", list(self.static.shape)))
        self.freq = None if freq is None else parse_frequency(freq)
        self.times, self.clock = self._clock(times)

    def _clock(self, times: Any) -> tuple[list[Values], bool]:
        """Return the times of each series, and whether they are seconds."""
        lengths = [max(len(v), len(k)) for v, k in zip(self.values, self.known, strict=True)]
        if times is None:
            return [np.arange(length, dtype=np.float64) for length in lengths], False
        shared = hasattr(times, "dtype") and getattr(times, "ndim", 0) == 1 and times.dtype.kind in "Miuf"
        given = [np.asarray(each) for each in ([times] * len(lengths) if shared else times)]
        if [len(each) for each in given] != lengths:
            got = [len(each) for each in given][:8]
            raise ShapeError(expected("times", f"one for each step, {lengths[:8]}", got))
        moments = all(each.dtype.kind == "M" for each in given)
        is_clock = moments or self.freq is not None
        found = []
        for index, each in enumerate(given):
            numbers = each.astype("datetime64[Y]" if moments else np.float64).astype(np.float64)
            most = FARTHEST_YEAR if moments else LATEST if is_clock else MOST_TIME
            far = ~(np.abs(numbers) < most)
            if far.any():
                at = int(np.argmax(far))
                unit = "years" if moments else "seconds" if is_clock else "numbers"
                want = f"{unit} within ±{most:.2g}" + " of 1970" * is_clock
                raise DataError(expected(f"times[{index}]", want, f"{each[at]} at step {at}"))
            found.append(each.astype("datetime64[us]").astype(np.int64) / 1e6 if moments else numbers)
        return found, is_clock

    def observed(
        self, past: Sequence[str], known: Sequence[str], static: Sequence[str], season: int | None
    ) -> tuple[Observed, Wanted]:
        """Return the series as a reader finds them."""
        found = Observed(
            past_names=_names("past_names", past, self.past[0].shape[1]),
            known_names=_names("known_names", known, self.known[0].shape[1]),
            static_names=_names("static_names", static, self.static.shape[1]),
        )
        found.freq = self._frequency()
        for index, id in enumerate(self.ids):
            values, more = self.values[index], len(self.times[index]) - len(self.values[index])
            column = np.concatenate([values, np.full(more, np.nan)])
            past_rows = np.concatenate(
                [self.past[index], np.full((more, self.past[index].shape[1]), np.nan, np.float32)]
            )
            found.add(
                id,
                column,
                past_rows,
                self.known[index],
                self.times[index],
                self.static[index],
                needs_values=True,
            )
        return found, Wanted(freq=self.freq, season=season)

    def _frequency(self) -> Frequency | None:
        """Return the frequency of the times. Raises DataError: they are not of equal steps."""
        freq = self.freq if self.clock and self.freq is not None else infer(self.times, clock=self.clock)
        if freq is None:
            return None
        freq = freq.fitted(self.times)
        for index, times in enumerate(self.times):
            places, right = freq.positions(times)
            if not right.all() or not np.array_equal(places, np.arange(len(times))):
                at = int(np.argmax(~right | (places != np.arange(len(times)))))
                want = f"steps of {freq}, none missing"
                raise DataError(expected(f"times[{index}]", want, f"{times[at]:g} at step {at}"))
        return freq if self.clock else None


def _column(each: Any, where: str) -> Values:
    array = np.asarray(each)
    if array.dtype.kind not in "biuf":
        raise DtypeError(expected(where, "numbers", array.dtype))
    if array.ndim != 1 or not len(array):
        raise ShapeError(expected(where, "[T], at least 1 step", list(array.shape)))
    found: Values = array.astype(np.float64)
    far = np.abs(found) >= MOST_NUMBER
    if far.any():
        at = int(np.argmax(far))
        want = f"{a_number(found[at])}, or NaN for a missing one"
        raise DataError(expected(where, want, f"{found[at]} at step {at}"))
    return found


def _tables(arrays: Any, where: str, values: Sequence[Values], *, more: bool = False) -> list[Columns]:
    """Return [T_i, C] of each series, or [T_i + F_i, C] with `more`."""
    if arrays is None:
        return [np.zeros((len(each), 0), np.float32) for each in values]
    if len(arrays) != len(values):
        raise ShapeError(expected(where, f"[{len(values)}], one for each series", f"[{len(arrays)}]"))
    found = []
    for index, (given, column) in enumerate(zip(arrays, values, strict=True)):
        array = np.asarray(given)
        array = array[:, None] if array.ndim == 1 else array
        fits = len(array) == len(column) or (more and len(array) > len(column))
        if array.dtype.kind not in "biuf" or array.ndim != 2 or not fits:
            want = f"numbers [{len(column)}{' or more' if more else ''}, columns]"
            raise ShapeError(expected(f"{where}[{index}]", want, f"{array.dtype} {list(array.shape)}"))
        with np.errstate(over="ignore"):
            table = array.astype(np.float32)
        if np.isinf(table).any() or (more and np.isnan(table[len(column) :]).any()):
            want = "finite float32 numbers, none missing after the last value"
            raise DataError(expected(f"{where}[{index}]", want, "others"))
        found.append(table)
    if len({each.shape[1] for each in found}) > 1:
        raise ShapeError(
            expected(where, "as many columns in each series", [len(each.T) for each in found][:8])
        )
    return found


def _names(argument: str, names: Sequence[str], count: int) -> tuple[str, ...]:
    found = tuple(map(str, names)) or tuple(map(str, range(count)))
    if len(found) != count or len(set(found)) != count:
        raise ShapeError(expected(argument, counted(count, "different name"), list(found)))
    return found
