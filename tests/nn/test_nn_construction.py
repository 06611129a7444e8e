"""`accelerated()` and `accelerate` of a class: what is built inside is ours from the start."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch

from unrolled import nn, to_torch


class Own(torch.nn.GRU):
    def forward(self, input, hx=None):
        return input, hx


class Model(torch.nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        self.rnn = torch.nn.LSTM(3, hidden, 2)
        self.cell = torch.nn.GRUCell(3, hidden)
        self.relu = torch.nn.RNN(3, hidden, nonlinearity="relu")


def kinds(model):
    return [type(each) for each in (model.rnn, model.cell, model.relu)]


OURS = [nn.LSTM, nn.GRUCell, nn.RNN]
THEIRS = [torch.nn.LSTM, torch.nn.GRUCell, torch.nn.RNN]


def test_what_is_built_inside_is_ours_with_torchs_starting_weights():
    torch.manual_seed(0)
    theirs = Model()
    torch.manual_seed(0)
    with nn.accelerated():
        ours = Model()
        with nn.accelerated():
            layer = torch.nn.GRU(3, 4)
        later = torch.nn.GRU(3, 4)
    assert kinds(ours) == OURS
    assert [type(layer), type(later)] == [nn.GRU, nn.GRU]
    assert ours.relu.mode == "RNN_RELU"
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert kinds(Model()) == THEIRS
    assert kinds(to_torch(ours)) == THEIRS
    torch.testing.assert_close(ours.rnn(torch.ones(5, 2, 3)), theirs.rnn(torch.ones(5, 2, 3)))


def test_other_threads_build_what_they_built():
    built = []
    with nn.accelerated():
        thread = threading.Thread(target=lambda: built.append(torch.nn.GRU(3, 4)))
        thread.start()
        thread.join()
        entered, left = threading.Event(), threading.Event()

        def other():
            with nn.accelerated():
                entered.set()
                left.wait(60)
                built.append(torch.nn.GRU(3, 4))

        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(60)
    left.set()
    thread.join()
    assert [type(each) for each in built] == [torch.nn.GRU, nn.GRU]
    assert not torch.nn.modules.module._global_parameter_registration_hooks


def test_an_error_inside_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError), nn.accelerated():
        1 / 0  # noqa: B018
    assert type(torch.nn.GRU(3, 4)) is torch.nn.GRU
    assert not torch.nn.modules.module._global_parameter_registration_hooks


def test_what_is_left_inside_is_named_once_for_each_class():
    with warnings.catch_warnings(record=True) as caught, nn.accelerated():
        warnings.simplefilter("always")
        layers = [Own(3, 4), Own(3, 4), torch.nn.RNNBase("GRU", 3, 4)]
    assert [type(each) for each in layers] == [Own, Own, torch.nn.RNNBase]
    assert [str(each.message) for each in caught] == [
        f"accelerated() left a recurrent layer: its forward is its own, {__name__}.Own",
        "accelerated() left a recurrent layer: unrolled.nn has none like it, torch.nn.modules.rnn.RNNBase",
    ]


def test_a_class_given_to_accelerate_builds_accelerated_models_until_it_is_given_back():
    @nn.accelerate
    class Late(Model):
        def __init__(self, hidden=5, *, note=""):
            super().__init__(hidden)
            self.note = note

    class Inherits(Model):
        pass

    assert nn.accelerate(Late) is Late
    late = Late(6, note="kept")
    assert (kinds(late), late.rnn.hidden_size, late.note) == (OURS, 6, "kept")
    nn.accelerate(Inherits)
    assert kinds(Inherits()) == OURS
    assert kinds(Model()) == THEIRS
    assert to_torch(Late) is Late
    to_torch(Inherits)
    assert kinds(Late()) == kinds(Inherits()) == THEIRS
    assert "__init__" not in vars(Inherits)
    to_torch(Model)  # never accelerated: nothing happens
    assert kinds(Model()) == THEIRS


def test_a_state_dict_crosses_both_ways():
    with nn.accelerated():
        ours = Model()
    theirs = Model()
    x = torch.randn(5, 2, 3)
    for source, target in ((ours, theirs), (Model(), ours)):
        target.load_state_dict(source.state_dict())
        torch.testing.assert_close(target.rnn(x), source.rnn(x))
