"""A recurrent layer and a linear read-out at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unrolled import nn as recurrent
from unrolled.nn import init_recurrent

__all__ = ["Network", "build"]

LAYERS: dict[str, Any] = {"rnn": recurrent.RNN, "gru": recurrent.GRU, "lstm": recurrent.LSTM}


class Network(nn.Module):
    """Inputs [T, B, I] → logits [T, B, classes]."""

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, classes: int, *, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.recurrent = LAYERS[cell](input_size, hidden_size, bidirectional=bidirectional)
        self.readout = nn.Linear(hidden_size * (1 + bidirectional), classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of every step."""
        logits: Tensor = self.readout(self.recurrent(inputs)[0])
        return logits


def build(settings: Mapping[str, Any], input_size: int, classes: int, *, seed: int) -> Network:
    """Return the network that settings ask for, its weights drawn from a seed.

    The read-out's are torch.nn's own, as all are where "start" is "torch".
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(
            settings["cell"],
            input_size,
            settings["hidden_size"],
            classes,
            bidirectional=settings.get("bidirectional", False),
        )
    if settings["start"] != "torch":
        init_recurrent(
            network.recurrent,
            init=settings["start"],
            gain=settings.get("gain", 1.0),
            forget_bias=settings.get("forget_bias", 1.0),
            chrono_steps=settings.get("chrono_steps"),
            generator=torch.Generator().manual_seed(seed),
        )
    return network
