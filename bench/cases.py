"""What is measured: a cell and its sizes, the lengths and resets drawn for it, its operations."""

# ruff: noqa: E741  # T, B, I and H are the axes' names in the design

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.spec import CELLS

SHAPES = (  # T, B, I, H
    (100, 128, 32, 64),
    (64, 32, 128, 128),
    (128, 64, 256, 256),
    (64, 64, 512, 512),
    (35, 20, 650, 650),
    (1000, 1, 64, 64),
)
TINY = ((20, 8, 32, 32), (50, 1, 16, 16))  # to see that everything runs

LONG = ((16, 128, 128), (1, 64, 64))  # B, I, H
LONG_STEPS = (200, 2000, 20000)
TINY_LONG = ((2, 16, 16),)
TINY_STEPS = (20, 100)


@dataclass(frozen=True)
class Case:
    """One layer, one direction, one size."""

    cell: str  # "lstm", "gru" or "rnn" (tanh)
    T: int
    B: int
    I: int
    H: int

    def __str__(self) -> str:
        return f"{self.cell} {self.shape}"

    @property
    def shape(self) -> str:
        """The sizes as the tables show them: T, B, I, H."""
        return f"{self.T}, {self.B}, {self.I}, {self.H}"

    def flops(self, valid: int | None = None, *, backward: bool) -> float:
        """Operations of the matrix products, over `valid` rows and steps; default all T·B."""
        rows = self.T * self.B if valid is None else valid
        return 2.0 * len(CELLS[self.cell].gates) * self.H * (self.I + self.H) * rows * (3 if backward else 1)

    def lengths(self) -> Tensor:
        """Draw [B] lengths, uniform in T/4..T, unsorted."""
        return torch.randint(self.T // 4, self.T + 1, (self.B,), generator=_generator(1))

    def resets(self, share: float) -> Tensor:
        """Draw [T, B] resets on a share of the steps."""
        return torch.rand(self.T, self.B, generator=_generator(2)) < share

    def x(self) -> Tensor:
        """Draw [T, B, I], wanting a gradient."""
        return torch.randn(self.T, self.B, self.I, generator=_generator(3)).requires_grad_()

    def dy(self) -> Tensor:
        """Draw the gradient [T, B, H] that is sent into y."""
        return torch.randn(self.T, self.B, self.H, generator=_generator(4))

    def torch_layer(self) -> torch.nn.RNNBase:
        """Make torch.nn's layer, with torch's starting values, the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            kind: Callable[[int, int], torch.nn.RNNBase] = getattr(torch.nn, self.cell.upper())
            return kind(self.I, self.H)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
