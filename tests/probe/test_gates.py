"""Gates, states and trajectories against the reference backend and known weights."""

import json
import math

import numpy as np
import pytest
import torch
from probe_cases import F64, forced_lstm, language_model, noise, orthogonal, tokens, twin, zero_rnn

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError


@pytest.mark.parametrize("forget", [0.3, 0.9, 0.999])
def test_forced_forget_gates_have_their_mean_and_time_constant(forget):
    (layer,) = probe.gates(forced_lstm(forget), noise(40, 3, 3)).layers
    np.testing.assert_allclose(layer.gates["f"].mean, forget, rtol=1e-9)
    np.testing.assert_allclose(layer.time_constant, -1 / math.log(forget), rtol=1e-9)
    assert set(layer.gates) == {"i", "f", "o"}
    assert layer.gates["f"].open.all() == (forget > 0.9)
    assert layer.cell == "LSTM"


def test_saturation_is_the_share_of_steps():
    """A gate of logit 10 · x_0, where x_0 is −1, 0 or 1: shut, half open, open."""
    layer = forced_lstm(0.5, spread=10.0)
    x = torch.zeros(10, 2, 3, dtype=F64)
    x[:3, :, 0], x[3:5, :, 0] = -1, 1
    f = probe.gates(layer, x).layers[0].gates["f"]
    np.testing.assert_allclose(f.closed, 0.3)
    np.testing.assert_allclose(f.open, 0.2)


def test_a_unit_that_never_changes_is_found():
    torch.manual_seed(0)
    layer = torch.nn.GRU(3, 4, dtype=F64)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.view(3, 4, -1)[:, 2] = 0  # unit 2: its gates, its candidate
    (found,) = probe.gates(layer, noise(40, 3, 3)).layers
    assert found.never_changes.tolist() == [False, False, True, False]
    assert set(found.gates) == {"r", "z"}


def test_the_spectrum_of_an_rnn_is_that_of_its_matrix():
    (found,) = probe.gates(zero_rnn(0.8), torch.zeros(5, 1, 3, dtype=F64)).layers
    np.testing.assert_allclose(np.abs(found.spectrum), 0.8)
    assert found.spectral_radius == pytest.approx(0.8)
    want = np.linalg.eigvals(0.8 * orthogonal(8).numpy())
    np.testing.assert_allclose(
        np.sort_complex(np.round(found.spectrum, 9)), np.sort_complex(np.round(want, 9))
    )
    assert found.time_constant is None
    assert found.never_changes.all()
    layer = zero_rnn(0.0, size=2)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.diag(torch.tensor([0.5, -0.9])))
    assert probe.gates(layer, torch.zeros(5, 1, 3, dtype=F64)).layers[0].spectral_radius == pytest.approx(0.9)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_saturated_units_of_an_rnn(nonlinearity):
    layer = torch.nn.RNN(1, 2, nonlinearity=nonlinearity, dtype=F64)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.weight_ih_l0[0] = 5
    x = torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=F64)[:, None, None]
    (found,) = probe.gates(layer, x).layers
    assert found.saturated.tolist() == ([0.5, 0.0] if nonlinearity == "tanh" else [0.75, 1.0])


def test_padding_is_left_out():
    model, plain = language_model(), tokens(10, 3)
    lengths = torch.tensor([10, 4, 0])
    padded = probe.gates(model, Batch(plain.inputs, plain.targets, lengths, None))
    assert padded.samples == 14
    values = [
        probe.trajectories(model, plain.inputs[:n, b : b + 1]).layers["recurrent.l1"]["f"][:, 0]
        for b, n in ((0, 10), (1, 4))
    ]
    np.testing.assert_allclose(
        padded.layers[1].gates["f"].mean, np.concatenate(values).mean(axis=0), atol=1e-6
    )


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_trajectories_are_what_torch_computes_in_both_directions(kind):
    torch.manual_seed(0)
    layer = kind(3, 4, 2, bidirectional=True, batch_first=True, dtype=F64)
    x = noise(2, 7, 3)
    found = probe.trajectories(layer, x)
    assert list(found.layers) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    y = layer(x)[0].detach().transpose(0, 1)
    both = np.concatenate([found.layers[name]["h"] for name in ("l1", "l1_reverse")], axis=-1)
    np.testing.assert_allclose(both, y, atol=1e-12)
    assert len(probe.gates(layer, x).layers) == 4


def test_ours_and_torchs_layers_agree():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 16, 2)
    x = noise(20, 4, 3).float()
    first, second = (probe.trajectories(each, x).layers for each in (layer, twin(layer)))
    for name, gates in first.items():
        for gate, values in gates.items():
            np.testing.assert_allclose(values, second[name][gate], rtol=0, atol=1e-6)


def test_results_are_json_and_pictures(tmp_path):
    model = language_model()
    found = probe.gates(model, tokens(10, 3))
    recorded = probe.trajectories(model, tokens(10, 3))
    for result in (found, recorded, probe.gates(zero_rnn(0.8), torch.zeros(5, 1, 3, dtype=F64))):
        json.dumps(result.to_dict(), allow_nan=False)
    found.plot(tmp_path / "gates.png")
    recorded.plot(tmp_path / "all.png", row=1, layer="recurrent.l0", tokens="abcdefghij")
    for picture in tmp_path.iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_row_or_layer_that_is_not_there_is_one_line(tmp_path):
    recorded = probe.trajectories(language_model(), tokens(10, 3))
    with pytest.raises(ConfigError, match=r"row: expected 0 to 2, got 3"):
        recorded.plot(tmp_path / "a.png", row=3)
    with pytest.raises(ConfigError, match=r"layer: expected one of recurrent.l0, recurrent.l1, got 'l9'"):
        recorded.plot(tmp_path / "a.png", layer="l9")


def test_a_time_constant_is_that_of_the_mean_logarithm_of_the_gate_that_keeps():
    """Where a gate varies, the mean of its logarithm is what a state decays by, and not the mean gate."""
    x = noise(300, 4, 3)
    (layer,) = probe.gates(forced_lstm(0.9, spread=2.0), x).layers
    forget = torch.sigmoid(math.log(9) + 2.0 * x[..., 0])
    exact = -1 / float(forget.log().mean())
    assert layer.time_constant == pytest.approx(np.full(5, exact), rel=1e-6)
    assert exact < 0.8 * (-1 / math.log(float(forget.mean())))


def test_a_grus_time_constant_is_read_off_z():
    layer = torch.nn.GRU(3, 4, dtype=F64)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias_ih_l0[:4] = -3.0  # r
        layer.bias_ih_l0[4:8] = 2.0  # z
    (found,) = probe.gates(layer, noise(20, 2, 3)).layers
    assert found.time_constant == pytest.approx(np.full(4, -1 / math.log(1 / (1 + math.exp(-2.0)))))
