"""Systems with known answers, and models of every kind."""

from __future__ import annotations

import copy
from typing import Any

import torch

from unrolled import nn
from unrolled.data import Batch
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel

F64 = torch.float64


def orthogonal(size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=F64))[0]


@torch.no_grad()
def zero_rnn(rho: float, size: int = 8, kind: Any = torch.nn.RNN) -> torch.nn.RNNBase:
    """A tanh RNN that stays at zero on zero inputs, with W_hh = ρ Q."""
    layer = kind(3, size, dtype=F64)
    for parameter in layer.parameters():
        parameter.zero_()
    layer.weight_hh_l0.copy_(rho * orthogonal(size))
    return layer


@torch.no_grad()
def forced_lstm(forget: float, size: int = 5, inputs: int = 3, spread: float = 0.0) -> torch.nn.LSTM:
    """An LSTM with W_hh = 0 whose forget gates are sigmoid(logit(forget) + spread · x_0)."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(inputs, size, dtype=F64)
    layer.weight_hh_l0.zero_()
    layer.bias_ih_l0.zero_()
    layer.bias_hh_l0.zero_()
    gate = slice(size, 2 * size)
    layer.weight_ih_l0[gate] = 0
    layer.weight_ih_l0[gate, 0] = spread
    layer.bias_ih_l0[gate] = torch.logit(torch.tensor(forget, dtype=F64))
    return layer


@torch.no_grad()
def delay_line(steps: int, size: int = 1) -> torch.nn.RNN:
    """A linear shift register in a relu RNN: its last units are the input of `steps` steps ago."""
    layer = torch.nn.RNN(size, size * (steps + 1), nonlinearity="relu", bias=False, dtype=F64)
    layer.weight_ih_l0.zero_()
    layer.weight_hh_l0.zero_()
    layer.weight_ih_l0[:size] = torch.eye(size)
    layer.weight_hh_l0[size:, :-size] = torch.eye(size * steps)
    return layer


class Last(torch.nn.Module):
    """The last units of a recurrent layer as the output."""

    def __init__(self, layer: torch.nn.RNNBase, size: int) -> None:
        super().__init__()
        self.layer, self.size = layer, size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0][..., -self.size :]


class TwoModules(torch.nn.Module):
    """Two recurrent modules with a norm, a skip and dropout between them, [B, T, ·] throughout."""

    def __init__(self, first: torch.nn.RNNBase, second: torch.nn.RNNBase) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.norm = torch.nn.LayerNorm(first.hidden_size, dtype=F64)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        y = self.first(x)[0]
        return self.second(self.dropout(self.norm(y)) + y)


class Attention(torch.nn.Module):
    """A recurrent layer under causal attention: the loss at t depends on every output before t."""

    def __init__(self, layer: torch.nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)[0].transpose(0, 1)
        return torch.nn.functional.scaled_dot_product_attention(y, y, y, is_causal=True).transpose(0, 1)


def language_model(cell: str = "lstm", seed: int = 0, **settings: Any) -> LanguageModel:
    options = {"vocab_size": 7, "embedding_size": 5, "hidden_size": 6, "num_layers": 2, "cell": cell}
    return LanguageModel(ModelConfig(**(options | settings)), seed=seed)


def tokens(steps: int, rows: int, vocabulary: int = 7, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (steps + 1, rows), generator=generator)
    return Batch(ids[:-1], ids[1:])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def twin(layer: torch.nn.RNNBase) -> torch.nn.RNNBase:
    """Our layer with the weights of torch's."""
    return nn.accelerate(copy.deepcopy(layer))
