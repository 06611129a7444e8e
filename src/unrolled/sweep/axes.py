"""Which settings a trial has: a function of the axes, a seed and its number alone.

So no two processes draw the same trial, in whatever order they come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from unrolled.errors import ConfigError, counted, expected
from unrolled.spec import MOST_TRIALS, Range

__all__ = ["Axes", "Axis"]

Axis: TypeAlias = "tuple[Any, ...] | Range"
DIGITS = 4  # of a drawn number, so that a command can repeat it


@dataclass(frozen=True)
class Axes:
    """The settings that vary, by the names of their fields, and the seed of their order."""

    named: Mapping[str, Axis]
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.named:
            raise ConfigError(expected("axes", "a setting with several values, or with a Range", "none"))
        for name, axis in self.named.items():
            if not isinstance(axis, Range) and (not isinstance(axis, tuple) or len(axis) < 2):
                raise ConfigError(expected(name, "several values or a Range", repr(axis)))

    @cached_property
    def combinations(self) -> int | None:
        """How many different trials there are; None: a range gives any number."""
        lists = [len(axis) for axis in self.named.values() if not isinstance(axis, Range)]
        return math.prod(lists) if len(lists) == len(self.named) else None

    def most(self, trials: int | None, *, timed: bool) -> int:
        """Return how many trials there are at most, by what was asked for.

        Raises:
            ConfigError: nothing limits them.
        """
        if self.combinations is None:
            if trials is None and not timed:
                want = "a number, or `total_minutes`, beside a range"
                raise ConfigError(expected("trials", want, "none"))
            return trials or MOST_TRIALS
        if trials is None and not timed and self.combinations > MOST_TRIALS:
            want = f"a number beside more than {counted(MOST_TRIALS, 'combination')}"
            raise ConfigError(expected("trials", want, f"none for {self.combinations:,}"))
        return min(self.combinations, trials or MOST_TRIALS)

    def values(self, number: int) -> dict[str, Any]:
        """Return the settings of a trial: the combination at this place of a shuffled order, or a draw.

        In whichever order the axes are given.
        """
        if self.combinations is not None:
            found = self._combination(self._place(number, self.combinations))
        else:
            shares = np.random.default_rng([self.seed, number]).random(len(self.named))
            drawn = zip(sorted(self.named), shares, strict=True)
            found = {name: _drawn(self.named[name], float(share)) for name, share in drawn}
        return {name: found[name] for name in self.named}

    def _place(self, number: int, count: int) -> int:
        """Return which combination a trial has; trials below `count` have one each."""
        if count <= MOST_TRIALS:
            return int(self._shuffled[number])
        # too many to list: an affine map is a permutation where its factor and the number have no divisor
        draw = np.random.default_rng([self.seed, count % 2**32])
        factor = int(draw.integers(1, 2**62)) % count or 1
        while math.gcd(factor, count) != 1:
            factor += 1
        return (factor * number + int(draw.integers(0, 2**62))) % count

    @cached_property
    def _shuffled(self) -> Any:
        return np.random.default_rng(self.seed).permutation(self.combinations or 0)

    def _combination(self, place: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in sorted(self.named):
            axis = self.named[name]
            assert isinstance(axis, tuple)
            place, which = divmod(place, len(axis))
            found[name] = axis[which]
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what a study keeps of the axes."""
        return {
            name: {"low": axis.low, "high": axis.high} if isinstance(axis, Range) else list(axis)
            for name, axis in self.named.items()
        }


def _drawn(axis: Axis, share: float) -> Any:
    """Return the value at a share, from 0 to 1, of an axis."""
    if not isinstance(axis, Range):
        return axis[min(int(share * len(axis)), len(axis) - 1)]
    low, high = axis.low, axis.high
    if axis.whole and axis.logarithmic:
        value = math.exp(math.log(low - 0.5) + share * math.log((high + 0.5) / (low - 0.5)))
        return min(max(round(value), int(low)), int(high))
    if axis.whole:
        return min(int(low) + int(share * (int(high) - int(low) + 1)), int(high))
    if axis.logarithmic:
        value = math.exp(math.log(low) + share * math.log(high / low))
    else:
        value = low + share * (high - low)
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
