"""What makes one step of several: frames side by side, or a convolution with a stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Front"]


class Front(nn.Module):
    """Takes vectors [reach − frames + T, B, E] to steps [T / frames, B, size].

    Args:
        width: E. channels: of the convolution.
        kind: "stacked" puts `frames` vectors side by side; "convolved" is a convolution over twice as many,
            of stride `frames`, with a ReLU; "none" is `frames` of 1, stacked.
        generator: of the starting weights, after He et al. 2015.
    """

    def __init__(self, width: int, channels: int, *, kind: str, frames: int, generator: torch.Generator):
        super().__init__()
        self.frames = frames
        self.reach = 2 * frames if kind == "convolved" else frames  # vectors that a step reads
        seen = width * self.reach
        self.convolution = nn.Linear(seen, channels) if kind == "convolved" else None
        self.size = seen if self.convolution is None else channels
        if self.convolution is not None:
            nn.init.kaiming_uniform_(self.convolution.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(self.convolution.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the steps."""
        x = vectors.unfold(0, self.reach, self.frames).flatten(2)  # [T / frames, B, E · reach]
        return x if self.convolution is None else F.relu(self.convolution(x))
