"""Runs of other cells, with layer normalisation and zoneout: they resume, are measured, and stream or say why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import assert_equal_runs, resumed
from train_cases import stopped

from unrolled import DataConfig, kernels, probe, stream
from unrolled.cli.commands import _sampled
from unrolled.errors import BackendError, ConfigError
from unrolled.sample import sample
from unrolled.spec import CELLS, ModelConfig, TrainConfig
from unrolled.train import Observer, run

Make = Callable[..., TrainConfig]


class Notes(Observer):
    """What is said of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def test_a_run_with_zoneout_stopped_and_resumed_ends_at_the_same_bits(small: Make, tmp_path: Path):
    sizes = {"cell": "gru", "norm": "layer", "zoneout": 0.2, "steps": 12, "save_every": 5, "num_layers": 2}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    notes = Notes()
    found = run(whole, observers=[notes])
    assert found.config.cell == "layernorm_gru"
    assert found.config.dtype == "float32"
    assert any("no kernel computes the layernorm_gru with zoneout" in line for line in notes.lines)
    for at in (3, 7):
        assert stopped(replace(parts, resume=at > 3), at).exit_code == 130
    resumed(parts)
    assert_equal_runs(whole, parts)
    with pytest.raises(ConfigError, match=r"zoneout: expected 0\.2, as the run was started with, got 0\.1"):
        run(replace(whole, resume=True, zoneout=0.1), observers=[])
    finished = run(small(run=whole.run, resume=True, norm="layer", cell="gru"), observers=[], asked={"norm"})
    assert finished.config.zoneout == 0.2

    with pytest.raises(ConfigError, match=r"^cell: expected one that has a kernel .* got layernorm_gru$"):
        stream.load(tmp_path / "whole")
    loaded = _sampled(str(tmp_path / "whole"))
    assert len("".join(sample(loaded, length=5, seed=0))) >= 5
    measured = probe.examine(tmp_path / "whole")
    assert measured.gates is not None
    assert measured.gradient_flow is not None
    assert [(layer.cell, list(layer.gates)) for layer in measured.gates.layers] == [
        ("LAYERNORM_GRU", ["r", "z"])
    ] * 2


def test_dropout_with_one_mask_for_all_steps_is_resumed_and_streams(small: Make, tmp_path: Path):
    sizes = {"input_dropout": 0.2, "recurrent_dropout": 0.3, "steps": 8, "save_every": 3, "num_layers": 2}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    notes = Notes()
    network = run(whole, observers=[notes]).model
    assert (network.recurrent.input_dropout, network.recurrent.recurrent_dropout) == (0.2, 0.3)
    said = [line for line in notes.lines if "no kernel computes recurrent dropout" in line]
    assert len(said) == 1
    assert stopped(parts, 5).exit_code == 130
    resumed(parts)
    assert_equal_runs(whole, parts)
    plain = run(small(steps=8, num_layers=2, run=str(tmp_path / "plain")), observers=[]).model
    assert not torch.equal(plain.readout.weight, network.readout.weight)
    with pytest.raises(
        ConfigError, match=r"input_dropout: expected 0\.2, as the run was started with, got 0\.1"
    ):
        run(replace(whole, resume=True, input_dropout=0.1), observers=[])
    assert stream.load(tmp_path / "whole").tokens is not None  # nothing is dropped there


def test_a_run_of_an_older_version_has_no_such_dropout(small: Make, tmp_path: Path):
    run(small(steps=2, run=str(tmp_path / "run")), observers=[])
    loaded = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    names = [name for name in loaded["model"] if name in ("input_dropout", "recurrent_dropout")]
    assert len(names) == 2
    older = ModelConfig(**{name: value for name, value in loaded["model"].items() if name not in names})
    assert (older.input_dropout, older.recurrent_dropout) == (0.0, 0.0)


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_recurrent_dropout_on_a_backend_without_it_is_refused(small: Make, tmp_path: Path, backend: str):
    want = f"^backend: expected auto or reference beside recurrent dropout, .*, got {backend}$"
    with pytest.raises(BackendError, match=want):
        run(small(recurrent_dropout=0.1, backend=backend, run=str(tmp_path / "run")), observers=[])


def test_a_network_with_zoneout_does_not_stream(small: Make, tmp_path: Path):
    run(small(cell="rnn", zoneout=0.1, steps=2, run=str(tmp_path / "run")), observers=[])
    with pytest.raises(
        ConfigError, match=r"^zoneout: expected 0 in a network that runs step by step, got 0.1$"
    ):
        stream.load(tmp_path / "run")


@pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))
@pytest.mark.parametrize("settings", [{"cell": "coupled_lstm"}, {"cell": "indrnn", "nonlinearity": "relu"}])
def test_a_network_of_a_variant_with_kernels_streams_with_the_bits_of_the_batch(
    small: Make, tmp_path: Path, settings: dict[str, str]
):
    config = small(**settings, num_layers=2, dtype="float32", steps=6, run=str(tmp_path / "run"))
    model = run(config, observers=[]).model.eval()
    loaded = stream.load(tmp_path / "run")
    session = loaded.open()
    assert loaded.tokens is not None
    ids = torch.from_numpy(loaded.tokens.encode("a b c")).long()
    with torch.no_grad():
        y, _ = model.recurrent(model.embedding(ids[:, None]))
    for id, want in zip(ids.tolist(), y[:, 0], strict=True):
        session.step(id)
        assert torch.equal(torch.from_numpy(session.state["h"][-1]), want)


def test_norm_names_the_cell_and_a_cell_names_its_norm():
    data = DataConfig("sentences")
    for config in (TrainConfig(data, norm="layer"), TrainConfig(data, cell="layernorm_lstm")):
        assert (config.cell, config.norm) == ("layernorm_lstm", "layer")
        assert replace(config) == config
    assert TrainConfig(data, cell="layernorm_lstm_carried").norm == "none"
    with pytest.raises(ConfigError, match=r"^norm: expected none, or `cell` lstm or gru, got `cell` rnn$"):
        TrainConfig(data, cell="rnn", norm="layer")
    assert {cell.variant_of for cell in CELLS.values()} >= {"lstm", "gru", "rnn"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "native", "zoneout": 0.1}, "auto or reference beside zoneout, .*, got native"),
        (
            {"backend": "torch", "cell": "peephole_lstm"},
            "auto or reference beside the peephole_lstm, .*, got torch",
        ),
    ],
)
def test_a_backend_without_a_kernel_is_refused_before_anything_is_written(
    small: Make, tmp_path: Path, settings: dict[str, Any], message: str
):
    with pytest.raises(BackendError, match=f"^backend: expected {message}$"):
        run(small(**settings, run=str(tmp_path / "run")), observers=[])
    assert not (tmp_path / "run").exists()
