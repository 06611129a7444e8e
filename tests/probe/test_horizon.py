"""Memory horizon: delay lines, networks without memory, and what is replaced."""

import json
import math

import numpy as np
import pytest
import torch
from probe_cases import F64, Last, delay_line, forced_lstm, language_model, noise, tokens, twin

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError, NonFiniteError, ShapeError


@pytest.mark.parametrize("steps", [1, 3, 17])
@pytest.mark.parametrize("rows", [1, 6])
def test_a_delay_line_has_exactly_its_delay_as_horizon(steps, rows):
    found = probe.memory_horizon(Last(delay_line(steps, 2), 2), noise(60, rows, 2).abs(), lags=30)
    assert found.horizon == steps
    assert found.effect[steps] > 0.1
    assert not found.effect[np.arange(31) != steps].any()
    if rows > 1:
        assert found.horizon_interval == (steps, steps)


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_a_network_without_recurrence_has_horizon_0_and_says_so(kind):
    torch.manual_seed(0)
    layer = kind(3, 4, dtype=F64)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        if kind is not torch.nn.RNN:  # a gate that keeps the state is shut, and so is what it would keep
            keeps = slice(4, 8)
            layer.weight_ih_l0[keeps] = 0
            layer.bias_ih_l0[keeps] = -40
    found = probe.memory_horizon(layer, noise(40, 5, 3), lags=20)
    assert found.horizon == 0
    assert "no memory" in found.summary


def test_a_model_that_ignores_its_inputs_has_horizon_0_and_says_so():
    model = language_model()
    with torch.no_grad():
        model.readout.weight.zero_()
    found = probe.memory_horizon(model, tokens(40, 5), lags=20, bptt_steps=16)
    assert (found.horizon, found.share_of_window) == (0, 0.0)
    assert "hardly depends" in found.summary


def remember(model, steps):
    """Make a language model whose logits are far apart and hang on cells that decay with a known forget gate."""
    with torch.no_grad():
        for name, weight in model.recurrent.named_parameters():
            weight.mul_(4 if "ih" in name else 0)
        model.recurrent.bias_ih_l0[6:12] = steps
        model.readout.weight.mul_(100)


def test_a_cell_that_keeps_longer_has_a_longer_horizon():
    """The squared change falls as f^2k: to 1 % of the first within ln 0.1 / ln f steps."""
    for forget in (0.5, 0.8, 0.9):
        layer = forced_lstm(forget)
        with torch.no_grad():
            layer.weight_ih_l0[15:] = 0  # an output gate that stands still
        found = probe.memory_horizon(layer, noise(120, 16, 3), lags=60)
        low, high = found.horizon_interval
        assert low - 2 <= math.log(0.1) / math.log(forget) <= high + 2
        assert high - low < 8


def test_the_effect_is_the_divergence_of_two_runs():
    """With two tokens in the batch, a draw is the other one, whose effect is known, or the same."""
    model = language_model()
    remember(model, 2.0)
    ids = torch.zeros(12, 1, dtype=torch.int64)
    ids[5:] = 3
    changed = ids.clone()
    changed[0] = 3
    with torch.no_grad():
        p, q = (model.eval()(each)[0][:, 0].double().log_softmax(-1) for each in (ids, changed))
    want = (p.exp() * (p - q)).sum(-1)
    assert want.max() > 1e-3
    effects = [
        probe.memory_horizon(model, Batch(ids, ids), lags=11, steps=1, seed=s).effect for s in range(8)
    ]
    hits = [np.allclose(effect, want, rtol=1e-4, atol=1e-7) for effect in effects]
    assert any(hits)
    assert all(hit or not effect.any() for hit, effect in zip(hits, effects, strict=True))


def test_ours_and_torchs_layers_agree():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 16, 2)
    x = noise(40, 4, 3).float()
    first, second = (probe.memory_horizon(each, x, lags=20) for each in (layer, twin(layer)))
    np.testing.assert_allclose(first.effect, second.effect, rtol=0, atol=1e-6)


def test_steps_beyond_a_reset_are_left_out():
    model, plain = language_model(), tokens(30, 3)
    resets = torch.zeros(30, 3, dtype=torch.bool)
    resets[10, :2] = True
    found = probe.memory_horizon(model, Batch(plain.inputs, plain.targets, None, resets), lags=12, steps=18)
    assert found.samples == 18 + 2 * sum(1 for t in range(12, 30) if t - 12 >= 10)


def test_batch_first_means_the_same():
    torch.manual_seed(0)
    layer = torch.nn.GRU(3, 4, dtype=F64)
    other = torch.nn.GRU(3, 4, batch_first=True, dtype=F64)
    other.load_state_dict(layer.state_dict())
    x = noise(20, 3, 3)
    a, b = probe.memory_horizon(layer, x, lags=8), probe.memory_horizon(other, x.transpose(0, 1), lags=8)
    np.testing.assert_allclose(a.effect, b.effect)


def test_the_result_is_json_and_a_picture(tmp_path):
    found = probe.memory_horizon(language_model(), tokens(40, 1), lags=20, bptt_steps=16)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["low"] == [None] * 21
    found.plot(tmp_path / "horizon.png")
    assert (tmp_path / "horizon.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("model", "batch", "options", "error", "match"),
    [
        (language_model(), tokens(9, 2), {"lags": 9}, ShapeError, r"lags: expected at most 8, as the batch has 9 steps"),
        (language_model(), tokens(9, 2), {"steps": True}, ConfigError, r"steps: expected a whole number"),
        (language_model(), tokens(9, 2), {"lags": 2, "bptt_steps": 0}, ConfigError, r"bptt_steps: expected a whole"),
        (torch.nn.Linear(3, 4), noise(9, 1, 3), {}, ConfigError, r"model: expected a recurrent layer"),
        (torch.nn.GRU(3, 4), (torch.zeros(9, 2, 3), torch.zeros(1, 2, 4)), {"lags": 2}, ConfigError, r"batch: expected the one input of the model, got 2 arguments"),
        (torch.nn.GRU(3, 4), torch.zeros(9, 3), {"lags": 2}, ShapeError, r"batch: expected at least 3 axes"),
        (torch.nn.GRU(3, 4), torch.full((9, 1, 3), torch.inf), {"lags": 2}, NonFiniteError, r"batch: expected finite"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(model, batch, options, error, match):
    with pytest.raises(error, match=match) as caught:
        probe.memory_horizon(model, batch, **options)
    assert "\n" not in str(caught.value)


def test_the_effect_is_in_parts_of_the_variance_of_all_features_together():
    """What a delay line hands on of independent inputs changes by twice their variance, however many they are."""
    x = noise(60, 16, 3).abs() * torch.tensor([1.0, 2.0, 3.0])
    found = probe.memory_horizon(Last(delay_line(2, 3), 3), x, lags=5, steps=32)
    assert found.effect[2] == pytest.approx(2, rel=0.2)


@pytest.mark.slow
def test_the_interval_holds_the_true_effect_in_95_of_100_draws():
    """The squared change of independent inputs is twice their variance."""
    model, hits = Last(delay_line(3), 1), 0
    for seed in range(200):
        found = probe.memory_horizon(model, noise(60, 16, 1, seed=seed).abs(), lags=5)
        assert found.horizon == 3
        hits += bool(found.low[3] <= 2 <= found.high[3])
    assert 180 <= hits <= 198, hits


def test_the_horizon_is_where_the_low_end_of_the_interval_last_reaches_the_threshold():
    """Rows that differ: one has large inputs, the others next to none, so the mean reaches where few rows do."""
    model = Last(delay_line(8), 1)
    inputs = noise(40, 6, 1).abs() * torch.tensor([1.0, 0, 0, 0, 0, 0])[:, None]
    found = probe.memory_horizon(model, inputs, lags=12, steps=4)
    low, mean, high = (
        max((lag for lag in range(13) if values[lag] >= found.threshold), default=0)
        for values in (found.low, found.effect, found.high)
    )
    assert (low, mean, high) == (0, 8, 8)
    assert (found.horizon, found.horizon_interval) == (0, (0, 8))
