"""The ops `unrolled::layer` and `unrolled::layer_backward` in torch's registry.

One pair serves every cell. Beside the CPU implementation, which calls the engine, each has a fake one
(sizes only: for torch.compile and torch.export), and `layer` has its derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled import kernels
from unrolled.errors import ShapeError, expected
from unrolled.ops.native import again
from unrolled.ops.native.buffers import (
    TRACES,
    Inputs,
    address,
    readable,
    rows_readable,
    whole,
    widths,
    words,
)

_INPUTS = (
    "Tensor x, Tensor h_0, Tensor? c_0, Tensor weight_ih, Tensor weight_hh, "
    "Tensor? bias_ih, Tensor? bias_hh, Tensor? lengths, Tensor? resets, bool reverse"
)
_library: Any = torch.library.Library("unrolled", "DEF")  # type: ignore[no-untyped-call]
# No layout is asked of the arguments: the implementation takes any.
_tags = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)
_library.define(
    f"layer(str cell, {_INPUTS}, bool keep, bool trajectories) "
    "-> (Tensor y, Tensor h_n, Tensor c_n, Tensor gates, Tensor cells, Tensor traces)",
    tags=_tags,
)
_library.define(
    f"layer_backward(str cell, {_INPUTS}, Tensor y, Tensor gates, Tensor cells, "
    "Tensor? dy, Tensor? dh_n, Tensor? dc_n, bool[] wanted) "
    "-> (Tensor dx, Tensor dh_0, Tensor dc_0, Tensor dweight_ih, Tensor dweight_hh, "
    "Tensor dbias_ih, Tensor dbias_hh)",
    tags=_tags,
)
layer = torch.ops.unrolled.layer.default
layer_backward = torch.ops.unrolled.layer_backward.default


def _outputs(cell: str, inputs: Inputs, keep: bool, trajectories: bool) -> tuple[Tensor, ...]:
    """Return y [T, B, H], h_n and c_n [B, H], gates, cells, traces [K, T, B, H]; empty: none of it."""
    x, _, c_0 = inputs[:3]
    steps, rows, _ = x.shape
    hidden = inputs.weight_hh.shape[1]
    gates, cells = widths(cell, hidden) if keep else (0, 0)
    return (
        x.new_empty((steps, rows, hidden)),
        x.new_empty((rows, hidden)),
        x.new_empty(0 if c_0 is None else (rows, hidden)),
        x.new_empty((steps * rows, gates) if gates else 0),
        x.new_empty((steps * rows, cells) if cells else 0),
        x.new_empty((TRACES[cell], steps, rows, hidden) if trajectories else 0),
    )


def _forward(cell: str, *arguments: Any) -> tuple[Tensor, ...]:
    """Run the layer in the engine."""
    *given, reverse, keep, trajectories = arguments
    inputs = readable(cell, Inputs(*given))
    outputs = _outputs(cell, inputs, keep, trajectories)
    y, h_n, c_n, gates, cells, traces = outputs
    try:
        kernels.forward(
            **words(cell, inputs, reverse),
            y=y.data_ptr(),
            y_t=y.stride(0),
            y_b=y.stride(1),
            h_n=h_n.data_ptr(),
            c_n=c_n.data_ptr(),
            gates=gates.data_ptr(),
            cells=cells.data_ptr(),
            traces=[trace.data_ptr() for trace in traces] if trajectories else (),
        )
    except ValueError as error:  # of lengths, where torch.compile kept the door from looking
        raise ShapeError(str(error)) from None
    return outputs


def _gradients(inputs: Inputs, wanted: list[bool]) -> tuple[Tensor, ...]:
    """Return room for the gradient of each of the first seven; empty where it is not wanted."""
    x = inputs.x
    return tuple(
        x.new_empty(tensor.shape if want and tensor is not None else 0)
        for tensor, want in zip(inputs[:7], wanted, strict=True)
    )


def _backward(cell: str, *arguments: Any) -> tuple[Tensor, ...]:
    """Run the layer's backward pass in the engine."""
    *given, reverse, y, gates, cells, dy, dh_n, dc_n, wanted = arguments
    inputs = readable(cell, Inputs(*given))
    x, h_0 = inputs.x, inputs.h_0
    shape, work = (*x.shape[:2], h_0.shape[1]), x.shape[0] * x.shape[1]
    y = rows_readable("y", y, shape, x)
    for name, kept, width in zip(("gates", "cells"), (gates, cells), widths(cell, shape[2]), strict=True):
        if width and kept.shape != (work, width):
            raise ShapeError(expected(name, [work, width], list(kept.shape)))
    gates, cells = gates.contiguous(), cells.contiguous()
    dy = None if dy is None else rows_readable("dy", dy, shape, x)
    dh_n = None if dh_n is None else whole("dh_n", dh_n, shape[1:], x)
    dc_n = None if dc_n is None else whole("dc_n", dc_n, shape[1:], x)
    gradients = _gradients(inputs, wanted)
    dx, dh_0, dc_0, dweight_ih, dweight_hh, dbias_ih, dbias_hh = gradients
    kernels.backward(
        **words(cell, inputs, reverse),
        y=y.data_ptr(),
        y_t=y.stride(0),
        y_b=y.stride(1),
        gates=gates.data_ptr(),
        cells=cells.data_ptr(),
        dy=address(dy),
        dy_t=0 if dy is None else dy.stride(0),
        dy_b=0 if dy is None else dy.stride(1),
        dh_n=address(dh_n),
        dc_n=address(dc_n),
        dx=dx.data_ptr(),
        dx_t=dx.stride(0) if dx.dim() == 3 else 0,
        dx_b=dx.stride(1) if dx.dim() == 3 else 0,
        dh_0=dh_0.data_ptr(),
        dc_0=dc_0.data_ptr(),
        dweight_ih=dweight_ih.data_ptr(),
        dweight_hh=dweight_hh.data_ptr(),
        dbias_ih=dbias_ih.data_ptr(),
        dbias_hh=dbias_hh.data_ptr(),
    )
    return gradients


class _Layer(torch.autograd.Function):
    """The derivative of `layer`: `layer_backward`, which has none of its own, or else the reference's.

    The engine gives first gradients of y, h_n and c_n. A gradient that is to be differentiated again
    (create_graph=True, torch.func), that comes through a trajectory, or that comes batched
    (is_grads_batched=True), and one of a call that kept nothing, is worked out by running the reference
    forward once more and differentiating that.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            outputs: tuple[Tensor, ...] = layer(*arguments)
        ctx.cell, *inputs, ctx.reverse, ctx.keep, trajectories = arguments
        y, _, c_n, gates, cells, traces = outputs
        ctx.save_for_backward(*inputs, *((y, gates, cells) if ctx.keep else ()))
        absent = [c_n] if inputs[2] is None else []
        absent += [] if trajectories else [traces]
        ctx.mark_non_differentiable(gates, cells, *absent)
        ctx.set_materialize_grads(False)  # what is not there costs nothing, and is seen not to be there
        return outputs

    @staticmethod
    def backward(ctx: Any, *pulls: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, dh_n, dc_n, _, _, dtraces = pulls
        saved = ctx.saved_tensors  # once: checkpointing hands them out once
        inputs, kept = saved[:9], saved[9:]
        wanted = list(ctx.needs_input_grad[1:8])
        native = ctx.keep and dtraces is None and not torch.is_grad_enabled()
        if native and not any(map(_is_batched, (dy, dh_n, dc_n))):
            found = layer_backward(ctx.cell, *inputs, ctx.reverse, *kept, dy, dh_n, dc_n, wanted)
            gradients = [grad if want else None for grad, want in zip(found, wanted, strict=True)]
        else:
            pulls = (dy, dh_n, dc_n, dtraces)
            gradients = again.gradients(ctx.cell, Inputs(*inputs), ctx.reverse, pulls, wanted)
        return (None, *gradients, *[None] * 5)


def _is_batched(tensor: Tensor | None) -> bool:
    if tensor is None or torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch
    return functorch.is_legacy_batchedtensor(tensor) or functorch.is_batchedtensor(tensor)


def _autograd(*arguments: Any) -> tuple[Tensor, ...]:
    # By hand, as what torch.library.register_autograd wraps around it costs 35 µs a call.
    if torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments):
        return _Layer.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]
    with torch._C._AutoDispatchBelowAutograd():
        return layer(*arguments)  # type: ignore[no-any-return]


def _fake_forward(cell: str, *arguments: Any) -> tuple[Tensor, ...]:
    *given, _, keep, trajectories = arguments
    return _outputs(cell, Inputs(*given), keep, trajectories)


def _fake_backward(_cell: str, *arguments: Any) -> tuple[Tensor, ...]:
    return _gradients(Inputs(*arguments[:9]), arguments[-1])


_library.impl("layer", _forward, "CPU")
_library.impl("layer_backward", _backward, "CPU")
_library.impl("layer", _autograd, "Autograd")
torch.library.register_fake(layer, _fake_forward, lib=_library)
torch.library.register_fake(layer_backward, _fake_backward, lib=_library)
