"""Packed rows as a padded batch with lengths, and back: one gather and one scatter, no loop over time.

For what does not read packed rows where they lie: every backend but the native one, and trajectories. torch's
own pad_packed_sequence and pack_padded_sequence go step by step in their backward passes, which costs as much
again as the layer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unrolled.ops.call import Call, Result


class Packing(NamedTuple):
    """The position of each packed step in the padded batch."""

    source: Tensor  # [n] its place in x.flatten(0, 1)
    lengths: Tensor  # [B] int64 on the CPU, falling
    steps: int
    rows: int

    def pad(self, data: Tensor) -> Tensor:
        """Unpack [n, I] into [T, B, I], zero past a row's length."""
        flat = data.new_zeros(self.steps * self.rows, data.shape[1])
        return flat.index_copy(0, self.source, data).view(self.steps, self.rows, -1)

    def pack(self, padded: Tensor) -> Tensor:
        """Pack [T, B, H] into [n, H]."""
        return padded.flatten(0, 1).index_select(0, self.source)

    def padded(self, call: Call) -> Call:
        """Return the call on packed rows as one on padded rows."""
        return call._replace(x=self.pad(call.x), lengths=self.lengths, batch_sizes=None)


def packing_of(batch_sizes: Tensor, rows: int, device: torch.device) -> Packing:
    """Compute the positions of the steps of packed rows, on the CPU, where batch_sizes [T] are."""
    valid = torch.arange(rows) < batch_sizes[:, None]  # [T, B]
    place = torch.arange(valid.numel()).view(valid.shape)
    return Packing(place[valid].to(device), valid.sum(0), len(batch_sizes), rows)


def packing_for(call: Call) -> Packing | None:
    """Compute that of a call on packed rows; None for another."""
    return None if call.batch_sizes is None else packing_of(call.batch_sizes, call.rows, call.x.device)


def plain(call: Call) -> Call:
    """Return the call with x [T, B, I]: rows padded, symbols looked up."""
    packing = packing_for(call)
    return call.looked_up() if packing is None else packing.padded(call)


def run_plain(function: Callable[[Call], Result], call: Call) -> Result:
    """Run a call by a function that takes x [T, B, I] alone; y is packed where the call's rows are."""
    packing = packing_for(call)
    if packing is None:
        return function(call.looked_up())
    result = function(packing.padded(call))
    return result._replace(y=packing.pack(result.y))
