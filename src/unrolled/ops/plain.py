"""Cells that a plain cell's kernels compute, on rewritten weights: i = 1 − f is σ of the negated product.

Rewriting costs a copy of the weights for a call, and autograd takes the gradients back through it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unrolled.ops.call import Call, Result
from unrolled.spec import CELLS

__all__ = ["Run", "by_plain"]

Run = Callable[[Call], Result]


def by_plain(run: Run) -> Run:
    """Return a backend of a cell that has `plain`, by that cell's own."""

    def backend(call: Call) -> Result:
        found = run(_as_plain(call))
        if not call.trajectories:
            return found
        cell = CELLS[call.op]
        traces = dict(zip(CELLS[str(cell.plain)].traces, found.traces, strict=True))
        return found._replace(traces=tuple(traces[name] for name in cell.traces))

    return backend


def _as_plain(call: Call) -> Call:
    """Return the call of the plain cell that computes the same."""
    cell = CELLS[call.op]

    def rewritten(weight: Tensor | None) -> Tensor | None:
        if weight is None or not cell.blocks:
            return weight
        parts = dict(zip(cell.gates, weight.chunk(len(cell.gates)), strict=True))
        return torch.cat([parts[gate] if sign > 0 else -parts[gate] for sign, gate in cell.blocks])

    weight_hh = torch.diag(call.weight_hh) if cell.diagonal else rewritten(call.weight_hh)
    weight_ih = rewritten(call.weight_ih)
    assert weight_ih is not None
    assert weight_hh is not None
    return call._replace(
        op=str(cell.plain),
        weight_ih=weight_ih,
        weight_hh=weight_hh,
        bias_ih=rewritten(call.bias_ih),
        bias_hh=rewritten(call.bias_hh),
    )
