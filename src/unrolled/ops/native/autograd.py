"""The derivative of `unrolled::layer`: `layer_backward`, or else the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.ops.call import Call
from unrolled.ops.native.library import Inputs, backward, forward, layer, layer_backward, library
from unrolled.ops.packing import run_plain
from unrolled.ops.registry import OPS
from unrolled.ops.watched import are_plain, is_watched

_EMPTY = torch.empty(0)
# Whose backward passes do not read their output, or are told that its axes were swapped.
_LEAVE_Y = ("_LayerBackward", "_RecomputedBackward", "ToCopyBackward0", "CatBackward0", "StackBackward0")


class _Layer(torch.autograd.Function):
    """The derivative of `layer`: `layer_backward`, which has none of its own, or else the reference's.

    The engine gives first gradients of y, h_n and c_n. A gradient that is to be differentiated again
    (create_graph=True, torch.func), that comes through a trajectory, or that comes batched
    (is_grads_batched=True), and one of a call that kept nothing, is worked out by running the reference
    forward once more and differentiating that.

    The backward pass reads y, which the caller may have written over (in-place dropout, `y.add_()`), as
    torch.nn allows after a GRU and an RNN. Then it is computed again; where nobody writes, nothing is copied.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        *arguments, plain = arguments  # type: ignore[assignment]
        outputs: tuple[Tensor, ...]
        if plain:
            outputs = forward(*arguments, known=True)
        else:
            with torch._C._AutoDispatchBelowAutograd():
                outputs = layer(*arguments)
        ctx.cell, *inputs, ctx.reverse, ctx.keep, trajectories = arguments[:13]
        y, _, c_n, kept, traces = outputs
        saved: tuple[Tensor, ...] = ()
        if ctx.keep:
            ctx.version, ctx.unwritten = _version_of(y), y._version
            # The same memory, with a version of its own; while torch.compile traces, `version` is y itself.
            saved = (kept, y.data) if type(y) is Tensor else (kept,)
        ctx.save_for_backward(*inputs, *arguments[14:], *saved)
        ctx.set_materialize_grads(False)  # what is not there costs nothing, and is seen not to be there
        if plain:
            return (*outputs[:3], None, traces)  # type: ignore[arg-type]
        absent = [c_n] if inputs[2] is None else []
        absent += [] if trajectories else [traces]
        ctx.mark_non_differentiable(kept, *absent)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, dh_n, dc_n, _, dtraces = grads
        saved = ctx.saved_tensors  # once: checkpointing hands them out once
        inputs = Inputs(*saved[:12])
        wanted = [*ctx.needs_input_grad[1:8], ctx.needs_input_grad[14]]
        native = ctx.keep and dtraces is None and not torch.is_grad_enabled()
        if native and not any(map(is_batched, (dy, dh_n, dc_n))):
            kept, y = saved[12], saved[13] if len(saved) > 13 else ctx.version
            if ctx.version._version != ctx.unwritten:
                y = None
            given = (ctx.cell, *inputs[:9], ctx.reverse, y, kept, dy, dh_n, dc_n, wanted, *inputs[9:])
            found = backward(*given, known=True) if _is_plain(given) else layer_backward(*given)
            gradients = [grad if want else None for grad, want in zip(found, wanted, strict=True)]
        else:
            grads = (dy, dh_n, dc_n, dtraces)
            gradients = _of_the_reference(ctx.cell, inputs, ctx.reverse, grads, wanted)
        return (None, *gradients[:7], *[None] * 6, gradients[7], None, None, None)


def _is_plain(arguments: Sequence[Any]) -> bool:
    """Whether torch's registry has nothing to add to a call; it takes as long as a small call."""
    return not torch.compiler.is_compiling() and not is_watched() and are_plain(arguments)


def run_layer(*arguments: Any) -> tuple[Tensor, ...]:
    """Return what `layer` does, without a way through the registry where nobody would notice.

    The arguments agree. What is not there, empty tensors of `layer`, may be None.
    """
    if not _is_plain(arguments):
        return layer(*arguments)  # type: ignore[no-any-return]
    if torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments):
        # What `_Layer.apply` does beside it is for transforms of torch.func, and there are none.
        return super(torch.autograd.Function, _Layer).apply(*arguments, True)  # type: ignore[no-any-return, no-untyped-call]
    return forward(*arguments, known=True)


def _version_of(tensor: Tensor) -> Tensor:
    """Return a tensor that shares the tensor's version, which writing in place raises, and not its memory."""
    version = tensor.detach()
    if type(tensor) is Tensor:
        version.data = _EMPTY
    return version


def rows_first(y: Tensor) -> Tensor:
    """Return y [T, B, ·] as [B, T, ·] without a copy; where it can be, in place: a view has no `detach_`.

    To swap the axes in place raises y's version, as writing over y does. What reads y in its backward pass
    would refuse that; only `_Layer` can be told.
    """
    if torch.compiler.is_compiling() or type(y) is not Tensor or y._is_view():
        return y.transpose(0, 1)
    node = y.grad_fn
    keeps_y = node is not None and node.name() not in _LEAVE_Y
    if keeps_y or torch._C._functorch.is_functorch_wrapped_tensor(y):
        return y.transpose(0, 1)
    y.transpose_(0, 1)
    if node is not None and hasattr(node, "unwritten"):
        node.unwritten = y._version
    return y


def is_batched(tensor: Tensor | None) -> bool:
    """Whether torch.vmap, or is_grads_batched=True, has put further rows into this tensor."""
    if tensor is None or torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch
    return functorch.is_legacy_batchedtensor(tensor) or functorch.is_batchedtensor(tensor)


def _autograd(*arguments: Any) -> tuple[Tensor, ...]:
    # By hand, as what torch.library.register_autograd wraps around it costs 35 µs a call.
    if torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments):
        every = (*arguments, None, None, None, None)[:17]  # torch leaves out defaults
        return _Layer.apply(*every, False)  # type: ignore[no-any-return, no-untyped-call]
    with torch._C._AutoDispatchBelowAutograd():
        return layer(*arguments)  # type: ignore[no-any-return]


def _of_the_reference(
    cell: str, inputs: Inputs, reverse: bool, grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Run the reference forward again and differentiate it.

    Args:
        cell, inputs, reverse: as the forward pass had them.
        grads: gradients of y, h_n, c_n and the stacked traces, or None for zero.
        wanted: which of x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr want a gradient.
    Returns:
        Their gradients. Where grad mode is on, these can be differentiated in turn.
    """
    second = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views, so that a gradient stops here: one argument may have been made from another.
        views = [None if t is None else t.view_as(t) if second else t.detach() for t in inputs.wanting()]
        leaves = [view for view, want in zip(views, wanted, strict=True) if want and view is not None]
        for leaf in leaves:
            leaf.requires_grad_()
        again = Inputs._make((*views[:7], *inputs[7:9], views[7], *inputs[10:]))
        outputs = _reference(cell, again, reverse, traced=grads[3] is not None)
        pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
        found = iter(
            torch.autograd.grad(
                [out for out, _ in pairs],  # type: ignore[arg-type]  # None only where its gradient is
                leaves,
                [grad for _, grad in pairs],
                create_graph=second,
                allow_unused=True,
            )
        )
    asked = (want and view is not None for view, want in zip(views, wanted, strict=True))
    return [next(found) if ask else None for ask in asked]


def _reference(cell: str, inputs: Inputs, reverse: bool, *, traced: bool) -> tuple[Tensor | None, ...]:
    """Return y, h_n, c_n and the stacked traces of the reference, None where there is none."""
    op, _, nonlinearity = cell.partition("_")
    call = Call(
        op,
        inputs.x,
        (inputs.h_0,) if inputs.c_0 is None else (inputs.h_0, inputs.c_0),
        inputs.weight_ih,
        inputs.weight_hh,
        inputs.bias_ih,
        inputs.bias_hh,
        inputs.weight_hr,
        lengths=inputs.lengths,
        resets=inputs.resets,
        reverse=reverse,
        trajectories=traced,
        nonlinearity=nonlinearity,
        ids=inputs.ids,
        batch_sizes=inputs.batch_sizes,
    )
    y, final, traces = run_plain(OPS[op].reference, call)
    c_n = final[1] if len(final) == 2 else None
    return y, final[0], c_n, torch.stack(traces) if traces else None


library.impl("layer", _autograd, "Autograd")
