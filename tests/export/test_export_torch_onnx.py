"""torch's own ONNX exporters on models that hold our layers: nothing to pass, nothing to know."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from export_cases import CELLS, layer

from unrolled import nn, ops
from unrolled.errors import ConfigError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
OPTIONS = {
    "plain": {},
    "all": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "no bias": {"bias": False},
}


class Reader(torch.nn.Module):
    """A user's model: rows of unequal length, a state that is carried, a head."""

    def __init__(self, cell, **options):
        super().__init__()
        options = {"num_layers": 1, **options}
        self.rnn = layer(cell, **options)
        self.head = torch.nn.Linear(10 if options.get("bidirectional") else 5, 2)

    def forward(self, x, lengths, *state):
        y, after = self.rnn(x, state if len(state) > 1 else state[0], lengths=lengths)
        return (self.head(y), *(after if isinstance(after, tuple) else (after,)))


class Plain(torch.nn.Module):
    def __init__(self, cell, **options):
        super().__init__()
        self.rnn = layer(cell, num_layers=1, **options)

    def forward(self, x):
        return self.rnn(x)[0]


class Direct(torch.nn.Module):
    """The op itself, without a layer."""

    def __init__(self):
        super().__init__()
        self.rnn = layer("gru", num_layers=1)

    def forward(self, x, h):
        rnn = self.rnn
        return ops.gru(x, h, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)


def inputs_of(model, steps, rows, *, seed=0):
    draw = torch.Generator().manual_seed(seed)
    rnn = model.rnn
    shape = (rows, steps, 3) if rnn.batch_first else (steps, rows, 3)
    count = rnn.num_layers * (2 if rnn.bidirectional else 1)
    states = [torch.randn(count, rows, 5, generator=draw) for _ in rnn.cell.states]
    lengths = torch.randint(0, steps + 1, (rows,), generator=draw)
    return (torch.randn(shape, generator=draw), lengths, *states)


def exported(model, inputs, *, dynamo, **options):
    """Export with free sizes; return the file's bytes."""
    file = io.BytesIO()
    names = [f"in{place}" for place in range(len(inputs))]
    where = {3: (0, 1), 1: (0,)}
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
        dims = [torch.export.Dim.DYNAMIC] * 2
        free = tuple(dict(zip(where[each.dim()], dims, strict=False)) for each in inputs)
        for each in free[2:]:  # states: layers, rows
            each.pop(0, None)
            each[1] = torch.export.Dim.DYNAMIC
        if len(inputs) > 1 and isinstance(model, Reader):
            options["dynamic_shapes"] = (*free[:2], free[2:])
        else:
            options["dynamic_shapes"] = free
        made = torch.onnx.export(model, inputs, dynamo=True, input_names=names, verbose=False, **options)
        return made.model_proto.SerializeToString()
    axes = {
        name: {0: f"{name}a", 1: f"{name}b"} if each.dim() > 1 else {0: f"{name}a"}
        for name, each in zip(names, inputs, strict=True)
    }
    torch.onnx.export(model, inputs, file, dynamo=False, input_names=names, dynamic_axes=axes, **options)
    return file.getvalue()


def assert_same(raw, model, inputs):
    session = runtime.InferenceSession(raw)
    feeds = {one.name: value.numpy() for one, value in zip(session.get_inputs(), inputs, strict=True)}
    found = session.run(None, feeds)
    with torch.no_grad():
        want = model(*inputs)
    want = want if isinstance(want, tuple) else (want,)
    for theirs, ours in zip(found, want, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-5)


def nodes_of(raw):
    return [node.op_type for node in onnx.load_from_string(raw).graph.node]


EVERY = [pytest.param(cell, name, dynamo, id=f"{cell} {name} {'dynamo' if dynamo else 'traced'}",
                      marks=[pytest.mark.slow] if dynamo else [])
         for cell in (*CELLS, "peephole_lstm", "reset_before_gru") for name in OPTIONS for dynamo in (False, True)]  # fmt: skip


@pytest.mark.parametrize(("cell", "name", "dynamo"), EVERY)
def test_sizes_lengths_and_states_stay_free_in_both_exporters(cell, name, dynamo):
    model = Reader(cell, **OPTIONS[name]).eval()
    raw = exported(model, inputs_of(model, 5, 3), dynamo=dynamo)
    assert cell.rpartition("_")[2].upper() in nodes_of(raw)
    for steps, rows in ((5, 3), (9, 2), (2, 6)):
        assert_same(raw, model, inputs_of(model, steps, rows, seed=steps))


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_model_without_lengths_or_state_takes_other_sizes(cell, dynamo):
    model = Plain(cell).eval()
    raw = exported(model, inputs_of(model, 5, 3)[:1], dynamo=dynamo)
    for steps, rows in ((5, 3), (11, 2)):
        assert_same(raw, model, inputs_of(model, steps, rows)[:1])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of sizes that are compared
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_op_itself_is_exported_too(dynamo):
    model = Direct().eval()
    given = inputs_of(model, 5, 3)
    raw = exported(model, (given[0], given[2][0]), dynamo=False) if not dynamo else None
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
        raw = torch.onnx.export(
            model, (given[0], given[2][0]), dynamo=True, verbose=False
        ).model_proto.SerializeToString()
    assert_same(raw, model, (given[0], given[2][0]))


@pytest.mark.parametrize("cell", CELLS)
def test_a_packed_sequence_is_exported_by_the_exporter_that_traces(cell):
    class Packed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = layer(cell, num_layers=1)

        def forward(self, x, lengths):
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=True)
            return torch.nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])[0]

    model, x, lengths = Packed().eval(), torch.randn(5, 3, 3), torch.tensor([5, 3, 1])
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter
        raw = exported(model, (x, lengths), dynamo=False)
    assert_same(raw, model, (x, lengths))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_exported_by_the_exporter_that_traces(cell):
    model = torch.nn.Sequential(
        {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[cell](3, 5)
    ).eval()
    file = io.BytesIO()
    torch.onnx.export(model, (torch.randn(2, 3),), file, dynamo=False)
    session = runtime.InferenceSession(file.getvalue())
    x = torch.randn(2, 3)
    want = model(x)
    want = want if isinstance(want, tuple) else (want,)
    for theirs, ours in zip(session.run(None, {session.get_inputs()[0].name: x.numpy()}), want, strict=True):
        np.testing.assert_allclose(theirs, ours.detach(), atol=1e-5)


def test_what_onnx_does_not_have_is_refused_in_one_line():
    class Reset(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = layer("lstm", num_layers=1)

        def forward(self, x, resets):
            return self.rnn(x, resets=resets)[0]

    x = torch.randn(5, 2, 3)
    with pytest.raises(
        ConfigError, match=r"^resets: expected none while a model is exported to ONNX, whose LSTM has none"
    ):
        exported(Reset().eval(), (x, torch.zeros(5, 2, dtype=torch.bool)), dynamo=False)
    with pytest.raises(ConfigError, match=r"^proj_size: expected none while a model is exported to ONNX"):
        exported(Plain("lstm", proj_size=2).eval(), (x,), dynamo=False)
