"""Models of every shape: what is measured, and what is refused in one line."""

import json

import numpy as np
import pytest
import torch
from probe_cases import F64, Last, language_model, noise, tokens

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError, DtypeError, NonFiniteError

FORWARD_ONLY = {
    "gradient_flow": lambda m, x: probe.gradient_flow(m, x, lags=2),
    "memory_horizon": lambda m, x: probe.memory_horizon(m, x, lags=2),
    "context_curve": lambda m, x: probe.context_curve(m, x, steps=2, targets=x),
    "lyapunov": probe.lyapunov,
    "memory_map": probe.memory_map,
}
ALL = FORWARD_ONLY | {"gates": probe.gates, "trajectories": probe.trajectories}


class Twice(torch.nn.Module):
    """One layer, run twice: on its input and on its own output."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(self.layer(x)[0])[0]


class Halves(torch.nn.Module):
    """An encoder, and a decoder over half as many steps."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = torch.nn.GRU(3, 3), torch.nn.GRU(3, 3)

    def forward(self, x):
        return self.decoder(self.encoder(x)[0][::2])[0]


class Own(torch.nn.LSTM):
    """A subclass that computes something else."""

    def forward(self, x, hx=None):
        return super().forward(2 * x, hx)


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_a_bidirectional_layer_is_refused_where_back_in_time_means_nothing(name):
    want = r"model: expected layers that run forward \(of bidirectional ones only gates and trajectories are defined\), got bidirectional GRU"
    with pytest.raises(ConfigError, match=want):
        ALL[name](torch.nn.GRU(3, 4, bidirectional=True), noise(9, 2, 3).float())


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_model_or_has_no_recurrent_layer_or_holds_nan_is_one_line(name):
    x = noise(9, 2, 3).float()
    broken = torch.nn.GRU(3, 4)
    with torch.no_grad():
        broken.weight_ih_l0[0, 0] = torch.nan
    for model, error, match in (
        (None, DtypeError, r"model: expected a torch.nn.Module, got NoneType"),
        (
            torch.nn.Linear(3, 4),
            ConfigError,
            r"model: expected a recurrent layer \(RNN, LSTM or GRU\), got Linear",
        ),
        (broken, NonFiniteError, r"model weight_ih_l0: expected finite weights, got NaN or infinity"),
    ):
        with pytest.raises(error, match=match) as caught:
            ALL[name](model, x)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_one_has_bounded_answers(name):
    model = Last(torch.nn.GRU(3, 4), 3)  # its output has the size of its input, which is its target
    assert json.dumps(ALL[name](model, noise(9, 1, 3).float()).to_dict(), allow_nan=False)


def test_a_layer_with_a_forward_of_its_own_is_not_taken_for_torchs():
    with pytest.raises(ConfigError, match=r"got only Own"):
        probe.gates(Own(3, 4), noise(9, 1, 3).float())


def test_a_layer_that_runs_twice_is_measured_at_each_call():
    torch.manual_seed(0)
    model = Twice(torch.nn.RNN(3, 3, dtype=F64))
    x = noise(12, 2, 3)
    found = probe.gradient_flow(model, x, lags=4)
    assert [flow.layer for flow in found.flows] == ["layer.l0", "layer call 2.l0"]
    both = torch.nn.RNN(3, 3, 2, dtype=F64)
    both.load_state_dict(
        {f"{n[:-1]}{level}": w for n, w in model.layer.state_dict().items() for level in (0, 1)}
    )
    for a, b in zip(found.flows, probe.gradient_flow(both, x, lags=4).flows, strict=True):
        np.testing.assert_allclose(a.nats, b.nats)
        assert (a.injected, a.carried) == pytest.approx((b.injected, b.carried))


def test_layers_over_unequal_steps_are_refused():
    with pytest.raises(ConfigError, match=r"same steps and rows, got \[8, 2\] and \[4, 2\]"):
        probe.gradient_flow(Halves(), noise(8, 2, 3).float(), lags=2)


def test_a_state_to_start_from_and_unbatched_inputs_are_taken():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 4, dtype=F64)
    state = (noise(1, 2, 4, seed=1), noise(1, 2, 4, seed=2))
    found = probe.trajectories(layer, (noise(5, 2, 3), state)).layers["l0"]["h"]
    np.testing.assert_allclose(found, layer(noise(5, 2, 3), state)[0].detach())
    one, batch = (probe.gradient_flow(layer, x, lags=4).flows[0] for x in (noise(9, 3), noise(9, 3)[:, None]))
    np.testing.assert_array_equal(one.nats, batch.nats)


class Embedded(torch.nn.Module):
    """Ids in, states out: what a `Batch` can be given to."""

    def __init__(self):
        super().__init__()
        self.embedding, self.layer = torch.nn.Embedding(7, 3), torch.nn.GRU(3, 4)

    def forward(self, ids):
        return self.layer(self.embedding(ids))[0]


def test_a_batchs_resets_and_lengths_hold_for_any_model():
    torch.manual_seed(0)
    model, plain = Embedded(), tokens(10, 2)
    resets = torch.zeros(10, 2, dtype=torch.bool)
    resets[6] = True
    batch = Batch(plain.inputs, plain.targets, torch.tensor([10, 8]), resets)
    found = probe.trajectories(model, batch).layers["layer.l0"]["h"]
    fresh = probe.trajectories(model, plain.inputs[6:]).layers["layer.l0"]["h"]
    np.testing.assert_allclose(found[6:, 0], fresh[:, 0], atol=1e-6)
    assert not found[8:, 1].any()
    assert not probe.memory_map(model, batch).norms[6:, :6].any()


class Ending(torch.nn.Module):
    """Every step's output plus the state after the last step."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LSTM(3, 4, dtype=F64)

    def forward(self, x):
        y, (h, c) = self.layer(x)
        return y + h + c


def test_a_model_that_uses_the_state_after_the_last_step_is_followed_through_it():
    torch.manual_seed(0)
    model, x = Ending(), noise(8, 1, 3)
    norms = probe.memory_map(model, x).norms
    given = x.clone().requires_grad_()
    (pull,) = torch.autograd.grad(model(given)[2, 0] @ probe.losses.projection(4), given)
    assert norms[2, :3] == pytest.approx(pull[:3, 0].norm(dim=-1).numpy())


class Packing(torch.nn.Module):
    """Packs its rows before its layer, and pads them after it."""

    def __init__(self, lengths):
        super().__init__()
        self.lengths, self.layer = lengths, torch.nn.GRU(3, 4, dtype=F64)

    def forward(self, x):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, self.lengths, enforce_sorted=False)
        return torch.nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0])[0]


def test_rows_that_a_model_packs_itself_are_measured_where_they_are():
    torch.manual_seed(0)
    model, x = Packing(torch.tensor([6, 9])), noise(9, 2, 3)
    assert probe.gates(model, x).samples == 15
    flow = probe.gradient_flow(model, x, lags=4).flows[0]
    alone = [
        probe.gradient_flow(model.layer, x[:n, b : b + 1], lags=4).flows[0].nats for b, n in ((0, 6), (1, 9))
    ]
    np.testing.assert_allclose(
        flow.nats, (2 * alone[0] + 5 * alone[1]) / 7
    )  # 2 losses and 5 with 4 steps before


@pytest.mark.parametrize("name", ["gradient_flow", "gates"])
def test_a_packed_batch_is_one_line(name):
    packed = torch.nn.utils.rnn.pack_sequence([noise(3, 3)])
    with pytest.raises(
        DtypeError, match=r"batch: expected a Batch, a tensor or a tuple of arguments, got PackedSequence"
    ):
        ALL[name](torch.nn.GRU(3, 4, dtype=F64), packed)


def test_half_precision_states_are_taken():
    layer = torch.nn.LSTM(3, 4).bfloat16()
    x, state = noise(9, 2, 3).bfloat16(), (noise(1, 2, 4).bfloat16(), noise(1, 2, 4, seed=1).bfloat16())
    assert probe.gradient_flow(layer, (x, state), lags=4).flows[1].fitted == (1, 4)


def test_weights_behind_a_parametrisation_are_measured():
    torch.manual_seed(0)
    layer = torch.nn.GRU(3, 4, dtype=F64)
    plain = probe.gradient_flow(layer, noise(9, 2, 3), lags=4).flows[0]
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    found = probe.gradient_flow(layer, noise(9, 2, 3), lags=4).flows[0]
    np.testing.assert_allclose(found.nats, plain.nats)


@pytest.fixture(scope="module")
def trained_on_noise():
    """A language model trained on independent random tokens, until it predicts their frequencies."""
    model = language_model(num_layers=1, hidden_size=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(150):
        batch = tokens(32, 32, seed=step)
        nats, count, _ = model.loss(batch, model.initial_state(32))
        optimizer.zero_grad()
        (nats / count).backward()
        optimizer.step()
    return model


def test_a_model_trained_on_independent_random_tokens_has_no_memory(trained_on_noise):
    fresh = tokens(80, 16, seed=999)
    horizon = probe.memory_horizon(trained_on_noise, fresh, lags=30, bptt_steps=32)
    assert horizon.horizon == 0
    assert "hardly depends" in horizon.summary
    assert abs(probe.context_curve(trained_on_noise, fresh, steps=20).gain) < 0.02


class Parity(torch.nn.Module):
    """A network of a task that the probe knows nothing of: whether the ones so far are odd, or those of a row."""

    def __init__(self, per_row):
        super().__init__()
        self.recurrent, self.readout, self.per_row = torch.nn.GRU(1, 8), torch.nn.Linear(8, 2), per_row

    def initial_state(self, batch_size):
        return torch.zeros(1, batch_size, 8)

    def forward(self, bits, state=None):
        y, state = self.recurrent(bits, state)
        return self.readout(y[-1] if self.per_row else y), state

    def loss(self, batch, state):
        logits, state = self(batch.inputs, state)
        nats = torch.nn.functional.cross_entropy(
            logits.flatten(0, -2), batch.targets.flatten(), reduction="sum"
        )
        return nats, batch.count, state


@pytest.mark.parametrize("per_row", [False, True])
def test_a_network_of_another_task_is_measured_as_far_as_its_outputs_go(per_row):
    bits = (noise(40, 6, 1) > 0).float()
    odd = bits.cumsum(0).remainder(2).long()[..., 0]
    batch = Batch(bits, odd[-1] if per_row else odd, torch.tensor([40, 30, 40, 40, 40, 40]))
    report = probe.report(Parity(per_row), batch, lags=8, bptt_steps=10)
    assert report.update_norms is not None
    assert len(report.update_norms.norms) == (1 if per_row else 4)
    measured = {name for name in probe.MEASUREMENTS if getattr(report, name) is not None}
    always = {"gates", "lyapunov", "trajectories", "update_norms"}
    assert measured == (always if per_row else {*always, "gradient_flow", "memory_horizon", "memory_map"})
    reason = report.omitted["context_curve"]
    assert reason.startswith("targets: expected a Batch" if per_row else "targets: expected [8, 240, 2], as")
    json.dumps(report.to_dict(), allow_nan=False)
