"""Features of series: raw values, simple statistics, and random convolution kernels (MiniRocket's idea)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Kernels", "Standard", "fit_kernels", "raw_values", "statistics"]

Array: TypeAlias = npt.NDArray[Any]
ROWS = 512  # series at a time
TAPS = 9
PATTERNS = np.array(list(itertools.combinations(range(TAPS), 3)))  # where a kernel has 2, elsewhere −1
TOGETHER = 12  # kernels that share a choice of channels
FEATURES, FEWER = 2016, 1008  # of few series, and of many
MANY = 20_000
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
    """Twelve kernels of one dilation over the same channels, and the thresholds of each."""

    dilation: int
    channels: Array
    kernels: Array  # numbers of PATTERNS
    thresholds: Array  # [kernels, B]


@dataclass(frozen=True, eq=False)
class Kernels:
    """Convolutions of length 9 with weights −1 and 2; a feature is the share of steps above a threshold.

    Source: Dempster, Schmidt & Webb 2021, MiniRocket: its kernels, dilations, and thresholds from quantiles.
    """

    standard: Standard
    groups: tuple[Group, ...]

    @property
    def count(self) -> int:
        """The number of features."""
        return sum(group.thresholds.size for group in self.groups)

    def __call__(self, series: Sequence[Array]) -> Array:
        """Return features [N, F]."""
        return by_rows(series, lambda part: self._features(*self.standard(part)))

    def _features(self, x: Array, lengths: Array) -> Array:
        found = [_shares(_convolved(x, group), lengths, group.thresholds) for group in self.groups]
        return np.concatenate(found, 1)


def fit_kernels(series: Sequence[Array], *, seed: int = 0) -> Kernels:
    """Choose channels by chance, and thresholds by the outputs on training series."""
    generator = np.random.default_rng(seed)
    standard = Standard.fit(series)
    lengths = np.array([len(each) for each in series])
    most = max(1, int((np.median(lengths) - 1) / (TAPS - 1)))
    dilations = sorted({int(d) for d in np.geomspace(1, most, MOST_DILATIONS)})
    features = FEATURES if len(series) <= MANY else FEWER
    thresholds = max(1, features // (len(PATTERNS) * len(dilations)))
    channels, groups = len(standard.mean), []
    quantiles = _quantiles(len(PATTERNS) * thresholds).reshape(len(PATTERNS), thresholds)
    for dilation in dilations:
        for first in range(0, len(PATTERNS), TOGETHER):
            kernels = np.arange(first, min(first + TOGETHER, len(PATTERNS)))
            number = int(2 ** generator.uniform(0, np.log2(min(channels, MOST_CHANNELS) + 1)))
            chosen = np.sort(generator.choice(channels, min(number, channels), replace=False))
            drawn = generator.choice(len(series), min(len(series), 32), replace=False)
            x, steps = standard([series[index] for index in drawn])
            group = Group(dilation, chosen, kernels, np.zeros((len(kernels), thresholds)))
            valid = np.arange(x.shape[1]) < steps[:, None]
            levels = [
                np.quantile(output[valid], quantiles[kernel])
                for kernel, output in zip(kernels, _convolved(x, group), strict=True)
            ]
            groups.append(Group(dilation, chosen, kernels, np.array(levels)))
    return Kernels(standard, tuple(groups))


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


def _shares(outputs: Sequence[Array], lengths: Array, thresholds: Array) -> Array:
    steps = outputs[0].shape[1]
    ragged = lengths.min() < steps
    valid = np.arange(steps) < lengths[:, None]
    found = np.empty((len(lengths), thresholds.size), np.float32)
    place = 0
    for output, levels in zip(outputs, thresholds, strict=True):
        if ragged:
            output = np.where(valid, output, -np.inf)
        for level in levels:
            found[:, place] = np.count_nonzero(output > level, axis=1) / lengths
            place += 1
    return found
