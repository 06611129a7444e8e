"""What reads new series as training read its own: scaling, columns, intervals and their corrections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Scaler, Series
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal
from unrolled.schema import MOST_NUMBER, ForecastSchema, a_number
from unrolled.spec import ForecastData
from unrolled.tasks.storable import check_storable

__all__ = ["Schema", "measured"]

Array: TypeAlias = npt.NDArray[Any]
# Field of the schema → what people call it.
ARGUMENTS = {"ids": "id", "mean": "target", "scale": "target", "past": "columns"}
LEAST = 1e-8  # standard deviation, relative to the mean: a series that varies less counts as constant


@dataclass(frozen=True)
class Schema(ForecastSchema):
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    @classmethod
    def fit(cls, series: Series, rows: Sequence[int], data: ForecastData) -> Schema:
        """Measure training rows; those of no other part may be among them.

        Args:
            rows: [N] the training rows of each series, from its first on.
        Raises:
            DataError: nothing to measure, a missing value that is refused, negative or broken counts; or what
                a checkpoint could not hold, such as a name that is too long.
        """
        parts = [values[:count] for values, count in zip(series.values, rows, strict=True)]
        absent = [int(np.isnan(each).sum()) for each in parts]
        if data.missing == "refuse" and any(absent):
            first = next(n for n, count in enumerate(absent) if count)
            got = counted(absent[first], "missing value")
            raise refusal(DataError, f"series {quoted(series.ids[first])}", "no missing value", got)
        counts = data.outputs == "negative-binomial"
        _check_sizes(series.ids, parts)
        measured_rows = [measured(each, counts=counts) for each in parts]
        if counts:
            _check_counts(series.ids, parts)
        kept = "refuse" if data.missing == "refuse" else "mask"
        used = [n for n, count in enumerate(rows) if count]
        schema = cls(
            horizon=data.horizon,
            freq=series.freq,
            season=series.season,
            ids=tuple(series.ids),
            mean=tuple(each[0] for each in measured_rows),
            scale=tuple(each[1] for each in measured_rows),
            levels=data.levels,
            distribution=data.outputs,
            missing=data.missing,
            masked=data.missing == "mask" and any(absent),
            past=_scaler(
                [series.past[n][: rows[n]] for n in used],
                series.past_names,
                kept,
            ),
            known=_scaler([series.known[n][: rows[n]] for n in used], series.known_names, kept),
            static=None
            if series.static is None
            else _scaler([series.static[used]], series.static_names, "refuse"),
            read_as=dict(series.read_as),
        )
        check_storable(schema, cls.from_json, ARGUMENTS)
        return schema


def _scaler(rows: list[Array], names: Sequence[str], missing: str) -> Scaler | None:
    return Scaler.fit(rows, tuple(names), missing=missing) if names else None


def measured(values: Array, *, counts: bool) -> tuple[float, float]:
    """Return what is taken off values, and what they are divided by."""
    known = values[~np.isnan(values)]
    if not len(known):
        return 0.0, 1.0
    mean = float(known.mean())
    if counts:
        return 0.0, 1.0 + abs(mean)
    scale = float(known.std())
    return mean, scale if scale > LEAST * max(abs(mean), 1e-300) and math.isfinite(scale) else 1.0


def _check_sizes(ids: Sequence[str], parts: Sequence[Array]) -> None:
    for name, values in zip(ids, parts, strict=True):
        largest = np.nanmax(np.abs(values), initial=0.0)
        if not largest < MOST_NUMBER:
            raise refusal(DataError, f"series {quoted(name)}", a_number(largest), f"{largest:g}")


def _check_counts(ids: Sequence[str], parts: Sequence[Array]) -> None:
    for name, values in zip(ids, parts, strict=True):
        known = values[~np.isnan(values)]
        if ((known < 0) | (known != np.floor(known))).any():
            wrong = known[(known < 0) | (known != np.floor(known))][0]
            want = "whole numbers of at least 0 with negative-binomial"
            raise refusal(DataError, f"series {quoted(name)}", want, f"{wrong:g}")
