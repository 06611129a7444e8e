"""Windows of series: which there are, and batches of them; none crosses the end of a series or of a part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import ShapeError, expected
from unrolled.tasks.forecast.channels import Channels

__all__ = ["ForecastBatch", "WindowBatches", "Windows", "find_windows", "spread"]

Array: TypeAlias = npt.NDArray[Any]
LARGEST = float(np.finfo(np.float32).max)
Indices: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ForecastBatch(Batch):
    """W steps of B windows, and the H values that follow each; `targets` are [B, H], NaN where unknown."""

    future: Tensor | None = None  # [H, B, K], what is known ahead
    static: Tensor | None = None  # [B, S]
    series: Tensor | None = None  # [B] int64, numbers of the training series; their count: of another one
    scale: Tensor | None = None  # [B], what one standardised unit is of the series' own
    per_row: bool | None = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.inputs.ndim != 3 or self.targets.ndim != 2 or len(self.targets) != self.inputs.shape[1]:
            got = f"{list(self.inputs.shape)} and {list(self.targets.shape)}"
            raise ShapeError(expected("inputs and targets", "[W, B, C] and [B, H]", got))

    def part(self, begin: int, steps: int, rows: slice | Tensor = slice(None)) -> ForecastBatch:
        """Return some of the rows; a window is whole, since its forecast is."""
        future = None if self.future is None else self.future[:, rows]
        static, series, scale = (
            None if each is None else each[rows] for each in (self.static, self.series, self.scale)
        )
        return ForecastBatch(
            self.inputs[:, rows],
            self.targets[rows],
            future=future,
            static=static,
            series=series,
            scale=scale,
        )


class Windows(NamedTuple):
    """Which windows: the number of the series of each, and the step of its first forecast value."""

    series: Indices  # [M]
    origins: Indices  # [M], rows of the series before the forecast

    def take(self, chosen: Any) -> Windows:
        """Return some of them."""
        return Windows(self.series[chosen], self.origins[chosen])


def find_windows(
    channels: Channels,
    begin: Indices,
    end: Indices,
    *,
    window: int,
    horizon: int,
    whole: bool,
    stride: int = 1,
) -> Windows:
    """Return the windows whose forecast lies in rows begin … end of a series, in order.

    What they are made from may lie before `begin`: it is known by then. A window has a known value to start
    from and a known one to forecast.

    Args:
        begin, end: [N] rows of each series. window: steps that a forecast is made from.
        whole: leave out windows in whose inputs a value is missing.
        stride: from one forecast to the next, counted from the last.
    """
    numbers, origins = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, (start, length) in enumerate(zip(channels.starts, channels.lengths, strict=True)):
        last = min(int(end[number]), int(length)) - horizon
        first = max(int(begin[number]), window)
        if first > last:
            continue
        found = np.arange(last, first - 1, -stride)[::-1]
        known = np.concatenate([[0], np.cumsum(channels.has[start : start + length])])
        inside = known[found] - known[found - window]
        right = (known[found + horizon] > known[found]) & (inside >= (window if whole else 1))
        origins.append(found[right])
        numbers.append(np.full(int(right.sum()), number))
    return Windows(np.concatenate(numbers), np.concatenate(origins).astype(np.int64))


def spread(windows: Windows, most: int) -> Windows:
    """Return at most so many of them, evenly chosen."""
    count = len(windows.series)
    if count <= most:
        return windows
    return windows.take(np.unique(np.linspace(0, count - 1, most).round().astype(np.int64)))


class WindowBatches:
    """Windows side by side, each once an epoch; the order is a function of seed and epoch."""

    carries_state = False

    def __init__(
        self,
        channels: Channels,
        windows: Windows,
        *,
        window: int,
        horizon: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        self.channels, self.windows = channels, windows
        self.window, self.horizon, self.seed, self.shuffle = window, horizon, seed, shuffle
        self.rows = max(1, min(batch_size, len(windows.series)))

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[ForecastBatch]:
        """Yield the batches of epoch n from number `start` on, with the rows rank::world_size."""
        chosen = self.indices(n)[start:]
        return (self.batch(self.windows.take(rows[rank::world_size])) for rows in chosen)

    def indices(self, epoch: int) -> list[Indices]:
        """Return which windows are in each batch of an epoch, in order, all ranks together."""
        order = np.arange(len(self.windows.series))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(order))
        return [order[first : first + self.rows] for first in range(0, len(order), self.rows)]

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.windows.series) // self.rows)

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, missing ones among them."""
        return len(self.windows.series) * self.horizon

    def batch(self, windows: Windows) -> ForecastBatch:
        """Return these windows, without what a series does not have."""
        channels, series = self.channels, windows.series
        begin = channels.starts[series] + windows.origins
        inputs = channels.inputs[begin + np.arange(-self.window, 0)[:, None]]
        ahead = np.arange(self.horizon)
        targets = np.full((len(series), self.horizon), np.nan, np.float32)
        inside = windows.origins[:, None] + ahead < channels.lengths[series][:, None]
        targets[inside] = channels.values[(begin[:, None] + ahead)[inside]]
        future = None
        if channels.known is not None:
            rows = channels.known_starts[series] + windows.origins
            future = torch.from_numpy(channels.known[rows + ahead[:, None]])
        return ForecastBatch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets),
            future=future,
            static=None if channels.static is None else torch.from_numpy(channels.static[series]),
            series=torch.from_numpy(channels.ids[series]),
            scale=torch.from_numpy(np.minimum(channels.scale[series], LARGEST).astype(np.float32)),
        )
