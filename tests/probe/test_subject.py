"""A measurement leaves nothing behind: parameters, gradients, modes, hooks, buffers, random state."""

import copy

import pytest
import torch
from probe_cases import TwoModules, language_model, noise, tokens

from unrolled import probe
from unrolled.data import Batch

MEASUREMENTS = {
    "gradient_flow": lambda m, b: probe.gradient_flow(m, b, lags=5),
    "memory_horizon": lambda m, b: probe.memory_horizon(m, b, lags=5),
    "context_curve": lambda m, b: probe.context_curve(
        m, b, steps=5, **({} if isinstance(b, Batch) else {"targets": torch.zeros(*b.shape[:2], 4)})
    ),
    "gates": probe.gates,
    "trajectories": probe.trajectories,
    "lyapunov": lambda m, b: probe.lyapunov(m, b, count=2),
    "memory_map": probe.memory_map,
}


class Everything(torch.nn.Module):
    """Buffers that a forward changes, a hook, frozen parameters, parts in different modes, dropout."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True)
        self.norm = torch.nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.head = torch.nn.Linear(4, 4)

    def forward(self, x):
        self.calls += 1
        torch.rand(())  # draws, whatever the mode
        y, state = self.lstm(x)
        return self.head(self.norm(y.flatten(0, 1)).view_as(y)), state


def snapshot(model):
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {name: t.detach().clone() for name, t in tensors.items()},
        "objects": {name: id(t) for name, t in tensors.items()},
        "order": [list(store) for m in model.modules() for store in (m._parameters, m._buffers)],
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "wants": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "flat": [[id(w) for w in m._flat_weights] for m in model.modules() if isinstance(m, torch.nn.RNNBase)],
        "random": torch.get_rng_state(),
    }  # fmt: skip


def assert_unchanged(before, after):
    torch.testing.assert_close(after.pop("values"), before.pop("values"), rtol=0, atol=0)
    assert torch.equal(after.pop("random"), before.pop("random"))
    for name, grad in before.pop("grads").items():
        got = after["grads"].pop(name)
        assert (got is None) == (grad is None)
        assert grad is None or torch.equal(got, grad)
    after.pop("grads")
    assert before == after


def everything():
    torch.manual_seed(0)
    model = Everything().train()
    model.norm.eval()
    model.head.weight.requires_grad_(False)
    model.head.register_forward_hook(lambda *_: None)
    model.lstm.weight_hh_l0.grad = torch.full_like(model.lstm.weight_hh_l0, 3.0)
    return model, noise(4, 9, 3).float()


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_leaves_a_model_as_it_was(name):
    model, x = everything()
    before = snapshot(model)
    MEASUREMENTS[name](model, x)
    assert_unchanged(before, snapshot(model))
    assert x.requires_grad is False


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_leaves_a_language_model_as_it_was_with_tied_weights(name):
    model = language_model(tie_weights=True, embedding_size=6, dropout=0.3).train()
    before = snapshot(model)
    MEASUREMENTS[name](model, tokens(9, 3))
    assert_unchanged(before, snapshot(model))
    assert model.readout.weight is model.embedding.weight


def test_a_model_whose_forward_fails_is_put_back_too():
    model, x = everything()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="shape"):
        probe.gradient_flow(model, x, lags=2, loss=lambda y: y.view(-1, 7))
    assert_unchanged(before, snapshot(model))


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_same_is_measured_in_training_mode_and_of_frozen_and_inference_tensors(name):
    model, x = everything()
    want = MEASUREMENTS[name](copy.deepcopy(model).eval(), x).to_dict()
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert MEASUREMENTS[name](frozen, x).to_dict() == want
    with torch.inference_mode():
        made_here = Everything()
        made_here.load_state_dict(model.state_dict())
        made_here.norm.eval()
        given = x.clone()
        assert given.is_inference()
        assert MEASUREMENTS[name](made_here, given).to_dict() == want
    with torch.no_grad():
        assert MEASUREMENTS[name](model, x).to_dict() == want


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured_in_float32(name, dtype):
    model, x = everything()
    half = model.to(dtype)
    found = MEASUREMENTS[name](half, x.to(dtype)).to_dict()
    want = MEASUREMENTS[name](copy.deepcopy(half).float(), x.to(dtype).float()).to_dict()
    assert found == want
    assert all(p.dtype == dtype for p in half.parameters())


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_equal_measurements_are_equal(name):
    torch.manual_seed(0)
    model = TwoModules(torch.nn.GRU(3, 4, batch_first=True), torch.nn.RNN(4, 4, batch_first=True)).float()
    x = noise(2, 9, 3).float()
    first = MEASUREMENTS[name](model, x)
    torch.rand(3)
    assert MEASUREMENTS[name](model, x).to_dict() == first.to_dict()
