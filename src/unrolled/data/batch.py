"""A window of ids for a network, and what gives windows to a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.errors import ConfigError, expected

__all__ = ["Batch", "Batches", "check_place", "to_tensor", "whole_number"]


@dataclass(frozen=True, eq=False)
class Batch:
    """T steps of B rows: predict `targets` from `inputs`."""

    inputs: Tensor  # [T, B] int64
    targets: Tensor  # [T, B] int64
    lengths: Tensor | None = None  # [B] int64, valid steps of each row; None: all T
    resets: Tensor | None = None  # [T, B] bool, the state is zero before this step; None: nowhere

    def valid(self) -> Tensor:
        """Return a mask [T, B] bool: true where a step is not padding, and may be scored."""
        steps, rows = self.inputs.shape
        if self.lengths is None:
            return torch.ones(steps, rows, dtype=torch.bool)
        return torch.arange(steps).unsqueeze(1) < self.lengths

    @property
    def count(self) -> int:
        """The number of predictions to be scored."""
        return self.inputs.numel() if self.lengths is None else int(self.lengths.sum())


class Batches(Protocol):
    """What a trainer reads: epochs of batches, in an order that its arguments alone decide."""

    carries_state: bool  # a batch goes on where the one before it ended; an epoch starts from the zero state
    rows: int  # in a full batch, all ranks together

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield the batches of epoch n from number `start` on, with the rows rank::world_size."""

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch; the same for every rank."""

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""


def to_tensor(array: npt.NDArray[Any]) -> Tensor:
    """Return a copy of an array as a contiguous tensor: int64 of whole numbers, bool of truth values."""
    dtype = np.bool_ if array.dtype == np.bool_ else np.int64
    return torch.from_numpy(np.array(array, dtype, order="C", copy=True))


def whole_number(name: str, value: object, minimum: int) -> int:
    """Return a whole number of at least `minimum`, or raise ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(expected(name, f"a whole number of at least {minimum}", repr(value)))
    return value


def check_place(start: int, batches: int, rank: int, world_size: int) -> None:
    """Raise ConfigError unless `start` lies in an epoch and `rank` in the world."""
    whole_number("world_size", world_size, 1)
    if not 0 <= rank < world_size:
        raise ConfigError(expected("rank", f"0 to {world_size - 1}", rank))
    if not 0 <= start <= batches:
        raise ConfigError(expected("start", f"0 to {batches}, the batches of the epoch", start))
