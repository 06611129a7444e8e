"""Model directories from strangers: one typed line, soon, in little memory; or a model that runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoint_mutations as mutations
import numpy as np
import pytest
from checkpoint_runs import write_run

from unrolled import checkpoint, kernels, stream
from unrolled.errors import CheckpointError, ConfigError, RunError
from unrolled.spec import from_json, kind_of_stored
from unrolled.stream.weights import convert

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

READER = Path(__file__).with_name("stream_reader.py")
ALLOWANCE = 256 * 2**20  # bytes beside what the process starts with; the files are some kilobytes


def quantised(run: Path, weights: str, known: bool) -> Path:
    """Store a run's model/ in another type of weights, with what its states were like in training."""
    contents = checkpoint.read(run / "model")
    kind = kind_of_stored(contents.config)
    matrices = kind.steps(from_json(kind.model, contents.config["model"], where="model")).matrices(
        contents.model
    )
    found: dict[str, checkpoint.Tensor] = {}
    for name, tensor in contents.model.items():
        if name not in matrices:
            found[name] = tensor
            continue
        weight = convert(np.frombuffer(tensor.data, np.float32).reshape(tensor.shape), weights)
        found[name] = checkpoint.Tensor(weights, tensor.shape, weight.data.tobytes())
        if weight.scales is not None:
            found[f"{name}.scale"] = checkpoint.Tensor("float32", tensor.shape[:1], weight.scales.tobytes())
    config: dict[str, Any] = dict(contents.config) | {"weights": {"dtype": weights}}
    if known:
        named = {"norm": 0.5, "norm_sd": 0.1, "saturated": 0.0}
        config["states"] = {f"{s}_l{n}": named for s in "hc" for n in range(2)}
    shutil.rmtree(run / "model")
    beside = run.with_name(f"{run.name}-model")  # into a run nobody but training writes
    checkpoint.write_into(beside, checkpoint.Contents(config, found, contents.tokens, None, None))
    beside.rename(run / "model")
    return run


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("good")
    return [
        write_run(root / "lstm", "lstm"),
        quantised(write_run(root / "int8", "lstm", kind="word"), "int8", known=True),
        write_run(root / "gru", "gru", kind="word", tied=True),
        quantised(write_run(root / "bfloat16", "rnn", kind="byte"), "bfloat16", known=False),
    ]


@pytest.fixture
def reader() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(READER), str(ALLOWANCE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]


def ask(process: subprocess.Popen[str], path: Path) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, f"the reader died or hung at {path}"
    return json.loads(line)


def check(
    process: subprocess.Popen[str], goods: list[Path], home: Path, seed: int, count: int
) -> Counter[str]:
    """Have `count` mutants loaded. One under its old manifest is refused, or is what it was."""
    sound = set()
    for good in goods:
        for gone in ((), ("model",), ("model", "BEST")):
            copied = Path(shutil.copytree(good, home / "sound"))
            for name in gone:
                mutations.remove(copied / name)
            sound.add(ask(process, copied)["fingerprint"])
            shutil.rmtree(copied)
    assert len(sound) == 10  # of the smaller types there is but model/, and BEST is what model/ was made from
    counts: Counter[str] = Counter()
    for number, mutation in enumerate(mutations.mutations(seed, count)):
        run = home / f"run{number}"
        shutil.copytree(goods[number % len(goods)], run, copy_function=os.link)
        mutation.spoil(run)  # puts other files in the place of these, and writes into none
        found = ask(process, run)
        assert found["error"] != "UNTYPED", f"{mutation.name}: {found['message']}"
        assert found["message"].isprintable(), f"{mutation.name}: {found['message']!r}"
        assert len(found["message"]) < 1000, mutation.name
        if found["error"] is None and not mutation.signed:
            assert found["fingerprint"] in sound, f"{mutation.name}: loaded as something else"
        assert not (run / mutations.CANARY).exists(), mutation.name
        counts[str(found["error"])] += 1
        shutil.rmtree(run)
    return counts


def test_a_sample_of_mutated_model_directories(
    reader: subprocess.Popen[str], goods: list[Path], tmp_path: Path
):
    counts = check(reader, goods, tmp_path, seed=11, count=120)
    assert counts["CheckpointError"] > 60


@pytest.mark.slow
def test_a_thousand_mutated_model_directories(
    reader: subprocess.Popen[str], goods: list[Path], tmp_path: Path
):
    counts = check(reader, goods, tmp_path, seed=12, count=1000)
    assert counts["CheckpointError"] > 500


def edited(run: Path, home: Path, **sections: object) -> Path:
    """A copy of a run whose model/config.json has other sections, under a manifest that fits."""
    copied = Path(shutil.copytree(run, home / "edited"))
    path = copied / "model" / "config.json"
    mutations.put(path, mutations.dumped(json.loads(path.read_text()) | sections))
    mutations.seal(copied / "model")
    return copied


STATES = {f"{s}_l{n}": {"norm": 0.5, "norm_sd": 0.1, "saturated": 0.0} for s in "hc" for n in range(2)}


@pytest.mark.parametrize(
    "section",
    [
        {"states": []}, {"states": "x"}, {"states": {}}, {"states": STATES | {"c_l1": None}}, {"states": STATES | {"h_l0": {"norm": 1}}},
        {"states": STATES | {"h_l0": {"norm": True, "norm_sd": 0.1, "saturated": 0.0}}},
        {"states": STATES | {"h_l0": {"norm": 1e40, "norm_sd": 0.1, "saturated": 0.0}}},
        {"states": STATES | {"h_l0": {"norm": 10**1000, "norm_sd": 0.1, "saturated": 0.0}}},
        {"weights": []}, {"weights": "int8"}, {"weights": {"dtype": []}}, {"weights": {"dtype": "int4"}}, {"weights": {}},
        {"weights": {"dtype": "int8", "more": 1}}, {"weights": {"dtype": "float32"}}, {"weights": {"dtype": "bfloat16"}}, {"weights": None},
    ],
)  # fmt: skip
def test_sections_of_a_stored_int8_network_that_do_not_fit(
    goods: list[Path], tmp_path: Path, section: dict[str, object]
):
    with pytest.raises(CheckpointError, match=r"^[^\n]+: expected [^\n]+, got [^\n]+$"):
        stream.load(edited(goods[1], tmp_path, **section))


@pytest.mark.parametrize("bad", [b"\0\0\xc0\x7f", b"\0\0\x80\xff"])
@pytest.mark.parametrize("good", range(4))
def test_weights_that_are_not_finite_are_refused(goods: list[Path], tmp_path: Path, good: int, bad: bytes):
    run = Path(shutil.copytree(goods[good], tmp_path / "run"))
    path = run / "model" / "model.safetensors"
    header, data = mutations.split(path.read_bytes())
    for name in [
        name for name in header if name != "__metadata__" and header[name]["dtype"] in ("F32", "BF16")
    ]:
        _, end = header[name]["data_offsets"]
        value = bad if header[name]["dtype"] == "F32" else bad[2:]
        mutations.put(path, mutations.joined(header, data[: end - len(value)] + value + data[end:]))
        mutations.seal(run / "model")
        with pytest.raises(
            CheckpointError,
            match=rf"^model.safetensors {name}: expected finite weights, got NaN or infinity$",
        ):
            stream.load(run)


def test_a_model_of_a_newer_format_and_a_run_without_one_are_refused(goods: list[Path], tmp_path: Path):
    run = Path(shutil.copytree(goods[0], tmp_path / "run"))
    mutations.seal(run / "model", version=99)
    with pytest.raises(CheckpointError, match=r"^[^\n]+: expected [^\n]+, got [^\n]*99[^\n]*$"):
        stream.load(run)
    for name in ("model", "BEST", "LATEST", "checkpoints"):
        mutations.remove(run / name)
    with pytest.raises(RunError, match=r"^run: expected [^\n]+, got [^\n]+$"):
        stream.load(run)


@pytest.mark.parametrize(("good", "stored"), [(1, "int8"), (3, "bfloat16")])
def test_weights_stored_smaller_are_not_made_into_another_type(goods: list[Path], good: int, stored: str):
    assert stream.load(goods[good]).weights == stream.load(goods[good], weights=stored).weights == stored
    for other in {"float32", "bfloat16", "int8"} - {stored}:
        with pytest.raises(
            ConfigError, match=rf"^weights: expected {stored}, as they are stored, got {other}$"
        ):
            stream.load(goods[good], weights=other)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_cell_without_a_kernel_is_refused(goods: list[Path], monkeypatch: pytest.MonkeyPatch, weights: str):
    fewer = {name: number for name, number in kernels.CELLS.items() if name != "gru"}
    monkeypatch.setattr(kernels, "CELLS", fewer)
    with pytest.raises(
        ConfigError, match=r"^cell: expected one with a kernel: rnn_tanh, rnn_relu, lstm, got gru$"
    ):
        stream.load(goods[2], weights=weights)
