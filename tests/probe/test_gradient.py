"""Gradient flow on systems whose answer is known, and against plain automatic differentiation."""

import json
import math

import numpy as np
import pytest
import torch
from probe_cases import (
    F64,
    Attention,
    TwoModules,
    forced_lstm,
    language_model,
    noise,
    tokens,
    twin,
    zero_rnn,
)

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError
from unrolled.probe import gradient
from unrolled.probe.batch import validate
from unrolled.probe.recording import nodes
from unrolled.probe.subject import Subject, untouched


@pytest.mark.parametrize("rho", [0.5, 0.9, 1.0, 1.1])
def test_a_tanh_rnn_at_zero_has_the_rate_of_its_gain(rho):
    (flow,) = probe.gradient_flow(zero_rnn(rho), torch.zeros(80, 3, 3, dtype=F64)).flows
    assert flow.rate == pytest.approx(math.log(rho), rel=0.01, abs=1e-9)
    assert flow.verdict == {0.5: "vanishing", 0.9: "steady", 1.0: "steady", 1.1: "exploding"}[rho]
    assert flow.fitted == (1, 64)


@pytest.mark.parametrize("forget", [0.5, 0.9, 0.99])
def test_an_lstm_with_forced_forget_gates_has_their_half_life(forget):
    h, c = probe.gradient_flow(forced_lstm(forget), noise(90, 3, 3), lags=80).flows
    assert c.rate == pytest.approx(math.log(forget), rel=0.01)
    assert c.half_life == pytest.approx(math.log(2) / -math.log(forget), rel=0.01)
    assert (h.verdict, h.fitted, h.carried) == ("none", None, 0.0)


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_sweep_measures_what_plain_backward_passes_give(kind, layers):
    torch.manual_seed(0)
    layer, x = kind(3, 4, layers, dtype=F64), noise(12, 2, 3)
    found = probe.gradient_flow(layer, x, lags=5, steps=3)
    subject = Subject.of(layer)
    with untouched(layer):
        ran = nodes(subject, validate(x))
    pull = probe.losses.projection(4)
    for flow, seen in zip(found.flows, [(n, s) for n in ran.layers for s in n.states], strict=True):
        states = seen[0].states[seen[1]]
        for k in (0, 1, 5):
            logs = [
                torch.autograd.grad(
                    (ran.output[0][t] @ pull).sum(), states[t - k], retain_graph=True, allow_unused=True
                )[0].norm(dim=-1).log()
                for t in (5, 8, 11)
            ]  # fmt: skip
            assert flow.nats[k] == pytest.approx(torch.stack(logs).mean().item(), abs=1e-9), (flow.layer, k)


def finite_difference_of_the_loss(layer, x, t, s, name, row):
    """∂L_t/∂state_s of torch's own layer, by running it from step s + 1 on with the state moved."""
    pull, eps, found = probe.losses.projection(4), 1e-6, []
    _, (h, c) = layer(x[: s + 1, row : row + 1])
    for unit in torch.eye(4, dtype=F64):
        ends = []
        for sign in (1, -1):
            moved = {"h": h.clone(), "c": c.clone()}
            moved[name] = moved[name] + sign * eps * unit
            ends.append(layer(x[s + 1 : t + 1, row : row + 1], (moved["h"], moved["c"]))[0][-1, 0] @ pull)
        found.append((ends[0] - ends[1]) / (2 * eps))
    return torch.stack(found).detach()


def test_finite_differences_agree_with_the_gradient_by_h():
    torch.manual_seed(0)
    layer, x = torch.nn.LSTM(3, 4, dtype=F64), noise(9, 1, 3)
    flow = probe.gradient_flow(layer, x, lags=6, steps=1).flows[0]  # the one t is 6
    for k in range(1, 7):
        want = finite_difference_of_the_loss(layer, x, 6, 6 - k, "h", 0).norm().log()
        assert flow.nats[k] == pytest.approx(want.item(), abs=1e-6)


def test_ours_and_torchs_layers_agree():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 16, 2, dtype=torch.float32)
    x = noise(40, 4, 3).float()
    for a, b in zip(
        probe.gradient_flow(layer, x, lags=20).flows,
        probe.gradient_flow(twin(layer), x, lags=20).flows,
        strict=True,
    ):
        np.testing.assert_allclose(a.nats, b.nats, atol=1e-6)
        assert a.rate == pytest.approx(b.rate, abs=1e-6)


def test_two_modules_with_a_norm_between_are_followed_through_both():
    torch.manual_seed(0)
    make = {"batch_first": True, "dtype": F64}
    model = TwoModules(torch.nn.GRU(3, 4, **make), torch.nn.LSTM(4, 4, **make)).train()
    x = noise(2, 12, 3)
    found = probe.gradient_flow(model, x, lags=4, steps=2)  # t = 4 and 11
    assert [(f.layer, f.state) for f in found.flows] == [
        ("first.l0", "h"),
        ("second.l0", "h"),
        ("second.l0", "c"),
    ]

    model.eval()
    y = model.first(x)[0].detach().requires_grad_()  # as seen through what lies above only: lag 0
    loss = model.second(model.norm(y) + y)[0] @ probe.losses.projection(4)
    logs = [
        torch.autograd.grad(loss[:, t].sum(), y, retain_graph=True)[0][:, t].norm(dim=-1).log()
        for t in (4, 11)
    ]
    assert found.flows[0].nats[0] == pytest.approx(torch.stack(logs).mean().item(), abs=1e-9)


def test_a_loss_that_looks_back_by_attention_is_not_mistaken_for_a_local_one():
    torch.manual_seed(0)
    layer = torch.nn.RNN(3, 4, dtype=F64)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    (flow,) = probe.gradient_flow(Attention(layer), noise(12, 2, 3), lags=4).flows
    assert np.isfinite(flow.nats).all()  # without recurrence, attention alone carries it
    assert flow.carried == 0


@pytest.mark.parametrize("make", [lambda: language_model(), lambda: Attention(torch.nn.LSTM(7, 6))])
def test_injected_and_carried_are_those_of_the_summed_loss(make):
    model, batch = make(), tokens(9, 3)
    given = (
        batch if not isinstance(model, Attention) else torch.nn.functional.one_hot(batch.inputs, 7).float()
    )
    found = probe.gradient_flow(model, given, lags=3)
    subject = Subject.of(model)
    with untouched(model):
        inputs = validate(given)
        ran = nodes(subject, inputs)
        losses = probe.losses.step_losses(subject, inputs, ran, None)
    for flow in found.flows:
        layer = next(layer for layer in ran.layers if layer.name == flow.layer)
        whole = torch.autograd.grad(losses.sum(), layer.states[flow.state], retain_graph=True)
        onward = torch.autograd.grad(
            losses.sum(), layer.carried[flow.state], retain_graph=True, allow_unused=True
        )
        carried = [torch.zeros(3) if g is None else g.norm(dim=-1) for g in onward]
        injected = [(w - (0 if g is None else g)).norm(dim=-1) for w, g in zip(whole, onward, strict=True)]
        assert flow.carried == pytest.approx(torch.stack(carried).mean().item(), rel=1e-4)
        assert flow.injected == pytest.approx(torch.stack(injected).mean().item(), rel=1e-4)
        assert 0 < flow.carried_share < 1


def test_a_reset_or_padding_takes_its_losses_out():
    model, plain = language_model(), tokens(30, 4)
    resets = torch.zeros(30, 4, dtype=torch.bool)
    resets[20, 0] = True
    lengths = torch.tensor([30, 12, 30, 0])
    found = probe.gradient_flow(model, Batch(plain.inputs, plain.targets, lengths, resets), lags=10, steps=20)
    want = (10 - 1) + 2 + 20  # row 0: t = 10 … 19 and 30 on; row 1: t = 10, 11; row 2: all
    assert found.samples == want + 1
    assert all(np.isfinite(flow.nats).all() for flow in found.flows)


def test_padding_injects_nothing():
    model, plain = language_model(), tokens(20, 2)
    lengths = torch.tensor([12, 12])
    padded = probe.gradient_flow(model, Batch(plain.inputs, plain.targets, lengths), lags=5)
    short = probe.gradient_flow(model, Batch(plain.inputs[:12], plain.targets[:12]), lags=5)
    for a, b in zip(padded.flows, short.flows, strict=True):
        assert (a.injected, a.carried) == pytest.approx((b.injected, b.carried), rel=1e-5)


def test_a_row_counts_the_same_whether_resets_cut_its_beginning_or_not():
    model, batch = language_model(), tokens(30, 2)
    resets = torch.zeros(30, 2, dtype=torch.bool)
    resets[15] = True
    cut = probe.gradient_flow(model, Batch(batch.inputs, batch.targets, None, resets), lags=8, steps=22)
    late = Batch(batch.inputs[15:], batch.targets[15:])
    fresh = probe.gradient_flow(model, late, lags=8, steps=7)
    first = Batch(batch.inputs[:15], batch.targets[:15])
    before = probe.gradient_flow(model, first, lags=8, steps=7)
    for a, b, c in zip(cut.flows, fresh.flows, before.flows, strict=True):
        np.testing.assert_allclose(a.nats, (b.nats + c.nats) / 2, atol=1e-5)


def test_the_gain_decides_between_vanishing_and_exploding():
    torch.manual_seed(0)
    verdicts = {}
    for gain in (0.5, 3.0):
        layer = torch.nn.RNN(2, 64, dtype=F64)
        with torch.no_grad():
            layer.weight_hh_l0.copy_(gain * noise(64, 64) / 8)
        found = probe.gradient_flow(layer, 0.1 * noise(200, 4, 2), lags=40)
        verdicts[gain] = found.verdict
    assert verdicts == {0.5: "vanishing", 3.0: "exploding"}


def test_a_norm_below_what_the_dtype_holds_ends_the_fit():
    layer = zero_rnn(0.05).float()
    (flow,) = probe.gradient_flow(layer, torch.zeros(80, 3, 3)).flows
    assert flow.fitted is not None
    assert flow.fitted[1] < 30
    assert flow.rate == pytest.approx(math.log(0.05), rel=0.01)


def test_a_loss_of_the_callers_own_is_followed():
    x = noise(20, 3, 3)
    layer = forced_lstm(0.9)
    found = probe.gradient_flow(layer, x, lags=8, loss=lambda y: y.square().sum(-1))
    assert found.flows[1].rate == pytest.approx(math.log(0.9), rel=0.01)


def test_one_row_has_a_rate_and_says_that_it_has_no_interval():
    flow = probe.gradient_flow(forced_lstm(0.9), noise(40, 1, 3), lags=16).flows[1]
    assert flow.rate == pytest.approx(math.log(0.9), rel=0.01)
    assert flow.to_dict()["rate_interval"] == [None, None]


def test_half_precision_is_measured_in_float32():
    model = language_model()
    want = probe.gradient_flow(model.bfloat16().float(), tokens(20, 2), lags=8)
    found = probe.gradient_flow(model.bfloat16(), tokens(20, 2), lags=8)
    np.testing.assert_allclose(found.flows[0].nats, want.flows[0].nats, atol=1e-6)
    assert model.embedding.weight.dtype == torch.bfloat16


def test_the_result_is_json_and_a_picture(tmp_path):
    found = probe.gradient_flow(forced_lstm(0.5), noise(40, 2, 3), lags=16)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["flows"][1]["verdict"] == "vanishing"
    found.plot(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")


def test_progress_is_told():
    told = []
    probe.gradient_flow(language_model(), tokens(20, 2), lags=8, progress=lambda *a: told.append(a))
    assert told == [(k, 9) for k in range(1, 10)]


def with_nan():
    model = language_model()
    with torch.no_grad():
        model.recurrent.weight_hh_l1[0, 0] = math.nan
    return model


@pytest.mark.parametrize(
    ("model", "batch", "options", "error", "match"),
    [
        ("lstm", None, {}, DtypeError, r"model: expected a torch.nn.Module, got str"),
        (torch.nn.Linear(3, 4), noise(9, 1, 3), {}, ConfigError, r"model: expected a recurrent layer .*got Linear"),
        (torch.nn.LSTMCell(3, 4), noise(9, 1, 3), {}, ConfigError, r"got only LSTMCell"),
        (torch.nn.LSTM(3, 4, bidirectional=True), noise(9, 1, 3), {}, ConfigError, r"run forward .*got bidirectional LSTM"),
        (with_nan(), tokens(9, 1), {}, NonFiniteError, r"model recurrent.weight_hh_l1: expected finite weights"),
        (language_model(), tokens(9, 1), {"lags": 9}, ShapeError, r"lags: expected at most 8, as the batch has 9 steps"),
        (language_model(), tokens(9, 1), {"lags": 0}, ConfigError, r"lags: expected a whole number"),
        (torch.nn.LSTM(3, 4), [1], {}, DtypeError, r"batch: expected a Batch, a tensor or a tuple"),
        (torch.nn.LSTM(3, 4), torch.full((9, 1, 3), math.nan), {"lags": 2}, NonFiniteError, r"batch: expected finite"),
        (torch.nn.LSTM(3, 4), torch.zeros(9, 2, 3), {"lags": 2, "loss": lambda y: y}, ShapeError, r"loss: expected a tensor \[9, 2\]"),
        (torch.nn.LSTM(3, 4), torch.zeros(9, 2, 3), {"lags": 2, "loss": lambda _: torch.zeros(9, 2)}, ConfigError, r"loss: expected a function of"),
        (torch.nn.LSTM(3, 4), torch.zeros(9, 0, 3), {"lags": 2}, ShapeError, r"batch: expected at least one step and one row"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(model, batch, options, error, match):
    with pytest.raises(error, match=match) as caught:
        probe.gradient_flow(model, batch, **options)
    assert "\n" not in str(caught.value)


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(60, 12, 3, generator=generator, dtype=F64)


def test_the_interval_of_a_rate_holds_the_mean_of_the_rows_in_95_of_100_draws():
    """Rows that fall at rates of their own, drawn around a known mean."""
    generator, hits = np.random.default_rng(0), 0
    for _ in range(400):
        rates = -0.1 + 0.02 * generator.standard_normal(12)
        logs = np.arange(30.0)[:, None, None] * rates[None, None, :]
        rate, interval, _ = gradient._fit(logs, np.zeros_like(logs, dtype=bool))
        assert rate == pytest.approx(rates.mean())
        hits += interval.low <= -0.1 <= interval.high
    assert 365 <= hits <= 393


@pytest.mark.slow
def test_the_interval_holds_the_true_rate_in_95_of_100_draws():
    """Forget gates that the input moves: the rate is E ln sigmoid(logit f + spread · x), by quadrature."""
    x = np.linspace(-9, 9, 20001)
    weight = np.exp(-x * x / 2) / np.exp(-x * x / 2).sum()
    truth = -(weight * np.log1p(np.exp(-(math.log(9) + 1.5 * x)))).sum()
    layer, hits = forced_lstm(0.9, size=1, spread=1.5), 0
    for seed in range(200):
        interval = probe.gradient_flow(layer, draw(seed), lags=20, steps=40).flows[1].rate_interval
        hits += interval.low <= truth <= interval.high
    assert 180 <= hits <= 198


def test_the_band_is_that_of_the_middle_four_fifths_of_the_losses():
    """With one unit and no recurrent weights a gradient by c is o (1 − tanh² c) at its loss, times the gates between."""
    layer, x = forced_lstm(0.9, size=1, spread=1.5), draw(0)
    flow = probe.gradient_flow(layer, x, lags=20, steps=40).flows[1]
    seen = {name: each[..., 0] for name, each in probe.trajectories(layer, x).layers["l0"].items()}
    at = np.arange(20, 60)
    first = np.log(seen["o"] * (1 - np.tanh(seen["c"]) ** 2))[at]
    for k in (0, 1, 20):
        between = [np.log(seen["f"][t - k + 1 : t + 1]).sum(axis=0) for t in at]
        low, high = np.quantile(first + np.array(between), [0.1, 0.9])
        assert (flow.low[k], flow.high[k]) == pytest.approx((low, high), rel=1e-9)


def test_the_rate_is_the_slope_over_every_lag_that_is_fitted():
    """On a curve that bends each lag counts: the slope of least squares, over lags 1 to the last."""
    layer = forced_lstm(0.5, size=2)
    with torch.no_grad():
        layer.bias_ih_l0[3] = math.log(0.95 / 0.05)  # one unit keeps for longer than the other
    flow = probe.gradient_flow(layer, noise(60, 1, 3), lags=12).flows[1]
    assert flow.fitted == (1, 12)
    lag = np.arange(1.0, 13)
    assert flow.rate == pytest.approx(np.polyfit(lag, flow.nats[1:], 1)[0], rel=1e-9)
    assert flow.rate != pytest.approx(np.polyfit(lag[:-1], flow.nats[1:-1], 1)[0], rel=1e-3)
    assert flow.rate != pytest.approx(np.polyfit(lag[1:], flow.nats[2:], 1)[0], rel=1e-3)
