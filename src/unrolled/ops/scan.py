"""The time loop of the reference backends: short, in plain torch operations, the specification."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unrolled.ops.call import Call, Result, States
from unrolled.spec import CELLS

Step = Callable[[Tensor, States], tuple[States, tuple[Tensor, ...]]]


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


def scan(call: Call, project: Callable[[Tensor], Tensor], step: Step) -> Result:
    """Run one layer in one direction.

    Args:
        call: the arguments.
        project: x [T, B, I] → the part of the pre-activations that the input gives, [T, B, G·H].
        step: that part at one step, and the states → the new states, h first, and what else to trace.
    """
    steps = call.x.shape[0]
    valid = cut = None
    x, states = call.x, call.states
    if call.lengths is not None:
        valid = valid_steps(call.lengths, steps).to(x.device)[..., None]  # [T, B, 1]
        # Values in the padding may be NaN, and 0 · NaN in the backward pass is NaN: clear it here.
        x = x.masked_fill(~valid, 0)
    if call.resets is not None:
        inside = None if valid is None else valid[..., 0]
        cut = cuts(call.resets, inside, reverse=call.reverse)[..., None]  # [T, B, 1]
    xs = project(x)
    if steps == 0:
        return _empty(call, xs, step)
    rows = xs.unbind()  # whose derivative is one stack; that of xs[t] would be as large as xs at every step

    trace: list[tuple[Tensor, ...]] = []
    for t in reversed(range(steps)) if call.reverse else range(steps):
        if cut is not None:
            states = tuple(state.masked_fill(cut[t], 0) for state in states)
        new, seen = step(rows[t], states)
        if call.zoneout:
            new = zoned(call, t, states, new)
            seen = _as_carried(call, new, seen)
        seen = (new[0], *seen) if call.trajectories else (new[0],)
        if valid is not None:
            new = tuple(
                torch.where(valid[t], after, before) for after, before in zip(new, states, strict=True)
            )
            seen = tuple(value.masked_fill(~valid[t], 0) for value in seen)
        states = new
        trace.append(seen)
    if call.reverse:
        trace.reverse()
    y, *traces = (torch.stack(values) for values in zip(*trace, strict=True))
    return Result(y, states, tuple(traces))


def zoned(call: Call, t: int, before: States, after: States) -> States:
    """Return the states after step t, with what zoneout keeps of those before it.

    Source: Krueger et al. 2017.
    """
    kept: list[Tensor] = []
    for share, old, new in zip(call.zoneout, before, after, strict=True):
        if isinstance(share, Tensor):
            kept.append(torch.where(share[t], old, new))
        else:
            kept.append(new + share * (old - new) if share else new)
    return tuple(kept)


def _as_carried(call: Call, states: States, seen: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the traces of a step, with the states among them as they are carried on."""
    cell = CELLS[call.op]
    carried = dict(zip(cell.states, states, strict=True))
    return tuple(carried.get(name, value) for name, value in zip(cell.traces, seen, strict=True))


def _empty(call: Call, xs: Tensor, step: Step) -> Result:
    """T = 0: take one step on zeros and keep none of it, so that sizes and gradient links are right."""
    new, seen = step(xs.sum(0), call.states)
    y, *traces = (value[None][:0] for value in ((new[0], *seen) if call.trajectories else (new[0],)))
    return Result(y, tuple(state.clone() for state in call.states), tuple(traces))
