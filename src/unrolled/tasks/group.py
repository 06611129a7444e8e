"""The processes that score a network together, and what each of them found, put together in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Group", "gathered"]

Array: TypeAlias = npt.NDArray[Any]


class Group:
    """The processes of a run, seen from one of them; of this class itself, one that is alone."""

    rank: int = 0
    world_size: int = 1

    def summed(self, values: Sequence[float]) -> Sequence[float]:
        """Return the sum over the ranks of each value."""
        return values

    def whole(self, part: Tensor, axis: int, rows: int) -> Tensor:
        """Return the rows of all ranks in their order, of which each has rank::world_size."""
        return part


def gathered(group: Group, own: Array, sizes: Array) -> Array:
    """Return what all processes found for N samples, of which each has the samples rank::world_size.

    Args:
        own: this rank's, sample after sample [sum of its sizes, …], of the same type on every rank.
        sizes: of all samples [N]: how many rows each has.
    Returns:
        [ΣT_i, …], in the order of the samples; the bits that the processes found.
    """
    ranks = group.world_size
    if ranks == 1:
        return own
    most = max(int(sizes[rank::ranks].sum()) for rank in range(ranks))
    padded = np.zeros((1, most, *own.shape[1:]), own.dtype)
    padded[0, : len(own)] = own
    parts = group.whole(torch.from_numpy(padded), 0, ranks).numpy()
    samples = np.repeat(np.arange(len(sizes)), sizes)
    found = np.zeros((len(samples), *own.shape[1:]), own.dtype)
    for rank in range(ranks):
        theirs = samples % ranks == rank
        found[theirs] = parts[rank, : int(theirs.sum())]
    return found
