"""A generated task of long signals: which frequency is it? Neighbouring samples say much the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data import Batch
from unrolled.lab.speed.front import Front
from unrolled.nn import LSTM, init_recurrent

__all__ = ["CLASSES", "IGNORED", "SAMPLES", "SignalModel", "signals"]

IGNORED = -100  # a target that the loss leaves out: the default of torch's cross_entropy
SAMPLES = 256  # of a signal
CLASSES = 8
SLOWEST, FASTEST = 4.0, 32.0  # cycles in a signal
NOISE = 0.5  # standard deviation, beside an amplitude of 1

SignalState = tuple[Tensor, Tensor]


def signals(rows: int, *, seed: int) -> Iterator[Batch]:
    """Yield batches without end: inputs [T, B] float32, noisy sines of any phase; the last target counts."""
    generator = np.random.default_rng(seed)
    cycles = np.geomspace(SLOWEST, FASTEST, CLASSES)
    time = np.arange(SAMPLES)[:, None] / SAMPLES
    while True:
        classes = generator.integers(CLASSES, size=rows)
        phases = generator.random(rows)
        clean = np.sin(2 * np.pi * (cycles[classes] * time + phases))
        inputs = clean + NOISE * generator.standard_normal((SAMPLES, rows))
        targets = np.full((SAMPLES, rows), IGNORED)
        targets[-1] = classes
        yield Batch(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets))


class SignalModel(nn.Module):
    """An LSTM over a signal, and a linear read-out of its last output.

    Args:
        front, frames: what a step reads; see `Front`.
    """

    def __init__(
        self, hidden_size: int, *, front: str, frames: int, seed: int, backend: str = "auto"
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.front = Front(1, hidden_size, kind=front, frames=frames, generator=generator)
        self.recurrent = LSTM(self.front.size, hidden_size, backend=backend)
        self.readout = nn.Linear(hidden_size, CLASSES)
        init_recurrent(self.recurrent, generator=generator)
        nn.init.uniform_(self.readout.weight, -0.1, 0.1, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch_size: int) -> SignalState:
        """Return the zero state of so many rows."""
        zero = self.readout.bias.new_zeros(1, batch_size, self.readout.in_features)
        return zero, zero

    def loss(self, batch: Batch, state: SignalState) -> tuple[Tensor, int, SignalState]:
        """Return summed nats over the classes of whole signals, how many they are, and the state after."""
        before = self.front.reach - self.front.frames
        padded = F.pad(batch.inputs, (0, 0, before, 0)).unsqueeze(2)  # [reach − frames + T, B, 1]
        y, after = self.recurrent(self.front(padded), state)
        logits, classes = self.readout(y[-1]).float(), batch.targets[-1]
        return F.cross_entropy(logits, classes, reduction="sum"), classes.numel(), after
