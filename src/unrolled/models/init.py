"""Starting values of a recurrent network, each with its source.

| tensor | value | source |
| --- | --- | --- |
| weight_hh | orthogonal, gate by gate | Saxe et al. 2014; for recurrent weights Henaff et al. 2016 |
| weight_hh of a relu RNN | identity | Le, Jaitly & Hinton 2015 |
| weight_ih | uniform, Glorot's bound, gate by gate | Glorot & Bengio 2010 |
| biases | 0 | |
| forget bias of an LSTM | 1 (in bias_ih; bias_hh is 0) | Gers et al. 2000; Jozefowicz et al. 2015 |
| with `chrono_steps = T` | forget ~ ln U(1, T − 1), input = −forget; GRU: update | Tallec & Ollivier 2018 |
| embedding, read-out | uniform in ±0.1, read-out bias 0 | Zaremba et al. 2014; Merity et al. 2018 |
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

__all__ = ["init_linear", "init_recurrent"]


def init_linear(weight: Tensor, *, generator: Generator) -> None:
    """Fill an embedding or read-out matrix with U(−0.1, 0.1)."""
    nn.init.uniform_(weight, -0.1, 0.1, generator=generator)


def init_recurrent(stack: nn.RNNBase, *, chrono_steps: int | None, generator: Generator) -> None:
    """Fill every tensor of a recurrent stack in place, by the table above."""
    hidden = stack.hidden_size
    identity = stack.mode == "RNN_RELU"
    for name, tensor in stack.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(tensor)
            continue
        for gate in torch.split(tensor.data, hidden):  # each [H, I] or [H, H]
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(gate, generator=generator)
            elif identity:
                nn.init.eye_(gate)
            else:
                nn.init.orthogonal_(gate, generator=generator)
    for name, bias in stack.named_parameters():
        if name.startswith("bias_ih"):
            _start_gates(stack, bias.data, chrono_steps, generator)


def _start_gates(stack: nn.RNNBase, bias: Tensor, chrono_steps: int | None, generator: Generator) -> None:
    """Set the gate biases of one layer, `bias` [G·H] in torch's order: i f g o, or r z n."""
    hidden = stack.hidden_size
    if chrono_steps is None:
        if stack.mode == "LSTM":
            bias[hidden : 2 * hidden] = 1.0
        return
    keep = torch.empty(hidden).uniform_(1.0, max(chrono_steps - 1.0, 1.0), generator=generator).log()
    if stack.mode == "LSTM":
        bias[:hidden] = -keep
        bias[hidden : 2 * hidden] = keep
    elif stack.mode == "GRU":
        bias[hidden : 2 * hidden] = keep  # torch's z keeps the old state where it is 1
