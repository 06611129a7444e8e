"""`isinstance(layer, torch.nn.LSTM)` and torch.compile(fullgraph=True), both at once; and who else asks for types."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from nn_cases import KINDS, assert_same, needs_kernels

from unrolled import nn


class Head(torch.nn.Module):
    """Asks for its layer's type where it runs, as many programs do."""

    def __init__(self, kind):
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(3, 4)

    def forward(self, x):
        y, state = self.rnn(x)
        state = state[0] if isinstance(self.rnn, torch.nn.LSTM) else state
        known = isinstance(self.rnn, (torch.nn.GRU, torch.nn.RNN))
        return y.sum() + (2 if known else 1) * state.sum()


class Scaled(torch.nn.GRU):
    def forward(self, input, hx=None):
        y, h_n = super().forward(2 * input, hx)
        return y, h_n


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_an_instance_of_torchs_and_of_no_other(kind):
    layer = getattr(nn, kind)(3, 4)
    for other in KINDS:
        assert isinstance(layer, getattr(torch.nn, other)) is (other == kind)
    assert issubclass(getattr(nn, kind), getattr(torch.nn, kind))
    assert not isinstance(getattr(torch.nn, kind)(3, 4), nn.Recurrent)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_asks_for_types_compiles_whole_and_gets_the_same_answers(kind):
    torch.manual_seed(0)
    model, x = nn.accelerate(Head(kind)), torch.randn(5, 2, 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


@needs_kernels
def test_a_taken_subclass_compiles_whole_too():
    torch.manual_seed(0)
    layer = nn.accelerate(Scaled(3, 4, dtype=torch.float64))
    x = torch.randn(5, 2, 3, dtype=torch.float64).requires_grad_()
    leaves = [x, *layer.parameters()]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_same(compiled(x), layer(x), leaves, leaves)


def test_torchs_own_layers_are_refused_by_the_compiler_as_ever():
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(Head("GRU"), fullgraph=True, backend="eager")(torch.randn(5, 2, 3))
    assert torch._dynamo.config.allow_rnn is False


@needs_kernels
@pytest.mark.parametrize("first", ["unrolled.nn", "torch._dynamo"])
def test_it_does_not_matter_who_imports_the_compiler_when(first):
    script = f"""
        import sys, {first}, torch, unrolled.nn

        layer, x = unrolled.nn.GRU(3, 4), torch.randn(5, 2, 3)
        got = torch.compile(layer, fullgraph=True, backend="eager")(x)
        torch.testing.assert_close(got, layer(x))
        assert not any("unrolled.nn" in type(each).__module__ for each in sys.meta_path)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.filterwarnings("ignore")  # torch.ao is on its way out, and says so
def test_quantize_dynamic_quantises_our_layers_as_it_does_torchs(kind):
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(getattr(torch.nn, kind)(3, 4), torch.nn.Linear(4, 2)).eval()
    ours = nn.accelerate(torch.nn.Sequential(getattr(torch.nn, kind)(3, 4), torch.nn.Linear(4, 2))).eval()
    ours.load_state_dict(theirs.state_dict())
    quantised = [
        torch.ao.quantization.quantize_dynamic(model, {getattr(torch.nn, kind)}) for model in (theirs, ours)
    ]
    assert type(quantised[0][0]) is type(quantised[1][0])
    assert type(quantised[1][0]).__module__.startswith("torch.ao.nn.quantized")
    assert type(ours[0]) is getattr(nn, kind)
    x = torch.randn(2, 3) if "Cell" in kind else torch.randn(5, 2, 3)
    got, want = (model[0](x) for model in reversed(quantised))
    torch.testing.assert_close(got, want)
    by_default = torch.ao.quantization.quantize_dynamic(ours)
    assert type(by_default[0]) is type(quantised[0][0])


def test_what_torch_leaves_in_floating_point_is_left():
    model = torch.nn.Sequential(nn.RNN(3, 4), nn.accelerate(Scaled(4, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM, torch.nn.GRU})
    assert [type(each) for each in left] == [nn.RNN, type(model[1])]


def test_starting_weights_by_isinstance_are_torchs():
    def initialise(module):  # as transformers' models do
        if isinstance(module, torch.nn.LSTM):
            for name, parameter in module.named_parameters():
                (torch.nn.init.xavier_uniform_ if "weight" in name else torch.nn.init.zeros_)(parameter)

    states = []
    for model in (torch.nn.Sequential(torch.nn.LSTM(3, 4)), torch.nn.Sequential(nn.LSTM(3, 4))):
        torch.manual_seed(0)
        states.append(model.apply(initialise).state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)
