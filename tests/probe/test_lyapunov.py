"""Lyapunov exponents of systems that have known ones."""

import json
import math

import numpy as np
import pytest
import torch
from probe_cases import F64, forced_lstm, language_model, noise, tokens, twin, zero_rnn

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError, ShapeError


@pytest.mark.parametrize("rho", [0.5, 0.9, 1.0, 1.1])
def test_a_tanh_rnn_at_zero_has_the_log_of_its_gain_in_every_direction(rho):
    found = probe.lyapunov(zero_rnn(rho), torch.zeros(60, 2, 3, dtype=F64), count=8)
    np.testing.assert_allclose(found.layers[0].exponents, math.log(rho), rtol=0.01, atol=1e-9)
    assert found.leading == found.layers[0].exponents[0]


def test_a_linear_map_has_the_logs_of_its_eigenvalues():
    layer = zero_rnn(0.0, size=4)
    with torch.no_grad():
        basis = noise(4, 4, seed=3)
        layer.weight_hh_l0.copy_(
            basis @ torch.diag(torch.tensor([0.9, 0.6, 0.3, 0.1], dtype=F64)) @ basis.inverse()
        )
    found = probe.lyapunov(layer, torch.zeros(400, 1, 3, dtype=F64), count=4, transient=100)
    np.testing.assert_allclose(found.layers[0].exponents, np.log([0.9, 0.6, 0.3, 0.1]), rtol=0.01)


@pytest.mark.parametrize("forget", [0.5, 0.95])
def test_an_lstm_without_recurrent_weights_has_the_log_of_its_forget_gate_and_as_many_dead_directions(forget):
    found = probe.lyapunov(forced_lstm(forget, size=3), noise(400, 3, 3), count=6).layers[0]
    np.testing.assert_allclose(found.exponents[:3], math.log(forget), rtol=0.01)
    assert np.isneginf(found.exponents[3:]).all()
    assert found.to_dict()["exponents"][3:] == [None] * 3


def test_the_sum_of_all_exponents_is_the_mean_log_determinant():
    """Of the whole driven step, differentiated by torch."""
    torch.manual_seed(0)
    layer, x = torch.nn.GRU(2, 3, dtype=F64), noise(50, 1, 2)
    h, logs = torch.zeros(1, 1, 3, dtype=F64), []
    for t in range(50):
        jacobian = torch.autograd.functional.jacobian(lambda h, t=t: layer(x[t : t + 1], h)[1], h).view(3, 3)
        logs.append(jacobian.det().abs().log().item())
        h = layer(x[t : t + 1], h)[1].detach()
    found = probe.lyapunov(layer, x, count=3, transient=10)
    assert found.layers[0].exponents.sum() == pytest.approx(np.mean(logs[10:]), rel=1e-6)


@pytest.mark.parametrize(("gain", "verdict"), [(0.5, "stable"), (3.0, "chaotic")])
def test_the_gain_decides_between_stable_and_chaotic(gain, verdict):
    torch.manual_seed(0)
    layer = torch.nn.RNN(2, 64, dtype=F64)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(gain * noise(64, 64) / 8)
    found = probe.lyapunov(layer, 0.1 * noise(200, 4, 2), count=2)
    assert found.verdict == verdict
    assert (found.leading > 0) == (gain == 3.0)


def test_rows_that_do_not_agree_whether_it_is_chaotic_leave_it_at_the_edge():
    """A unit of gain 1.2 parts from zero; one that an input holds at 0.8 comes back to there."""
    layer = zero_rnn(0.0, size=1)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(1.2)
        layer.weight_ih_l0[0, 0] = 1
    x = torch.zeros(80, 8, 3, dtype=F64)
    x[:, 7, 0] = 0.2
    found = probe.lyapunov(layer, x)
    (layer,) = found.layers
    assert layer.low[0] < 0 < found.leading < math.log(1.2)
    assert found.verdict == "at the edge"
    assert probe.lyapunov(zero_rnn(1.2, size=1), x).verdict == "chaotic"


def test_the_leading_exponent_is_how_far_two_runs_part():
    """A disturbance of 1e-9, followed by hand."""
    torch.manual_seed(0)
    layer = torch.nn.RNN(2, 32, dtype=F64)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(2.5 * noise(32, 32) / math.sqrt(32))
    x = 0.1 * noise(220, 1, 2)  # short enough that rounding has not parted them as well
    h = torch.zeros(1, 1, 32, dtype=F64)
    near = h + 1e-9 * noise(1, 1, 32, seed=4)
    logs = []
    for t in range(220):
        h, near = (layer(x[t : t + 1], each)[1].detach() for each in (h, near))
        apart = (near - h).norm()
        logs.append((apart / 1e-9).log().item())
        near = h + (near - h) / apart * 1e-9
    found = probe.lyapunov(layer, x, count=1, transient=170)
    assert found.leading == pytest.approx(np.mean(logs[170:]), abs=0.003)


def test_ours_and_torchs_layers_agree():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 16, 2)
    x = noise(40, 4, 3).float()
    for a, b in zip(*(probe.lyapunov(each, x).layers for each in (layer, twin(layer))), strict=True):
        np.testing.assert_allclose(a.exponents, b.exponents, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 12])
def test_the_interval_holds_the_true_exponent_in_95_of_100_draws(rows):
    x = np.linspace(-9, 9, 20001)
    weight = np.exp(-x * x / 2) / np.exp(-x * x / 2).sum()
    truth = -(weight * np.log1p(np.exp(-(math.log(9) + 1.5 * x)))).sum()
    layer, hits = forced_lstm(0.9, size=1, spread=1.5), 0
    for seed in range(200):
        found = probe.lyapunov(layer, noise(80, rows, 3, seed=seed), count=1).layers[0]
        hits += bool(found.low[0] <= truth <= found.high[0])
    assert 180 <= hits <= 198


def test_the_result_is_json_and_a_picture(tmp_path):
    told = []
    found = probe.lyapunov(language_model(), tokens(20, 2), count=3, progress=lambda *a: told.append(a))
    json.dumps(found.to_dict(), allow_nan=False)
    found.plot(tmp_path / "exponents.png")
    assert (tmp_path / "exponents.png").read_bytes().startswith(b"\x89PNG")
    assert told[-1] == (40, 40)


@pytest.mark.parametrize(
    ("batch", "options", "error", "match"),
    [
        (tokens(9, 2), {"transient": 9}, ShapeError, r"transient: expected at most 8, as the batch has 9 steps"),
        (tokens(9, 2), {"transient": -1}, ConfigError, r"transient: expected a whole number of at least 0"),
        (tokens(9, 2), {"count": 0}, ConfigError, r"count: expected a whole number of at least 1"),
        (Batch(tokens(9, 2).inputs, tokens(9, 2).targets, torch.tensor([9, 3])), {}, ShapeError, r"batch: expected rows of one length .* got a batch with lengths"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(batch, options, error, match):
    with pytest.raises(error, match=match) as caught:
        probe.lyapunov(language_model(), batch, **options)
    assert "\n" not in str(caught.value)
