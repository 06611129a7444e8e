"""Windows for evaluation: every target once, none left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unrolled.data.batch import Batch, to_tensor, whole_number
from unrolled.data.encoding import Split
from unrolled.data.lines import gather

__all__ = ["carried_windows", "cold_windows"]


def carried_windows(split: Split, window: int = 1024) -> Iterator[Batch]:
    """Yield a split in windows [T, 1] of at most `window` steps, for a state carried through all of it.

    `resets` is true where a document or a line starts. Raises ConfigError: window below 1.
    """
    whole_number("window", window, 1)
    return (_carried(split, first, window) for first in range(0, split.num_targets, window))


def cold_windows(split: Split, size: int = 256, rows: int = 64) -> Iterator[Batch]:
    """Yield a split in windows that do not overlap, each from the zero state, as batches [T, B].

    B is at most `rows`. Every window has `size` steps but the last, for which its batch has `lengths`.
    `resets` is true where a document or a line starts. Raises ConfigError: size or rows below 1.
    """
    whole_number("size", size, 1)
    whole_number("rows", rows, 1)
    firsts = range(0, split.num_targets, size * rows)
    return (_cold(split, first, size, rows) for first in firsts)


def _carried(split: Split, first: int, window: int) -> Batch:
    last = min(first + window, split.num_targets)
    resets = _starts_between(split, first, last)
    return Batch(
        to_tensor(split.ids[first:last, None]),
        to_tensor(split.ids[first + 1 : last + 1, None]),
        resets=to_tensor(resets[:, None]) if resets.any() else None,
    )


def _cold(split: Split, first: int, size: int, rows: int) -> Batch:
    last = min(first + size * rows, split.num_targets)
    firsts = np.arange(first, last, size)
    lengths = np.minimum(size, last - firsts)
    batch = gather(split, firsts, lengths)
    steps = len(batch.inputs)
    padded = np.zeros(steps * len(firsts), bool)
    padded[: last - first] = _starts_between(split, first, last)
    resets = padded.reshape(len(firsts), steps).T
    return Batch(
        batch.inputs,
        batch.targets,
        batch.lengths if lengths[-1] < steps else None,
        to_tensor(resets) if resets.any() else None,
    )


def _starts_between(split: Split, first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = np.zeros(last - first, bool)
    lo, hi = np.searchsorted(split.starts, [first, last])
    found[split.starts[lo:hi] - first] = True
    return found
