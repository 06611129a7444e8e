"""A PackedSequence as a padded batch with lengths, and back: one gather and one scatter, no loop over time.

torch's own pad_packed_sequence and pack_padded_sequence go step by step in their backward passes, which
costs as much again as the layer itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


class Packing(NamedTuple):
    """The position of each packed step in the padded batch."""

    source: Tensor  # [n] its place in x.flatten(0, 1)
    lengths: Tensor  # [B] int64 on the CPU, in the order that the caller packed the rows from
    steps: int
    rows: int

    def pad(self, data: Tensor) -> Tensor:
        """Unpack [n, I] into [T, B, I]; values past a row's length are arbitrary."""
        flat = data.new_empty(self.steps * self.rows, data.shape[1])
        return flat.index_copy_(0, self.source, data).view(self.steps, self.rows, -1)

    def pack(self, padded: Tensor) -> Tensor:
        """Pack [T, B, H] into [n, H]."""
        return padded.flatten(0, 1).index_select(0, self.source)


def packing_of(packed: PackedSequence) -> Packing:
    """Compute the positions of the steps of a PackedSequence, on the CPU, where its batch_sizes are."""
    sizes, order = packed.batch_sizes, packed.sorted_indices
    steps = len(sizes)
    rows = int(sizes[0]) if order is None else len(order)
    valid = torch.arange(rows) < sizes[:, None]  # [T, B], the longest row first, as packed
    place = torch.arange(steps * rows).view(steps, rows)
    lengths = valid.sum(0)
    if order is not None:
        order = order.cpu()
        place = place.index_select(1, order)
        lengths = torch.empty_like(lengths).index_copy_(0, order, lengths)
    return Packing(place[valid].to(packed.data.device), lengths, steps, rows)
