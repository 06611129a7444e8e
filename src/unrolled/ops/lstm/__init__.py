"""The LSTM as a differentiable function."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

from torch import Tensor

from unrolled.errors import DtypeError, expected
from unrolled.ops import native
from unrolled.ops.call import Call
from unrolled.ops.dispatch import dispatch
from unrolled.ops.door import admit
from unrolled.ops.lstm import reference, torch_

_BACKENDS = {"native": native.run, "torch": torch_.run, "reference": reference.run}
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


@overload
def lstm(
    x: Tensor,
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
    trajectories: Literal[False] = ...,
    backend: str = ...,
) -> tuple[Tensor, _States]: ...


@overload
def lstm(
    x: Tensor,
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
    trajectories: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, _States, LSTMTrajectory]: ...


def lstm(
    x: Tensor,
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
    trajectories: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, _States] | tuple[Tensor, _States, LSTMTrajectory]:
    """Run one LSTM layer, in one direction, over a batch of sequences.

    Args:
        x: [T, B, I] floating point, any strides.
        state: the pair (h_0 [B, P], c_0 [B, H]); P is H unless there is a projection.
        weight_ih, weight_hh: [4H, I] and [4H, P], gates in the order i f g o.
        bias_ih, bias_hh: [4H] each, or None, each on its own.
        weight_hr: [P, H] projects the hidden state, or None.
        lengths: [B] int64 on the CPU, valid steps of each row, 0 to T; default all T.
        resets: [T, B] bool; true zeroes the row's state before that step (with reverse, between
            that step and the one before it in time). Past a row's length they mean nothing.
        reverse: run each row from its last valid step to its first; h_n is then the state after step 0.
        trajectories: also return every gate and state.
        backend: "auto", "native", "torch" or "reference"; see `unrolled.ops.explain`.
    Returns:
        y [T, B, P], zero past a row's length; (h_n [B, P], c_n [B, H]) after each row's last
        computed step, in the dtypes of h_0 and c_0; and with trajectories an `LSTMTrajectory`.
        Under autocast the op computes, and y is, in autocast's dtype.
    Raises:
        ShapeError, DtypeError, DeviceError: arguments do not fit x or each other.
        BackendError: the named backend cannot run this call, or has no such name.
    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Sak et al. 2014 (projection).
    """
    call = prepare(
        x, state, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr,
        lengths=lengths, resets=resets, reverse=reverse, trajectories=trajectories,
    )  # fmt: skip
    y, (h, c), traces = dispatch(call, backend, _BACKENDS)
    return (y, (h, c), LSTMTrajectory._make((*traces, y))) if trajectories else (y, (h, c))


def prepare(x: Tensor, state: _States, *weights: Any, **options: Any) -> Call:
    """Check the arguments of `lstm`, all but the backend."""
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        got = f"{len(state)} values" if isinstance(state, (tuple, list)) else type(state).__name__
        raise DtypeError(expected("state", "a pair (h_0, c_0)", got))
    h_0, c_0 = state
    return admit("lstm", 4, x, {"h_0": h_0, "c_0": c_0}, *weights, **options)
