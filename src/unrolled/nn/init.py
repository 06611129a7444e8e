"""Starting values of recurrent layers, each with its source.

| tensor | value | source |
| --- | --- | --- |
| weight_hh, orthogonal | orthogonal times `gain`, gate by gate | Saxe et al. 2014; Henaff et al. 2016 |
| the same of a relu RNN | identity times `gain` | Le, Jaitly & Hinton 2015 |
| weight_hh, uniform | U(±1/√H) times `gain` | torch.nn's own |
| weight_ih | uniform, Glorot's bound, gate by gate | Glorot & Bengio 2010 |
| biases | 0 | |
| forget bias of an LSTM | 1 (in bias_ih; bias_hh is 0) | Gers et al. 2000; Jozefowicz et al. 2015 |
| with `chrono_steps = T` | forget ~ ln U(1, T − 1), input = −forget; GRU: update | Tallec & Ollivier 2018 |
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from unrolled.errors import ConfigError, expected
from unrolled.spec.model import STARTS

__all__ = ["init_recurrent"]


def init_recurrent(
    stack: nn.RNNBase,
    *,
    start: str = "orthogonal",
    gain: float = 1.0,
    forget_bias: float = 1.0,
    chrono_steps: int | None = None,
    generator: Generator | None = None,
) -> None:
    """Fill every tensor of an RNN, LSTM or GRU in place, ours or torch.nn's, by the table above.

    Args:
        stack: the layers. A weight_hr (projection) is filled as weight_ih.
        start: of weight_hh: "orthogonal" or "uniform".
        gain: that weight_hh is multiplied by.
        forget_bias: of an LSTM without `chrono_steps`.
        chrono_steps: at least 2: the longest lag that gates start for; not for an RNN, which has none.
        generator: of the draws; default torch's own.
    Raises:
        ConfigError: a value is out of range, or chrono_steps of an RNN.
    """
    _check(stack, start, chrono_steps)
    for name, tensor in stack.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(tensor)
            continue
        for gate in torch.split(tensor.data, stack.hidden_size):  # each [H, I] or [H, H]
            if not name.startswith("weight_hh"):
                nn.init.xavier_uniform_(gate, generator=generator)
            else:
                _fill_recurrent(gate, start, stack.mode == "RNN_RELU", generator)
                gate.mul_(gain)
    for name, bias in stack.named_parameters():
        if name.startswith("bias_ih"):
            _start_gates(stack, bias.data, forget_bias, chrono_steps, generator)


def _fill_recurrent(gate: Tensor, start: str, identity: bool, generator: Generator | None) -> None:
    if start == "uniform":
        reach = 1 / math.sqrt(len(gate))
        nn.init.uniform_(gate, -reach, reach, generator=generator)
    elif identity:
        nn.init.eye_(gate)
    else:
        nn.init.orthogonal_(gate, generator=generator)


def _start_gates(
    stack: nn.RNNBase, bias: Tensor, forget_bias: float, chrono_steps: int | None, generator: Generator | None
) -> None:
    """Set the gate biases of one layer, `bias` [G·H] in torch's order: i f g o, or r z n."""
    hidden = stack.hidden_size
    if chrono_steps is None:
        if stack.mode == "LSTM":
            bias[hidden : 2 * hidden] = forget_bias
        return
    keep = torch.empty(hidden).uniform_(1.0, max(chrono_steps - 1.0, 1.0), generator=generator).log()
    if stack.mode == "LSTM":
        bias[:hidden] = -keep
        bias[hidden : 2 * hidden] = keep
    elif stack.mode == "GRU":
        bias[hidden : 2 * hidden] = keep  # torch's z keeps the old state where it is 1


def _check(stack: nn.RNNBase, start: str, chrono_steps: int | None) -> None:
    if start not in STARTS:
        raise ConfigError(expected("start", "one of " + ", ".join(STARTS), repr(start)))
    if chrono_steps is not None and (isinstance(chrono_steps, bool) or chrono_steps < 2):
        raise ConfigError(expected("chrono_steps", "at least 2", chrono_steps))
    if chrono_steps is not None and stack.mode.startswith("RNN"):
        raise ConfigError(expected("chrono_steps", "a gated cell (lstm, gru)", "an RNN"))
