"""From series to what a network reads: standardised values, where they are missing, and covariates."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Series
from unrolled.errors import DataError, UnrolledError, counted
from unrolled.files import quoted, refusal
from unrolled.tasks.forecast.schema import Schema, measured

__all__ = ["Channels", "check_columns", "check_missing"]

Array: TypeAlias = npt.NDArray[Any]
CLIP = 1e4  # standard deviations: a value that is further away counts as that far


class Channels:
    """Series in one array, row after row, as a network reads them.

    Row t depends on rows up to t alone. A missing value is the last one before it; where training had missing
    values, two more channels say whether there is a value, and log(1 + steps since the last one).
    """

    def __init__(self, series: Series, schema: Schema, *, until: Array | None = None) -> None:
        """Encode series.

        Args:
            until: [N] the rows by which a series that training had not is scaled; default all.
        Raises:
            DataError: other columns than in training, or a missing value that is refused.
        """
        check_columns(series, schema)
        place = {name: number for number, name in enumerate(schema.ids)}
        self.ids = np.array([place.get(name, len(schema.ids)) for name in series.ids], np.int64)
        self.mean, self.scale = scaling(series, schema, self.ids, until)
        self.lengths = np.array([len(values) for values in series.values], np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        known_lengths = np.array([len(each) for each in series.known], np.int64)
        self.known_starts = np.cumsum(known_lengths) - known_lengths
        self.ahead = known_lengths - self.lengths  # rows after the last value, [N]
        standardised = [
            np.clip((values - mean) / scale, -CLIP, CLIP)
            for values, mean, scale in zip(series.values, self.mean, self.scale, strict=True)
        ]
        self.values = np.concatenate([*standardised, np.zeros(0)])  # float64, NaN: missing
        self.has = ~np.isnan(self.values)
        rows, known = [], []
        for number, values in enumerate(standardised):
            covariates, ahead = _covariates(series, number, schema)
            rows.append(np.hstack([_own(values, schema), *covariates]).astype(np.float32))
            known.append(ahead)
        self.inputs: Array = np.concatenate([*rows, np.zeros((0, len(schema.channels)), np.float32)])
        self.known = np.concatenate(known).astype(np.float32) if schema.known is not None else None
        self.static = None
        if schema.static is not None and series.static is not None:
            self.static = schema.static.transform(series.static)

    def __len__(self) -> int:
        return len(self.lengths)


def scaling(series: Series, schema: Schema, ids: Array, until: Array | None = None) -> tuple[Array, Array]:
    """Return mean and scale [N]: those of training; of a series that it had not, those of its own values."""
    ends = np.array([len(values) for values in series.values]) if until is None else until
    mean = np.array([*schema.mean, 0.0])[ids]
    scale = np.array([*schema.scale, 1.0])[ids]
    counts = schema.distribution == "negative-binomial"
    for number in np.flatnonzero(ids == len(schema.ids)):
        mean[number], scale[number] = measured(series.values[number][: ends[number]], counts=counts)
    return mean, scale


def check_columns(series: Series, schema: Schema) -> None:
    """Raise DataError where series have other columns than training had, or other steps of time."""
    for word, scaler, names in (
        ("known", schema.known, series.known_names),
        ("columns", schema.past, series.past_names),
        ("static", schema.static, series.static_names),
    ):
        wanted = () if scaler is None else scaler.channels
        if tuple(names) != wanted:
            got = ", ".join(names) or "none"
            raise refusal(DataError, word, ", ".join(wanted) + ", as in training" if wanted else "none", got)
    if schema.freq != series.freq:
        raise refusal(DataError, "freq", f"{schema.freq}, as in training", series.freq)


def _own(values: Array, schema: Schema) -> Array:
    """Return the channels of a series' own values: [T, 1] or [T, 3]."""
    has = ~np.isnan(values)
    steps = np.arange(len(values))
    last = np.maximum.accumulate(np.where(has, steps, -1)) if len(values) else steps
    carried = np.where(last < 0, 0.0, values[np.maximum(last, 0)]) if len(values) else values
    if not schema.masked:
        return carried[:, None]
    return np.stack([carried, has, np.log1p(steps - np.maximum(last, 0))], 1)


def _covariates(series: Series, number: int, schema: Schema) -> tuple[list[Array], Array]:
    """Return further channels of each row, and what is known ahead [T + F, K]."""
    found: list[Array] = []
    ahead = np.zeros((0, 0), np.float32)
    try:
        if schema.past is not None:
            found.append(np.clip(schema.past.transform(series.past[number]), -CLIP, CLIP))
        if schema.known is not None:
            ahead = np.clip(schema.known.transform(series.known[number]), -CLIP, CLIP)
            found.append(ahead[: len(series.values[number])])
    except UnrolledError as error:
        raise DataError(f"series {quoted(series.ids[number])}: {error}") from None
    return found, ahead


def check_missing(series: Series, schema: Schema) -> None:
    """Raise DataError for a missing value in a series that is to be forecast, where training had none."""
    if schema.masked:
        return
    for name, values in zip(series.ids, series.values, strict=True):
        absent = int(np.isnan(values).sum())
        if absent:
            want = "no missing value, as in training"
            raise refusal(DataError, f"series {quoted(name)}", want, counted(absent, "missing value"))
