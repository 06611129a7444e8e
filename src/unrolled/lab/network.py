"""A recurrent stack with a linear read-out: what the lab sets before a task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unrolled.errors import ConfigError, expected
from unrolled.lab.tasks import Task
from unrolled.nn import GRU, LSTM, RNN, init_recurrent
from unrolled.spec.cells import CELLS
from unrolled.spec.fields import check, setting
from unrolled.spec.model import STARTS

__all__ = ["Network", "NetworkSettings"]

LAYERS: dict[str, type[RNN] | type[GRU] | type[LSTM]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
READOUT_REACH = 0.1  # of its uniform start: Zaremba et al. 2014


@dataclass(frozen=True)
class NetworkSettings:
    """Everything that a network's shape and starting values depend on, apart from the seed."""

    cell: str = setting("lstm", "the recurrent unit", choices=tuple(CELLS))
    hidden_size: int = setting(64, "H", minimum=1)
    num_layers: int = setting(1, "L", minimum=1)
    bidirectional: bool = setting(False, "also read from the end to the start")
    dropout: float = setting(0.0, "share of values dropped between layers", minimum=0.0, below=1.0)
    frames: int = setting(1, "odd: steps, around its own, that each step is shown", minimum=1)
    pool: str = setting("last", "what an answer at the end is read from", choices=("last", "max"))
    start: str = setting("orthogonal", "of the recurrent weights", choices=STARTS)
    gain: float = setting(1.0, "that the recurrent weights are multiplied by at the start", above=0.0)
    forget_bias: float = setting(1.0, "of an LSTM, at the start")
    chrono_steps: int | None = setting(None, "longest lag that the gates start for", minimum=2)

    def __post_init__(self) -> None:
        check(self)
        if self.frames % 2 == 0:
            raise ConfigError(expected("frames", "an odd number", self.frames))
        if self.dropout > 0 and self.num_layers == 1:
            raise ConfigError(expected("dropout", "0 where there is one layer", self.dropout))
        if self.chrono_steps is not None and self.cell == "rnn":
            raise ConfigError(expected("chrono_steps", "a gated cell (lstm, gru)", "rnn"))


class Network(torch.nn.Module):
    """Reads a task's inputs and gives its outputs.

    An answer at the end is read from the states that the last layer ends with, of both directions, or
    (`pool="max"`) from the largest value that each unit's output took. An answer at each step is read from
    that step's output.
    """

    def __init__(self, task: Task, settings: NetworkSettings, generator: Generator) -> None:
        super().__init__()
        self.settings, self.answers = settings, task.answers
        self.stack = LAYERS[settings.cell](
            task.input_size * settings.frames,
            settings.hidden_size,
            settings.num_layers,
            dropout=settings.dropout,
            bidirectional=settings.bidirectional,
        )
        self.readout = torch.nn.Linear(
            settings.hidden_size * (2 if settings.bidirectional else 1), task.output_size
        )
        init_recurrent(
            self.stack,
            init=settings.start,
            gain=settings.gain,
            forget_bias=settings.forget_bias,
            chrono_steps=settings.chrono_steps,
            generator=generator,
        )
        torch.nn.init.uniform_(self.readout.weight, -READOUT_REACH, READOUT_REACH, generator=generator)
        torch.nn.init.zeros_(self.readout.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs [B, O], or [T, B, O] where the task answers at each step, for inputs [T, B, I]."""
        y, state = self.stack(_framed(inputs, self.settings.frames))
        if self.answers == "each":
            return self.readout(y)  # type: ignore[no-any-return]
        h_n: Tensor = state[0] if self.settings.cell == "lstm" else state  # [L·D, B, H]
        directions = 2 if self.settings.bidirectional else 1
        read = y.amax(0) if self.settings.pool == "max" else torch.cat([*h_n[-directions:]], dim=-1)
        return self.readout(read)  # type: ignore[no-any-return]


def _framed(inputs: Tensor, frames: int) -> Tensor:
    """Return [T, B, frames · I]: beside every step the steps around it, the edges repeated."""
    if frames == 1:
        return inputs
    steps = torch.arange(len(inputs))
    around = range(-(frames // 2), frames // 2 + 1)
    return torch.cat([inputs[(steps + k).clamp(0, len(inputs) - 1)] for k in around], dim=-1)
