"""Series one after another, step by step, for a network whose state is carried on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from unrolled.data import Batch
from unrolled.tasks.forecast.channels import Channels

__all__ = ["StepBatches", "step_inputs"]

Array: TypeAlias = npt.NDArray[Any]


def step_inputs(channels: Channels, series: Array, steps: Array, horizon: int) -> Array:
    """Return what a network reads at steps of series: their channels, what is known ahead, static numbers.

    Args:
        series, steps: of one shape […].
    Returns:
        float32 […, C + horizon · K + S]; what is known ahead is zero after the last row that a series has.
    """
    found = [channels.inputs[channels.starts[series] + steps]]
    if channels.known is not None:
        after = steps[..., None] + 1 + np.arange(horizon)
        total = (channels.lengths + channels.ahead)[series][..., None]
        rows = channels.known_starts[series][..., None] + np.minimum(after, total - 1)
        ahead = np.where((after < total)[..., None], channels.known[rows], 0.0)
        found.append(ahead.reshape(*steps.shape, -1))
    if channels.static is not None:
        found.append(channels.static[series])
    return np.concatenate(found, -1).astype(np.float32)


class StepBatches:
    """Rows of all series, one series after the other, cut into B rows of equal length, side by side.

    The state is carried from batch to batch; it is zero where a series begins, and at the start of an epoch.
    Targets are [T, B, H]: the values after each step, NaN where one is missing or of another part.
    """

    carries_state = True

    def __init__(
        self,
        channels: Channels,
        begin: Array,
        end: Array,
        *,
        horizon: int,
        batch_size: int,
        bptt_steps: int,
        seed: int,
        targets_from: Array | None = None,
    ) -> None:
        """Take rows begin … end [N] of each series, which are read; see `unrolled.data.StreamBatches`.

        Args:
            targets_from: [N] the first row that is a target; default all.
        """
        self.channels, self.horizon, self.seed = channels, horizon, seed
        self._begin, self._end = (np.asarray(each, np.int64) for each in (begin, end))
        self._targets_from = self._begin if targets_from is None else np.asarray(targets_from, np.int64)
        counts = np.maximum(self._end - self._begin, 0)
        self._series = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum(counts) - counts
        self._steps = np.arange(len(self._series)) - (first - self._begin)[self._series]
        self.rows = max(1, min(batch_size, len(self._series) // (2 * horizon) or 1))
        self._length = len(self._series) // self.rows
        self._bptt = min(bptt_steps, self._length)

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield windows [T, B] of epoch n from number `start` on, with the rows rank::world_size."""
        borders = self._borders(n)
        mine = np.arange(self.rows)[rank::world_size]
        pairs = list(itertools.pairwise(borders))[start:]
        return (self._batch(first, last, mine) for first, last in pairs)

    def len_of(self, epoch: int) -> int:
        """Return the number of windows in an epoch."""
        return len(self._borders(epoch)) - 1

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, missing ones among them."""
        return self.rows * self._length * self.horizon

    def _borders(self, epoch: int) -> list[int]:
        """Return where windows begin, and the end; in later epochs the first one is shorter."""
        first = self._bptt
        if epoch:
            first -= int(np.random.default_rng([self.seed, epoch]).integers(self._bptt))
        return [0, *range(first, self._length, self._bptt), self._length]

    def _batch(self, first: int, last: int, mine: Array) -> Batch:
        places = np.arange(first, last)[:, None] + mine * self._length
        series, steps = self._series[places], self._steps[places]
        after = steps[..., None] + 1 + np.arange(self.horizon)
        inside = (after < self._end[series][..., None]) & (after >= self._targets_from[series][..., None])
        rows = self.channels.starts[series][..., None] + np.where(inside, after, 0)
        targets = np.where(inside, self.channels.values[rows], np.nan).astype(np.float32)
        resets = steps == self._begin[series]
        return Batch(
            torch.from_numpy(step_inputs(self.channels, series, steps, self.horizon)),
            torch.from_numpy(targets),
            resets=torch.from_numpy(resets) if resets.any() else None,
        )
