"""The plain RNN as a differentiable function."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

from torch import Tensor

from unrolled.ops import native
from unrolled.ops.call import Call
from unrolled.ops.dispatch import dispatch
from unrolled.ops.door import admit
from unrolled.ops.rnn import reference, torch_

_BACKENDS = {"native": native.run, "torch": torch_.run, "reference": reference.run}


class RNNTrajectory(NamedTuple):
    """Every pre-activation and state of one run, zero past a row's length. Gradients flow through all of it.

    Attributes:
        a: [T, B, H] what goes into the nonlinearity.
        h: [T, B, H] hidden state after each step: y.
    """

    a: Tensor
    h: Tensor


@overload
def rnn(
    x: Tensor,
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
    trajectories: Literal[False] = ...,
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...


@overload
def rnn(
    x: Tensor,
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
    trajectories: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, Tensor, RNNTrajectory]: ...


def rnn(
    x: Tensor,
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
    trajectories: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, RNNTrajectory]:
    """Run one plain RNN layer, in one direction, over a batch of sequences.

    Args:
        x: [T, B, I] floating point, any strides.
        h_0: [B, H].
        weight_ih, weight_hh: [H, I] and [H, H].
        bias_ih, bias_hh: [H] each, or None, each on its own.
        nonlinearity: "tanh" or "relu".
        lengths: [B] int64 on the CPU, valid steps of each row, 0 to T; default all T.
        resets: [T, B] bool; true zeroes the row's state before that step (with reverse, between
            that step and the one before it in time). Past a row's length they mean nothing.
        reverse: run each row from its last valid step to its first; h_n is then the state after step 0.
        trajectories: also return every pre-activation and state.
        backend: "auto", "native", "torch" or "reference"; see `unrolled.ops.explain`.
    Returns:
        y [T, B, H], zero past a row's length; h_n [B, H] after each row's last computed step, in the
        dtype of h_0; and with trajectories an `RNNTrajectory`.
        Under autocast the op computes, and y is, in autocast's dtype.
    Raises:
        ShapeError, DtypeError, DeviceError: arguments do not fit x or each other.
        BackendError: the named backend cannot run this call, or has no such name.
        ConfigError: nonlinearity is neither tanh nor relu.
    Source: Elman 1990, as torch.nn.RNN.
    """
    call = prepare(
        x, h_0, weight_ih, weight_hh, bias_ih, bias_hh,
        lengths=lengths, resets=resets, reverse=reverse, trajectories=trajectories, nonlinearity=nonlinearity,
    )  # fmt: skip
    y, (h,), traces = dispatch(call, backend, _BACKENDS)
    return (y, h, RNNTrajectory._make((*traces, y))) if trajectories else (y, h)


def prepare(x: Tensor, h_0: Tensor, *weights: Any, **options: Any) -> Call:
    """Check the arguments of `rnn`, all but the backend."""
    return admit("rnn", 1, x, {"h_0": h_0}, *weights, **options)
