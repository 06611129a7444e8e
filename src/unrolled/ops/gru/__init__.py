"""The GRU as a differentiable function."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

from torch import Tensor

from unrolled.ops import native
from unrolled.ops.call import Call
from unrolled.ops.dispatch import dispatch
from unrolled.ops.door import admit
from unrolled.ops.gru import reference, torch_

_BACKENDS = {"native": native.run, "torch": torch_.run, "reference": reference.run}


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


@overload
def gru(
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    *,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    trajectories: Literal[False] = ...,
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...


@overload
def gru(
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = ...,
    bias_hh: Tensor | None = ...,
    *,
    lengths: Tensor | None = ...,
    resets: Tensor | None = ...,
    reverse: bool = ...,
    trajectories: Literal[True],
    backend: str = ...,
) -> tuple[Tensor, Tensor, GRUTrajectory]: ...


def gru(
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    trajectories: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, GRUTrajectory]:
    """Run one GRU layer, in one direction, over a batch of sequences.

    Args:
        x: [T, B, I] floating point, any strides.
        h_0: [B, H].
        weight_ih, weight_hh: [3H, I] and [3H, H], gates in the order r z n.
        bias_ih, bias_hh: [3H] each, or None, each on its own.
        lengths: [B] int64 on the CPU, valid steps of each row, 0 to T; default all T.
        resets: [T, B] bool; true zeroes the row's state before that step (with reverse, between
            that step and the one before it in time). Past a row's length they mean nothing.
        reverse: run each row from its last valid step to its first; h_n is then the state after step 0.
        trajectories: also return every gate and state.
        backend: "auto", "native", "torch" or "reference"; see `unrolled.ops.explain`.
    Returns:
        y [T, B, H], zero past a row's length; h_n [B, H] after each row's last computed step, in the
        dtype of h_0; and with trajectories a `GRUTrajectory`.
        Under autocast the op computes, and y is, in autocast's dtype.
    Raises:
        ShapeError, DtypeError, DeviceError: arguments do not fit x or each other.
        BackendError: the named backend cannot run this call, or has no such name.
    Source: Cho et al. 2014, reset after the matmul as torch.nn.GRU.
    """
    call = prepare(
        x, h_0, weight_ih, weight_hh, bias_ih, bias_hh,
        lengths=lengths, resets=resets, reverse=reverse, trajectories=trajectories,
    )  # fmt: skip
    y, (h,), traces = dispatch(call, backend, _BACKENDS)
    return (y, h, GRUTrajectory._make((*traces, y))) if trajectories else (y, h)


def prepare(x: Tensor, h_0: Tensor, *weights: Any, **options: Any) -> Call:
    """Check the arguments of `gru`, all but the backend."""
    return admit("gru", 3, x, {"h_0": h_0}, *weights, **options)
