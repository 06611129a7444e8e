"""`accelerate`: any model's recurrent layers, in place, and nothing else of it."""

from __future__ import annotations

import copy
import logging
import pickle  # noqa: TID251  # users pickle modules, whatever we do
import warnings

import pytest
import torch

import unrolled
from unrolled import nn
from unrolled.errors import ConfigError, DtypeError


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 6)
        self.encoders = torch.nn.ModuleDict(
            {
                "a": torch.nn.LSTM(6, 8, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1),
                "b": torch.nn.Sequential(torch.nn.GRU(16, 5, batch_first=True)),
            }
        )
        self.again = self.encoders["b"][0]
        self.cell = torch.nn.LSTMCell(5, 4)

    def forward(self, ids):
        hidden, _ = self.encoders["a"](self.embed(ids))
        hidden, _ = self.again(hidden)
        return self.cell(hidden[:, -1])[0]


class Checked(torch.nn.GRU):
    def check_input(self, input, batch_sizes):
        raise AssertionError


class Peephole(torch.nn.LSTM):
    def forward(self, input, hx=None):
        return input, hx


def tagger():
    torch.manual_seed(0)
    return Tagger().eval(), torch.randint(0, 11, (3, 7))


def test_a_nested_model_gives_the_same_with_its_layers_turned():
    model, ids = tagger()
    want, parameters = model(ids), list(model.parameters())
    assert nn.accelerate(model) is model
    assert type(model.encoders["a"]) is nn.LSTM
    assert type(model.again) is type(model.encoders["b"][0]) is nn.GRU
    assert type(model.cell) is nn.LSTMCell
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(ids), want)
    state = model.state_dict()
    assert list(state) == list(Tagger().state_dict())
    Tagger().load_state_dict(state)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_module_itself_may_be_the_layer(kind):
    layer = getattr(torch.nn, kind)(3, 4)
    x = torch.randn(5, 2, 3)
    want = layer(x)
    assert nn.accelerate(layer) is layer
    assert type(layer) is getattr(nn, kind)
    assert layer.backend == "auto"
    torch.testing.assert_close(layer(x), want)
    layer(x, lengths=[5, 2])


def test_to_do_it_twice_is_to_do_it_once():
    model, ids = tagger()
    want = nn.accelerate(model)(ids)
    assert torch.equal(nn.accelerate(model)(ids), want)
    assert type(model.again) is nn.GRU


def test_an_optimizer_hooks_and_gradients_go_on():
    model, ids = tagger()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    model.again.register_forward_hook(lambda *_: seen.append("forward"))
    model.again.weight_hh_l0.register_hook(lambda _: seen.append("gradient"))
    twin = copy.deepcopy(model)
    twin_optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    nn.accelerate(model)
    for network, steps in ((model, optimizer), (twin, twin_optimizer)):
        network(ids).square().sum().backward()
        steps.step()
    assert seen[:2] == ["forward", "gradient"]
    torch.testing.assert_close(model.state_dict(), twin.state_dict())


def test_a_turned_model_survives_deepcopy_pickle_and_dtype():
    model, ids = tagger()
    want = nn.accelerate(model)(ids)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert type(again.again) is nn.GRU
        assert torch.equal(again(ids), want)
    assert model.to(torch.float64)(ids).dtype == torch.float64


def test_a_turned_layer_takes_old_style_weight_norm():
    layer = torch.nn.LSTM(3, 4)
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.nn.utils.weight_norm(layer, "weight_hh_l0")
    x = torch.randn(5, 2, 3)
    want = layer(x)
    torch.testing.assert_close(nn.accelerate(layer)(x), want)
    assert type(layer) is nn.LSTM


def test_what_cannot_be_turned_is_left_and_named_in_one_warning():
    model = torch.nn.Module()
    model.plain = torch.nn.GRU(3, 4)
    model.peephole = Peephole(3, 4)
    model.checked = Checked(3, 4)
    model.patched = torch.nn.RNN(3, 4)
    model.patched.forward = lambda x: x
    types = {name: type(inner) for name, inner in model.named_children()}
    with pytest.warns(UserWarning, match="accelerate left") as caught:
        nn.accelerate(model)
    assert [str(warning.message) for warning in caught] == [
        "accelerate left 3 recurrent layers: "
        f"peephole (its forward is its own, {__name__}.Peephole); "
        f"checked ({__name__}.Checked changes check_input, which torch's forward calls); "
        "patched (its forward was replaced)"
    ]
    assert caught[0].filename == __file__
    for name in ("peephole", "checked", "patched"):
        assert type(getattr(model, name)) is types[name]
    assert type(model.plain) is nn.GRU


def test_a_module_that_is_itself_left_is_named_so():
    with pytest.warns(UserWarning, match="accelerate left") as caught:
        nn.accelerate(Peephole(3, 4))
    assert str(caught[0].message) == (
        f"accelerate left 1 recurrent layer: the module itself (its forward is its own, {__name__}.Peephole)"
    )


def test_quantised_layers_are_left():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is on its way out, and says so
        model = torch.nn.Sequential(torch.nn.LSTM(3, 4))
        quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM}, dtype=torch.qint8)
    with pytest.warns(UserWarning, match="accelerate left") as caught:
        nn.accelerate(quantised)
    kind = type(quantised[0])
    assert kind.__module__.startswith("torch.ao.nn")
    assert str(caught[0].message) == (
        f"accelerate left 1 recurrent layer: 0 (quantised, {kind.__module__}.LSTM)"
    )


def test_scripted_layers_are_left():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is on its way out
        scripted = torch.jit.script(torch.nn.GRU(3, 4))
    with pytest.warns(UserWarning, match="accelerate left") as caught:
        nn.accelerate(torch.nn.Sequential(scripted))
    assert str(caught[0].message) == "accelerate left 1 recurrent layer: 0 (scripted)"


def test_our_own_layers_and_their_subclasses_are_not_news():
    class Mine(nn.LSTM):
        pass

    model = torch.nn.Sequential(Mine(3, 4), nn.GRU(4, 4))
    torch.nn.utils.parametrizations.weight_norm(model[1], "weight_hh_l0")
    nn.accelerate(model)  # a warning would be an error
    assert type(model[0]) is Mine


@pytest.mark.parametrize(("value", "got"), [(None, "NoneType"), (dict, "dict"), ([], "list")])
def test_what_is_no_module_is_refused(value, got):
    with pytest.raises(DtypeError) as caught:
        nn.accelerate(value)
    assert str(caught.value) == f"module: expected a torch.nn.Module, or a class of them, got {got}"


def mixed():
    model, _ = tagger()
    model.peephole = Peephole(3, 4)
    model.other = torch.nn.RNNBase("LSTM", 3, 4)
    return model


def test_what_was_replaced_is_logged_and_what_was_left_too_comes_as_data(caplog):
    model = mixed()
    assert nn.acceleration_report(model).left["encoders.b.0"] == "not accelerated yet"
    with caplog.at_level(logging.INFO, logger="unrolled"), pytest.warns(UserWarning, match="left 2"):
        nn.accelerate(model)
    assert [record.getMessage() for record in caplog.records] == [
        "accelerate replaced 3 recurrent layers: encoders.a (LSTM), encoders.b.0 (GRU), cell (LSTMCell)"
    ]
    report = nn.acceleration_report(model)
    assert report.replaced == {"encoders.a": "LSTM", "encoders.b.0": "GRU", "cell": "LSTMCell"}
    with pytest.warns(DeprecationWarning, match="acceleration_report"):
        assert nn.accelerated(model) == report
    assert report.left == {
        "peephole": f"its forward is its own, {__name__}.Peephole",
        "other": "unrolled.nn has none like it, torch.nn.modules.rnn.RNNBase",
    }
    assert (
        str(report).splitlines()[-1]
        == "other: left, unrolled.nn has none like it, torch.nn.modules.rnn.RNNBase"
    )


def test_to_torch_undoes_accelerate_in_place():
    model, ids = tagger()
    types = {name: type(inner) for name, inner in model.named_modules()}
    dicts = {name: set(vars(inner)) for name, inner in model.named_modules()}
    want, parameters, seen = model(ids), list(model.parameters()), []
    nn.accelerate(model)
    model.again.register_forward_hook(lambda *_: seen.append("hook"))
    assert unrolled.to_torch(model) is model
    assert {name: type(inner) for name, inner in model.named_modules()} == types
    assert {name: set(vars(inner)) for name, inner in model.named_modules()} == dicts
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(ids), want)
    assert seen == ["hook"]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_to_torch_turns_what_was_built_as_ours(kind):
    options = {"backend": "reference"} if "Cell" not in kind else {}
    ours = getattr(nn, kind)(3, 4, **options)
    x = torch.randn(5, 3)
    want = ours(x)
    nn.to_torch(ours)
    assert type(ours) is getattr(torch.nn, kind)
    torch.testing.assert_close(ours(x), want)
    assert set(vars(ours)) == set(vars(getattr(torch.nn, kind)(3, 4)))


def test_to_torch_refuses_what_torch_has_no_twin_of_and_changes_nothing():
    class Mine(nn.LSTM):
        pass

    model = torch.nn.Sequential(nn.GRU(3, 4), Mine(4, 4))
    with pytest.raises(ConfigError, match=r"^module: expected layers that torch.nn has, got 1 \(.*Mine\)$"):
        nn.to_torch(model)
    assert type(model[0]) is nn.GRU
    with pytest.raises(
        DtypeError, match=r"^module: expected a torch.nn.Module, or a class of them, got list$"
    ):
        nn.to_torch([])
