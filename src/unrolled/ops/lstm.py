"""The LSTM: its definition, its step Jacobian, its backends, and the public function."""

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

_States = tuple[Tensor, Tensor]


class LSTMTrajectory(NamedTuple):
    """Every gate and state of one run, zero past a row's length. Gradients flow through all of it.

    Attributes:
        i, f, g, o: [T, B, H] input gate, forget gate, candidate, output gate, after their activations.
        c: [T, B, H] cell state after each step.
        h: [T, B, P] hidden state after each step: y.
    """

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor


def recurrence(call: Call) -> Recurrence:
    """Define one step: the specification. Traces i, f, g, o, c."""

    def step(x: Tensor, states: States) -> tuple[States, tuple[Tensor, ...]]:
        h, c = states
        i, f, g, o = (x + of_hidden(call, h)).chunk(4, dim=-1)  # each [B, H]
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * torch.tanh(c)
        if call.weight_hr is not None:
            h = linear(h, call.weight_hr)  # [B, H] → [B, P]
        return (h, c), (i, f, g, o, c)

    return Recurrence(step)


class LSTMJacobian(StepJacobian):
    """The step Jacobian; its factors are ∂c/∂a of i, f and g, ∂h/∂a of o, ∂h/∂c and f."""

    @staticmethod
    def factors_of(_: Call, trajectory: LSTMTrajectory, before: Before, /) -> tuple[Tensor, ...]:
        i, f, g, o, c, _h = trajectory
        squashed, c_before = c.tanh(), before("c")
        of_gates = g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)
        return (*of_gates, o * (1 - squashed * squashed), f)

    def vjp(self, at: Tensor, gradients: States) -> tuple[States, States, Tensor]:
        of_i, of_f, of_g, of_o, of_c, f = self.at(at)
        dh, dc = gradients
        dm = dh if self.weight_hr is None else dh @ self.weight_hr
        dc = dc + dm * of_c
        da = torch.cat((dc * of_i, dc * of_f, dc * of_g, dm * of_o), dim=-1)
        return (dh, dc), self.edge(at, (da @ self.weight_hh, dc * f)), da

    def jvp(self, step: int, tangents: States) -> States:
        of_i, of_f, of_g, of_o, of_c, f = self.during(step)
        h, c = self.edge(step, tangents)
        ai, af, ag, ao = (h @ self.weight_hh.T).chunk(4, dim=-1)
        c = f * c + of_i * ai + of_f * af + of_g * ag
        m = of_c * c + of_o * ao
        return (m if self.weight_hr is None else m @ self.weight_hr.T), c


@overload
def lstm(
    x: Tensor | Embedded,
    state: _States,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    weight_hr: Tensor | None = ...,
    *,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    recompute: int | None = ...,
    trajectories: Literal[False] = ...,
    backend: str = ...,
) -> tuple[Tensor, _States]: ...


@overload
def lstm(
    x: Tensor | Embedded,
    state: _States,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    weight_hr: Tensor | None = ...,
    *,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    recompute: int | None = ...,
    trajectories: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, _States, LSTMTrajectory]: ...


def lstm(
    x: Tensor | Embedded,
    state: _States,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    weight_hr: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    recompute: int | None = None,
    trajectories: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, _States] | tuple[Tensor, _States, LSTMTrajectory]:
    """Run one LSTM layer, in one direction, over a batch of sequences.

    Args:
        x: [T, B, I] floating point, any strides; or `Embedded` symbols.
        state: the pair (h_0 [B, P], c_0 [B, H]); P is H unless there is a projection.
        weight_ih, weight_hh: [4H, I] and [4H, P], gates in the order i f g o.
        bias_ih, bias_hh: [4H] each, or None, each on its own.
        weight_hr: [P, H] projects the hidden state, or None.
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
        y [T, B, P], zero past a row's length; (h_n [B, P], c_n [B, H]) after each row's last
        computed step, in the dtypes of h_0 and c_0; and with trajectories an `LSTMTrajectory`.
        Under autocast the op computes, and y is, in autocast's dtype.
    Raises:
        ShapeError, DtypeError, DeviceError: arguments do not fit x or each other.
        ConfigError: recompute is no number of steps, or beside trajectories.
        BackendError: the named backend cannot run this call, or has no such name.
    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Sak et al. 2014 (projection).
    """
    y, (h, c), trajectory = run(
        "lstm", x, state, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr,
        lengths=lengths, resets=resets, reverse=reverse, recompute=recompute, trajectories=trajectories,
        backend=backend,
    )  # fmt: skip
    return (y, (h, c), trajectory) if trajectories else (y, (h, c))


register(
    Op(
        CELLS["lstm"],
        by_steps(recurrence),
        jacobian=LSTMJacobian,
        recurrence=recurrence,
        torch=partial(packed.run, kernel=torch.lstm),
        native=native.run,
        trajectory=LSTMTrajectory,
        function=lstm,
    )
)
