"""A window of ids for a network, and what gives windows to a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.errors import ConfigError, DtypeError, ShapeError, expected

__all__ = ["IGNORED", "Batch", "Batches", "check_place", "to_tensor", "whole_number"]

IGNORED = -100  # a target that is not scored; torch's


@dataclass(frozen=True, eq=False)
class Batch:
    """T steps of B rows: predict `targets` from `inputs`, a target for each step or one for each row.

    Raises ShapeError: the axes disagree. DtypeError: an element type that none of them has.
    """

    inputs: Tensor  # [T, B] int64 ids, or [T, B, I] floating point
    targets: Tensor  # [T, B] or [T, B, …]: of each step; [B]: of each row. int64 or floating point
    lengths: Tensor | None = None  # [B] int64, valid steps of each row; None: all T
    resets: Tensor | None = None  # [T, B] bool, the state is zero before this step; None: nowhere

    def __post_init__(self) -> None:
        ids = not self.inputs.is_floating_point()
        if self.inputs.ndim != (2 if ids else 3):
            want = "[T, B] of ids" if ids else "[T, B, I] of numbers"
            raise ShapeError(expected("inputs", want, list(self.inputs.shape)))
        steps, rows = self.inputs.shape[:2]
        if list(self.targets.shape[:2]) != [steps, rows] and list(self.targets.shape) != [rows]:
            want = f"[{steps}, {rows}, …] or [{rows}]"
            raise ShapeError(expected("targets", want, list(self.targets.shape)))
        for name, given in (("inputs", self.inputs), ("targets", self.targets), ("lengths", self.lengths)):
            whole = given is None or given.dtype == torch.int64
            if not whole and (name == "lengths" or not given.is_floating_point()):  # type: ignore[union-attr]
                want = "int64" if name == "lengths" else "int64 or floating point"
                raise DtypeError(expected(name, want, given.dtype))  # type: ignore[union-attr]
        if self.lengths is not None and list(self.lengths.shape) != [rows]:
            raise ShapeError(expected("lengths", [rows], list(self.lengths.shape)))
        if self.resets is not None and list(self.resets.shape) != [steps, rows]:
            raise ShapeError(expected("resets", [steps, rows], list(self.resets.shape)))
        if self.resets is not None and self.resets.dtype != torch.bool:
            raise DtypeError(expected("resets", "bool", self.resets.dtype))

    @property
    def per_row(self) -> bool:
        """Whether there is one target for each row, and not one for each step."""
        return self.targets.ndim == 1

    def valid(self) -> Tensor:
        """Return which predictions are scored: [T, B] bool, or [B] where targets are of rows.

        Padding is not, nor is an id that is `IGNORED`, as in torch's cross entropy.
        """
        scored = torch.ones(self.targets.shape[: 1 if self.per_row else 2], dtype=torch.bool)
        if self.lengths is not None and not self.per_row:
            scored = torch.arange(len(self.inputs)).unsqueeze(1) < self.lengths
        if not self.targets.is_floating_point() and self.targets.ndim == scored.ndim:
            scored = scored & (self.targets != IGNORED)
        return scored

    @property
    def count(self) -> int:
        """The number of predictions to be scored; one of several values (a vector) is one."""
        return int(self.valid().sum())


class Batches(Protocol):
    """What a trainer reads: epochs of batches, in an order that its arguments alone decide."""

    carries_state: bool  # a batch goes on where the one before it ended; an epoch starts from the zero state
    rows: int  # in a full batch, all ranks together

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield the batches of epoch n from number `start` on, with the rows rank::world_size."""

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch; the same for every rank."""

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""


def to_tensor(array: npt.NDArray[Any]) -> Tensor:
    """Return a copy of an array as a contiguous tensor: int64, float32, or bool of truth values."""
    dtype = {"b": np.bool_, "f": np.float32}.get(array.dtype.kind, np.int64)
    return torch.from_numpy(np.array(array, dtype, order="C", copy=True))


def whole_number(name: str, value: object, minimum: int) -> int:
    """Return a whole number of at least `minimum`, or raise ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(expected(name, f"a whole number of at least {minimum}", repr(value)))
    return value


def check_place(start: int, batches: int, rank: int, world_size: int) -> None:
    """Raise ConfigError unless `start` lies in an epoch and `rank` in the world."""
    whole_number("world_size", world_size, 1)
    if not 0 <= rank < world_size:
        raise ConfigError(expected("rank", f"0 to {world_size - 1}", rank))
    if not 0 <= start <= batches:
        raise ConfigError(expected("start", f"0 to {batches}, the batches of the epoch", start))
