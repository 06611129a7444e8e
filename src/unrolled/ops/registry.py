"""The registry of cells: what computes each of them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, expected
from unrolled.ops.call import Call, Result
from unrolled.ops.jacobian import StepJacobian
from unrolled.ops.recurrence import Define, DifferentiatedStep
from unrolled.spec import CELLS, Cell, register_cell


@dataclass(frozen=True)
class Op:
    """How a cell is computed.

    Attributes:
        cell: gates, states and traces; their order is the order of the reference's states and traces.
        reference: the specification: every call, in plain torch operations. See `scan`.
        jacobian: of one step; where None, `recurrence` is differentiated. With neither, gradients through
            time cannot be measured.
        recurrence: the call → a step of the cell, of which `by_steps` makes the reference. It heeds
            `call.recurrent_mask`; a cell without it takes no recurrent dropout.
        torch, native: the backends, None where there is none.
        trajectory: the named tuple of `cell.traces` and h; made from the cell where None.
        function: the op's public function, where it has one beside `run`.
    """

    cell: Cell
    reference: Callable[[Call], Result]
    jacobian: type[StepJacobian] | None = None
    recurrence: Define | None = None
    torch: Callable[[Call], Result] | None = None
    native: Callable[[Call], Result] | None = None
    trajectory: type[Any] | None = None
    function: Callable[..., Any] | None = None


OPS: dict[str, Op] = {}  # by the cell's name


def register(op: Op) -> Op:
    """Make a cell known to every room and computable: by `run`, in layers of `unrolled.nn`, in training.

    Args:
        op: the cell and what computes it. Gates are blocks of H rows in weight_ih and weight_hh.
    Raises:
        ConfigError: the name is taken.
    """
    if op.cell.name in OPS:
        raise ConfigError(expected("cell", "a name that is not registered yet", repr(op.cell.name)))
    register_cell(op.cell)
    if op.trajectory is None:
        names = (*op.cell.traces, "h")
        op = replace(op, trajectory=namedtuple(f"{op.cell.label}Trajectory", names))
    OPS[op.cell.name] = op
    return op


def unregister(name: str) -> None:
    """Undo `register`: for tests, and for who registers a cell anew while trying things out."""
    del OPS[name], CELLS[name]


def op_of(name: str) -> Op:
    """Return the registered op of a cell's name. Raises ConfigError: there is none."""
    if name not in OPS:
        raise ConfigError(expected("cell", f"one of {', '.join(sorted(OPS))}", repr(name)))
    return OPS[name]


def linearise(call: Call, trajectory: Any) -> StepJacobian:
    """Return the Jacobians of the steps of one call.

    Args:
        call: what the op was given; it must run forward.
        trajectory: what it returned with `trajectories`.
    Raises:
        ConfigError: the cell is registered without a Jacobian, or zoneout draws at random.
    """
    op = op_of(call.op)
    kind = op.jacobian if not call.zoneout else None
    if kind is None and op.recurrence is None:
        raise ConfigError(expected("cell", "one that is registered with its step Jacobian", call.op))
    if any(isinstance(share, Tensor) for share in call.zoneout) or call.recurrent_mask is not None:
        raise ConfigError(expected("model", "one in evaluation mode", "masks that were drawn for training"))
    carried = None if call.resets is None else (~call.resets)[..., None].to(trajectory.h.dtype)

    def before(name: str) -> Tensor:
        first, after = call.states[op.cell.states.index(name)], getattr(trajectory, name)
        shifted = torch.cat((first[None], after[:-1])) if len(after) else after
        return shifted if carried is None else shifted * carried

    factors = torch.stack((kind or DifferentiatedStep).factors_of(call, trajectory, before), dim=-2)
    sizes = tuple(state.shape[1] for state in call.states)
    given = (call.weight_ih, call.weight_hh, call.weight_hr, factors, carried, sizes)
    if kind is not None:
        return kind(*given)
    assert op.recurrence is not None
    return DifferentiatedStep(*given, call.over_tensors(Tensor.detach), op.recurrence)
