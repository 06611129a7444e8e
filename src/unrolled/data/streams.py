"""Truncated backpropagation through time over parallel streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unrolled.data.batch import Batch, check_place, to_tensor, whole_number
from unrolled.data.encoding import Split
from unrolled.errors import ConfigError, expected

__all__ = ["StreamBatches"]


class StreamBatches:
    """A split cut into rows of equal length, read side by side in windows.

    Row b holds the targets b · L … (b + 1) · L − 1, L = N // rows, so at most rows − 1 tokens at the end
    are left out of training. `rows` is batch_size, or less: at most N // 2, so that a row has two steps.
    In epochs after the first, the first window is shorter by a seeded random amount, so that windows end
    elsewhere.
    The state is carried from batch to batch, and is zero at the start of an epoch. With `restart_share`, a
    seeded choice of rows starts from the zero state at each window too: a network that is trained on carried
    states alone meets the zero state B times per epoch, and may diverge from it (docs/decisions/0006).
    """

    carries_state = True

    def __init__(
        self, split: Split, *, batch_size: int, bptt_steps: int, seed: int, restart_share: float = 0.0
    ) -> None:
        """Take a split, rows per batch, steps per window, the seed, and the mean share of rows that restart.

        Raises ConfigError: batch_size or bptt_steps below 1, a negative seed, restart_share not in [0, 1].
        """
        if not 0 <= restart_share <= 1:
            raise ConfigError(expected("restart_share", "0 to 1", restart_share))
        self._restart_share = restart_share
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
        mine = slice(rank, None, world_size)
        windows = zip(range(start, len(borders) - 1), borders[start:-1], borders[start + 1 :], strict=True)
        return (self._window(first, last, mine, self._restarts(n, index)) for index, first, last in windows)

    def len_of(self, epoch: int) -> int:
        """Return the number of windows in an epoch; it may differ by one between epochs."""
        return 1 + max(0, -(-(self._steps - self._first_window(epoch)) // self._bptt_steps))

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""
        return self.rows * self._steps

    def _borders(self, epoch: int) -> list[int]:
        """Return the steps at which windows start, and the end."""
        return [0, *range(self._first_window(epoch), self._steps, self._bptt_steps), self._steps]

    def _first_window(self, epoch: int) -> int:
        """Return the steps of an epoch's first window."""
        whole_number("epoch", epoch, 0)
        size = self._bptt_steps
        return size - int(np.random.default_rng([self._seed, epoch]).integers(size)) if epoch else size

    def _window(self, first: int, last: int, mine: slice, restarts: npt.NDArray[np.bool_]) -> Batch:
        return Batch(
            to_tensor(self._inputs[mine, first:last].T),
            to_tensor(self._targets[mine, first:last].T),
            resets=self._resets(first, last, mine, restarts),
        )

    def _resets(self, first: int, last: int, mine: slice, restarts: npt.NDArray[np.bool_]) -> Tensor | None:
        """Return where a document starts or a row restarts, [T, B] of a rank's rows; None for nowhere."""
        lo, hi = np.searchsorted(self._start_steps, [first, last])
        if lo == hi and not restarts.any():
            return None
        resets: npt.NDArray[np.bool_] = np.zeros((last - first, self.rows), bool)
        resets[self._start_steps[lo:hi] - first, self._start_rows[lo:hi]] = True
        resets[0] |= restarts
        return to_tensor(resets[:, mine]) if resets[:, mine].any() else None

    def _restarts(self, epoch: int, index: int) -> npt.NDArray[np.bool_]:
        """Return which rows [B] start window `index` of an epoch from the zero state."""
        if not self._restart_share:
            return np.zeros(self.rows, bool)
        return np.random.default_rng([self._seed, epoch, index]).random(self.rows) < self._restart_share
