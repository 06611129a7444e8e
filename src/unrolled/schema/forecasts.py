"""What the inputs and outputs of a forecaster mean: series, scaling, intervals and their corrections."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import CheckpointError, UnrolledError
from unrolled.files import parsed_bytes, refusal
from unrolled.schema.distributions import quantiles
from unrolled.schema.names import names_of
from unrolled.schema.scaling import Scaler
from unrolled.spec import DISTRIBUTIONS

__all__ = ["ForecastSchema"]

Array: TypeAlias = npt.NDArray[Any]
FORMAT, VERSION = "unrolled forecast schema", 1
MOST_SERIES, MOST_LEVELS, LONGEST_HORIZON = 1_000_000, 20, 100_000
MOST_KEPT = 12_000  # series whose names and scales are stored; no more can fit
ROOM, ROOM_PARSED = 15 * 2**16, 63 * 2**16  # bytes of config.json that a schema may take, and once parsed
WIDEST = -1 / 7e-100  # a number of as many digits as a correction may have
MISSING = ("mask", "drop", "refuse")
READ_AS = ("target", "id", "time", "freq", "season", "known", "static", "columns")
MOST_COLUMNS = 100_000
SCALERS = ("past", "known", "static")


@dataclass(frozen=True)
class ForecastSchema:
    """What a forecaster's inputs and outputs mean; config.json's section "schema"."""

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

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles of intervals and the median, rising."""
        sides = [0.5 + sign * level / 200 for level in self.levels for sign in (-1, 1)]
        return tuple(sorted({0.5, *(round(side, 12) for side in sides)}))

    @cached_property
    def keeps_series(self) -> bool:
        """Whether what is stored has the names and scales of series.

        Of more than MOST_KEPT, and of names so long that config.json would be too large, it has none: each
        series that is forecast is then scaled by its own values, as one that training did not have.
        """
        if not 0 < len(self.ids) <= MOST_KEPT:
            return False
        correction = ((WIDEST,) * self.horizon,) * len(self.levels)
        stored = {"schema": replace(self, corrections=correction)._to_json(series=True)}
        raw = json.dumps(stored, indent=2).encode()
        return len(raw) <= ROOM and parsed_bytes(raw) <= ROOM_PARSED

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

    def corrected(self, corrections: Array) -> Self:
        """Return the schema with corrections [levels, horizon] of its intervals."""
        return replace(self, corrections=tuple(tuple(map(float, row)) for row in corrections))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes; without series where `keeps_series` says so."""
        return self._to_json(series=self.keeps_series)

    def _to_json(self, *, series: bool) -> dict[str, Any]:
        stored: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        for name in ("horizon", "freq", "season", "distribution", "missing", "masked"):
            stored[name] = getattr(self, name)
        for name in ("ids", "mean", "scale"):
            stored[name] = list(getattr(self, name)) if series else []
        stored["levels"] = list(self.levels)
        for name in SCALERS:
            scaler = getattr(self, name)
            stored[name] = None if scaler is None else scaler.to_json()
        corrections = [list(row) for row in self.corrections]
        return {**stored, "read_as": dict(self.read_as or {}), "corrections": corrections}

    @classmethod
    def from_json(cls, stored: object, *, where: str = "config.json schema") -> Self:
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

    def forecasts(self, given: Array, scale: Array, *, corrected: bool = True) -> tuple[Array, Array, Array]:
        """Return forecasts in standardised units: the median [M, H], and of L intervals both sides [M, L, H].

        Args:
            given: [M, H, O] of the network. scale: [M, 1] of counts. corrected: widen or narrow intervals by
                what validation asked for.
        """
        points = self.quantiles
        found = quantiles(self.distribution, given, points, np.broadcast_to(scale, given.shape[:2]))
        middle, count = points.index(0.5), len(self.levels)
        none = np.zeros((len(found), 0, found.shape[1]), found.dtype)
        lower = np.stack([found[..., middle - 1 - k] for k in range(count)], 1) if count else none
        upper = np.stack([found[..., middle + 1 + k] for k in range(count)], 1) if count else none
        if corrected and self.corrections:
            change = np.array(self.corrections)
            point = found[..., middle][:, None]
            lower = np.minimum(lower - change, point)  # an interval that was too wide keeps its median
            upper = np.maximum(upper + change, point)
            lower, upper = np.minimum.accumulate(lower, 1), np.maximum.accumulate(upper, 1)  # nested
            if self.distribution == "negative-binomial":
                lower = np.maximum(lower, 0.0)
        return found[..., middle], lower, upper


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
    ids = names_of(stored["ids"], f"{where}.ids", CheckpointError, most=MOST_SERIES)
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
