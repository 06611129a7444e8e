"""The torch backend, as far as the three cells share it: a direct call, or segments in one packed batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unrolled.ops.call import Call, Result
from unrolled.ops.segments import cut, cuts

# (x [T, B, I] or packed [n, I], batch_sizes if packed, states, weights and biases, train) → (y, states)
Kernel = Callable[
    [Tensor, Tensor | None, tuple[Tensor, ...], list[Tensor], bool], tuple[Tensor, tuple[Tensor, ...]]
]


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
    entering = tuple(segments.enter(state) for state in call.states)
    y, final = kernel(segments.gather(call.x), segments.batch_sizes, entering, weights(call), train)
    states = tuple(segments.leave(*pair) for pair in zip(final, call.states, strict=True))
    return Result(segments.scatter(y, steps, rows), states, ())


def is_dense(call: Call) -> bool:
    """Whether every row is full and uncut, so that the kernel can take x as it is."""
    if call.weight_hr is not None and call.x.device.type == "cpu":
        # oneDNN has no projection: torch then warns and falls back; the packed form is that fallback.
        return False
    if call.lengths is not None and not bool((call.lengths == call.x.shape[0]).all()):
        return False
    return call.resets is None or not bool(_cuts_in_turn(call, call.resets)[1:].any())


def weights(call: Call) -> list[Tensor]:
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
    y, states = kernel(x.flip(0) if call.reverse else x, None, states, weights(call), train)
    return Result(y.flip(0) if call.reverse else y, states, ())


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
