"""Batches of whole samples: sequences of like length side by side, a target for each or for every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.batches import CHUNK, IGNORED, Batch, check_place, to_tensor, whole_number
from unrolled.errors import DtypeError, ShapeError, expected

__all__ = ["SampleBatches"]

Array: TypeAlias = npt.NDArray[Any]
Indices: TypeAlias = npt.NDArray[np.int64]


class SampleBatches:
    """Every sample once an epoch, from the zero state; the order is a function of seed and epoch.

    Samples are shuffled, sorted by length inside chunks of 50 batches, cut into batches, of which one may be
    smaller, and the batches are shuffled. Without `shuffle` all are sorted by length, in every epoch alike.
    """

    carries_state = False

    def __init__(
        self,
        inputs: Sequence[Array],
        targets: Array | Sequence[Array],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
    ) -> None:
        """Take the sequences, copied into one array, and the targets.

        Args:
            inputs: [T_i, C] of floating point each, or ids [T_i]; no NaN.
            targets: an array [N], or [N, K] of several values for each; or a list of [T_i], one for every
                step, NaN or `IGNORED` where there is none. int64 or floating point.
            batch_size: rows, all ranks together. seed: of the order. shuffle: see above.
        Raises:
            ShapeError: axes disagree. DtypeError: ids among numbers. ConfigError: batch_size below 1, a
            negative seed.
        """
        self._flat, self._lengths = _flattened(inputs)
        self._starts = np.cumsum(self._lengths) - self._lengths + 1  # the first place is padding
        self._per_step = isinstance(targets, list)
        self._targets = self._of_steps(targets) if isinstance(targets, list) else np.asarray(targets)
        if not self._per_step and (self._targets.shape[:1] != (len(inputs),) or self._targets.ndim > 2):
            raise ShapeError(expected("targets", [len(inputs)], list(self._targets.shape)))
        self._seed = whole_number("seed", seed, 0)
        self._shuffle = shuffle
        self.rows = max(1, min(whole_number("batch_size", batch_size, 1), len(inputs)))

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield batches of epoch n from number `start` on, with the rows rank::world_size.

        `inputs` are [T, B, C], or ids [T, B], T the longest of the rank's rows; padding is 0. `targets` are
        [B] or [B, K], or [T, B] with NaN or `IGNORED` as padding; `lengths` [B].

        Raises ConfigError: start, rank or world_size out of range.
        """
        check_place(start, self.len_of(n), rank, world_size)
        return (self._batch(chosen[rank::world_size]) for chosen in self.indices(n)[start:])

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._lengths) // self.rows)

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together: of samples or of steps."""
        if not self._per_step:
            return len(self._lengths)
        missing = np.isnan(self._targets) if self._targets.dtype.kind == "f" else self._targets == IGNORED
        return int(np.count_nonzero(~missing))

    def indices(self, epoch: int) -> list[Indices]:
        """Return which samples are in each batch of an epoch, in order, all ranks together."""
        whole_number("epoch", epoch, 0)
        number = len(self._lengths)
        if not self._shuffle:
            return self._cut(np.argsort(self._lengths, kind="stable"))
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(number)
        for first in range(0, number, CHUNK * self.rows):
            chunk = order[first : first + CHUNK * self.rows]
            chunk[:] = chunk[np.argsort(self._lengths[chunk], kind="stable")]
        batches = self._cut(order)
        return [batches[index] for index in generator.permutation(len(batches))]

    def _cut(self, order: Indices) -> list[Indices]:
        return [order[first : first + self.rows] for first in range(0, len(order), self.rows)]

    def _batch(self, chosen: Indices) -> Batch:
        lengths = self._lengths[chosen]
        steps = np.arange(lengths.max(initial=0))[:, None]
        where = np.where(steps < lengths, self._starts[chosen] + steps, 0)
        inputs = to_tensor(self._flat[where])
        targets = self._targets[where if self._per_step else chosen]
        return Batch(inputs, to_tensor(targets), to_tensor(lengths), per_row=not self._per_step)

    def _of_steps(self, targets: Sequence[Array]) -> Array:
        """Return a padding target and those of all sequences after it."""
        if len(targets) != len(self._lengths):
            raise ShapeError(expected("targets", [len(self._lengths)], [len(targets)]))
        arrays = [np.asarray(each) for each in targets]
        for index, (each, length) in enumerate(zip(arrays, self._lengths.tolist(), strict=True)):
            if each.shape != (length,):
                raise ShapeError(expected(f"targets[{index}]", [length], list(each.shape)))
        numbers = any(each.dtype.kind == "f" for each in arrays)
        padding = np.array([np.nan], np.float32) if numbers else np.array([IGNORED], np.int64)
        return np.concatenate([padding, *(each.astype(padding.dtype, copy=False) for each in arrays)])


def _flattened(inputs: Sequence[Array]) -> tuple[Array, Indices]:
    """Return a padding step and all sequences after it, as float32 or int64, and their lengths."""
    arrays = [np.asarray(each) for each in inputs]
    first = arrays[0] if arrays else np.zeros(0, np.int64)
    numbers = first.dtype.kind == "f"
    want = f"[T, {first.shape[-1]}] of floating point" if numbers else "ids [T]"
    for index, each in enumerate(arrays):
        if (each.dtype.kind == "f") != numbers or each.dtype.kind not in "fiu":
            raise DtypeError(expected(f"inputs[{index}]", want, each.dtype))
        if each.ndim != (2 if numbers else 1) or each.shape[1:] != first.shape[1:]:
            raise ShapeError(expected(f"inputs[{index}]", want, list(each.shape)))
    padding = np.zeros((1, *first.shape[1:]), np.float32 if numbers else np.int64)
    flat = np.concatenate([padding, *(each.astype(padding.dtype, copy=False) for each in arrays)])
    return flat, np.array([len(each) for each in arrays], np.int64)
