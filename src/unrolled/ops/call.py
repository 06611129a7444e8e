"""What a call of an op is once its arguments agree, and how a cell is bound to what computes it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from unrolled.errors import ConfigError, expected
from unrolled.spec import CELLS, Cell, register_cell

if TYPE_CHECKING:
    from unrolled.ops.jacobian import StepJacobian

States = tuple[Tensor, ...]  # h and, for the LSTM, c


class Call(NamedTuple):
    """Arguments that agree in shape, dtype and device. P is H where there is no projection."""

    op: str  # the cell's name
    x: Tensor  # [T, B, I]
    states: States  # h_0 [B, P] and, for the LSTM, c_0 [B, H]
    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, P]
    bias_ih: Tensor | None  # [G·H]
    bias_hh: Tensor | None  # [G·H]
    weight_hr: Tensor | None = None  # [P, H]
    lengths: Tensor | None = None  # [B] int64, on the CPU
    resets: Tensor | None = None  # [T, B] bool
    reverse: bool = False
    trajectories: bool = False
    nonlinearity: str = ""  # of a cell that has a choice: "tanh" or "relu"

    def tensors(self) -> Iterator[Tensor]:
        """Yield the floating point tensors: those that a gradient can flow to."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr)
        for tensor in (self.x, *self.states, *weights):
            if tensor is not None:
                yield tensor


class Result(NamedTuple):
    """What a backend returns; `traces` are the cell's where trajectories are asked for, else nothing."""

    y: Tensor  # [T, B, P]
    states: States  # h_n [B, P] and, for the LSTM, c_n [B, H]
    traces: tuple[Tensor, ...]  # each [T, B, H]


class Output(NamedTuple):
    """What a call returns."""

    y: Tensor  # [T, B, P], zero past a row's length
    states: States  # each at its row's last valid step
    trajectory: Any  # a named tuple of every trace and h, each [T, B, ·]; None where it was not asked for


@dataclass(frozen=True)
class Op:
    """How a cell is computed.

    Attributes:
        cell: gates, states and traces; their order is the order of the reference's states and traces.
        reference: the specification: every call, in plain torch operations. See `scan`.
        jacobian: of one step; None where gradients through time cannot be measured.
        torch, native: the backends, None where there is none.
        trajectory: the named tuple of `cell.traces` and h; made from the cell where None.
        function: the op's public function, where it has one beside `run`.
    """

    cell: Cell
    reference: Callable[[Call], Result]
    jacobian: type[StepJacobian] | None = None
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
