"""Layers under torch.compile(fullgraph=True) and torch.export: no graph break, and the same results."""

# T and B are the axes' names in the design
from __future__ import annotations

import copy
import itertools

import pytest
import torch
from nn_cases import KINDS, assert_same, flat, needs_kernels
from torch.nn.utils.rnn import pack_sequence

from unrolled import accelerate, nn
from unrolled.errors import ShapeError

pytestmark = needs_kernels

T, B, I, H = 6, 4, 3, 5  # noqa: E741
LENGTHS = torch.tensor([4, 6, 0, 3])
RESETS = torch.rand(T, B, generator=torch.Generator().manual_seed(0)) < 0.3
FULL = {"num_layers": 2, "bidirectional": True, "batch_first": True}
CALLS = {
    "plain": ({}, {}),
    "lengths": ({}, {"lengths": LENGTHS}),
    "list of lengths": ({}, {"lengths": LENGTHS.tolist()}),
    "resets": ({}, {"resets": RESETS}),
    "two layers, both ways": (
        {"num_layers": 2, "bidirectional": True},
        {"lengths": LENGTHS, "resets": RESETS},
    ),
    "batch first": (FULL, {"lengths": LENGTHS, "resets": RESETS.T}),
    "without bias": ({"bias": False}, {}),
}


def partly(quick, *axes):
    """Return every combination; a call that is compiled takes a second, so only `quick` is in the short run."""
    every = itertools.product(*axes)
    return [pytest.param(*each, marks=() if each in quick else pytest.mark.slow) for each in every]


# One cell plain, and every one in the way with the most in it.
CHECKED = partly({("LSTM", "plain"), *((kind, "batch first") for kind in KINDS)}, KINDS, CALLS)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def drawn(layer, steps=T, rows=B):
    shape = (rows, steps, I) if layer.batch_first else (steps, rows, I)
    generator = torch.Generator().manual_seed(2)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def layer_of(kind, **options):
    torch.manual_seed(0)
    return getattr(nn, kind)(I, H, dtype=torch.float64, **options)


@pytest.mark.parametrize(("kind", "name"), CHECKED)
def test_a_compiled_layer_gives_the_layers_results(kind, name):
    options, arguments = CALLS[name]
    layer = layer_of(kind, **options)
    x, compiled = drawn(layer), torch.compile(layer, fullgraph=True, backend="aot_eager")
    leaves = [x, *layer.parameters()]
    assert_same(compiled(x, **arguments), layer(x, **arguments), leaves, leaves)
    with torch.no_grad():
        torch.testing.assert_close(flat(compiled(x, **arguments)), flat(layer(x, **arguments)))


@pytest.mark.parametrize("kind", partly({("LSTM",)}, ["LSTM", "GRU"]))
def test_a_state_an_unbatched_input_and_a_trajectory_compile(kind):
    layer = layer_of(kind)
    x = drawn(layer).detach()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        _, state = layer(x)
    torch.testing.assert_close(flat(compiled(x, state)), flat(layer(x, state)))
    torch.testing.assert_close(flat(compiled(x[:, 0])), flat(layer(x[:, 0])))
    recorded = torch.compile(layer.trajectories, fullgraph=True, backend="aot_eager")(x)[2][0]
    torch.testing.assert_close(recorded, layer.trajectories(x)[2][0])


def test_a_packed_sequence_breaks_the_graph_and_gives_the_layers_results():
    layer = layer_of("LSTM")
    packed = pack_sequence([drawn(layer).detach()[:length, 0] for length in (6, 4, 1)])
    compiled = torch.compile(layer, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(flat(compiled(packed)), flat(layer(packed)))


def test_dropout_between_compiled_layers_drops():
    layer = layer_of("GRU", num_layers=2, dropout=0.5)
    x = drawn(layer).detach()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    layer.eval()
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])


def test_a_compiled_model_with_an_accelerated_layer_inside_does_not_break():
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(7, I)
            self.encoder = torch.nn.LSTM(I, H, batch_first=True, bidirectional=True)
            self.head = torch.nn.Linear(2 * H, 3)

        def forward(self, ids, lengths):
            return self.head(self.encoder(self.embed(ids), lengths=lengths)[0])

    model, ids = accelerate(Tagger()), torch.randint(0, 7, (B, T))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids, LENGTHS), model(ids, LENGTHS))
    gradients = [
        torch.autograd.grad(f(ids, LENGTHS).sum(), list(model.parameters())) for f in (compiled, model)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("kind", KINDS)
def test_an_inductor_compiled_layer_gives_the_layers_results(kind):
    layer = layer_of(kind, **FULL)
    x, compiled = drawn(layer), torch.compile(layer, fullgraph=True)
    leaves, arguments = [x, *layer.parameters()], {"lengths": LENGTHS, "resets": RESETS.T}
    assert_same(compiled(x, **arguments), layer(x, **arguments), leaves, leaves)


@pytest.mark.parametrize(
    ("kind", "strict"), partly({("RNN", False), ("LSTM", True), ("GRU", False)}, KINDS, [False, True])
)
def test_an_exported_layer_takes_any_number_of_steps_and_rows(kind, strict):
    layer = layer_of(kind, **FULL)
    steps, rows = torch.export.Dim("steps"), torch.export.Dim("rows")
    dims = {"input": {0: rows, 1: steps}, "lengths": {0: rows}}
    example = (drawn(layer).detach(),), {"lengths": LENGTHS}
    exported = torch.export.export(layer, *example, dynamic_shapes=dims, strict=strict)
    calls = [node.target for node in exported.graph.nodes if "unrolled" in str(node.target)]
    assert calls == [torch.ops.unrolled.layer.default] * 4
    run = exported.module()
    for t, b, lengths in ((T, B, LENGTHS), (9, 2, torch.tensor([9, 1]))):
        x = drawn(layer, t, b).detach()
        torch.testing.assert_close(flat(run(x, lengths=lengths)), flat(layer(x, lengths=lengths)))
    with pytest.raises(ShapeError, match=r"^lengths: expected 0 to 6, got 7$"):
        run(drawn(layer).detach(), lengths=LENGTHS + 1)


@pytest.mark.parametrize("kind", partly({("LSTM",)}, KINDS))
def test_a_layer_that_was_compiled_in_place_can_be_copied_and_run_eagerly(kind):
    layer = layer_of(kind)
    x = drawn(layer).detach()
    want = layer(x)[0]
    layer.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(layer(x)[0], want)
    torch.testing.assert_close(copy.deepcopy(layer)(x)[0], want)


ON_TORCH = {"RNN": {}, "LSTM": {"num_layers": 2, "bidirectional": True}, "GRU": {"bias": False}}


@pytest.mark.parametrize(
    ("kind", "ragged"), partly({("RNN", False), ("LSTM", True), ("GRU", True)}, ON_TORCH, [False, True])
)
def test_a_layer_on_torchs_kernels_compiles(kind, ragged):
    layer = layer_of(kind, backend="torch", **ON_TORCH[kind])
    x, arguments = drawn(layer), {}
    if ragged:
        resets = torch.zeros(x.shape[:2], dtype=torch.bool)
        resets[2, 0] = True
        arguments = {"lengths": torch.tensor([x.shape[0], *[1] * (x.shape[1] - 1)]), "resets": resets}
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    leaves = [x, *layer.parameters()]
    assert_same(compiled(x, **arguments), layer(x, **arguments), leaves, leaves)


@pytest.mark.parametrize(
    ("kind", "backend"),
    partly({("RNN", "auto"), ("LSTM", "auto"), ("GRU", "torch")}, KINDS, ["auto", "torch"]),
)
def test_a_layer_compiles_in_bfloat16_and_under_autocast(kind, backend):
    torch.manual_seed(0)
    x, layer = torch.randn(6, 3, I), getattr(nn, kind)(I, H, backend=backend)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, want = compiled(x), layer(x)
    assert got[0].dtype == torch.bfloat16
    torch.testing.assert_close(flat(got), flat(want))
    gradients = [torch.autograd.grad(each[0].float().sum(), layer.weight_hh_l0)[0] for each in (got, want)]
    torch.testing.assert_close(*gradients, rtol=2e-2, atol=2e-2)
    layer.to(torch.bfloat16)
    torch.testing.assert_close(flat(compiled(x.bfloat16())), flat(layer(x.bfloat16())))


def test_lengths_out_of_range_are_refused_by_a_compiled_layer_on_torchs_kernels():
    layer = layer_of("GRU", backend="torch")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.no_grad(), pytest.raises(ShapeError, match=r"^lengths: expected values from 0 to 6, got 7$"):
        compiled(drawn(layer), lengths=torch.tensor([7, 1, 1, 1]))


def test_the_op_of_torchs_kernels_keeps_the_rules_of_the_registry():
    layer = layer_of("LSTM", proj_size=2)
    states = [torch.randn(3, 2).double().requires_grad_(), torch.randn(3, H).double()]
    inner = (drawn(layer, rows=3), states, *layer.parameters(), torch.tensor([6, 0, 2]), None)
    given = ("lstm", "", True, *inner)
    torch.library.opcheck(torch.ops.unrolled.torch_layer.default, given)


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16}, {"proj_size": 2}])
def test_bfloat16_autocast_and_a_projection_compile_with_the_same_bits(options):
    layer, x = nn.LSTM(I, H, **options), torch.randn(T, B, I, dtype=options.get("dtype"))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        want, got = layer(x)[0], compiled(x)[0]
    assert torch.equal(got, want)
    gradients = [torch.autograd.grad(y.float().sum(), list(layer.parameters())) for y in (want, got)]
    assert all(map(torch.equal, *gradients))
