"""What reads new series as training read its own: scaling, columns, intervals and their corrections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Scaler, Series
from unrolled.errors import CheckpointError, DataError, UnrolledError, counted, expected
from unrolled.files import quoted, refusal
from unrolled.spec import DISTRIBUTIONS, ForecastData

__all__ = ["Schema", "check_horizon", "measured"]

Array: TypeAlias = npt.NDArray[Any]
FORMAT, VERSION = "unrolled forecast schema", 1
MOST_SERIES, LONGEST_NAME, MOST_LEVELS, LONGEST_HORIZON = 1_000_000, 10_000, 20, 100_000
LEAST = 1e-8  # standard deviation, relative to the mean: a series that varies less counts as constant
MISSING = ("mask", "drop", "refuse")
READ_AS = ("target", "id", "time", "freq", "season", "known", "static", "columns")
MOST_COLUMNS = 100_000
SCALERS = ("past", "known", "static")


@dataclass(frozen=True)
class Schema:
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    horizon: int
    freq: str | None  # time from row to row; None: steps
    season: int  # steps of the main season; 1: none
    ids: tuple[str, ...]  # of the series of training
    mean: tuple[float, ...]  # of their training rows, in their unit
    scale: tuple[float, ...]  # their standard deviation; 1 of a constant series
    levels: tuple[float, ...]  # of intervals, in percent, rising
    distribution: str  # what the network gives for a value
    missing: str  # "mask", "drop" or "refuse"
    masked: bool  # whether a channel says where values are missing
    past: Scaler | None = None  # of columns that are known up to the present
    known: Scaler | None = None  # of columns that are known ahead
    static: Scaler | None = None  # of numbers of a series
    read_as: Mapping[str, Any] | None = None  # what `data.read_series` reads another file alike with
    corrections: tuple[tuple[float, ...], ...] = ()  # [levels, horizon], standardised; (): none

    @classmethod
    def fit(cls, series: Series, rows: Sequence[int], data: ForecastData) -> Schema:
        """Measure training rows; those of no other part may be among them.

        Args:
            rows: [N] the training rows of each series, from its first on.
        Raises:
            DataError: nothing to measure, a missing value that is refused, negative or broken counts.
        """
        parts = [values[:count] for values, count in zip(series.values, rows, strict=True)]
        absent = [int(np.isnan(each).sum()) for each in parts]
        if data.missing == "refuse" and any(absent):
            first = next(n for n, count in enumerate(absent) if count)
            got = counted(absent[first], "missing value")
            raise refusal(DataError, f"series {quoted(series.ids[first])}", "no missing value", got)
        counts = data.outputs == "negative-binomial"
        measured_rows = [measured(each, counts=counts) for each in parts]
        if counts:
            _check_counts(series.ids, parts)
        used = [n for n, count in enumerate(rows) if count]
        return cls(
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
                "refuse" if data.missing == "refuse" else "mask",
            ),
            known=_scaler([series.known[n][: rows[n]] for n in used], series.known_names, "refuse"),
            static=None
            if series.static is None
            else _scaler([series.static[used]], series.static_names, "refuse"),
            read_as=dict(series.read_as),
        )

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles of intervals and the median, rising."""
        sides = [0.5 + sign * level / 200 for level in self.levels for sign in (-1, 1)]
        return tuple(sorted({0.5, *(round(side, 12) for side in sides)}))

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the numbers that the network reads at a step."""
        own = ("value", "has value", "since value") if self.masked else ("value",)
        more = [name for scaler in (self.past, self.known) if scaler is not None for name in scaler.outputs]
        return (*own, *more)

    @property
    def known_channels(self) -> int:
        """How many numbers are known ahead at a step."""
        return 0 if self.known is None else len(self.known.outputs)

    @property
    def static_numbers(self) -> int:
        """How many numbers a series has."""
        return 0 if self.static is None else len(self.static.outputs)

    def corrected(self, corrections: Array) -> Schema:
        """Return the schema with corrections [levels, horizon] of its intervals."""
        return replace(self, corrections=tuple(tuple(map(float, row)) for row in corrections))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        stored: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        for name in ("horizon", "freq", "season", "distribution", "missing", "masked"):
            stored[name] = getattr(self, name)
        for name in ("ids", "mean", "scale", "levels"):
            stored[name] = list(getattr(self, name))
        for name in SCALERS:
            scaler = getattr(self, name)
            stored[name] = None if scaler is None else scaler.to_json()
        corrections = [list(row) for row in self.corrections]
        return {**stored, "read_as": dict(self.read_as or {}), "corrections": corrections}

    @classmethod
    def from_json(cls, stored: object, *, where: str = "config.json schema") -> Schema:
        """Read what a checkpoint holds; it may come from a stranger.

        Raises:
            CheckpointError: a key is missing, unknown, of another type, or out of range.
        """
        keys = {"format", "version", *cls.__dataclass_fields__}
        if not isinstance(stored, Mapping) or set(stored) != keys:
            raise refusal(CheckpointError, where, "the keys " + ", ".join(sorted(keys)), "others")
        _check(stored, where)
        try:
            scalers: dict[str, Any] = {
                name: None
                if stored[name] is None
                else Scaler.from_json(stored[name], where=f"{where}.{name}")
                for name in SCALERS
            }
        except UnrolledError as error:
            raise CheckpointError(str(error)) from None
        return cls(
            **{name: stored[name] for name in ("horizon", "freq", "season", "missing", "masked")},
            ids=tuple(stored["ids"]),
            mean=tuple(map(float, stored["mean"])),
            scale=tuple(map(float, stored["scale"])),
            levels=tuple(map(float, stored["levels"])),
            distribution=stored["distribution"],
            read_as=dict(stored["read_as"]),
            corrections=tuple(tuple(map(float, row)) for row in stored["corrections"]),
            **scalers,
        )


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


def _check_counts(ids: Sequence[str], parts: Sequence[Array]) -> None:
    for name, values in zip(ids, parts, strict=True):
        known = values[~np.isnan(values)]
        if ((known < 0) | (known != np.floor(known))).any():
            wrong = known[(known < 0) | (known != np.floor(known))][0]
            want = "whole numbers of at least 0 with negative-binomial"
            raise refusal(DataError, f"series {quoted(name)}", want, f"{wrong:g}")


def _check(stored: Mapping[str, Any], where: str) -> None:
    """Check everything but the scalers. Raises CheckpointError."""

    def need(name: str, right: bool, want: str) -> None:
        if not right:
            raise refusal(CheckpointError, f"{where}.{name}", want, "something else")

    need("format", (stored["format"], stored["version"]) == (FORMAT, VERSION), f"{FORMAT}, version {VERSION}")
    for name, most in (("horizon", LONGEST_HORIZON), ("season", 10**9)):
        value = stored[name]
        need(name, type(value) is int and 1 <= value <= most, f"a whole number up to {most}")
    freq = stored["freq"]
    need("freq", freq is None or (isinstance(freq, str) and len(freq) <= 100), "a text or null")
    need("distribution", stored["distribution"] in DISTRIBUTIONS, "one of " + ", ".join(DISTRIBUTIONS))
    need("missing", stored["missing"] in MISSING, "one of " + ", ".join(MISSING))
    need("masked", isinstance(stored["masked"], bool), "true or false")
    read_as = stored["read_as"]
    keywords = isinstance(read_as, Mapping) and all(
        name in READ_AS and _is_setting(value) for name, value in read_as.items()
    )
    need("read_as", keywords, "keywords of `data.read_series`")
    ids = stored["ids"]
    named = isinstance(ids, list) and all(isinstance(n, str) and len(n) <= LONGEST_NAME for n in ids)
    need("ids", named and len(set(ids)) == len(ids) <= MOST_SERIES, "a list of different names")
    for name in ("mean", "scale"):
        need(name, _are_numbers(stored[name], len(ids)), f"{len(ids)} finite numbers")
    need("scale", min(stored["scale"], default=1) > 0, "numbers above 0")
    levels, rows = stored["levels"], stored["corrections"]
    need("levels", isinstance(levels, list) and len(levels) <= MOST_LEVELS, "a list of levels")
    rising = _are_numbers(levels, len(levels)) and levels == sorted(set(levels))
    need("levels", rising and all(0 < level < 100 for level in levels), "rising levels in percent")
    right = isinstance(rows, list) and len(rows) in (0, len(levels))
    need("corrections", right and all(_are_numbers(r, stored["horizon"]) for r in rows), "numbers of a level")


def _is_setting(value: object) -> bool:
    """Whether something is a keyword's value: a text, a number, or a list of texts."""
    if isinstance(value, list):
        return len(value) <= MOST_COLUMNS and all(isinstance(each, str) for each in value)
    return type(value) in (str, int)


def _are_numbers(values: object, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )


def check_horizon(schema: Schema, horizon: int) -> None:
    """Raise CheckpointError unless the schema is of that horizon."""
    if schema.horizon != horizon:
        raise CheckpointError(expected("config.json schema.horizon", horizon, schema.horizon))
