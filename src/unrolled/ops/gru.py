"""The GRU: its definition, its step Jacobian, its backends, and the public function."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops import native, packed
from unrolled.ops.call import Call, Embedded, States
from unrolled.ops.dispatch import run
from unrolled.ops.jacobian import Before, StepJacobian
from unrolled.ops.recurrence import Recurrence, by_steps, of_hidden
from unrolled.ops.registry import Op, register
from unrolled.spec import CELLS


class GRUTrajectory(NamedTuple):
    """Every gate and state of one run, zero past a row's length. Gradients flow through all of it.

    Attributes:
        r, z, n: [T, B, H] reset gate, update gate, candidate, after their activations.
        h: [T, B, H] hidden state after each step: y.
    """

    r: Tensor
    z: Tensor
    n: Tensor
    h: Tensor


def recurrence(call: Call) -> Recurrence:
    """Define one step: the specification. Traces r, z, n."""

    def step(x: Tensor, states: States) -> tuple[States, tuple[Tensor, ...]]:
        (h,) = states
        xr, xz, xn = x.chunk(3, dim=-1)  # each [B, H]
        hr, hz, hn = of_hidden(call, h).chunk(3, dim=-1)
        r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
        n = (xn + r * hn).tanh()
        h = (1 - z) * n + z * h
        return (h,), (r, z, n)

    return Recurrence(step)


class GRUJacobian(StepJacobian):
    """The step Jacobian; its factors are z, ∂h/∂a of n, ∂a_n/∂a of r, ∂h/∂a of z, and r."""

    @staticmethod
    def factors_of(call: Call, trajectory: GRUTrajectory, before: Before, /) -> tuple[Tensor, ...]:
        r, z, n, _ = trajectory
        h = before("h")
        hn = linear(h, call.weight_hh, call.bias_hh).chunk(3, dim=-1)[2]
        return z, (1 - z) * (1 - n * n), hn * r * (1 - r), (h - n) * z * (1 - z), r

    def vjp(self, at: Tensor, gradients: States) -> tuple[States, States, Tensor]:
        z, of_n, of_r, of_z, r = self.at(at)
        (dh,) = gradients
        an = dh * of_n
        ar, az = an * of_r, dh * of_z
        before = dh * z + torch.cat((ar, az, an * r), dim=-1) @ self.weight_hh
        return gradients, self.edge(at, (before,)), torch.cat((ar, az, an), dim=-1)

    def jvp(self, step: int, tangents: States) -> States:
        z, of_n, of_r, of_z, r = self.during(step)
        (h,) = self.edge(step, tangents)
        ar, az, an = (h @ self.weight_hh.T).chunk(3, dim=-1)
        return (z * h + of_n * (r * an + of_r * ar) + of_z * az,)


@overload
def gru(
    x: Tensor | Embedded,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    *,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    recompute: int | None = ...,
    trajectories: Literal[False] = ...,
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...


@overload
def gru(
    x: Tensor | Embedded,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    *,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    recompute: int | None = ...,
    trajectories: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, Tensor, GRUTrajectory]: ...


def gru(
    x: Tensor | Embedded,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    recompute: int | None = None,
    trajectories: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, GRUTrajectory]:
    """Run one GRU layer, in one direction, over a batch of sequences.

    Args:
        x: [T, B, I] floating point, any strides; or `Embedded` symbols.
        h_0: [B, H].
        weight_ih, weight_hh: [3H, I] and [3H, H], gates in the order r z n.
        bias_ih, bias_hh: [3H] each, or None, each on its own.
        lengths: [B] int64 on the CPU, valid steps of each row, 0 to T; default all T.
        resets: [T, B] bool; true zeroes the row's state before that step (with reverse, between
            that step and the one before it in time). Past a row's length they mean nothing.
        reverse: run each row from its last valid step to its first; h_n is then the state after step 0.
        recompute: k, a number of steps: a forward pass whose gradients are wanted keeps the state every k
            steps and no gates; the backward pass runs each k steps again. Memory grows with x and y alone, a
            training step takes about a third longer, and gradients cannot be differentiated again. Without
            effect under torch.compile and in torch.func.
        trajectories: also return every gate and state.
        backend: "auto", "native", "torch" or "reference"; see `unrolled.ops.explain`.
    Returns:
        y [T, B, H], zero past a row's length; h_n [B, H] after each row's last computed step, in the
        dtype of h_0; and with trajectories a `GRUTrajectory`.
        Under autocast the op computes, and y is, in autocast's dtype.
    Raises:
        ShapeError, DtypeError, DeviceError: arguments do not fit x or each other.
        ConfigError: recompute is no number of steps, or beside trajectories.
        BackendError: the named backend cannot run this call, or has no such name.
    Source: Cho et al. 2014, reset after the matmul as torch.nn.GRU.
    """
    y, (h,), trajectory = run(
        "gru", x, (h_0,), weight_ih, weight_hh, bias_ih, bias_hh,
        lengths=lengths, resets=resets, reverse=reverse, recompute=recompute, trajectories=trajectories,
        backend=backend,
    )  # fmt: skip
    return (y, h, trajectory) if trajectories else (y, h)


register(
    Op(
        CELLS["gru"],
        by_steps(recurrence),
        jacobian=GRUJacobian,
        recurrence=recurrence,
        torch=partial(packed.run, kernel=torch.gru),
        native=native.run,
        trajectory=GRUTrajectory,
        function=gru,
    )
)
