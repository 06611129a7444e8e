"""Findings: each is made by a system that is ill in a known way, and none by a healthy one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from probe_cases import F64, Last, delay_line, forced_lstm, language_model, noise, tokens, zero_rnn

from unrolled import nn, probe
from unrolled.data import Batch
from unrolled.probe.findings import find
from unrolled.probe.result import Interval
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel

MEMORY = ("vanishing", "forgets", "lag", "window")  # findings which say that memory is too short


def names(report: probe.Report) -> list[str]:
    return [finding.name for finding in report.findings]


def only(report: probe.Report, name: str) -> probe.Finding:
    found = [finding for finding in report.findings if finding.name == name]
    assert len(found) == 1, names(report)
    return found[0]


def train(model: LanguageModel, batch: Batch, steps: int, rate: float = 0.01) -> LanguageModel:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        nats, count, _ = model.loss(batch, model.initial_state(batch.inputs.shape[1]))
        optimizer.zero_grad()
        (nats / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def delayed(steps: int, rows: int, delay: int, seed: int = 0) -> Batch:
    """Tokens drawn at random; each is to be predicted `delay` steps after it was seen."""
    ids = torch.randint(7, (steps + delay, rows), generator=torch.Generator().manual_seed(seed))
    return Batch(ids[delay:], ids[:steps])


def without_recurrence() -> torch.nn.RNNBase:
    layer = zero_rnn(0.0)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(0.5)
    return layer


def test_a_gain_of_half_on_a_tanh_network_is_vanishing_and_gates_are_its_remedy():
    found = only(probe.report(zero_rnn(0.5), torch.zeros(40, 3, 3, dtype=F64), lags=16), "vanishing")
    assert found.value == pytest.approx(np.log(100) / np.log(2), rel=0.01)  # steps until a hundredth is left
    assert found.value < found.limit
    assert found.flag == "--cell lstm"


def test_a_gain_of_three_is_exploding_and_chaotic_and_clipped_from_an_orthogonal_start():
    layer = torch.nn.RNN(3, 64, dtype=F64)
    nn.init_recurrent(layer, gain=3.0, generator=torch.Generator().manual_seed(0))
    found = only(probe.report(layer, noise(200, 4, 3) * 0.1, lags=32), "exploding")
    assert found.value > found.limit
    assert found.flag.startswith("--init orthogonal --clip ")
    assert "chaotic" in found.problem


def test_an_lstm_with_closed_forget_gates_forgets_and_is_told_to_open_them():
    report = probe.report(forced_lstm(0.2), noise(60, 3, 3), lags=16)
    assert only(report, "vanishing").value == pytest.approx(np.log(0.01) / np.log(0.2), rel=0.01)
    forgets = only(report, "forgets")
    assert forgets.value == pytest.approx(-1 / np.log(0.2), rel=0.01)
    assert forgets.flag == "--forget-bias 3"


def test_a_known_lag_that_is_out_of_reach_asks_for_chrono_and_one_within_reach_for_nothing():
    model = forced_lstm(0.5)
    far, near = (probe.report(model, noise(60, 3, 3), lags=16, known_lag=lag) for lag in (40, 2))
    found = only(far, "lag")
    assert found.value == pytest.approx(0.5**40, rel=0.05)  # beyond the measured lags, by the rate
    assert found.flag == "--chrono 40"
    assert not set(names(near)) & set(MEMORY)


def test_of_two_paths_the_one_that_keeps_more_of_the_gradient_decides():
    """An LSTM that keeps its c for twenty steps, and hands next to nothing on through h."""
    model = forced_lstm(0.95)
    with torch.no_grad():
        model.weight_hh_l0.fill_(1e-6)
    report = probe.report(model, noise(60, 3, 3), lags=16, known_lag=10)
    assert report.gradient_flow is not None
    assert [flow.verdict for flow in report.gradient_flow.flows] == ["vanishing", "steady"]
    assert not set(names(report)) & set(MEMORY)


def test_an_rnn_is_told_to_take_gates_for_a_known_lag():
    found = only(probe.report(zero_rnn(0.5), torch.zeros(40, 3, 3, dtype=F64), lags=16, known_lag=30), "lag")
    assert found.flag == "--cell lstm --chrono 30"


def test_a_horizon_that_touches_the_training_window_asks_for_a_longer_one():
    model = Last(delay_line(20), 1)
    inputs = noise(80, 4, 1).abs()
    found = only(probe.report(model, inputs, lags=32, bptt_steps=20), "window")
    assert found.value == 20
    assert found.flag == "--bptt 40"
    assert "window" not in names(probe.report(model, inputs, lags=32, bptt_steps=64))


def test_units_that_never_change_are_counted():
    layer = torch.nn.GRU(3, 10)
    with torch.no_grad():
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
            weight.view(3, 10, -1)[:, :4] = 0  # four units of every gate see nothing
        layer.bias_ih_l0.zero_()
        layer.bias_hh_l0.zero_()
    found = only(probe.report(layer, noise(60, 3, 3).float(), lags=16), "idle")
    assert found.value == pytest.approx(0.4)
    assert found.flag == "--hidden 6"


def test_states_that_are_stuck_at_their_ends_are_saturated():
    layer = torch.nn.RNN(3, 10)
    with torch.no_grad():
        layer.weight_ih_l0.mul_(500)
    found = only(probe.report(layer, noise(60, 3, 3).float(), lags=16), "saturated")
    assert found.value > 0.9
    assert found.layer == "l0"


def test_a_state_that_runs_away_from_zero_is_told_to_start_from_zero_in_training():
    """A cell that only adds up: after some hundred steps it has turned the prediction round."""
    sizes = {"vocab_size": 2, "embedding_size": 1, "hidden_size": 1, "num_layers": 1}
    model = LanguageModel(ModelConfig(**sizes), seed=0)  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.recurrent.bias_ih_l0.copy_(torch.tensor([-6.0, 20.0, 20.0, 20.0]))  # i f g o
        model.readout.weight.copy_(torch.tensor([[-8.0], [0.0]]))
        model.readout.bias.copy_(torch.tensor([3.0, 0.0]))
    ids = torch.zeros(1024, 4, dtype=torch.long)
    report = probe.report(model, Batch(ids, ids), lags=16)
    found = only(report, "runaway")
    assert found.value > 2
    assert found.flag == "--restart 0.02"
    assert report.long_run is not None
    assert report.long_run.lost == 4
    assert report.long_run.ends == (32, 64, 128, 256, 512, 1024)


def test_a_row_runs_away_by_more_than_nothing():
    run = probe.LongRun(
        ends=(32, 64), loss=np.zeros(2), low=np.zeros(2), high=np.zeros(2),
        carried=np.array([2e-5, 0.0, 1.0]), fresh=np.array([1e-5, 0.0, 0.0]), rows=3,
    )  # fmt: skip
    assert run.lost == 1
    report = probe.report(zero_rnn(0.9), torch.zeros(40, 3, 3, dtype=F64), lags=16)
    (found,) = [f for f in find(replace(report, long_run=run)) if f.name == "runaway"]
    assert "1.00 nats, with a fresh one 0.00" in found.problem


def test_norms_that_are_all_zero_need_no_clipping():
    report = probe.report(language_model(), tokens(64, 4), lags=16, bptt_steps=16)
    assert report.update_norms is not None
    none = replace(report.update_norms, norms=np.zeros(4), median=0.0, ninetieth=0.0, largest=0.0)
    assert none.spread == 1
    assert "clipping" not in [f.name for f in find(replace(report, update_norms=none))]


@pytest.mark.parametrize("layers", [2, 8])
def test_a_gradient_that_grows_at_first_in_the_lower_layers_of_a_stack_does_not_explode(layers: int):
    torch.manual_seed(0)
    report = probe.report(torch.nn.LSTM(4, 16, layers), noise(100, 8, 4).float(), lags=8)
    assert report.gradient_flow is not None
    assert report.lyapunov is not None
    assert report.lyapunov.verdict == "stable"
    assert "exploding" not in names(report)
    flow = replace(report.gradient_flow.flows[0], rate=0.1, rate_interval=Interval(0.09, 0.11), fitted=(1, 3))
    few = replace(report, lyapunov=None, gradient_flow=replace(report.gradient_flow, flows=(flow,)))
    assert "exploding" not in [f.name for f in find(few)]
    many = replace(few.gradient_flow, flows=(replace(flow, fitted=(1, 16)),))  # type: ignore[type-var]
    assert "exploding" in [f.name for f in find(replace(few, gradient_flow=many))]


def test_a_network_without_recurrence_lacks_a_known_lag():
    found = only(probe.report(without_recurrence(), noise(40, 3, 3), lags=16, known_lag=5), "lag")
    assert found.value == 0
    assert found.flag == "--cell lstm --chrono 5"


def test_chrono_is_never_asked_for_lags_that_train_refuses():
    report = probe.report(without_recurrence(), noise(40, 3, 3), lags=16, known_lag=1)
    assert only(report, "lag").flag == "--cell lstm --chrono 2"


def test_gradients_with_a_tail_are_clipped_where_nine_of_ten_are_left_alone():
    report = probe.report(language_model(), tokens(256, 4), lags=16, bptt_steps=16)
    assert report.update_norms is not None
    assert "clipping" not in names(report)
    norms = np.append(np.full(15, 0.5), 30.0)
    tail = replace(report.update_norms, norms=norms, median=0.5, ninetieth=0.5, largest=30.0)
    (found,) = [f for f in find(replace(report, update_norms=tail)) if f.name == "clipping"]
    assert found.value == pytest.approx(60)
    assert found.flag == "--clip 0.5"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_network_that_learnt_to_remember_is_healthy(cell: str):
    model = train(language_model(cell, hidden_size=24, num_layers=1), delayed(64, 64, 3), 250)
    report = probe.report(model, delayed(128, 16, 3, seed=1), lags=16, bptt_steps=64)
    assert report.memory_horizon is not None
    assert report.memory_horizon.horizon >= 3
    assert report.findings == ()


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_a_network_trained_on_independent_tokens_lacks_no_memory(cell: str):
    model = train(language_model(cell), tokens(64, 64), 60)
    report = probe.report(model, tokens(256, 16, seed=9), lags=32, bptt_steps=8)
    assert not set(names(report)) & set(MEMORY)


def test_a_network_that_predicts_all_there_is_lacks_no_memory():
    ids = torch.arange(65)[:, None].remainder(4).repeat(1, 8)  # abcdabcd…
    batch = Batch(ids[:-1], ids[1:])
    model = train(language_model("rnn", num_layers=1), batch, 120, rate=0.02)
    report = probe.report(model, batch, lags=16)
    assert report.gradient_flow is not None
    assert report.context_curve is not None
    assert report.context_curve.loss[-1] < 0.05
    assert not set(names(report)) & set(MEMORY)


def test_the_same_vanishing_gradient_is_a_finding_only_where_memory_is_of_use():
    model = train(language_model("rnn", num_layers=1), delayed(64, 64, 0), 60)
    with torch.no_grad():
        model.recurrent.weight_hh_l0.mul_(0.1)
    batch = delayed(256, 16, 0, seed=9)
    plain, known = probe.report(model, batch, lags=16), probe.report(model, batch, lags=16, known_lag=8)
    assert plain.gradient_flow is not None
    assert plain.gradient_flow.verdict == "vanishing"
    assert not set(names(plain)) & set(MEMORY)
    assert {"lag", "vanishing"} <= set(names(known))


@pytest.mark.parametrize(
    ("trained", "flag"),
    [
        ({}, "--forget-bias 3"),
        ({"forget_bias": 4.0, "chrono_steps": None}, "--forget-bias 6"),
        ({"chrono_steps": 30}, "--chrono 60"),
    ],
)
def test_a_remedy_goes_on_from_what_the_network_was_trained_with(trained: dict[str, Any], flag: str):
    report = probe.report(forced_lstm(0.2), noise(60, 3, 3), lags=16, trained=trained)
    assert only(report, "vanishing").flag == flag


def test_clipping_starts_below_what_was_tried_and_a_start_is_not_advised_twice():
    layer = torch.nn.RNN(3, 64, dtype=F64)
    nn.init_recurrent(layer, gain=3.0, generator=torch.Generator().manual_seed(0))
    trained = {"init": "orthogonal", "clip_norm": 0.5}
    found = only(probe.report(layer, noise(200, 4, 3) * 0.1, lags=32, trained=trained), "exploding")
    assert found.flag == "--clip 0.12"


def test_a_finding_reads_as_a_sentence_with_its_number_and_what_fixes_it():
    found = only(probe.report(zero_rnn(0.5), torch.zeros(40, 3, 3, dtype=F64), lags=16), "vanishing")
    assert str(found) == (
        "vanishing in l0: a hundredth of the gradient is left after 6.6 steps, a half after 1 step, even along "
        "the path that keeps most of it; "
        "use gates (an orthogonal start helps an RNN a little): unrolled.nn.LSTM in place of unrolled.nn.RNN"
    )


def test_findings_are_part_of_the_json():
    stored: dict[str, Any] = probe.report(zero_rnn(0.5), torch.zeros(40, 3, 3, dtype=F64), lags=16).to_dict()
    assert [finding["name"] for finding in stored["findings"]] == ["vanishing", "idle"]
    assert stored["findings"][0]["flag"] == "--cell lstm"


def test_a_horizon_of_zero_silences_what_context_seems_worth():
    """The first step from the zero state may be ill chosen: context is worth something then, memory nothing."""
    model = language_model("rnn", num_layers=1)
    with torch.no_grad():
        model.recurrent.weight_hh_l0.mul_(0.1)
    report = probe.report(model, tokens(256, 16), lags=16)
    assert report.context_curve is not None
    assert report.memory_horizon is not None
    curve = replace(report.context_curve, gain=1.0, gain_interval=np.array([0.9, 1.1]))
    seen = {}
    for horizon in (0, 3):
        felt = replace(report.memory_horizon, horizon=horizon, effect=np.ones(17))
        held = replace(report, context_curve=curve, memory_horizon=felt)
        seen[horizon] = {finding.name for finding in find(held)} & set(MEMORY)
    assert seen == {0: set(), 3: {"vanishing"}}
