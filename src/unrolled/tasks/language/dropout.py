"""Dropout that draws sixteen bits per value where torch draws a float: a quarter of its time on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]

LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, with p rounded to 1/65,536 and a scale that is exact for the rounded share.

    Draws from torch's default generator of the CPU, so that a seed and a stored state repeat it; the values
    drawn are not those of `torch.nn.Dropout`. Other devices take torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = min(round(self.p * LEVELS), LEVELS)
        if not self.training or dropped == 0 or dropped == LEVELS or input.device.type != "cpu":
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        keep = bits >= dropped - LEVELS // 2
        return input * keep.to(input.dtype).mul_(LEVELS / (LEVELS - dropped))
