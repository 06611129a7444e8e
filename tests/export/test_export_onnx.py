"""ONNX files: each says in ONNX Runtime what our network says, whatever the sizes; silent errors of peers."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from export_cases import CELLS, forecaster, language, layer, sequence, tagger

from unrolled import export, nn
from unrolled.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from unrolled.export import OnnxModel
from unrolled.export.sequences import interface_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

NETWORKS = {
    "a language model": lambda: language("lstm"),
    "a tied language model": lambda: language("gru", tied=True, layers=1),
    "classes, pooled": lambda: sequence("gru"),
    "classes, attention": lambda: sequence("lstm", pooling="attention"),
    "classes, last, neighbours": lambda: sequence("rnn", pooling="last", neighbours=2, layers=2),
    "classes of texts": lambda: sequence("gru", text=True, neighbours=1),
    "several labels at each step": lambda: sequence("gru", pooling="step", several=True),
    "missing values": lambda: sequence("gru", missing=True),
    "missing values, uneven times": lambda: sequence("lstm", missing=True, uneven=True),
    "a number": lambda: sequence("gru", classes=0),
    "two numbers, causal": lambda: sequence("gru", classes=0, numbers=("p", "q"), causal=True, neighbours=1),
    "peepholes": lambda: language("peephole_lstm"),
    "a reset before the product": lambda: sequence("reset_before_gru", layers=2),
    "tags": lambda: tagger("lstm"),
    "tags, further columns": lambda: tagger("gru", columns=2),
    "a forecast": lambda: forecaster("gru", known=2, static=2, series=3),
    "a point forecast of instances": lambda: forecaster("lstm", distribution="point", normalise="instance"),
    "a normal forecast of instances": lambda: forecaster(
        "gru", distribution="gaussian", normalise="instance"
    ),
    "a forecast of counts": lambda: forecaster("rnn", distribution="negative-binomial", normalise="none"),
    "a forecast step by step": lambda: forecaster("gru", causal=True, known=1),
}
STEPPED = {
    "a language model": lambda: language("lstm"),
    "a tied language model": lambda: language("gru", tied=True),
    "classes, pooled": lambda: sequence("gru", causal=True),
    "classes, last": lambda: sequence("rnn", causal=True, pooling="last", neighbours=2),
    "labels at each step of a text": lambda: sequence(
        "lstm", causal=True, pooling="step", several=True, text=True
    ),
    "missing values, uneven times": lambda: sequence(
        "gru", causal=True, missing=True, uneven=True, neighbours=1
    ),
    "a number": lambda: sequence("gru", classes=0, causal=True, missing=True),
    "a forecast": lambda: forecaster("lstm", causal=True),
    "peepholes": lambda: layer("peephole_lstm"),
    "a reset before the product": lambda: layer("reset_before_gru", bias=False),
    "a classifier with peepholes": lambda: sequence("peephole_lstm", causal=True),
    "a language model, a reset before the product": lambda: language("reset_before_gru"),
    "zoneout": lambda: layer("lstm", zoneout=(0.3, 0.0), proj_size=2),
    "a forecast, zoneout": lambda: forecaster("gru", causal=True, zoneout=0.2),
    "a projection": lambda: layer("lstm", proj_size=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_task_is_exported_whole_and_says_the_same(name, tmp_path):
    found = export.export(NETWORKS[name](), to="onnx", out=tmp_path / "m.onnx")
    assert found.passed
    assert found.check.count > 20
    stored = OnnxModel(tmp_path / "m.onnx").metadata
    assert stored["check"] == found.check.to_dict()
    assert stored["fingerprint"] == found.fingerprint


@pytest.mark.parametrize("name", STEPPED)
def test_every_task_that_reads_one_way_is_exported_as_one_step_of_plain_operators(name, tmp_path):
    found = export.export(STEPPED[name](), to="onnx-step", out=tmp_path / "m.onnx")
    assert found.passed
    operators = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert not operators & {"LSTM", "GRU", "RNN", "Loop", "Scan"}


@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True}, {"bias": False}], ids=["", "both ways", "no bias"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_layers_keep_their_laws_in_onnx(cell, options, tmp_path):
    """Lengths that the file was not written with, none of them, other batches, a carried state, padding."""
    made = layer(cell, **options)
    export.export(made, to="onnx", out=tmp_path / "m.onnx")
    model, ours, draw = (
        OnnxModel(tmp_path / "m.onnx"),
        interface_of(export.subject_of(made)),
        np.random.default_rng(3),
    )
    for steps, rows in ((1, 1), (5, 2), (33, 7)):
        feeds = ours.example(draw, steps, rows)
        feeds["lengths"] = draw.integers(0, steps + 1, rows)  # zero is legal: the state stays
        theirs, want = model.run(**feeds), ours.ours(feeds)
        for output in want:
            np.testing.assert_allclose(theirs[output], want[output], atol=2e-5)
        past = np.arange(steps)[:, None] >= feeds["lengths"]
        assert not theirs["y"][past].any()
        changed = feeds | {"x": np.where(past[..., None], np.float32(1e3), feeds["x"])}
        for output, value in model.run(**changed).items():
            np.testing.assert_array_equal(value, theirs[output])  # padding changes nothing
        alone = model.run(**{name: _row(name, value, rows - 1) for name, value in feeds.items()})
        np.testing.assert_allclose(alone["h_n"][:, 0], theirs["h_n"][:, -1], atol=1e-6)
    if not options.get("bidirectional"):
        x = draw.normal(size=(12, 2, 3)).astype(np.float32)
        whole, first = model.run(x=x), model.run(x=x[:5])
        carried = {name.replace("_n", "_0"): value for name, value in first.items() if name != "y"}
        second = model.run(x=x[5:], **carried)
        np.testing.assert_allclose(np.concatenate([first["y"], second["y"]]), whole["y"], atol=1e-6)


def _row(name, value, row):
    return value[row : row + 1] if name == "lengths" else value[:, row : row + 1]


def test_what_is_quantised_is_the_network_of_the_runtime_and_a_quarter_of_the_size(tmp_path):
    model = sequence("gru", causal=True, pooling="last")
    for to in ("onnx", "onnx-step"):
        small = export.export(model, to=to, out=tmp_path / f"{to}.onnx", weights="int8")
        assert small.passed
        kinds = {each.data_type for each in onnx.load(small.path).graph.initializer}
        assert onnx.TensorProto.INT8 in kinds
    wide = nn.LSTM(64, 128)
    sizes = [
        export.export(wide, to="onnx", out=tmp_path / f"w{weights}.onnx", weights=weights).nbytes
        for weights in ("float32", "int8")
    ]
    assert sizes[1] < 0.3 * sizes[0]


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_other_versions_of_onnx_are_written_on_demand(opset, tmp_path):
    for number, made in enumerate((sequence("gru"), tagger(), forecaster(normalise="instance"))):
        found = export.export(made, to="onnx", out=tmp_path / f"{number}.onnx", opset=opset)
        assert found.passed
        assert onnx.load(found.path).opset_import[0].version == opset


def test_layers_of_torch_are_exported_as_ours_are(tmp_path):
    torch.manual_seed(0)
    theirs = torch.nn.GRU(3, 4, batch_first=True)
    assert export.export(theirs, to="onnx", out=tmp_path / "m.onnx").passed
    x = torch.randn(5, 2, 3)
    got = OnnxModel(tmp_path / "m.onnx").run(x=x.numpy())
    y, h_n = theirs(x.transpose(0, 1))
    np.testing.assert_allclose(got["y"], y.transpose(0, 1).detach(), atol=1e-5)
    np.testing.assert_allclose(got["h_n"], h_n.detach(), atol=1e-5)
    assert type(theirs) is torch.nn.GRU
    assert theirs.batch_first


@pytest.mark.parametrize("count", [0, 2])
def test_a_tagger_in_onnx_gives_the_tags_that_ours_gives(count, tmp_path):
    model = tagger(columns=count)
    export.export(model, to="onnx", out=tmp_path / "m.onnx")
    sentences = [["Fay", "sings"], ["Ben", "and", "Fay", "sing", "1976"], ["O"]]
    from unrolled.data import Sentences

    names = model.schema.features
    columns = {name: [["pqz"[(n + len(word)) % 3] for word in each] for each in sentences]
               for n, name in enumerate(names)}  # fmt: skip
    told = Sentences(sentences, names, tuple(columns.values()), None, ("0", "1", "2"), None, "", "")
    want = model.schema.outside(model.answers(model.schema.encode(told)).paths)
    there = OnnxModel(tmp_path / "m.onnx")
    assert there.tag(sentences, dict(reversed(columns.items()))) == want
    for wrong in ({}, {"other": sentences}) if names else ({"other": sentences},):
        with pytest.raises(DataError, match=r"^columns: expected"):
            there.tag(sentences, wrong)
    for name in names:
        with pytest.raises(DataError, match=r"^columns\['column \d'\]: expected a value for each word"):
            there.tag(sentences, columns | {name: columns[name][:-1]})


def test_the_file_says_what_reads_raw_values_and_what_its_outputs_mean(tmp_path):
    model = sequence("gru", missing=True)
    export.export(model, to="onnx", out=tmp_path / "m.onnx")
    found = OnnxModel(tmp_path / "m.onnx")
    assert found.metadata["schema"] == json.loads(json.dumps(model.schema.to_json()))
    assert found.classes == model.schema.classes
    assert found.inputs == {"x": ("T", "B", 3), "lengths": ("B",), "h_0": (2, "B", 5)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pooling", ["mean+max", "last", "attention", "step"])
def test_what_training_never_had_makes_an_answer_nan_and_no_other_number(value, pooling, tmp_path):
    """A value that is missing in a channel without a mask, or infinite: ONNX Runtime's operators would hide it."""
    network = sequence("gru", pooling=pooling, missing=True)  # of a, b and c, a is never missing
    export.export(network, to="onnx", out=tmp_path / "m.onnx")
    model, draw = OnnxModel(tmp_path / "m.onnx"), np.random.default_rng(0)
    x = draw.normal(3, 5, (6, 3, 3)).astype(np.float32)
    lengths = np.array([6, 3, 6])
    x[2, 2, 1] = np.nan  # training had such
    x[4, 1, 0] = value  # past the end
    want = model.run(x=x, lengths=lengths)
    assert all(np.isfinite(each).all() for each in want.values())
    x[2, 0, 0] = value
    for name, found in model.run(x=x, lengths=lengths).items():
        rows = 1 if found.ndim == 3 else 0
        np.testing.assert_array_equal(np.take(found, [1, 2], rows), np.take(want[name], [1, 2], rows))
        assert np.isnan(np.take(found, [0], rows)).all()


@pytest.mark.parametrize("to", ["onnx", "onnx-step"])
def test_what_training_never_had_counts_as_twenty_deviations_however_far_it_is(to, tmp_path):
    export.export(sequence("gru", causal=True, pooling="last"), to=to, out=tmp_path / "m.onnx")
    model = OnnxModel(tmp_path / "m.onnx")
    shape = (1, 1, 3) if to == "onnx" else (1, 3)
    near, far = (model.run(x=np.full(shape, value))["probabilities"] for value in (1e4, 1e8))
    np.testing.assert_array_equal(near, far)


def test_a_step_that_training_never_had_spoils_the_stream_from_there_on(tmp_path):
    network = sequence("lstm", causal=True, pooling="step", missing=True, layers=2)
    export.export(network, to="onnx-step", out=tmp_path / "m.onnx")
    model = OnnxModel(tmp_path / "m.onnx")
    state: dict[str, np.ndarray] = {}
    for step, first in enumerate([1.0, np.nan, 1.0, 1.0]):
        found = model.run(x=[[first, np.nan, 2.0], [1.0, 2.0, 3.0]], **state)
        state = {name.removesuffix("_next"): value for name, value in found.items() if name.endswith("_next")}
        assert np.isnan(found["probabilities"][0]).all() == (step > 0)
        assert np.isfinite(found["probabilities"][1]).all()


def test_whoever_asks_for_what_cannot_be_is_told_in_one_line_and_nothing_is_written(tmp_path):
    out, broken = tmp_path / "m.onnx", layer("gru")
    with torch.no_grad():
        broken.weight_hh_l1[0, 0] = torch.nan
    cases = [
        (
            layer("lstm", proj_size=2),
            {},
            ConfigError,
            r"network: expected layers without a projection, .* got proj_size 2",
        ),
        (
            layer(bidirectional=True),
            {"to": "onnx-step"},
            ConfigError,
            r"network: expected one that reads one way, got layers",
        ),
        (
            tagger(),
            {"to": "onnx-step"},
            ConfigError,
            r"network: expected one that reads one way, got one of the task tag",
        ),
        (
            sequence(),
            {"to": "onnx-step"},
            ConfigError,
            r"network: expected one that reads one way, .*--causal",
        ),
        (
            layer(),
            {"opset": 9},
            ConfigError,
            r"opset: expected 13, the first one that has .*, to \d+, .* got 9",
        ),
        (
            layer(),
            {"weights": "bfloat16"},
            ConfigError,
            r"weights: expected one of float32, int8, got 'bfloat16'",
        ),
        (layer(), {"to": "coreml"}, ConfigError, r"to: expected one of onnx, onnx-step, "),
        (layer(), {"out": tmp_path}, ConfigError, r"out: expected a place where nothing is yet"),
        (
            layer(),
            {"out": tmp_path / "a" / "b"},
            ConfigError,
            r"out: expected a file in a directory that exists",
        ),
        (torch.nn.Linear(2, 2), {}, ConfigError, r"source: expected a run, .* got Linear"),
        (
            nn.GRU(3, 5, zoneout=0.1),
            {},
            ConfigError,
            r"network: expected layers without zoneout, which a step of onnx-step alone can hold, got zoneout 0.1",
        ),
        (
            nn.GRU(3, 5, reverse=True),
            {},
            ConfigError,
            r"network: expected layers that do what torch.nn's do, got other ones: it runs in reverse",
        ),
        (layer(), {"out": ""}, ConfigError, r"out: expected a path, got an empty text"),
        (broken, {}, NonFiniteError, r"weight_hh_l1: expected finite weights, got NaN or infinity"),
    ]
    for source, given, kind, words in cases:
        with pytest.raises(kind, match=f"^{words}"):
            export.export(source, **({"to": "onnx", "out": out} | given))
        assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_is_replaced_only_when_asked_and_kept_where_a_check_fails(tmp_path, monkeypatch):
    out = tmp_path / "m.onnx"
    export.export(layer(), to="onnx", out=out)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=r"^out: expected a place where nothing is yet, or `overwrite`"):
        export.export(layer(seed=1), to="onnx", out=out)
    monkeypatch.setattr(
        "unrolled.export.onnx.layers.ONNX_GATES", {"lstm": (0, 1, 2, 3)}
    )  # a wrong order of gates
    with pytest.raises(
        NonFiniteError, match=r"^export: expected the numbers of ours .* got DIFFERENT: the largest"
    ):
        export.export(layer(seed=1), to="onnx", out=out, overwrite=True)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]
    monkeypatch.undo()
    export.export(layer(seed=1), to="onnx", out=out, overwrite=True)
    assert out.read_bytes() != before


@pytest.mark.parametrize("name", ["x", "lengths", "h_0"])
def test_the_runner_says_which_input_does_not_fit(name, tmp_path):
    from unrolled.errors import ShapeError

    export.export(layer(), to="onnx", out=tmp_path / "m.onnx")
    model, good = OnnxModel(tmp_path / "m.onnx"), {"x": np.zeros((4, 2, 3), np.float32)}
    wrong = {"x": np.zeros((4, 3)), "lengths": np.zeros(3), "h_0": np.zeros((2, 3, 5))}[name]
    with pytest.raises(ShapeError, match=f"^{name}: expected"):
        model.run(**(good | {name: wrong}))


def test_the_check_never_passes_what_it_has_not_compared():
    of, one = export.Check.of, np.ones(3)
    assert not of("", [], 1.0).passed
    assert of("", [(one, one)], 0.0).passed
    assert of("", [(one * np.inf, one * np.inf)], 0.0).passed  # a barred transition
    bad = (one * np.nan, one[:2], one * np.inf, one + 1e-3)
    for theirs, ours in itertools.product(bad, [one]):
        assert not of("", [(theirs, ours), (one, one)], 1e-4).passed


@pytest.mark.parametrize("held", [None, b"", b"no protobuf", "foreign"])
def test_a_file_that_is_no_export_is_refused_by_our_own_error(held, tmp_path):
    path = tmp_path / "m\n.onnx"
    if held == "foreign":
        value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT32, [1])
        out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [1])
        node = onnx.helper.make_node("Identity", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "g", [value], [out])
        opsets = [onnx.helper.make_opsetid("", 17)]
        made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.helper.set_model_props(made, {"fingerprint": "no JSON"})
        held = made.SerializeToString()
    if held is not None:
        path.write_bytes(held)
    with pytest.raises(CheckpointError, match="expected a file that unrolled has exported, got") as found:
        OnnxModel(path)
    assert "\n" not in str(found.value)
