"""What a call of an op is once its arguments agree, and what it returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
    recompute: int | None = None  # steps between the states that a forward pass keeps
    within: torch.dtype | None = None  # autocast's, where it is on and the tensors have not been cast yet

    @property
    def dtype(self) -> torch.dtype:
        """In which products are computed, and y is."""
        return self.within or self.x.dtype

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
