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
    layer = kind(48, 16, 2)
    nn.init_recurrent(layer, gain=0.5, generator=generator())
    for level, inputs in enumerate((48, 16)):
        for gate in gates(layer, f"weight_hh_l{level}"):
            torch.testing.assert_close(gate @ gate.T, 0.25 * torch.eye(16), atol=1e-6, rtol=0)
        bound = (6 / (inputs + 16)) ** 0.5  # Glorot's, of each gate by itself and without the gain
        for gate in gates(layer, f"weight_ih_l{level}"):
            assert 0.9 * bound < float(gate.abs().max()) <= bound
            assert float(gate.std()) == pytest.approx(bound / 3**0.5, rel=0.15)


def test_a_uniform_start_is_torchs_own():
    layer = nn.LSTM(5, 400)
    nn.init_recurrent(layer, init="uniform", generator=generator())
    weight = layer.weight_hh_l0.detach()
    assert float(weight.abs().max()) <= 1 / 20
    assert float(weight.std()) == pytest.approx(1 / 20 / 3**0.5, rel=0.01)


def test_a_relu_network_starts_at_the_identity_times_the_gain():
    layer = nn.RNN(5, 8, nonlinearity="relu")
    nn.init_recurrent(layer, gain=2.0, generator=generator())
    assert torch.equal(layer.weight_hh_l0.detach(), 2 * torch.eye(8))


def test_the_forget_bias_is_the_one_asked_for_and_every_other_bias_zero():
    layer = nn.LSTM(5, 8, 2, bidirectional=True)
    nn.init_recurrent(layer, forget_bias=3.0, generator=generator())
    for each in ("l0", "l0_reverse", "l1", "l1_reverse"):
        total = gates(layer, f"bias_ih_{each}"), gates(layer, f"bias_hh_{each}")
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
        ({"init": "ones"}, "init: expected one of orthogonal, uniform, got 'ones'"),
        ({"chrono_steps": 1}, "chrono_steps: expected at least 2, got 1"),
        ({"chrono_steps": 9}, "chrono_steps: expected a gated cell (lstm, gru), got an RNN"),
    ],
)
def test_bad_settings_are_refused_by_name(wrong: dict[str, object], message: str):
    with pytest.raises(ConfigError) as caught:
        nn.init_recurrent(nn.RNN(5, 8), **wrong)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_the_old_word_for_init_works_and_says_so():
    new, old = nn.GRU(5, 8), nn.GRU(5, 8)
    nn.init_recurrent(new, init="uniform", generator=generator())
    with pytest.warns(DeprecationWarning, match="start is now init") as caught:
        nn.init_recurrent(old, start="uniform", generator=generator())
    assert caught[0].filename == __file__
    assert torch.equal(old.weight_hh_l0, new.weight_hh_l0)
    with pytest.warns(DeprecationWarning, match="stack is now layer"):
        nn.init_recurrent(stack=old, generator=generator())


def test_chrono_starts_the_gate_that_keeps_and_its_negative_the_one_that_admits():
    lstm, gru = nn.LSTM(5, 8), nn.GRU(5, 8)
    for layer in (lstm, gru):
        nn.init_recurrent(layer, chrono_steps=50, generator=generator())
    i, f, g, o = gates(lstm, "bias_ih_l0")
    assert torch.equal(i, -f)
    assert not torch.cat((g, o)).any()
    assert bool((f >= 0).all())
    assert bool((f <= 3.9).all())
    r, z, n = gates(gru, "bias_ih_l0")
    assert bool((z > 0).any())
    assert not torch.cat((r, n)).any()


@pytest.mark.parametrize(
    ("layer", "wrong", "message"),
    [
        (nn.LSTM(5, 8, bias=False), {"chrono_steps": 9}, "chrono_steps: expected a layer with biases"),
        (nn.LSTM(5, 8, bias=False), {"forget_bias": 1.0}, "forget_bias: expected a layer with biases"),
        (nn.GRU(5, 8, bias=False), {"chrono_steps": 9}, "chrono_steps: expected a layer with biases"),
        (nn.GRU(5, 8), {"forget_bias": 2.0}, r"forget_bias: expected a cell that has one \(lstm\)"),
        (
            nn.LSTM(5, 8),
            {"forget_bias": 2.0, "chrono_steps": 9},
            "forget_bias: .* got chrono_steps beside it",
        ),
    ],
)
def test_a_setting_that_could_not_act_is_refused(layer, wrong, message):
    before = [parameter.clone() for parameter in layer.parameters()]
    with pytest.raises(ConfigError, match=message):
        nn.init_recurrent(layer, **wrong)
    assert all(map(torch.equal, layer.parameters(), before))


def test_without_biases_only_the_weights_are_filled():
    nn.init_recurrent(nn.LSTM(5, 8, bias=False), generator=generator())


@pytest.mark.parametrize(("kind", "keep", "admit"), [(nn.LSTM, 1, 0), (nn.GRU, 1, None)])
def test_a_chrono_start_spreads_memories_over_1_to_lags_less_one_steps(
    kind: type[torch.nn.RNNBase], keep: int, admit: int | None
):
    """Tallec and Ollivier 2018: b_keep ~ ln U(1, T − 1), and an LSTM's b_i = −b_f."""
    layer = kind(1, 2_000)
    nn.init_recurrent(layer, init="uniform", chrono_steps=10, generator=generator())
    total = [a + b for a, b in zip(gates(layer, "bias_ih_l0"), gates(layer, "bias_hh_l0"), strict=True)]
    memories = total[keep].exp().sort().values
    assert 1 <= float(memories[0]) < 1.03
    assert 8.97 < float(memories[-1]) <= 9.0001
    torch.testing.assert_close(memories, torch.linspace(1, 9, 2_000), atol=0.3, rtol=0)  # uniform between
    for number, bias in enumerate(total):
        if number == admit:
            assert torch.equal(bias, -total[keep])
        elif number != keep:
            assert not bias.any()
