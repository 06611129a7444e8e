"""Features of series: raw values, simple statistics, and random convolution kernels (MiniRocket's idea)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Kernels", "Standard", "fit_kernels", "raw_values", "statistics"]

Array: TypeAlias = npt.NDArray[Any]
ROWS = 512  # series at a time
TAPS = 9
PATTERNS = np.array(list(itertools.combinations(range(TAPS), 3)))  # where a kernel has 2, elsewhere −1
TOGETHER = 12  # kernels that share a choice of channels
# The most series, and the features of so many: solving takes the cube of the smaller number.
SIZES = ((4_500, 9_996), (20_000, 4_032))
FEWEST = 1_008  # of more series
MOST_DILATIONS = 8
MOST_CHANNELS = 9  # of one kernel
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and deviation of each channel, of the training series; a missing value becomes 0, the mean."""

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, series: Sequence[Array]) -> Standard:
        """Measure series [T, C] each; NaN is missing."""
        flat = np.concatenate(list(series)).astype(np.float64)
        has = ~np.isnan(flat)
        count = np.maximum(has.sum(0), 1)
        mean = np.where(has, flat, 0).sum(0) / count
        deviation = np.sqrt((np.where(has, flat - mean, 0) ** 2).sum(0) / count)
        return cls(mean, np.where(deviation > 0, deviation, 1.0))

    def __call__(self, series: Sequence[Array]) -> tuple[Array, Array]:
        """Return [N, T, C] float32 with zeros past each length, and the lengths."""
        lengths = np.array([len(each) for each in series])
        padded = np.zeros((len(series), int(lengths.max()), len(self.mean)), np.float32)
        for row, each in zip(padded, series, strict=True):
            row[: len(each)] = np.nan_to_num((each - self.mean) / self.scale, nan=0.0)
        return padded, lengths


def by_rows(series: Sequence[Array], feature: Callable[[Sequence[Array]], Array]) -> Array:
    """Return the features of all series, computed for a few of like length at a time."""
    lengths = np.array([len(each) for each in series])
    order = np.argsort(lengths, kind="stable")
    first = feature([series[order[0]]])
    found = np.zeros((len(series), first.shape[1]), first.dtype)
    for begin in range(0, len(order), ROWS):
        chosen = order[begin : begin + ROWS]
        found[chosen] = feature([series[index] for index in chosen])
    return found


def raw_values(standard: Standard) -> Callable[[Sequence[Array]], Array]:
    """Return the values of all steps side by side, of series of equal length."""
    return lambda series: by_rows(series, lambda part: standard(part)[0].reshape(len(part), -1))


def statistics(standard: Standard) -> Callable[[Sequence[Array]], Array]:
    """Return nine statistics of each channel over valid steps, and the length."""
    return lambda series: by_rows(series, lambda part: _statistics(*standard(part)))


def _statistics(x: Array, lengths: Array) -> Array:
    steps = np.arange(x.shape[1])
    valid = (steps < lengths[:, None])[..., None]
    count = lengths[:, None].astype(np.float32)
    mean = x.sum(1) / count
    centred = np.where(valid, x - mean[:, None], 0)
    deviation = np.sqrt((centred**2).sum(1) / count)
    clock = np.where(valid, (steps[:, None] - (count[..., None] - 1) / 2), 0)
    slope = (clock * centred).sum(1) / np.maximum((clock**2).sum(1), 1)
    moves = np.abs(np.diff(x, axis=1)) * valid[:, 1:]
    last = np.take_along_axis(x, (lengths - 1)[:, None, None], 1)[:, 0]
    third = (centred**3).sum(1) / count
    lowest, highest = np.where(valid, x, np.inf).min(1), np.where(valid, x, -np.inf).max(1)
    columns = (mean, deviation, lowest, highest, x[:, 0], last, slope, moves.sum(1) / count, third)
    return np.concatenate([*columns, np.log(count)], 1)


@dataclass(frozen=True, eq=False)
class Group:
    """Twelve kernels of one dilation over the same channels, and the thresholds of each.

    Where `inside`, a step counts only where the whole kernel lies within the series, if there is such a step.
    """

    dilation: int
    inside: bool
    channels: Array
    kernels: Array  # numbers of PATTERNS
    thresholds: Array  # [kernels, B]


@dataclass(frozen=True, eq=False)
class Kernels:
    """Convolutions of length 9 with weights −1 and 2; a feature is the share of steps above a threshold.

    A shorter series than the longest one of training is continued by zeros, the mean, and those steps count:
    of ragged series that tells their lengths.
    Source: Dempster, Schmidt & Webb 2021, MiniRocket: its kernels, dilations, and thresholds from quantiles.
    """

    standard: Standard
    longest: int  # steps of a training series
    groups: tuple[Group, ...]

    @property
    def count(self) -> int:
        """The number of features."""
        return sum(group.thresholds.size for group in self.groups)

    def __call__(self, series: Sequence[Array]) -> Array:
        """Return features [N, F]."""
        return by_rows(series, lambda part: self._features(*self.standard(part)))

    def _features(self, x: Array, lengths: Array) -> Array:
        found = []
        x, lengths = _continued(x, lengths, self.longest)
        for group in self.groups:
            counted = _counted(x.shape[1], lengths, group)
            found.append(_shares(_convolved(x, group), counted, group.thresholds))
        return np.concatenate(found, 1)


def fit_kernels(series: Sequence[Array], *, seed: int = 0) -> Kernels:
    """Choose channels by chance, and thresholds by the outputs on training series."""
    generator = np.random.default_rng(seed)
    standard = Standard.fit(series)
    lengths = np.array([len(each) for each in series])
    longest = int(lengths.max())
    most = max(1, (longest - 1) // (TAPS - 1))
    dilations = sorted({int(d) for d in np.geomspace(1, most, MOST_DILATIONS)})
    features = next((count for most_series, count in SIZES if len(series) <= most_series), FEWEST)
    thresholds = max(1, features // (len(PATTERNS) * len(dilations)))
    channels = len(standard.mean)
    groups: list[Group] = []
    quantiles = _quantiles(len(PATTERNS) * thresholds).reshape(len(PATTERNS), thresholds)
    for dilation in dilations:
        for first in range(0, len(PATTERNS), TOGETHER):
            kernels = np.arange(first, min(first + TOGETHER, len(PATTERNS)))
            number = int(2 ** generator.uniform(0, np.log2(min(channels, MOST_CHANNELS) + 1)))
            chosen = np.sort(generator.choice(channels, min(number, channels), replace=False))
            drawn = generator.choice(len(series), min(len(series), 32), replace=False)
            x, steps = _continued(*standard([series[index] for index in drawn]), longest)
            inside = len(groups) % 2 == 1
            group = Group(dilation, inside, chosen, kernels, np.zeros((len(kernels), thresholds)))
            valid = _counted(x.shape[1], steps, group)
            levels = [
                np.quantile(output[valid], quantiles[kernel])
                for kernel, output in zip(kernels, _convolved(x, group), strict=True)
            ]
            groups.append(replace(group, thresholds=np.array(levels)))
    return Kernels(standard, longest, tuple(groups))


def _quantiles(count: int) -> Array:
    """Return a sequence in (0, 1) that covers it evenly however much of it is taken."""
    return (np.arange(1, count + 1) * GOLDEN) % 1.0


def _convolved(x: Array, group: Group) -> list[Array]:
    """Return the outputs [N, T] of each kernel, zeros beyond the ends."""
    summed, reach = x[:, :, group.channels].sum(2), group.dilation * (TAPS // 2)
    padded = np.pad(summed, ((0, 0), (reach, reach)))
    steps = summed.shape[1]
    taps = [padded[:, k * group.dilation : k * group.dilation + steps] for k in range(TAPS)]
    base = -sum(taps[1:], taps[0])
    found = []
    for kernel in group.kernels:
        i, j, k = PATTERNS[kernel]
        found.append(base + 3 * (taps[i] + taps[j] + taps[k]))
    return found


def _continued(x: Array, lengths: Array, least: int) -> tuple[Array, Array]:
    """Return series [N, T, C] and lengths of at least so many steps, zeros beyond their own."""
    more = max(0, least - x.shape[1])
    return np.pad(x, ((0, 0), (0, more), (0, 0))), np.maximum(lengths, least)


def _counted(steps: int, lengths: Array, group: Group) -> Array:
    """Return [N, T] which steps of each series count."""
    at, reach = np.arange(steps), group.dilation * (TAPS // 2)
    margin = np.where(group.inside & (lengths > 2 * reach), reach, 0)[:, None]
    found: Array = (at >= margin) & (at < lengths[:, None] - margin)
    return found


def _shares(outputs: Sequence[Array], counted: Array, thresholds: Array) -> Array:
    """Return [N, thresholds] the share of the steps that count in which an output is above a threshold."""
    number = counted.sum(1)
    every = bool(counted.all())
    found = np.empty((len(counted), thresholds.size), np.float32)
    place = 0
    for output, levels in zip(outputs, thresholds, strict=True):
        if not every:
            output = np.where(counted, output, -np.inf)
        for level in levels:
            found[:, place] = np.count_nonzero(output > level, axis=1) / number
            place += 1
    return found
