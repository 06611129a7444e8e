"""Lines of about equal length, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.batch import Batch, check_place, to_tensor, whole_number
from unrolled.data.encoding import Split

__all__ = ["LineBatches", "gather"]

LineNumbers = npt.NDArray[Any]  # uint32 where that is enough

CHUNK = 50  # batches within which lines are sorted by length: little padding, and much of the shuffle left


class LineBatches:
    """Each line is a sequence from the zero state; all are read once an epoch.

    Lines are shuffled, sorted by length inside chunks of 50 batches, cut into batches (the last one of an
    epoch's sorting may be smaller), and the batches are shuffled. The order is a function of seed and epoch.
    """

    carries_state = False

    def __init__(self, split: Split, *, batch_size: int, seed: int) -> None:
        """Take a split whose starts are those of lines, rows per batch, and the seed of the order.

        Raises ConfigError: batch_size below 1, a negative seed.
        """
        self._split = split
        self._seed = whole_number("seed", seed, 0)
        self._count = len(split.starts)
        self.rows = max(1, min(whole_number("batch_size", batch_size, 1), self._count))

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield batches [T, B] with `lengths` [B] of epoch n from number `start` on; `resets` is None.

        T is the longest line of the rank's rows, which are rank::world_size of the batch; padding is the
        boundary id. Raises ConfigError: start, rank or world_size out of range.
        """
        check_place(start, self.len_of(n), rank, world_size)
        lines, order = self._order(n)
        firsts = (int(number) * self.rows for number in order[start:])
        return (self._batch(lines[first : first + self.rows][rank::world_size]) for first in firsts)

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-self._count // self.rows)

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""
        return self._split.num_targets

    def _order(self, epoch: int) -> tuple[LineNumbers, npt.NDArray[np.int64]]:
        """Return the lines, batch after batch, and the order of the batches; takes four bytes per line."""
        generator = np.random.default_rng([self._seed, whole_number("epoch", epoch, 0)])
        lines: LineNumbers = np.arange(self._count, dtype=np.uint32 if self._count <= 2**32 else np.uint64)
        generator.shuffle(lines)
        for first in range(0, self._count, CHUNK * self.rows):
            chunk = lines[first : first + CHUNK * self.rows]
            chunk[:] = chunk[np.argsort(self._lengths(chunk), kind="stable")]
        return lines, generator.permutation(self.len_of(epoch))

    def _lengths(self, lines: LineNumbers) -> npt.NDArray[np.int64]:
        return self._split.lengths(lines.astype(np.int64))

    def _batch(self, rows: LineNumbers) -> Batch:
        return gather(self._split, self._split.starts[rows], self._lengths(rows))


def gather(split: Split, firsts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Batch:
    """Return the batch whose row b starts at input firsts[b] and has lengths[b] steps, the rest padding."""
    steps = np.arange(lengths.max(initial=0))[:, None]
    valid = steps < lengths
    where = np.where(valid, firsts + steps, 0)  # the split's first id is the boundary
    return Batch(to_tensor(split.ids[where]), to_tensor(split.ids[where + valid]), to_tensor(lengths))
