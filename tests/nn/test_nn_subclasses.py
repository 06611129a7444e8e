"""Subclasses of torch.nn's layers and cells, and parametrised ones: `accelerate` takes them, and gives them back."""

from __future__ import annotations

import copy
import inspect
import pickle  # noqa: TID251  # users pickle modules, whatever we do
import typing
from abc import ABC, abstractmethod

import pytest
import torch
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled import nn, to_torch


class Plain(torch.nn.GRU):
    """A subclass that adds nothing."""


class Ragged(torch.nn.LSTM):
    """Takes lengths, as clients' layers do."""

    def __init__(self, *args, note="", **options):
        super().__init__(*args, **options)
        self.note = note

    def forward(self, input, hx=None, lengths=None):
        if lengths is None:
            return super().forward(input, hx)
        rows = pack_padded_sequence(input, lengths, enforce_sorted=False)
        output, state = super().forward(rows, hx)
        return pad_packed_sequence(output)[0], state


class Handler(ABC, torch.nn.RNNBase):
    """A forecasting library's base: abstract, with a forward of its own above torch's."""

    @abstractmethod
    def zeros(self, rows): ...

    def forward(self, input, hx=None):
        return super().forward(input, self.zeros(input.shape[1]) if hx is None else hx)


class Handled(Handler, torch.nn.GRU):
    def zeros(self, rows):
        return torch.zeros(self.num_layers, rows, self.hidden_size)


class Decoder(torch.nn.LSTMCell):
    def forward(self, input, hx=None):
        return super(Decoder, self).forward(input, hx)  # noqa: UP008  # as older programs write it


class Counted(torch.nn.Module):
    """A parametrisation that knows how often it was computed."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, weight):
        self.calls += 1
        return weight.tanh()


def same(ours, theirs, *arguments):
    """Assert equal results and gradients of two modules on their own parameters."""
    results = []
    for module in (ours, theirs):
        output, state = module(*arguments)
        states = state if isinstance(state, tuple) else (state,)
        loss = sum(each.square().sum() for each in (output, *states))
        results.append([output, *states, *torch.autograd.grad(loss, list(module.parameters()))])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Plain, Ragged, Handled])
def test_a_subclass_runs_on_ours_with_its_own_methods(kind):
    layer, x = kind(3, 4, 2), torch.randn(5, 2, 3)
    twin = copy.deepcopy(layer)
    parameters = list(layer.parameters())
    assert nn.accelerate(layer) is layer
    assert isinstance(layer, kind)
    assert isinstance(layer, nn.Recurrent)
    assert (type(layer).__name__, type(layer).__module__) == (kind.__name__, __name__)
    assert all(new is old for new, old in zip(layer.parameters(), parameters, strict=True))
    same(layer, twin, x)
    assert nn.acceleration_report(layer).replaced == {"": kind.__name__}
    assert type(to_torch(layer)) is kind
    assert set(vars(layer)) == set(vars(twin))
    same(layer, twin, x)


def test_its_lengths_and_its_own_constructor_survive():
    layer, x, lengths = Ragged(3, 4, note="mine"), torch.randn(5, 2, 3), torch.tensor([2, 5])
    twin = nn.accelerate(copy.deepcopy(layer))
    torch.testing.assert_close(twin(x, lengths=lengths), layer(x, lengths=lengths))
    assert twin.note == "mine"


def test_a_cell_and_a_subclass_of_one_are_taken():
    model = torch.nn.ModuleList([torch.nn.GRUCell(3, 4), Decoder(3, 4)])
    twins = copy.deepcopy(model)
    nn.accelerate(model)
    assert [isinstance(cell, kind) for cell, kind in zip(model, (nn.GRUCell, nn.LSTMCell), strict=True)] == [
        True
    ] * 2
    x = torch.randn(2, 3)
    for cell, twin in zip(model, twins, strict=True):
        for got, want in zip(cell(x), twin(x), strict=True):
            assert torch.equal(got, want)
    assert [type(cell) for cell in to_torch(model)] == [torch.nn.GRUCell, Decoder]


@pytest.mark.parametrize("kind", [Plain, Ragged, Decoder])
def test_a_taken_subclass_is_copied_and_pickled_and_stays_taken(kind):
    module = nn.accelerate(kind(3, 4))
    x = torch.randn(5, 3)
    want = module(x)
    for again in (copy.copy(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        assert type(again) is type(module)
        torch.testing.assert_close(again(x), want)
        assert type(to_torch(again)) is kind
    assert isinstance(module, kind)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, Plain])
@pytest.mark.parametrize("normalise", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrised_layer_is_taken_and_its_parametrisation_removed_again(kind, normalise):
    torch.manual_seed(0)
    layer = kind(3, 4).eval()
    twin = copy.deepcopy(layer)
    for each in (layer, twin):
        torch.manual_seed(1)
        normalise(each, "weight_hh_l0")
    nn.accelerate(layer)
    assert isinstance(layer, nn.Recurrent)
    same(layer, twin, torch.randn(5, 2, 3))
    to_torch(layer)
    assert not isinstance(layer, nn.Recurrent)
    same(layer, twin, torch.randn(5, 2, 3))
    nn.accelerate(layer)
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    assert isinstance(layer, nn.Recurrent)
    assert type(to_torch(layer)) is kind


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l1"])
@pytest.mark.parametrize("given", ["padded", "packed"])
def test_a_parametrisation_is_computed_once_a_call(name, given):
    layer, counter = torch.nn.LSTM(3, 4, 2), Counted()
    parametrize.register_parametrization(layer, name, counter)
    nn.accelerate(layer)
    x = torch.randn(5, 2, 3)
    counter.calls = 0
    layer(x if given == "padded" else pack_padded_sequence(x, [5, 2]))
    assert counter.calls == 1
    assert isinstance(copy.deepcopy(layer), nn.Recurrent)


def test_a_class_that_takes_no_further_subclass_is_left_in_words():
    class Final(torch.nn.GRU):
        def __init_subclass__(cls, **_: object) -> typing.NoReturn:
            raise TypeError("final")

    with pytest.warns(
        UserWarning, match=r"the module itself \(.*Final takes no further subclass \(final\)\)$"
    ):
        nn.accelerate(Final(3, 4))


def test_a_subclass_of_one_that_was_replaced_is_left():
    class Inner(Peep):
        def forward(self, input, hx=None):
            return super().forward(input, hx)

    assert nn.acceleration_report(Inner(3, 4)).left == {"": f"its forward is its own, {__name__}.Peep"}


class Peep(torch.nn.GRU):
    def forward(self, input, hx=None):
        return torch.nn.GRU.forward(self, input, hx)


def test_the_names_that_torchs_forward_calls_are_those_that_are_looked_for():
    from unrolled.nn import counterparts

    called = set()
    for kind in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
        names = set(inspect.unwrap(kind.forward).__code__.co_names)
        for name in names | set(kind.check_forward_args.__code__.co_names):
            if callable(getattr(torch.nn.RNNBase, name, getattr(kind, name, None))):
                called.add(name)
    assert called - {"forward"} <= set(counterparts._CALLED)
