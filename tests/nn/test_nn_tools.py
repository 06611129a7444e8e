"""Models with our layers in other tools: TorchScript, ONNX, torch.fx, quantisation, opacus, FLOP counting."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from nn_cases import KINDS

from unrolled import nn, to_torch
from unrolled.errors import ConfigError

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::torch.jit.TracerWarning",
    "ignore:Exporting a model to ONNX:UserWarning",
)
OPTIONS = {"num_layers": 2, "bidirectional": True, "batch_first": True}


class Tagger(torch.nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = getattr(nn, kind)(3, 4, **options)
        self.head = torch.nn.Linear(8 if options.get("bidirectional") else 4, 2)

    def forward(self, x, hx=None):
        y, _ = self.rnn(x, hx)
        return self.head(y)


class Stepper(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell = getattr(nn, f"{kind}Cell")(3, 4)

    def forward(self, x):
        h = self.cell(x)
        return h[0] if isinstance(self.cell, nn.LSTMCell) else h


class Ragged(Tagger):
    def forward(self, x):
        return self.head(self.rnn(x, lengths=[5, 2])[0])


def x_of(steps=5, rows=2):
    return torch.randn(steps, rows, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_traced_and_the_trace_takes_other_sizes(kind, options):
    model = Tagger(kind, **options).eval()
    traced = torch.jit.trace(model, (x_of(),))
    for x in (x_of(), x_of(9, 4)):
        torch.testing.assert_close(traced(x), model(x))
    operators = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not any(each.startswith("unrolled") for each in operators)
    assert type(model.rnn) is getattr(nn, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_is_traced_and_is_a_leaf_to_torch_fx(kind):
    model, x = Stepper(kind), torch.randn(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(model, (x,))
    x = torch.randn(7, 3)
    torch.testing.assert_close(traced(x), model(x))
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))


@pytest.mark.filterwarnings("ignore")  # of the exporters, of each other
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_exported_to_onnx_and_gives_the_same_there(kind, dynamo):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    model, file = Tagger(kind).eval(), io.BytesIO()
    torch.onnx.export(model, (x_of(),), file, dynamo=dynamo, input_names=["x"])
    session = runtime.InferenceSession(file.getvalue())
    (got,) = session.run(None, {session.get_inputs()[0].name: x_of().numpy()})
    torch.testing.assert_close(torch.from_numpy(got), model(x_of()), rtol=1e-4, atol=1e-5)


def test_what_torch_cannot_trace_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^lengths: expected None while a model is traced .*, got list$"):
        torch.jit.trace(Ragged("GRU"), (x_of(),))
    with pytest.raises(
        ConfigError, match=r"^module: expected torch.nn.s layers \(unrolled.to_torch\(model\) first"
    ):
        torch.jit.script(Tagger("GRU"))
    torch.jit.script(to_torch(Tagger("GRU")))


@pytest.mark.parametrize("kind", KINDS)
def test_torch_fx_takes_a_layer_for_a_leaf(kind):
    for model in (Tagger(kind), Ragged(kind)):
        graph = torch.fx.symbolic_trace(model)
        calls = [node for node in graph.graph.nodes if node.op == "call_module"]
        assert [node.target for node in calls] == ["rnn", "head"]
        torch.testing.assert_close(graph(x_of()), model(x_of()))
    with pytest.raises(ConfigError, match=r"^module: expected a model that holds the layer, .* itself$"):
        torch.fx.symbolic_trace(model.rnn)


class Doubled(torch.nn.GRU):
    def forward(self, input, hx=None):
        return super().forward(2 * input, hx)


def test_torch_fx_does_not_record_a_subclass_twice():
    class Leaves(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, nn.Recurrent) or super().is_leaf_module(module, name)

    model = nn.accelerate(torch.nn.Sequential(Doubled(3, 4)))
    with pytest.raises(
        ConfigError, match=r"^module: expected one whose forward is unrolled.nn's, .* its own$"
    ):
        torch.fx.symbolic_trace(model)
    graph = torch.fx.GraphModule(model, Leaves().trace(model))
    torch.testing.assert_close(graph(x_of()), model(x_of()))


def test_quantisation_that_leaves_a_layer_in_floating_point_says_so():
    for model in (
        nn.accelerate(torch.nn.Sequential(torch.nn.LSTM(3, 4))),
        torch.nn.Sequential(nn.GRUCell(3, 4)),
    ):
        kind = type(model[0]).__name__
        with pytest.warns(
            UserWarning, match=rf"leaves {kind} of unrolled.nn in floating point.*unrolled.to_torch"
        ):
            model[0].qconfig = torch.ao.quantization.default_dynamic_qconfig
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")  # torch's, of itself
        left = torch.ao.quantization.quantize_dynamic(torch.nn.ModuleList([nn.GRU(3, 4)]), {torch.nn.Linear})
    assert type(left[0]) is nn.GRU


def test_opacus_is_refused_in_one_line_that_names_the_order_that_works():
    layer = nn.LSTM(3, 4)
    with pytest.raises(
        ConfigError, match=r"^module: expected opacus.*to_torch\(model\).*ModuleValidator.fix"
    ):
        layer.ft_compute_sample_grad = lambda *_: ()  # what opacus' GradSampleModule does to a layer


@pytest.mark.filterwarnings("ignore")
def test_opacus_itself_takes_the_order_that_is_named():
    opacus = pytest.importorskip("opacus", reason="opacus is not installed")
    with pytest.raises(ConfigError, match="ModuleValidator"):
        opacus.GradSampleModule(torch.nn.Sequential(nn.LSTM(3, 4)))
    model = torch.nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    fixed = opacus.validators.ModuleValidator.fix(to_torch(model))
    opacus.GradSampleModule(fixed)(torch.randn(2, 5, 3))[0].sum().backward()
    assert all(weight.grad_sample.shape[0] == 2 for weight in fixed.parameters())
