"""What a call of an op is once its arguments agree, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

States = tuple[Tensor, ...]  # h and, for the LSTM, c


class Embedded(NamedTuple):
    """Symbols as the input of a layer: what a step reads is the row of `weight` that its id names.

    The same numbers as `torch.nn.functional.embedding(ids, weight)`, and gradients for `weight`. Where there
    are far fewer symbols than steps, the native backend computes x·W_ih once per symbol and not per step.
    One-hot inputs are ids with the identity as weight.

    Attributes:
        ids: [T, B] int64, each from 0 to V − 1, past a row's length too. As input of a layer of `unrolled.nn`
            also [B, T] with batch_first, or unbatched [T].
        weight: [V, I], of an embedding.
    """

    ids: Tensor
    weight: Tensor

    def look_up(self) -> Tensor:
        """Return the rows [T, B, I]."""
        return embedding(self.ids, self.weight)


class Call(NamedTuple):
    """Arguments that agree in shape, dtype and device. P is H where there is no projection."""

    op: str  # the cell's name
    x: Tensor  # [T, B, I]; where there are ids, [V, I]; where rows are packed, [n, I]
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
    ids: Tensor | None = None  # [T, B] int64: a step takes the row of x that its id names
    further: tuple[Tensor, ...] = ()  # the cell's own weights, in the order of its spec
    # of each state: at which steps and units [T, B, ·] bool, or (a float) how much of it, is kept
    zoneout: tuple[Tensor | float, ...] = ()
    recurrent_mask: Tensor | None = None  # [B, P] what h is multiplied by on its way to weight_hh
    # [T] int64, of a PackedSequence: rows in falling order of length; x and y are [n, ·], step after step.
    batch_sizes: Tensor | None = None

    @property
    def steps(self) -> int:
        """T."""
        first = self.x if self.ids is None else self.ids
        return (first if self.batch_sizes is None else self.batch_sizes).shape[0]

    @property
    def rows(self) -> int:
        """B."""
        return self.states[0].shape[0]

    def looked_up(self) -> Call:
        """Return the call with x [T, B, I] in place of ids."""
        return self if self.ids is None else self._replace(x=Embedded(self.ids, self.x).look_up(), ids=None)

    @property
    def dtype(self) -> torch.dtype:
        """In which products are computed, and y is."""
        return self.within or self.x.dtype

    def tensors(self) -> Iterator[Tensor]:
        """Yield the floating point tensors: those that a gradient can flow to."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr)
        for tensor in (self.x, *self.states, *weights, *self.further):
            if tensor is not None:
                yield tensor

    def over_tensors(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the call with something done to each floating point tensor."""

        def changed(value: Tensor | None) -> Any:
            return None if value is None else change(value)

        return self._replace(
            x=change(self.x),
            states=tuple(map(change, self.states)),
            weight_ih=change(self.weight_ih),
            weight_hh=change(self.weight_hh),
            bias_ih=changed(self.bias_ih),
            bias_hh=changed(self.bias_hh),
            weight_hr=changed(self.weight_hr),
            further=tuple(map(change, self.further)),
            recurrent_mask=changed(self.recurrent_mask),
        )


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
