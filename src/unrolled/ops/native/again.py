"""Gradients by differentiating the reference: for what the engine's backward pass does not give."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.ops.call import OPS, Call
from unrolled.ops.native.buffers import Inputs


def gradients(
    cell: str, inputs: Inputs, reverse: bool, pulls: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Run the reference forward again and differentiate it.

    Args:
        cell, inputs, reverse: as the forward pass had them.
        pulls: gradients of y, h_n, c_n and the stacked traces, or None for zero.
        wanted: which of x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh want a gradient.
    Returns:
        Their gradients. Where grad mode is on, these can be differentiated in turn.
    """
    second = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views, so that a gradient stops here: one argument may have been made from another.
        views = [None if t is None else t.view_as(t) if second else t.detach() for t in inputs[:7]]
        leaves = [view for view, want in zip(views, wanted, strict=True) if want and view is not None]
        for leaf in leaves:
            leaf.requires_grad_()
        again = Inputs._make((*views, *inputs[7:]))
        outputs = _outputs(cell, again, reverse, traced=pulls[3] is not None)
        pairs = [(out, pull) for out, pull in zip(outputs, pulls, strict=True) if pull is not None]
        found = iter(
            torch.autograd.grad(
                [out for out, _ in pairs],  # type: ignore[arg-type]  # None only where its pull is
                leaves,
                [pull for _, pull in pairs],
                create_graph=second,
                allow_unused=True,
            )
        )
    asked = (want and view is not None for view, want in zip(views, wanted, strict=True))
    return [next(found) if ask else None for ask in asked]


def _outputs(cell: str, inputs: Inputs, reverse: bool, *, traced: bool) -> tuple[Tensor | None, ...]:
    """Return y, h_n, c_n and the stacked traces, None where there is none."""
    states = (inputs.h_0,) if inputs.c_0 is None else (inputs.h_0, inputs.c_0)
    call = Call(
        op=cell.partition("_")[0],
        x=inputs.x,
        states=states,
        weight_ih=inputs.weight_ih,
        weight_hh=inputs.weight_hh,
        bias_ih=inputs.bias_ih,
        bias_hh=inputs.bias_hh,
        weight_hr=None,
        lengths=inputs.lengths,
        resets=inputs.resets,
        reverse=reverse,
        trajectories=traced,
        nonlinearity=cell.partition("_")[2],
    )
    y, final, traces = OPS[call.op].reference(call)
    c_n = final[1] if len(final) == 2 else None
    return y, final[0], c_n, torch.stack(traces) if traces else None
