"""The torch backend: a direct call of torch's kernel, or rows cut into segments, in one packed batch.

A segment is a stretch of one row within which state flows: it starts where the row starts or where a
reset falls, and ends before the next reset or at the row's last valid step. Segments are independent
of each other, which makes a batch of rows with resets an ordinary batch of more, shorter rows. Cutting is
a handful of tensor operations on [T, B]; nothing loops over steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.ops.call import Call, Result, States
from unrolled.ops.scan import cuts, valid_steps

Kernel = Callable[..., tuple[Tensor, ...]]  # torch.lstm, torch.gru, …: its two forms, dense and packed


def run(call: Call, kernel: Kernel) -> Result:
    """Run one layer in one direction by one call of a kernel of torch."""
    # Whether a gradient is wanted, not a module's mode: cuDNN keeps what it then needs only if told.
    train = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors())
    if _no_step_is_valid(call):
        return _still(call)
    if is_dense(call):
        return _direct(call, kernel, train)
    steps, rows, _ = call.x.shape
    segments = cut(
        steps, rows, lengths=call.lengths, resets=call.resets, reverse=call.reverse, device=call.x.device
    )
    entering = tuple(segments.initial(state) for state in call.states)
    y, final = _call(kernel, segments.gather(call.x), segments.batch_sizes, entering, _weights(call), train)
    states = tuple(segments.final(*pair) for pair in zip(final, call.states, strict=True))
    return Result(segments.scatter(y, steps, rows), states, ())


def is_dense(call: Call) -> bool:
    """Whether every row is full and uncut, so that the kernel can take x as it is."""
    if call.weight_hr is not None and call.x.device.type == "cpu":
        # oneDNN has no projection: torch then warns and falls back; the packed form is that fallback.
        return False
    if call.lengths is not None and not bool((call.lengths == call.x.shape[0]).all()):
        return False
    return call.resets is None or not bool(_cuts_in_turn(call, call.resets)[1:].any())


def _weights(call: Call) -> list[Tensor]:
    """The weights in torch's order. The kernels take both biases or none: a lone one gets a zero twin."""
    flat = [call.weight_ih, call.weight_hh]
    bias = call.bias_hh if call.bias_ih is None else call.bias_ih
    if bias is not None:
        zero = torch.zeros_like(bias)
        flat += [given if given is not None else zero for given in (call.bias_ih, call.bias_hh)]
    return flat if call.weight_hr is None else [*flat, call.weight_hr]


def _direct(call: Call, kernel: Kernel, train: bool) -> Result:
    x, states = call.x, call.states
    if call.resets is not None:
        zeroed = _cuts_in_turn(call, call.resets)[0][:, None]
        states = tuple(state.masked_fill(zeroed, 0) for state in states)
    y, states = _call(kernel, x.flip(0) if call.reverse else x, None, states, _weights(call), train)
    return Result(y.flip(0) if call.reverse else y, states, ())


def _call(
    kernel: Kernel, x: Tensor, batch_sizes: Tensor | None, states: States, flat: list[Tensor], train: bool
) -> tuple[Tensor, States]:
    """Call the kernel for one layer in one direction, dense or packed."""
    each = [state[None] for state in states]  # [1, B, ·]
    hx = each[0] if len(each) == 1 else each
    where = (flat, len(flat) >= 4, 1, 0.0, train, False)  # biases, layers, dropout, training, bidirectional
    if batch_sizes is None:
        y, *final = kernel(x, hx, *where, False)  # not batch_first
    else:
        y, *final = kernel(x, batch_sizes, hx, *where)
    return y, tuple(state[0] for state in final)


def _cuts_in_turn(call: Call, resets: Tensor) -> Tensor:
    """[T, B] in the order of computing, for full rows."""
    zeroed = cuts(resets, None, reverse=call.reverse)
    return zeroed.flip(0) if call.reverse else zeroed


def _no_step_is_valid(call: Call) -> bool:
    steps, rows, _ = call.x.shape
    return steps == 0 or rows == 0 or (call.lengths is not None and not bool(call.lengths.any()))


def _still(call: Call) -> Result:
    """Nothing to compute: y is zero and the states stay. Gradients exist, and are zero."""
    steps, rows, _ = call.x.shape
    link = torch.stack([tensor.flatten()[:0].sum() for tensor in call.tensors()]).sum()
    y = call.x.new_zeros(steps, rows, call.states[0].shape[1]) + link
    return Result(y, tuple(state.clone() for state in call.states), ())


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

    def initial(self, state: Tensor) -> Tensor:
        """Give each segment its initial state: [B, H] → [N, H]."""
        return state.index_select(0, self.row).masked_fill(~self.carried[:, None], 0)

    def final(self, final: Tensor, state: Tensor) -> Tensor:
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
