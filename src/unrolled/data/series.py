"""Series: values over time of one frequency, and what else was observed, is known ahead, or never changes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.frequency import parse as parse_frequency
from unrolled.data.labelled.dataframes import table_of_data_frame
from unrolled.data.timeseries.arrays import FromArrays
from unrolled.data.timeseries.columns import series_of_table
from unrolled.data.timeseries.wanted import Observed, Wanted, wanted
from unrolled.errors import DataError, counted
from unrolled.files import printable, quoted, refusal

__all__ = ["Series", "finished"]

Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = npt.NDArray[np.float64]
Columns: TypeAlias = npt.NDArray[np.float32]
NEAR = 1e-6  # of a time: as good as equal


@dataclass(frozen=True, eq=False)
class Series:
    """N series of one frequency. Series i has T_i steps with values, and F_i ≥ 0 after the last one."""

    ids: tuple[str, ...]  # one each, no two alike
    values: list[Values]  # [T_i] of the target, NaN where missing; the last one is there
    past: list[Columns]  # [T_i, P] of columns observed as the target is, NaN where missing
    past_names: tuple[str, ...]
    known: list[Columns]  # [T_i + F_i, K] of columns known ahead; behind T_i none is missing
    known_names: tuple[str, ...]
    static: Columns | None  # [N, S]; None: no such column
    static_names: tuple[str, ...]
    times: list[Values]  # [T_i + F_i] in seconds since 1970; in steps where freq is None
    freq: str | None  # "h", "15min", "D", "B", "W", "MS", "ME", …; None: there is no clock
    season: int  # steps of the main season; 1: none
    name: str  # on one line, for people
    sha256: str  # of the source
    notes: tuple[str, ...] = ()  # what was found on the way: counts of missing values, columns left out, …
    read_as: Mapping[str, Any] = field(
        default_factory=dict
    )  # what `read_series` reads another file alike with

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """The steps with values of each series, T_i [N]."""
        return np.array([len(each) for each in self.values], np.int64)

    @property
    def missing(self) -> int:
        """The number of values of the target that are missing."""
        return sum(int(np.isnan(each).sum()) for each in self.values)

    def take(self, indices: Array | Sequence[int]) -> Series:
        """Return some of the series, in the order of the indices."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            ids=tuple(self.ids[index] for index in chosen),
            values=[self.values[index] for index in chosen],
            past=[self.past[index] for index in chosen],
            known=[self.known[index] for index in chosen],
            static=None if self.static is None else self.static[chosen],
            times=[self.times[index] for index in chosen],
        )

    def future_times(self, h: int) -> list[Values]:
        """Return the times [h] of the steps after the last value of each series, by the calendar."""
        return [self._times(index, int(steps), h) for index, steps in enumerate(self.steps)]

    def _times(self, index: int, begin: int, h: int) -> Values:
        """Return the times of steps begin to begin + h of a series; the first steps are those that it has."""
        times = self.times[index]
        if not len(times):
            return np.arange(begin, begin + h, dtype=np.float64)
        if self.freq is not None:
            return parse_frequency(self.freq).after(times, np.arange(begin, begin + h))
        step = next((float(each[1] - each[0]) for each in self.times if len(each) > 1), 1.0)
        found: Values = times[0] + step * np.arange(begin, begin + h)
        return found

    def future_known(self, h: int) -> list[Columns]:
        """Return the rows [h, K] of columns known ahead after the last value of each series.

        Raises:
            DataError: a series has fewer such rows.
        """
        found = []
        for id, steps, known in zip(self.ids, self.steps, self.known, strict=True):
            rows = known[steps : steps + h]
            if len(rows) < h and self.known_names:
                want = f"{counted(h, 'row')} after the last value of {quoted(id)}"
                raise refusal(DataError, f"known {', '.join(self.known_names)}", want, len(rows))
            found.append(rows if self.known_names else np.zeros((h, 0), np.float32))
        return found

    def with_future(self, future: Series) -> Series:
        """Return the series with other rows of columns known ahead behind their last values.

        Args:
            future: of the same ids, or of more, with known columns of the same names; rows that are no later
                than a last value are passed over. As `read_series(…, needs_values=False)` gives it.
        Raises:
            DataError: an id is not there, other columns, or a first row that is not one step after the last
                value.
        """
        if future.known_names != self.known_names:
            want = f"the known columns {', '.join(self.known_names) or '(none)'}"
            raise refusal(DataError, "future", want, ", ".join(future.known_names) or "none")
        place = {id: index for index, id in enumerate(future.ids)}
        known, times = [], []
        for index, (id, steps, ahead) in enumerate(
            zip(self.ids, self.steps, self.future_times(1), strict=True)
        ):
            if id not in place:
                raise refusal(DataError, "future", f"rows of {quoted(id)}", "none")
            clock = future.times[place[id]]
            later = np.flatnonzero(clock > ahead[0] - NEAR)
            if not len(later) or clock[later[0]] > ahead[0] + NEAR:
                want = f"a row of {quoted(id)} at {ahead[0]:g}, one step after its last value"
                raise refusal(DataError, "future", want, f"{clock[later[0]]:g}" if len(later) else "none")
            known.append(np.concatenate([self.known[index][:steps], future.known[place[id]][later]]))
            times.append(np.concatenate([self.times[index][:steps], clock[later]]))
        return replace(self, known=known, times=times)

    @classmethod
    def from_frame(
        cls,
        df: Any,
        *,
        target: str | Sequence[str] | None = None,
        id: str | None = None,
        time: str | None = None,
        freq: str | None = None,
        season: int | None = None,
        known: Sequence[str] = (),
        static: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        needs_values: bool = True,
        name: str = "data frame",
    ) -> Series:
        """Make series of a data frame of any library, with Nixtla's unique_id, ds, y, or other columns.

        The arguments are those of `read_series`; rows are numbered from 0.

        Raises:
            DtypeError: no data frame. MissingExtraError: no narwhals. Others as `read_series`.
        """
        want = wanted(target, id, time, freq, season, known, static, columns, needs_values)
        return finished(series_of_table(table_of_data_frame(df), want), want, name, None)

    @classmethod
    def from_arrays(
        cls,
        values: Sequence[Any] | Array,
        *,
        ids: Sequence[Any] | None = None,
        past: Sequence[Any] | None = None,
        past_names: Sequence[str] = (),
        known: Sequence[Any] | None = None,
        known_names: Sequence[str] = (),
        static: Array | None = None,
        static_names: Sequence[str] = (),
        times: Sequence[Any] | None = None,
        freq: str | None = None,
        season: int | None = None,
        name: str = "arrays",
    ) -> Series:
        """Make series of what Python holds.

        Args:
            values: arrays [T_i], or one array [N, T]; one array [T] is one series. NaN: missing.
            ids: [N]; default "0", "1", ….
            past: [T_i, P] each. known: [T_i + F_i, K] each. static: [N, S]. Their names: default "0", "1", ….
            times: [T_i + F_i] each, of equal steps: datetime64, or seconds since 1970 where freq is given;
                else steps. One array is that of all series.
            freq: as "h", "MS"; default that of times, where these are datetime64. Without times it says the
                season alone.
            season: default that of the frequency.
        Raises:
            ShapeError: counts disagree. DtypeError: no numbers. DataError: no series, one without a value, an
                infinite value, times that are not of equal steps.
        """
        from_python = FromArrays(values, ids, past, known, static, times, freq)
        observed, want = from_python.observed(past_names, known_names, static_names, season)
        return finished(observed, want, name, None)


def finished(found: Observed, want: Wanted, name: str, sha256: str | None) -> Series:
    """Return what a reader found, with notes. Raises DataError: none has a value, two have one id."""
    found.remark()
    if len(set(found.ids)) < len(found.ids):
        twice = Counter(found.ids).most_common(1)[0][0]
        raise refusal(DataError, "id", "a different one for each series", f"{quoted(twice)} twice")
    frequency = found.freq or want.freq
    season = want.season or (1 if frequency is None else frequency.season)
    return Series(
        ids=tuple(found.ids),
        values=found.values,
        past=found.past,
        past_names=found.past_names,
        known=found.known,
        known_names=found.known_names,
        static=np.stack(found.static) if found.static_names else None,
        static_names=found.static_names,
        times=found.times,
        freq=None if found.freq is None else str(found.freq),
        season=season,
        name=printable(name),
        sha256=sha256 or _sha256(found),
        notes=tuple(map(printable, found.notes)),
        read_as={**found.read_as, **({} if found.freq is None else {"freq": str(found.freq)})},
    )


def _sha256(found: Observed) -> str:
    """Return one digest of ids and numbers."""
    total = hashlib.sha256(repr(found.ids).encode())
    for arrays in (found.values, found.past, found.known, found.times, found.static):
        for array in arrays:
            total.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
