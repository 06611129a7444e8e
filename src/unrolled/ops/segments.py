"""Rows cut into segments at resets and lengths, so that one packed batch holds them all.

A segment is a stretch of one row within which state flows: it starts where the row starts or where a
reset falls, and ends before the next reset or at the row's last valid step. Segments are independent
of each other, which makes a batch of rows with resets an ordinary batch of more, shorter rows.

Everything here is a handful of tensor operations on [T, B]; nothing loops over steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Return [T, B] bool: whether step t lies within the row."""
    return torch.arange(steps)[:, None] < lengths


def cuts(resets: Tensor, valid: Tensor | None, *, reverse: bool) -> Tensor:
    """Return [T, B] bool: whether the state is zeroed before step t is computed, in this direction.

    A reset at t cuts the edge between t − 1 and t. Forward that edge is crossed on the way into t;
    in reverse, on the way into t − 1, and the edge before step 0 is never crossed.
    """
    inside = resets if valid is None else resets & valid
    if not reverse:
        return inside
    return torch.cat([inside[1:], torch.zeros_like(inside[:1])])


@dataclass(frozen=True)
class Segments:
    """N segments, the longest first, packed as torch's kernels take them; n valid steps in all."""

    source: Tensor  # [n] where in x.flatten(0, 1) each packed step lies
    batch_sizes: Tensor  # [longest] how many segments are at least that long; on the CPU
    row: Tensor  # [N] the row that a segment belongs to
    carried: Tensor  # [N] whether it starts from the row's initial state, else from zero
    last: Tensor  # [B] a row's last segment; N + row where the row has none, as its length is 0

    def gather(self, x: Tensor) -> Tensor:
        """Pack x [T, B, I] into [n, I]."""
        return x.flatten(0, 1).index_select(0, self.source)

    def scatter(self, packed: Tensor, steps: int, rows: int) -> Tensor:
        """Unpack [n, H] into [T, B, H], zero where no step is valid."""
        flat = packed.new_zeros(steps * rows, packed.shape[1])
        return flat.index_copy(0, self.source, packed).view(steps, rows, -1)

    def enter(self, state: Tensor) -> Tensor:
        """Give each segment its initial state: [B, H] → [N, H]."""
        return state.index_select(0, self.row).masked_fill(~self.carried[:, None], 0)

    def leave(self, final: Tensor, state: Tensor) -> Tensor:
        """Give each row the state that its last segment ended in, or else the one it came with."""
        return torch.cat([final, state]).index_select(0, self.last)


def cut(
    steps: int,
    rows: int,
    *,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    device: torch.device,
) -> Segments:
    """Cut the rows. The arithmetic is done on the CPU, where torch wants batch_sizes anyway.

    Needs at least one valid step. Below, "in turn" is the order in which a row is computed: rising
    in time, or falling from its last valid step where reverse is set. Steps are laid out row by row,
    in turn within the row, and only the valid ones are kept.
    """
    if lengths is None:
        lengths = torch.full((rows,), steps)
    turn = torch.arange(steps)[:, None].expand(steps, rows)
    valid = valid_steps(lengths, steps)
    time = (lengths - 1 - turn).clamp(min=0) if reverse else turn
    zeroed = torch.zeros(steps, rows, dtype=torch.bool)
    if resets is not None:
        zeroed = cuts(resets.cpu(), valid, reverse=reverse).gather(0, time)

    keep = valid.T
    first = (turn == 0).T[keep]
    zeroed = zeroed.T[keep]
    place = (time * rows + torch.arange(rows)).T[keep]

    starts = first | zeroed
    begin = starts.nonzero().squeeze(1)  # [N]
    segment = starts.cumsum(0) - 1  # [n]
    offset = torch.arange(len(starts)) - begin[segment]  # [n]
    size = torch.diff(begin, append=torch.tensor([len(starts)]))  # [N]
    row = place[begin] % rows

    order = size.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    batch_sizes = len(size) - torch.bincount(size).cumsum(0)[:-1]
    source = torch.empty_like(place)
    source[(batch_sizes.cumsum(0) - batch_sizes)[offset] + rank[segment]] = place

    last = torch.arange(rows) + len(size)
    ends_row = torch.diff(row, append=torch.tensor([rows])) != 0
    last[row[ends_row]] = rank[ends_row]
    return Segments(
        source=source.to(device),
        batch_sizes=batch_sizes,
        row=row[order].to(device),
        carried=(first & ~zeroed)[begin][order].to(device),
        last=last.to(device),
    )
