"""opacus on our layers: the gradient of each sample, beside a loop over samples on torch.nn."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from client_cases import QUIETLY, client
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled import adapters, nn
from unrolled.errors import ConfigError

opacus = client("opacus")
validators = client("opacus.validators")
pytestmark = QUIETLY
KINDS = ("RNN", "LSTM", "GRU")
OPTIONS = ({}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True})


@pytest.fixture(autouse=True)
def _registered():
    adapters.register_opacus()


def layer_of(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(nn, kind)(3, 5, **options).double()


def states_of(layer: Any, rows: int) -> Any:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    h, c = torch.randn(2, count, rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return (h, c) if layer.mode == "LSTM" else h


def loss_of(y: torch.Tensor, final: Any) -> torch.Tensor:
    """Use every output: of y, h_n and c_n."""
    finals = final if isinstance(final, tuple) else (final,)
    return (y * y.cos()).sum() + sum((each**2).sum() * (2 + n) for n, each in enumerate(finals))


def row_of(states: Any, row: int) -> Any:
    if isinstance(states, tuple):
        return tuple(each[:, row : row + 1] for each in states)
    return states[:, row : row + 1]


def by_a_loop(layer: Any, x: torch.Tensor, states: Any, **rows: Any) -> dict[str, torch.Tensor]:
    """Gradients of one row after the other, x [T, B, I], by plain autograd."""
    found = []
    for row in range(x.shape[1]):
        given = {name: value[..., row : row + 1] for name, value in rows.items()}
        one = x[:, row : row + 1]
        if layer.batch_first:
            one = one.transpose(0, 1)
            given = {name: value.T if value.dim() == 2 else value for name, value in given.items()}
        loss = loss_of(*layer(one, row_of(states, row), **given))
        found.append(torch.autograd.grad(loss, list(layer.parameters())))
    return {
        name: torch.stack(each)
        for (name, _), each in zip(layer.named_parameters(), zip(*found, strict=True), strict=True)
    }


def weights_of(fixed: Any) -> dict[str, Any]:
    """The parameters of a fixed layer by torch.nn's names."""
    found = {}
    for name, weight in fixed.named_parameters():
        *_, layer, kind = name.split(".")
        found[f"{kind}_{layer}"] = weight
    return found


def check_samples(fixed: Any, want: dict[str, torch.Tensor]) -> None:
    weights = weights_of(fixed)
    assert weights.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(
            weights[name].grad_sample, value, msg=lambda said, name=name: f"{name}: {said}"
        )
        torch.testing.assert_close(weights[name].grad, value.sum(0))  # plain gradients stay right


@pytest.mark.parametrize("rows", ["full", "lengths", "resets", "both"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_each_sample_is_exact(kind: str, options: dict[str, Any], rows: str):
    layer, generator = layer_of(kind, **options), torch.Generator().manual_seed(1)
    x = torch.randn(6, 4, 3, dtype=torch.float64, generator=generator)
    given: dict[str, Any] = {}
    if rows in ("lengths", "both"):
        given["lengths"] = torch.tensor([6, 2, 0, 5])
        x[torch.arange(6)[:, None] >= given["lengths"]] = torch.nan  # nothing is read of it
    if rows in ("resets", "both"):
        given["resets"] = torch.rand(6, 4, generator=generator) < 0.4
    states = states_of(layer, 4)
    want = by_a_loop(layer, x, states, **given)

    fixed = validators.ModuleValidator.fix(copy.deepcopy(layer))
    model = opacus.GradSampleModule(fixed, batch_first=layer.batch_first, loss_reduction="sum")
    if layer.batch_first:
        x, given = x.transpose(0, 1), {k: v.T if v.dim() == 2 else v for k, v in given.items()}
    y, final = model(x, states, **given)
    torch.testing.assert_close((y, final), layer(x, states, **given))
    loss_of(y, final).backward()
    check_samples(fixed, want)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_sequence_is_taken_and_padding_counts_for_nothing(kind: str):
    layer, lengths = layer_of(kind), torch.tensor([2, 6, 1])
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    want = by_a_loop(layer, x, states_of(layer, 3), lengths=lengths)
    fixed = validators.ModuleValidator.fix(copy.deepcopy(layer))
    model = opacus.GradSampleModule(fixed, batch_first=False, loss_reduction="sum")
    y, final = model(pack_padded_sequence(x, lengths, enforce_sorted=False), states_of(layer, 3))
    loss_of(y.data, final).backward()
    check_samples(fixed, want)


def test_a_layer_in_another_layout_than_the_model_is_not_mistaken():
    layer, x = layer_of("GRU"), torch.randn(4, 4, 3, dtype=torch.float64)  # T = B
    want = by_a_loop(layer, x, states_of(layer, 4))
    for batch_first in (False, True):
        fixed = validators.ModuleValidator.fix(copy.deepcopy(layer))
        model = opacus.GradSampleModule(fixed, batch_first=batch_first, loss_reduction="sum")
        loss_of(*model(x, states_of(layer, 4))).backward()
        check_samples(fixed, want)


def test_two_calls_in_one_step_and_one_without_gradients_keep_their_order():
    layer, x = layer_of("LSTM"), torch.randn(5, 2, 3, dtype=torch.float64)
    twice = by_a_loop(layer, x, states_of(layer, 2))
    once = by_a_loop(layer, x[:3], states_of(layer, 2))
    fixed = validators.ModuleValidator.fix(copy.deepcopy(layer))
    model = opacus.GradSampleModule(fixed, batch_first=False, loss_reduction="sum")
    with torch.no_grad():
        model(x)
    first = loss_of(*model(x, states_of(layer, 2)))
    (first + loss_of(*model(x[:3], states_of(layer, 2)))).backward()
    check_samples(fixed, {name: value + once[name] for name, value in twice.items()})


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.head = torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[1][0][-1])


def test_the_privacy_engine_trains_a_model_that_uses_the_last_state():
    torch.manual_seed(0)
    x, labels = torch.randn(32, 6, 3), torch.arange(32) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=8)
    assert validators.ModuleValidator.validate(Classifier())  # says that it must be fixed
    model = validators.ModuleValidator.fix(Classifier())
    before = copy.deepcopy(model.state_dict())
    engine = opacus.PrivacyEngine(accountant="rdp")
    model, optimizer, loader = engine.make_private(
        module=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), data_loader=loader,
        noise_multiplier=1.0, max_grad_norm=1.0,
    )  # fmt: skip
    for batch, target in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), target).backward()
        optimizer.step()
    after = model._module.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert engine.get_epsilon(1e-5) > 0


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_fixed_layer_keeps_torchs_names(options: dict[str, Any]):
    layer = layer_of("GRU", **options)
    fixed = validators.ModuleValidator.fix(copy.deepcopy(layer))
    assert sorted(fixed.state_dict()) == sorted(layer.state_dict())
    other = layer_of("GRU", **options)
    torch.nn.init.uniform_(other.weight_hh_l0)
    fixed.load_state_dict(other.state_dict())
    for name, value in fixed.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


@pytest.mark.parametrize(
    "options", [{"proj_size": 2}, {"zoneout": 0.1}, {"recurrent_dropout": 0.1}, {"reverse": True}], ids=str
)
def test_what_has_no_gradient_of_each_sample_is_refused_in_one_line(options: dict[str, Any]):
    want = r"^module: expected an RNN, LSTM or GRU without proj_size, .*, got LSTM"
    with pytest.raises(ConfigError, match=want):
        validators.ModuleValidator.fix(nn.LSTM(3, 5, **options))
