"""Truncated backpropagation through time over parallel streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unrolled.data.batch import Batch, check_place, to_tensor, whole_number
from unrolled.data.encoding import Split

__all__ = ["StreamBatches"]


class StreamBatches:
    """A split cut into rows of equal length, read side by side in windows.

    Row b holds the targets b · L … (b + 1) · L − 1, L = N // rows, so at most rows − 1 tokens at the end
    are left out of training. `rows` is batch_size, or less: at most N // 2, so that a row has two steps.
    In epochs after the first, the first window is shorter by a seeded random amount, so that windows end
    elsewhere.
    The state is carried from batch to batch, and is zero at the start of an epoch.
    """

    carries_state = True

    def __init__(self, split: Split, *, batch_size: int, bptt_steps: int, seed: int) -> None:
        """Take a split, rows a batch, steps a window, and the seed of the windows' borders.

        Raises ConfigError: batch_size or bptt_steps below 1, a negative seed.
        """
        self._split = split
        self._bptt_steps = whole_number("bptt_steps", bptt_steps, 1)
        self._seed = whole_number("seed", seed, 0)
        self.rows = max(1, min(whole_number("batch_size", batch_size, 1), split.num_targets // 2))
        self._steps = split.num_targets // self.rows
        used = self.rows * self._steps
        self._inputs = split.ids[:used].reshape(self.rows, self._steps)  # views: nothing is read yet
        self._targets = split.ids[1 : used + 1].reshape(self.rows, self._steps)
        starts = split.starts[split.starts < used]
        by_step = np.argsort(starts % self._steps, kind="stable")
        self._start_steps = (starts % self._steps)[by_step]
        self._start_rows = (starts // self._steps)[by_step]

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield windows [T, B] of epoch n from number `start` on; `lengths` is None.

        `resets` is true where a document starts, and None in a window where none does. The rows of a rank
        are rank::world_size. Raises ConfigError: start, rank or world_size out of range.
        """
        borders = self._borders(n)
        check_place(start, len(borders) - 1, rank, world_size)
        windows = zip(borders[start:-1], borders[start + 1 :], strict=True)
        return (self._window(first, last, rank, world_size) for first, last in windows)

    def len_of(self, epoch: int) -> int:
        """Return the number of windows in an epoch; it may differ by one between epochs."""
        return len(self._borders(epoch)) - 1

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""
        return self.rows * self._steps

    def _borders(self, epoch: int) -> list[int]:
        """Return the steps at which windows start, and the end."""
        whole_number("epoch", epoch, 0)
        size = self._bptt_steps
        shorter = int(np.random.default_rng([self._seed, epoch]).integers(size)) if epoch else 0
        return [0, *range(size - shorter, self._steps, size), self._steps]

    def _window(self, first: int, last: int, rank: int, world_size: int) -> Batch:
        mine = slice(rank, None, world_size)
        inputs = self._inputs[mine, first:last].T
        return Batch(
            to_tensor(inputs),
            to_tensor(self._targets[mine, first:last].T),
            resets=self._resets(first, inputs.shape, rank, world_size),
        )

    def _resets(self, first: int, shape: tuple[int, ...], rank: int, world_size: int) -> Tensor | None:
        lo, hi = np.searchsorted(self._start_steps, [first, first + shape[0]])
        rows = self._start_rows[lo:hi]
        mine = rows % world_size == rank
        if not mine.any():
            return None
        resets: npt.NDArray[np.bool_] = np.zeros(shape, bool)
        resets[self._start_steps[lo:hi][mine] - first, rows[mine] // world_size] = True
        return to_tensor(resets)
