"""The plain RNN: its definition, its step Jacobian, its backends, and the public function."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from unrolled.ops import native, packed
from unrolled.ops.call import Call, Embedded, Result, States
from unrolled.ops.dispatch import run
from unrolled.ops.jacobian import Before, StepJacobian
from unrolled.ops.recurrence import Recurrence, by_steps, of_hidden
from unrolled.ops.registry import Op, register
from unrolled.spec import CELLS


class RNNTrajectory(NamedTuple):
    """Every pre-activation and state of one run, zero past a row's length. Gradients flow through all of it.

    Attributes:
        a: [T, B, H] what goes into the nonlinearity.
        h: [T, B, H] hidden state after each step: y.
    """

    a: Tensor
    h: Tensor


def recurrence(call: Call) -> Recurrence:
    """Define one step: the specification. Traces the pre-activation a."""
    activation = torch.relu if call.nonlinearity == "relu" else torch.tanh

    def step(x: Tensor, states: States) -> tuple[States, tuple[Tensor, ...]]:
        (h,) = states
        a = x + of_hidden(call, h)
        return (activation(a),), (a,)

    return Recurrence(step)


class RNNJacobian(StepJacobian):
    """The step Jacobian; its factor is the slope of the nonlinearity."""

    @staticmethod
    def factors_of(call: Call, trajectory: RNNTrajectory, _: Before, /) -> tuple[Tensor, ...]:
        a, h = trajectory
        return ((a > 0).to(h.dtype) if call.nonlinearity == "relu" else 1 - h * h,)

    def vjp(self, at: Tensor, gradients: States) -> tuple[States, States, Tensor]:
        (slope,) = self.at(at)
        da = gradients[0] * slope
        return gradients, self.edge(at, (da @ self.weight_hh,)), da

    def jvp(self, step: int, tangents: States) -> States:
        (slope,) = self.during(step)
        (h,) = self.edge(step, tangents)
        return ((h @ self.weight_hh.T) * slope,)


def by_torch(call: Call) -> Result:
    """Run one layer in one direction by torch's kernel of its nonlinearity."""
    return packed.run(call, torch.rnn_relu if call.nonlinearity == "relu" else torch.rnn_tanh)


@overload
def rnn(
    x: Tensor | Embedded,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    *,
    nonlinearity: str = ...,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    recompute: int | None = ...,
    trajectories: Literal[False] = ...,
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...


@overload
def rnn(
    x: Tensor | Embedded,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    *,
    nonlinearity: str = ...,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    recompute: int | None = ...,
    trajectories: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, Tensor, RNNTrajectory]: ...


def rnn(
    x: Tensor | Embedded,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    recompute: int | None = None,
    trajectories: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, RNNTrajectory]:
    """Run one plain RNN layer, in one direction, over a batch of sequences.

    Args:
        x: [T, B, I] floating point, any strides; or `Embedded` symbols.
        h_0: [B, H].
        weight_ih, weight_hh: [H, I] and [H, H].
        bias_ih, bias_hh: [H] each, or None, each on its own.
        nonlinearity: "tanh" or "relu".
        lengths: [B] int64 on the CPU, valid steps of each row, 0 to T; default all T.
        resets: [T, B] bool; true zeroes the row's state before that step (with reverse, between
            that step and the one before it in time). Past a row's length they mean nothing.
        reverse: run each row from its last valid step to its first; h_n is then the state after step 0.
        recompute: k, a number of steps: a forward pass whose gradients are wanted keeps the state every k
            steps and no gates; the backward pass runs each k steps again. Memory grows with x and y alone, a
            training step takes about a third longer, and gradients cannot be differentiated again. Without
            effect under torch.compile and in torch.func.
        trajectories: also return every pre-activation and state.
        backend: "auto", "native", "torch" or "reference"; see `unrolled.ops.explain`.
    Returns:
        y [T, B, H], zero past a row's length; h_n [B, H] after each row's last computed step, in the
        dtype of h_0; and with trajectories an `RNNTrajectory`.
        Under autocast the op computes, and y is, in autocast's dtype.
    Raises:
        ShapeError, DtypeError, DeviceError: arguments do not fit x or each other.
        ConfigError: recompute is no number of steps, or beside trajectories.
        BackendError: the named backend cannot run this call, or has no such name.
        ConfigError: nonlinearity is neither tanh nor relu.
    Source: Elman 1990, as torch.nn.RNN.
    """
    y, (h,), trajectory = run(
        "rnn", x, (h_0,), weight_ih, weight_hh, bias_ih, bias_hh,
        nonlinearity=nonlinearity,
        lengths=lengths, resets=resets, reverse=reverse, recompute=recompute, trajectories=trajectories,
        backend=backend,
    )  # fmt: skip
    return (y, h, trajectory) if trajectories else (y, h)


register(
    Op(
        CELLS["rnn"],
        by_steps(recurrence),
        jacobian=RNNJacobian,
        recurrence=recurrence,
        torch=by_torch,
        native=native.run,
        trajectory=RNNTrajectory,
        function=rnn,
    )
)
