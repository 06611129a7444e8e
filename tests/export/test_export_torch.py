"""Plain torch, scripts and programs of torch.export, loaded where this package is not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from export_cases import CELLS, forecaster, language, layer, sequence, tagger

from unrolled import export, to_torch
from unrolled.errors import ConfigError
from unrolled.tasks import best_paths

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
NETWORKS = {
    "layers": lambda: layer("lstm", bidirectional=True),
    "a language model": lambda: language("gru", tied=True),
    "classes, pooled": lambda: sequence("gru", missing=True, neighbours=1),
    "classes, attention": lambda: sequence("lstm", pooling="attention"),
    "a number, last": lambda: sequence("rnn", classes=0, pooling="last", layers=2),
    "tags": lambda: tagger("lstm", columns=2),
    "a forecast": lambda: forecaster("gru", known=2, static=2, series=3),
    "a point forecast of instances": lambda: forecaster("lstm", distribution="point", normalise="instance"),
    "a normal forecast of instances": lambda: forecaster(
        "gru", distribution="gaussian", normalise="instance"
    ),
    "a forecast of counts": lambda: forecaster("rnn", distribution="negative-binomial", normalise="none"),
    "a forecast step by step": lambda: forecaster("gru", causal=True),
    "labels at each step of a text": lambda: sequence(
        "gru", pooling="step", several=True, text=True, causal=True
    ),
}
ELSEWHERE = """
import sys
sys.modules["unrolled"] = sys.modules["numpy"] = None  # an import of one fails
sys.path.insert(0, sys.argv[1])
import torch
from model import load
model = load()
x = torch.arange(24, dtype=torch.float32).reshape(4, 2, 3) / 24
outputs, *states = model(x, lengths=torch.tensor([4, 2]))
outputs, *states = model(x[:2], *states)
print(outputs.sum().item(), *(each.sum().item() for each in states))
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_that_torch_has_is_a_script_and_weights(name, tmp_path):
    found = export.export(NETWORKS[name](), to="torch", out=tmp_path / "m")
    assert found.passed
    assert found.check.count > 50
    assert {each.name for each in found.path.iterdir()} == {
        "model.py",
        "model.safetensors",
        "model.json",
        "export.json",
    }
    assert json.loads((found.path / "export.json").read_text())["check"] == found.check.to_dict()


def test_a_folder_loads_where_this_package_is_not(tmp_path):
    made = layer("lstm", bidirectional=True)
    export.export(made, to="torch", out=tmp_path / "m")
    words = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "m")]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    x = torch.arange(24, dtype=torch.float32).reshape(4, 2, 3) / 24
    with torch.no_grad():
        y, state = made(x[:2], made(x, lengths=[4, 2])[1])
    want = [y.sum().item(), *(each.sum().item() for each in state)]
    np.testing.assert_allclose(list(map(float, said.split())), want, rtol=1e-4)
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    stored = safetensors.load_file(tmp_path / "m" / "model.safetensors")
    torch.testing.assert_close(stored["recurrent.weight_hh_l1_reverse"], made.weight_hh_l1_reverse.detach())


def test_the_script_gives_the_answers_of_the_task(tmp_path):
    network = sequence("gru", several=True)
    export.export(network, to="torch", out=tmp_path / "m")
    from unrolled.export.plain import _loaded

    outputs = torch.randn(3, 4)
    got = _loaded(tmp_path / "m").answer(outputs)
    np.testing.assert_allclose(got, network.schema.answers(outputs.numpy()), atol=1e-6)


def test_a_taggers_script_finds_the_best_paths(tmp_path):
    from unrolled.export.plain import _loaded, _run
    from unrolled.export.sequences import interface_of

    network = tagger()
    export.export(network, to="torch", out=tmp_path / "m")
    interface, script = interface_of(export.subject_of(network)), _loaded(tmp_path / "m")
    feeds = interface.example(np.random.default_rng(0), 9, 5)
    with torch.no_grad():
        emissions, moves, *_ = map(torch.from_numpy, _run(script, interface, feeds))
    lengths = torch.from_numpy(feeds["lengths"])
    paths = script.best_paths(emissions, moves, lengths)
    want = best_paths(emissions, moves, lengths)
    assert paths == [want[:length, row].tolist() for row, length in enumerate(lengths.tolist())]
    assert script.about["tags"] == list(network.schema.inside)


def test_what_torch_does_not_have_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^network: expected a cell that torch.nn has: .* got peephole_lstm"
    ):
        export.export(layer("peephole_lstm"), to="torch", out=tmp_path / "m")
    with pytest.raises(ConfigError, match=r"^weights: expected float32 with `to` torch, got int8"):
        export.export(layer(), to="torch", out=tmp_path / "m", weights="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cell", CELLS)
def test_to_torch_leaves_plain_modules_with_the_same_state_dict(cell):
    from unrolled import nn

    model = torch.nn.ModuleDict({"rnn": layer(cell, bidirectional=True)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 2, 3)
    want = model["rnn"](x)[0]
    plain = to_torch(model)["rnn"]
    assert type(plain) is getattr(torch.nn, cell.upper())
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        n: v.tolist() for n, v in before.items()
    }
    torch.testing.assert_close(plain(x)[0], want, atol=1e-5, rtol=1e-5)
    assert isinstance(plain, torch.nn.RNNBase)
    assert not isinstance(plain, nn.Recurrent)


PROGRAM = """
import sys
sys.modules["unrolled"] = None  # an import of it fails
import torch
program = torch.export.load(sys.argv[1]).module()
y, h = program(torch.arange(30, dtype=torch.float32).reshape(5, 2, 3) / 30)
print(y.double().sum().item())
"""


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_program_of_torch_export_made_from_to_torch_loads_where_this_package_is_not(cell, tmp_path):
    ours = layer(cell, num_layers=2)
    x = torch.arange(30, dtype=torch.float32).reshape(5, 2, 3) / 30
    want = float(ours(x)[0].double().sum())
    plain = to_torch(ours)
    torch.export.save(torch.export.export(plain, (x,)), tmp_path / "program.pt2")
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "program.pt2")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert float(said.stdout) == pytest.approx(want, rel=1e-5)
