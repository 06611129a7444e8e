"""The format: what is written is what is read, in bytes that never change."""

import hashlib
import io
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import checkpoint, spec
from unrolled.checkpoint import Contents, Tensor
from unrolled.checkpoint.contents import declared_optimizer
from unrolled.checkpoint.disk import Guarded
from unrolled.checkpoint.tensors import DTYPES, Form, nbytes, read_tensors, tensor_chunks
from unrolled.errors import CheckpointError, ConfigError, RunError

MODEL = spec.ModelConfig(vocab_size=3, embedding_size=2, hidden_size=2, cell="gru")
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


MANIFEST = """{
  "files": {
    "config.json": {
      "sha256": "a2da2ac7cc7b71fdb42ba3c6668d0438618b364476ea3648902898d4eec93ab8",
      "size": 143
    },
    "model.safetensors": {
      "sha256": "e84b4b93f6c4a7186539ee831adb91fb638bb1bac1f4e5f8dbb896a8c35b2a2e",
      "size": 732
    },
    "tokens.json": {
      "sha256": "0f1f795b846ced7bc4ffc365dd20a3338a0d197f9852ec954a4c6e938ec5d4a9",
      "size": 51
    }
  },
  "format": "unrolled checkpoint",
  "kind": "model",
  "sha256": "7cb33339782bd8479be31aa8032c73de48aae7c6410672eed951dbb4952565a0",
  "step": null,
  "version": 1
}
"""


def filled(dtype: str, shape: tuple[int, ...], start: int = 0) -> Tensor:
    return Tensor(dtype, shape, bytes((start + i) % 251 for i in range(nbytes(dtype, shape))))


def section(model: spec.ModelConfig) -> dict[str, object]:
    """What differs from the defaults: golden bytes stay when a field is added to the spec."""
    default = spec.to_json(spec.ModelConfig(vocab_size=2, embedding_size=1, hidden_size=1))
    return {name: value for name, value in spec.to_json(model).items() if value != default[name]}


def sample(step: int = 7, model: spec.ModelConfig = MODEL) -> Contents:
    weights = {name: filled(dtype, shape) for name, (dtype, shape) in spec.tensors(model).items()}
    moments = {f"{m}.{name}": w for name, w in weights.items() for m in ("exp_avg", "exp_avg_sq")}
    steps = {f"step.{name}": filled("float32", ()) for name in weights}
    return Contents(
        config={"model": section(model), "training": {"steps": 9}},
        model=weights,
        tokens={"kind": "char", "symbols": ["\n", "ä", "\ud800"]},
        optimizer=moments | steps | {"state.h": filled("bfloat16", (1, 4, 2))},
        progress={"step": step, "best": None, "rate": 0.1},
    )


def golden(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:12] for p in sorted(directory.iterdir())}


def test_a_step_is_read_as_it_was_written(tmp_path):
    written = sample()
    path = checkpoint.write_step(tmp_path / "run", 7, written)
    found = checkpoint.read(path)
    assert path == tmp_path / "run" / "checkpoints" / "step-00000007"
    assert (found.path, found.step) == (path, 7)
    for name in ("config", "model", "tokens", "optimizer", "progress"):
        assert getattr(found, name) == getattr(written, name), name


def test_a_model_is_read_without_optimizer_and_progress(tmp_path):
    found = checkpoint.read(checkpoint.write_model(tmp_path, sample()))
    assert (found.optimizer, found.progress, found.step) == (None, None, None)
    assert found.model == sample().model


def test_a_model_remembers_the_step_that_it_came_from(tmp_path):
    step = checkpoint.read(checkpoint.write_step(tmp_path, 7, sample()))
    assert checkpoint.read(checkpoint.write_model(tmp_path, step)).step == 7


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("tied", [False, True])
def test_every_architecture_round_trips(tmp_path, cell, tied):
    model = spec.ModelConfig(
        vocab_size=5, embedding_size=3, hidden_size=3, num_layers=2, cell=cell, tie_weights=tied
    )
    written = sample(0, model)
    states = {"state.h": filled("float32", (2, 3, 3))}
    if cell == "lstm":
        states["state.c"] = filled("float32", (2, 3, 3), 5)
    optimizer = {name: t for name, t in written.optimizer.items() if name != "state.h"} | states
    written = Contents(written.config, written.model, written.tokens, optimizer, written.progress)
    found = checkpoint.read(checkpoint.write_step(tmp_path, 0, written))
    assert (found.model, found.optimizer) == (written.model, optimizer)
    assert set(found.optimizer) == set(declared_optimizer(model))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.tuples(st.sampled_from(sorted(DTYPES)), SHAPES), max_size=5))
def test_tensors_of_every_dtype_and_shape_round_trip_and_equal_the_library(forms):
    try:
        [name.encode() for name in forms]
    except UnicodeEncodeError:
        return
    if "__metadata__" in forms:
        return
    tensors = {name: filled(dtype, shape, i) for i, (name, (dtype, shape)) in enumerate(forms.items())}
    raw = b"".join(tensor_chunks(tensors, "file"))
    library = {name: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in
               safetensors.deserialize(raw)}  # fmt: skip
    assert library == {name: (DTYPES[t.dtype][0], t.shape, t.data) for name, t in tensors.items()}
    declared = {name: Form((dtype,), shape) for name, (dtype, shape) in forms.items()}
    source = Guarded(io.BytesIO(raw), Path("file"), len(raw))
    found = read_tensors(source, declared, complete=True)
    source.finish(hashlib.sha256(raw).hexdigest())
    assert found == tensors
    assert list(found) == list(forms)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_our_file_has_the_very_bytes_that_the_library_writes(cell):
    import numpy as np
    from safetensors.numpy import save

    model = spec.ModelConfig(vocab_size=5, embedding_size=3, hidden_size=2, cell=cell)
    arrays = {name: np.arange(np.prod(shape), dtype=dtype).reshape(shape)
              for name, (dtype, shape) in spec.tensors(model).items()}  # fmt: skip
    tensors = {name: Tensor(a.dtype.name, a.shape, a.tobytes()) for name, a in arrays.items()}
    assert b"".join(tensor_chunks(tensors, "file")) == save(arrays)


def test_a_small_tensor_file_has_golden_bytes():
    tensors = {"b": filled("bfloat16", (2,), 1), "a": filled("float32", (), 9), "e": filled("int64", (0, 3))}
    header = (b'{"e":{"dtype":"I64","shape":[0,3],"data_offsets":[0,0]},'
              b'"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'
              b'"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}')  # fmt: skip
    padded = header + b" " * (-len(header) % 8)
    want = len(padded).to_bytes(8, "little") + padded + b"\x09\x0a\x0b\x0c\x01\x02\x03\x04"
    assert b"".join(tensor_chunks(tensors, "file")) == want


def test_a_step_directory_has_golden_bytes(tmp_path):
    step = checkpoint.write_step(tmp_path, 7, sample())
    assert golden(step) == {
        "config.json": "a2da2ac7cc7b",
        "manifest.json": "65a92f14e49a",
        "model.safetensors": "e84b4b93f6c4",
        "optimizer.safetensors": "a6594107a444",
        "progress.json": "307392af7746",
        "tokens.json": "0f1f795b846c",
    }


def test_a_manifest_has_golden_bytes(tmp_path):
    model = checkpoint.write_model(tmp_path, sample())
    assert (model / "manifest.json").read_text() == MANIFEST


def test_equal_contents_give_equal_bytes_whatever_their_order(tmp_path):
    a = sample()
    b = Contents(
        *({k: d[k] for k in reversed(d)} for d in (a.config, a.model, a.tokens, a.optimizer, a.progress))
    )
    assert golden(checkpoint.write_step(tmp_path / "a", 7, a)) == golden(
        checkpoint.write_step(tmp_path / "b", 7, b)
    )


def test_data_may_be_any_contiguous_buffer(tmp_path):
    import array

    written = sample()
    floats = array.array("f", range(6))
    model = written.model | {"embedding.weight": Tensor("float32", (3, 2), memoryview(floats))}
    path = checkpoint.write_model(tmp_path, Contents(written.config, model, written.tokens))
    assert bytes(checkpoint.read(path).model["embedding.weight"].data) == floats.tobytes()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_files_are_as_readable_as_the_umask_allows(tmp_path, mask):
    before = os.umask(mask)
    try:
        step = checkpoint.write_step(tmp_path / "run", 0, sample(0))
        checkpoint.mark(tmp_path / "run", "LATEST", 0)
    finally:
        os.umask(before)
    for path in [*step.iterdir(), tmp_path / "run" / "LATEST"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE(step.stat().st_mode) == 0o777 & ~mask


def test_a_step_is_immutable(tmp_path):
    step = checkpoint.write_step(tmp_path, 7, sample())
    before = golden(step)
    with pytest.raises(RunError, match="immutable"):
        checkpoint.write_step(tmp_path, 7, sample())
    assert golden(step) == before


def test_locate_takes_model_else_best_else_latest_else_itself(tmp_path):
    first, second = (checkpoint.write_step(tmp_path, step, sample(step)) for step in (1, 2))
    checkpoint.mark(tmp_path, "LATEST", 2)
    assert checkpoint.locate(tmp_path) == second
    checkpoint.mark(tmp_path, "BEST", 1)
    assert checkpoint.locate(str(tmp_path)) == first
    model = checkpoint.write_model(tmp_path, sample())
    assert checkpoint.locate(tmp_path) == model
    assert checkpoint.locate(tmp_path, prefer=("LATEST",)) == second
    assert [checkpoint.locate(p) for p in (first, model)] == [first, model]


def test_a_model_directory_can_be_read_under_any_name(tmp_path):
    checkpoint.write_model(tmp_path, sample()).rename(tmp_path / "kept")
    assert checkpoint.read(checkpoint.locate(tmp_path / "kept")).model == sample().model


@pytest.mark.parametrize(("name", "want"), [("missing", "which does not exist"), ("file", "a file"),
                                            ("empty", "a directory without model or BEST or LATEST")])  # fmt: skip
def test_locate_says_what_it_looked_for(tmp_path, name, want):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError) as caught:
        checkpoint.locate(tmp_path / name)
    told = f"run: expected a run, checkpoint or model directory, got {str(tmp_path / name)!r}, {want}"
    assert str(caught.value) == told


def test_writing_a_model_again_replaces_it(tmp_path):
    checkpoint.write_model(tmp_path, sample())
    other = Contents(sample().config, sample().model, {"kind": "byte"})
    assert checkpoint.read(checkpoint.write_model(tmp_path, other)).tokens == {"kind": "byte"}
    assert os.listdir(tmp_path) == ["model"]


def test_a_foreign_directory_called_model_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years")
    with pytest.raises(RunError, match="something else"):
        checkpoint.write_model(tmp_path, sample())
    assert (tmp_path / "model" / "thesis.txt").read_text() == "years"


def test_prune_keeps_the_newest_and_those_that_are_named(tmp_path):
    for step in range(6):
        checkpoint.write_step(tmp_path, step, sample(step))
    checkpoint.mark(tmp_path, "BEST", 1)
    checkpoint.mark(tmp_path, "LATEST", 5)
    (tmp_path / "checkpoints" / ".writing-step-00000009-abc").mkdir()
    (tmp_path / "checkpoints" / "step-00000002" / "mine.txt").write_text("foreign")
    removed = checkpoint.prune(tmp_path, 2)
    assert [path.name for path in removed] == ["step-00000000", "step-00000003"]
    left = sorted(os.listdir(tmp_path / "checkpoints"))
    assert left == ["step-00000001", "step-00000002", "step-00000004", "step-00000005"]


def test_prune_removes_nothing_when_a_pointer_is_damaged(tmp_path):
    for step in range(3):
        checkpoint.write_step(tmp_path, step, sample(step))
    (tmp_path / "BEST").write_text("step-0000\n")
    with pytest.raises(CheckpointError, match="BEST"):
        checkpoint.prune(tmp_path, 1)
    assert len(os.listdir(tmp_path / "checkpoints")) == 3


def test_a_mark_must_name_a_step_that_is_there(tmp_path):
    with pytest.raises(RunError, match="step-00000003"):
        checkpoint.mark(tmp_path, "LATEST", 3)
    with pytest.raises(ConfigError, match="LATEST or BEST"):
        checkpoint.mark(tmp_path, "FIRST", 3)


@pytest.mark.parametrize("step", [-1, True, 1.0, 10**18])
def test_a_step_is_a_whole_number(tmp_path, step):
    with pytest.raises(ConfigError, match="step"):
        checkpoint.write_step(tmp_path, step, sample())


def change(**fields):
    written = sample()
    return Contents(**{name: fields.get(name, getattr(written, name)) for name in
                       ("config", "model", "tokens", "optimizer", "progress")})  # fmt: skip


UNWRITABLE = {
    "no optimizer": change(optimizer=None),
    "no progress": change(progress=None),
    "another step": change(progress={"step": 8}),
    "a missing weight": change(model={k: t for k, t in sample().model.items() if k != "readout.bias"}),
    "an unknown weight": change(model=sample().model | {"extra": filled("float32", ())}),
    "a wrong shape": change(model=sample().model | {"readout.bias": filled("float32", (4,))}),
    "a wrong dtype": change(model=sample().model | {"readout.bias": filled("float64", (3,))}),
    "too few bytes": change(model=sample().model | {"readout.bias": Tensor("float32", (3,), b"123")}),
    "an unknown moment": change(optimizer={"pickle.readout.bias": filled("float32", (3,))}),
    "a moment's shape": change(optimizer={"exp_avg.readout.bias": filled("float32", (2,))}),
    "a state of another cell": change(optimizer={"state.c": filled("float32", (1, 4, 2))}),
    "an illegal config": change(config={"model": {}}),
    "no model section": change(config={}),
    "an unknown section": change(config=sample().config | {"more": {}}),
    "NaN": change(progress={"loss": float("nan")}),
    "bytes in JSON": change(tokens={"table": b"1"}),
    "tokens that are a list": change(tokens=["a"]),
    "a config over 1 MiB": change(config=sample().config | {"data": {"source": "x" * 2**20}}),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_could_not_be_read_is_not_written(tmp_path, name):
    with pytest.raises(CheckpointError, match="expected"):
        checkpoint.write_step(tmp_path / "run", 7, UNWRITABLE[name])
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_half_a_carried_state_is_refused(tmp_path):
    model = spec.ModelConfig(vocab_size=3, embedding_size=2, hidden_size=2, cell="lstm")
    written = sample(7, model)
    with pytest.raises(CheckpointError, match=r"state\.h and state\.c"):
        checkpoint.write_step(tmp_path, 7, written)
    rows = {f"state.{name}": filled("bfloat16", (1, count, 2)) for name, count in (("h", 4), ("c", 3))}
    uneven = replace(written, optimizer={**written.optimizer, **rows})
    with pytest.raises(CheckpointError, match="of one dtype and number of rows"):
        checkpoint.write_step(tmp_path, 7, uneven)


def test_a_damaged_run_names_its_newest_whole_step(tmp_path):
    for step in range(5):
        checkpoint.write_step(tmp_path, step, sample(step))
    checkpoint.mark(tmp_path, "LATEST", 4)
    for step in (3, 4):
        (tmp_path / "checkpoints" / f"step-{step:08}" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"step-00000002 is whole: .* echo step-00000002 > "):
        checkpoint.read_run(tmp_path)


def run_directory(run: Path) -> Path:
    checkpoint.write_step(run, 1, sample(1))
    checkpoint.mark(run, "LATEST", 1)
    checkpoint.mark(run, "BEST", 1)
    checkpoint.write_model(run, sample())
    (run / "config.json").write_text(json.dumps(sample().config))
    (run / "data").mkdir()
    for name in (
        "metrics.jsonl",
        "evaluation.json",
        "samples.txt",
        "loss.png",
        "gates.png",
        "data/train.npy",
    ):
        (run / name).write_text("")
    return run


def test_clear_removes_nothing_of_a_directory_that_no_run_wrote(tmp_path):
    (tmp_path / "samples.txt").write_text("mine")
    with pytest.raises(RunError, match=r"samples\.txt: expected beside it the config\.json of a run"):
        checkpoint.clear(tmp_path)
    assert (tmp_path / "samples.txt").read_text() == "mine"


def test_clear_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    run = run_directory(tmp_path / "run")
    assert checkpoint.taken(run)
    (run / "notes.txt").write_text("mine")
    (run / "checkpoints" / "notes.txt").write_text("mine")
    (run / ".data-abc").mkdir()
    checkpoint.clear(run)
    left = sorted(str(p.relative_to(run)) for p in run.rglob("*"))
    assert left == [".data-abc", "checkpoints", "checkpoints/notes.txt", "notes.txt"]


def test_a_cleared_directory_is_free_again(tmp_path):
    run = run_directory(tmp_path / "run")
    checkpoint.clear(run)
    assert not checkpoint.taken(run)
    assert not os.listdir(run)
    checkpoint.clear(run)
    checkpoint.clear(tmp_path / "missing")


@pytest.mark.parametrize("name", ["config.json", "data", "model", "checkpoints", "LATEST", "samples.txt"])
def test_clear_removes_nothing_when_something_is_foreign(tmp_path, name):
    run = run_directory(tmp_path / "run")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text('{"name": "npm"}')
    if name == "config.json":
        (run / name).write_text('{"name": "npm"}')
    elif name == "data":
        (run / name / "survey.csv").write_text("years of work")
    else:
        (run / name).rename(tmp_path / "moved")
        (run / name).symlink_to(outside)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="nothing was removed"):
        checkpoint.clear(run)
    assert sorted(tmp_path.rglob("*")) == before
