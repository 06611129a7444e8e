"""A language model that takes several characters into one step, and predicts as many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data import Batch
from unrolled.errors import ShapeError, expected
from unrolled.lab.speed.front import Front
from unrolled.nn import LSTM, init_recurrent
from unrolled.spec import ModelConfig

__all__ = ["FrameModel", "FrameState"]

FrameState = tuple[
    Tensor, Tensor, Tensor
]  # h and c [1, B, H], and the last ids that were read [reach − 1, B]


class FrameModel(nn.Module):
    """A step reads the last characters up to its first target, and predicts the next `frames` at once.

    Those of one step do not see each other, so the best loss is higher than that of a step a character.

    Args:
        config: sizes; of an LSTM of one layer.
        front, frames: what a step reads; see `Front`.
        boundary: the id that stands before the text.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        front: str,
        frames: int,
        boundary: int,
        seed: int,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.config, self.frames, self.boundary = config, frames, boundary
        generator = torch.Generator().manual_seed(seed)
        width, hidden = config.embedding_size, config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.front = Front(width, hidden, kind=front, frames=frames, generator=generator)
        self.recurrent = LSTM(self.front.size, hidden, backend=backend)
        self.readout = nn.Linear(hidden, frames * config.vocab_size)
        self._start(generator)

    def _start(self, generator: torch.Generator) -> None:
        """Start as `LanguageModel` does."""
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1, generator=generator)
        init_recurrent(self.recurrent, init=self.config.start, generator=generator)
        nn.init.uniform_(self.readout.weight, -0.1, 0.1, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch_size: int) -> FrameState:
        """Return the zero state of so many rows, before any character."""
        zero = self.readout.bias.new_zeros(1, batch_size, self.config.hidden_size)
        return zero, zero, torch.full((self.front.reach - 1, batch_size), self.boundary)

    def loss(self, batch: Batch, state: FrameState) -> tuple[Tensor, int, FrameState]:
        """Return summed nats over the targets, how many they are, and the state after.

        Raises:
            ShapeError: the steps are no multiple of `frames`, or rows have lengths or resets.
        """
        steps, rows = batch.inputs.shape
        if steps % self.frames or batch.lengths is not None or batch.resets is not None:
            wanted = f"full rows of a multiple of {self.frames} steps"
            raise ShapeError(expected("batch", wanted, [steps, rows]))
        h, c, tail = state
        ids = torch.cat([tail, batch.inputs])  # [reach − 1 + T, B]
        y, (h, c) = self.recurrent(self.front(self.embedding(ids)), (h, c))
        logits = self.readout(y).float().view(-1, self.config.vocab_size)  # [T / frames · B · frames, V]
        targets = batch.targets.view(-1, self.frames, rows).transpose(1, 2)  # [T / frames, B, frames]
        nats = F.cross_entropy(logits, targets.flatten(), reduction="sum")
        return nats, targets.numel(), (h, c, ids[steps:])
