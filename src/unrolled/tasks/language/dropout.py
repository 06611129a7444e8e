"""Dropout of the same units at every step of a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with one mask for all steps: x [T, B, H] times a mask [1, B, H].

    It costs next to nothing, as T times fewer numbers are drawn, and they are drawn from torch's default
    generator, so that a seed and a stored state repeat them. Source: Gal & Ghahramani 2016.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p in (0, 1):
            return super().forward(input)
        kept = torch.rand((1, *input.shape[1:]), device=input.device) >= self.p
        return input * kept.to(input.dtype).div_(1 - self.p)
