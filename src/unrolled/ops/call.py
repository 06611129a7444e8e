"""What a call of an op is, once the door has let it in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Result(NamedTuple):
    """What a backend hands back; `traces` holds the per-step tensors of a trajectory, or nothing."""

    y: Tensor  # [T, B, P]
    states: tuple[Tensor, ...]  # h_n [B, P] and, for the LSTM, c_n [B, H]
    traces: tuple[Tensor, ...]  # each [T, B, H]


class Call(NamedTuple):
    """Arguments that agree in shape, dtype and device. P is H where there is no projection."""

    op: str
    x: Tensor  # [T, B, I]
    states: tuple[Tensor, ...]  # h_0 [B, P] and, for the LSTM, c_0 [B, H]
    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, P]
    bias_ih: Tensor | None  # [G·H]
    bias_hh: Tensor | None  # [G·H]
    weight_hr: Tensor | None  # [P, H]
    lengths: Tensor | None  # [B] int64, on the CPU
    resets: Tensor | None  # [T, B] bool
    reverse: bool
    trajectories: bool
    nonlinearity: str  # of the plain RNN: "tanh" or "relu"
    state_dtypes: tuple[torch.dtype, ...]  # as given, before autocast

    def tensors(self) -> Iterator[Tensor]:
        """Yield the floating point tensors: those that a gradient can flow to."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr)
        for tensor in (self.x, *self.states, *weights):
            if tensor is not None:
                yield tensor
