"""Starting values of recurrent layers."""

from __future__ import annotations

import pytest
import torch

from unrolled import nn
from unrolled.errors import ConfigError


def gates(layer: torch.nn.RNNBase, name: str) -> tuple[torch.Tensor, ...]:
    return torch.split(getattr(layer, name).detach(), layer.hidden_size)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_each_gate_of_an_orthogonal_start_keeps_norms_times_the_gain(kind: type[torch.nn.RNNBase]):
    layer = kind(5, 16, 2)
    nn.init_recurrent(layer, gain=0.5, generator=generator())
    for level in range(2):
        for gate in gates(layer, f"weight_hh_l{level}"):
            torch.testing.assert_close(gate @ gate.T, 0.25 * torch.eye(16), atol=1e-6, rtol=0)


def test_a_uniform_start_is_torchs_own():
    layer = nn.LSTM(5, 400)
    nn.init_recurrent(layer, start="uniform", generator=generator())
    weight = layer.weight_hh_l0.detach()
    assert float(weight.abs().max()) <= 1 / 20
    assert float(weight.std()) == pytest.approx(1 / 20 / 3**0.5, rel=0.01)


def test_a_relu_network_starts_at_the_identity_times_the_gain():
    layer = nn.RNN(5, 8, nonlinearity="relu")
    nn.init_recurrent(layer, gain=2.0, generator=generator())
    assert torch.equal(layer.weight_hh_l0.detach(), 2 * torch.eye(8))


def test_the_forget_bias_is_the_one_asked_for_and_every_other_bias_zero():
    layer = nn.LSTM(5, 8)
    nn.init_recurrent(layer, forget_bias=3.0, generator=generator())
    total = gates(layer, "bias_ih_l0"), gates(layer, "bias_hh_l0")
    for number, (ours, theirs) in enumerate(zip(*total, strict=True)):
        assert torch.equal(ours + theirs, torch.full((8,), 3.0 if number == 1 else 0.0))


def test_the_same_generator_gives_the_same_start():
    first, second = nn.GRU(5, 8), nn.GRU(5, 8)
    for layer in (first, second):
        nn.init_recurrent(layer, chrono_steps=50, generator=generator())
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": "ones"}, "start: expected one of orthogonal, uniform, got 'ones'"),
        ({"chrono_steps": 1}, "chrono_steps: expected at least 2, got 1"),
        ({"chrono_steps": 9}, "chrono_steps: expected a gated cell (lstm, gru), got an RNN"),
    ],
)
def test_bad_settings_are_refused_by_name(wrong: dict[str, object], message: str):
    with pytest.raises(ConfigError) as caught:
        nn.init_recurrent(nn.RNN(5, 8), **wrong)  # type: ignore[arg-type]
    assert str(caught.value) == message
