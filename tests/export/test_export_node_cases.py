"""ONNX's own test cases of its recurrent operators, with their weights in our layers: all of them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from export_cases import layer

from unrolled import export, nn
from unrolled.export.sequences import interface_of
from unrolled.ops import ONNX_GATES

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}


def cases():
    """Yield name, model, and inputs with outputs of each case; importing their modules makes them."""
    from onnx.backend.test.case import node

    for kind in KINDS:
        importlib.import_module(f"onnx.backend.test.case.node.{kind.lower()}")
    for case in node._NodeTestCases:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in KINDS:
            yield case.name, case.model, case.data_sets[0]


def attributes_of(node):
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def cell_of(node, attributes):
    """Return our cell of a node: one of torch's, or the one with peepholes or the reset before the product."""
    if node.op_type == "LSTM" and len(node.input) > 7 and node.input[7]:
        return "peephole_lstm"
    if node.op_type == "GRU" and not attributes.get("linear_before_reset", 0):
        return "reset_before_gru"
    return KINDS[node.op_type]


def layer_of(node, given):
    """Return our layer with a node's weights; of a node that goes backwards they are those of the second direction."""
    attributes = attributes_of(node)
    hidden, way = given["R"].shape[2], attributes.get("direction", b"forward")
    cell = cell_of(node, attributes)
    made = nn.layer(cell, given["W"].shape[2], hidden, bidirectional=way != b"forward")
    order = np.argsort(ONNX_GATES[cell])
    width = len(order) * hidden
    bias = given.get("B", np.zeros((len(given["W"]), 2 * width), np.float32))
    parts = {
        "weight_ih": given["W"],
        "weight_hh": given["R"],
        "bias_ih": bias[:, :width],
        "bias_hh": bias[:, width:],
    }
    state = made.state_dict()
    for name, value in parts.items():
        for end, one in zip(("_reverse",) if way == b"reverse" else ("", "_reverse"), value, strict=False):
            blocks = np.split(one, len(order))
            state[f"{name}_l0{end}"] = torch.from_numpy(np.concatenate([blocks[gate] for gate in order]))
    if cell == "peephole_lstm":
        i, o, f = np.split(given["P"][0], 3)
        state["peephole_l0"] = torch.from_numpy(np.concatenate([i, f, o]))
    made.load_state_dict(state)
    return made


@pytest.mark.parametrize(("model", "data"), [pytest.param(*each, id=name) for name, *each in cases()])
def test_our_layers_pass_onnxs_own_cases(model, data):
    node, (inputs, outputs) = model.graph.node[0], data
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    there = [known for known, used in zip(names, node.input, strict=False) if used]
    given = dict(zip(there, map(np.asarray, inputs), strict=True))
    attributes = attributes_of(node)
    layout, way = attributes.get("layout", 0), attributes.get("direction", b"forward")
    x = torch.from_numpy(given["X"])
    x = x.transpose(0, 1) if layout else x
    lengths = None if "sequence_lens" not in given else torch.from_numpy(given["sequence_lens"]).long()
    with torch.no_grad():
        y, after = layer_of(node, given)(x, lengths=lengths)
    after = after if isinstance(after, tuple) else (after,)
    ours = dict(zip(("Y_h", "Y_c"), after, strict=False))  # [D, B, H]
    count = 1 if way == b"forward" else 2
    ours["Y"] = y.unflatten(-1, (count, -1)).transpose(1, 2)  # [T, D, B, H]
    if way == b"reverse":
        ours = {known: value[:, 1:] if known == "Y" else value[1:] for known, value in ours.items()}
    if layout:
        ours = {
            known: value.permute(2, 0, 1, 3) if known == "Y" else value.transpose(0, 1)
            for known, value in ours.items()
        }
    wanted = [known for known, used in zip(("Y", "Y_h", "Y_c"), node.output, strict=False) if used]
    assert len(wanted) == len(outputs)
    for known, value in zip(wanted, outputs, strict=True):
        np.testing.assert_allclose(ours[known].numpy(), value, atol=1e-5, err_msg=known)


def test_there_are_cases_of_every_operator_and_every_direction():
    names = [name for name, *_ in cases()]
    assert len(names) >= 18
    assert {kind for kind in KINDS for name in names if kind.lower() in name} == set(KINDS)
    found = {cell_of(model.graph.node[0], attributes_of(model.graph.node[0])) for _, model, _ in cases()}
    assert found == {"lstm", "peephole_lstm", "reset_before_gru", "rnn"}  # none applies the reset behind it


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_onnxs_reference_gives_what_ours_gives_of_the_file_that_is_written(cell, tmp_path):
    """Its GRU cases all apply the reset before the product; its reference knows both ways."""
    from onnx.reference import ReferenceEvaluator

    made = layer(cell, num_layers=1)
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    export.export(made, to="onnx", out=tmp_path / "m.onnx")
    ours = interface_of(export.subject_of(made))
    feeds = ours.example(np.random.default_rng(0), 6, 3)
    feeds["lengths"][:] = 6
    theirs = ReferenceEvaluator(str(tmp_path / "m.onnx")).run(None, feeds)
    for one, other in zip(theirs, ours.ours(feeds).values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
