"""The torch backend: a direct call of torch's kernel, or rows cut into segments, in one packed batch.

A segment is a stretch of one row within which state flows: it starts where the row starts or where a
reset falls, and ends before the next reset or at the row's last valid step. Segments are independent
of each other, which makes a batch of rows with resets an ordinary batch of more, shorter rows. Cutting is
a handful of tensor operations on [T, B]; nothing loops over steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.ops.call import Call, Result, States
from unrolled.ops.registry import OPS
from unrolled.ops.scan import cuts, valid_steps
from unrolled.ops.validate import check_lengths

Kernel = Callable[..., tuple[Tensor, ...]]  # torch.lstm, torch.gru, …: its two forms, dense and packed


def run(call: Call, kernel: Kernel) -> Result:
    """Run one layer in one direction by one call of a kernel of torch."""
    if torch.compiler.is_compiling():
        weights = (call.weight_ih, call.weight_hh, call.bias_ih, call.bias_hh, call.weight_hr)
        options = (call.op, call.nonlinearity, call.reverse)
        y, *final = _layer(*options, call.x, list(call.states), *weights, call.lengths, call.resets)
        return Result(y, tuple(final), ())
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
    if call.lengths is not None and not bool((call.lengths == call.steps).all()):
        return False
    return call.resets is None or not bool(_cuts_in_turn(call, call.resets)[1:].any())


def _weights(call: Call) -> list[Tensor]:
    """The weights in torch's order. The kernels take both biases or none: a lone one is paired with zeros."""
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


# While torch.compile traces, the kernels are one op of the registry: cutting depends on values, and oneDNN
# cannot be traced with its LSTM's backward pass. The backward op runs the kernel again and differentiates it.

_INPUTS = (
    "str op, str nonlinearity, bool reverse, Tensor x, Tensor[] states, Tensor weight_ih, Tensor weight_hh, "
    "Tensor? bias_ih, Tensor? bias_hh, Tensor? weight_hr, Tensor? lengths, Tensor? resets"
)


def _forward(op: str, nonlinearity: str, reverse: bool, x: Tensor, states: Any, *rest: Any) -> list[Tensor]:
    """Return y and the states, run without tracing."""
    call = Call(op, x, tuple(states), *rest)._replace(reverse=reverse, nonlinearity=nonlinearity)
    check_lengths(call.lengths, steps=x.shape[0], rows=x.shape[1])  # nobody could while it was traced
    kernel = OPS[op].torch
    assert kernel is not None
    with torch.autocast(x.device.type, enabled=False):
        y, final, _ = kernel(call)
    return [output.clone() for output in (y, *final)]


def _differentiated(*arguments: Any) -> list[Tensor]:
    """Return the gradients with respect to x, the states and the weights that there are."""
    *options, x, states, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, resets, of_outputs = (
        arguments
    )
    given = (x, *states, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    with torch.enable_grad(), _recording():
        leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in given]
        of_x, of_states, of_weights = leaves[0], leaves[1:-5], leaves[-5:]
        outputs = _forward(*options, of_x, of_states, *of_weights, lengths, resets)
        wanted = [leaf for leaf in leaves if leaf is not None]
        found = torch.autograd.grad(outputs, wanted, of_outputs, materialize_grads=True)
    return [gradient.clone() for gradient in found]  # an op's outputs are no views of what it was given


def _recording() -> Any:
    """Let autograd record within an op's implementation, where torch has switched it off."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in ("AutogradFunctionality", "AutogradNestedTensor", "ADInplaceOrView"):
        excluded = excluded.remove(getattr(torch._C.DispatchKey, key))
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


_layer = torch.library.custom_op(
    "unrolled::torch_layer", _forward, mutates_args=(), schema=f"({_INPUTS}) -> Tensor[]"
)
_layer_backward = torch.library.custom_op(
    "unrolled::torch_layer_backward",
    _differentiated,
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor[] gradients) -> Tensor[]",
)


@_layer.register_fake
def _fake(*arguments: Any) -> list[Tensor]:
    x, states = arguments[3:5]
    return [x.new_empty(*x.shape[:2], states[0].shape[1]), *map(torch.empty_like, states)]


@_layer_backward.register_fake
def _fake_backward(*arguments: Any) -> list[Tensor]:
    x, states, *weights = arguments[3:10]
    return [torch.empty_like(tensor) for tensor in (x, *states, *weights) if tensor is not None]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ARG001  # torch names both
    op, nonlinearity, reverse, x, states, *rest = inputs
    ctx.options, ctx.states = (op, nonlinearity, reverse), len(states)
    ctx.given = [tensor is not None for tensor in rest]
    ctx.save_for_backward(x, *states, *(tensor for tensor in rest if tensor is not None))


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    saved = iter(ctx.saved_tensors)
    x, states = next(saved), [next(saved) for _ in range(ctx.states)]
    rest = [next(saved) if given else None for given in ctx.given]
    y = x.new_zeros(*x.shape[:2], states[0].shape[1])
    whole = [
        torch.zeros_like(like) if grad is None else grad
        for grad, like in zip(gradients, [y, *states], strict=True)
    ]
    found = iter(_layer_backward(*ctx.options, x, states, *rest, whole))
    of_x, of_states = next(found), [next(found) for _ in states]
    of_weights = [next(found) if given else None for given in ctx.given[:5]]
    return (None, None, None, of_x, of_states, *of_weights, None, None)


_layer.register_autograd(_backward, setup_context=_keep)
