"""What reading may cost, whatever the files say of themselves; and links, foreign names and impossible paths."""

import contextlib
import json
import math
import os
import sys
import tracemalloc
from pathlib import Path

import checkpoint_mutations as mutations
import numpy as np
import pytest
from checkpoint_bombs import GROWING
from checkpoint_strangers import ARCHITECTURE, FILES, SHAPES, STEP, refused, seal, write_stranger

from unrolled import checkpoint, spec
from unrolled.checkpoint import Tensor
from unrolled.checkpoint.format import DOCUMENT_BYTES, PARSED_BYTES, parse
from unrolled.errors import CheckpointError, RunError
from unrolled.files import parsed_bytes


@pytest.fixture
def step(tmp_path: Path) -> Path:
    return write_stranger(tmp_path / STEP)


@pytest.mark.parametrize("kind", GROWING)
def test_a_document_takes_no_more_memory_than_was_estimated(kind):
    raw = GROWING[kind](2**17)
    tracemalloc.start()
    try:
        with contextlib.suppress(CheckpointError):
            parse(raw, "file", most=2**40, ascii_only=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < parsed_bytes(raw) + 2**14


@pytest.mark.parametrize("name", ["config.json", "tokens.json", "progress.json"])
@pytest.mark.parametrize("kind", ["empty lists", "empty objects", "objects of many"])
def test_a_document_that_would_grow_thirtyfold_is_refused_before_it_is_parsed(name, kind, monkeypatch):
    raw = GROWING[kind](DOCUMENT_BYTES[name])
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(CheckpointError, match="once parsed"):
        parse(raw, name, most=PARSED_BYTES[name])


def test_the_longest_header_that_we_write_is_read(tmp_path):
    model = spec.ModelConfig(vocab_size=2, embedding_size=1, hidden_size=1, num_layers=1024)
    weights = {name: Tensor(dtype, shape, bytes(4 * math.prod(shape))) for name, (dtype, shape) in
               spec.tensors(model).items()}  # fmt: skip
    moments = {f"{m}.{name}": w for name, w in weights.items() for m in ("exp_avg", "exp_avg_sq")}
    steps = {f"step.{name}": Tensor("float32", (), bytes(4)) for name in weights}
    states = {f"state.{part}": Tensor("float32", (1024, 3, 1), bytes(4 * 1024 * 3)) for part in "hc"}
    written = checkpoint.Contents(
        {"model": spec.to_json(model)}, weights, {}, moments | steps | states, {"step": 0}
    )
    assert checkpoint.read(checkpoint.write_step(tmp_path, 0, written)).optimizer == written.optimizer


def test_a_vocabulary_of_as_many_words_as_wikitext_103_is_written_and_read(tmp_path):
    tokens = {"kind": "word", "symbols": [f"{'wörd' if i % 20 == 0 else 'word'}{i}" for i in range(267_735)]}
    weights = {name: Tensor("float32", shape, bytes(4 * math.prod(shape))) for name, (_, shape) in
               spec.tensors(spec.ModelConfig(**ARCHITECTURE)).items()}  # fmt: skip
    written = checkpoint.Contents({"model": ARCHITECTURE}, weights, tokens)
    assert checkpoint.read(checkpoint.write_model(tmp_path, written)).tokens == tokens


def test_what_could_not_be_parsed_again_is_not_written(tmp_path):
    weights = {name: Tensor("float32", shape, bytes(4 * math.prod(shape))) for name, shape in SHAPES.items()}
    tokens = {"symbols": [f"{i:x}" for i in range(600_000)]}
    with pytest.raises(CheckpointError, match=r"tokens\.json: expected a document of at most .* once parsed"):
        checkpoint.write_model(tmp_path, checkpoint.Contents({"model": ARCHITECTURE}, weights, tokens))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("text", ["9" * 65, "-" + "9" * 64, "0." + "1" * 64, "1e" + "0" * 64, "9" * 10**6])
def test_a_number_of_absurd_length_is_refused_whatever_the_interpreter_allows(step, text):
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        (step / "progress.json").write_text(f'{{"step": 5, "a": {text}}}')
        refused(seal(step), "digits")
    finally:
        sys.set_int_max_str_digits(before)


def test_a_text_that_is_not_ascii_is_refused(step):
    (step / "tokens.json").write_text('{"a": "ä"}', encoding="utf-8")
    refused(seal(step), "ascii")


@pytest.mark.parametrize("depth", [31, 32, 33, 500])
def test_a_document_has_few_levels(step, depth):
    (step / "tokens.json").write_text('{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}")
    if depth <= 32:
        checkpoint.read(seal(step))
    else:
        refused(seal(step), "nested too deeply")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_file_with_a_hole_of_terabytes_is_refused_at_once(step, name):
    with (step / name).open("r+b") as file:
        file.truncate(2**43)
    refused(step)
    mutations.seal_sparse(step / name)
    refused(step, "memory|little more")


def test_sizes_that_would_fit_their_file_but_not_this_machine_are_refused(step, monkeypatch):
    monkeypatch.setattr("unrolled.checkpoint.reading.memory_limit", lambda: 1000)
    assert "memory" in refused(step, "at most 1000 bytes")
    monkeypatch.setattr("unrolled.checkpoint.reading.memory_limit", lambda: None)
    checkpoint.read(step)


def test_an_end_of_memory_is_one_line(step, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("unrolled.checkpoint.tensors._aligned", full)
    refused(step, "fit into memory")


def test_terabytes_by_layers_are_refused_by_the_size_of_the_file(step):
    large = {
        "hidden_size": 65536,
        "embedding_size": 65536,
        "num_layers": 1024,
        "vocab_size": 2**24,
        "cell": "lstm",
    }
    (step / "config.json").write_text(json.dumps({"model": ARCHITECTURE | large}))
    tracemalloc.start()
    try:
        refused(seal(step), "little more, as config.json implies")
        assert tracemalloc.get_traced_memory()[1] < 8e6  # bytes: 4,099 tensors by name
    finally:
        tracemalloc.stop()


def as_model(step: Path) -> Path:
    """Turn a step into a model directory under a name of its own."""
    home = step.rename(step.with_name("hub"))
    for name in ("optimizer.safetensors", "progress.json"):
        (home / name).unlink()
    return seal(home, kind="model")


def test_names_beside_a_models_files_are_passed_over(step):
    home = as_model(step)
    for name in ("README.md", ".gitattributes", "pytorch_model.bin", "evil\n.py"):
        (home / name).write_text("x")
    (home / "figures").mkdir()
    (home / "link").symlink_to("/etc/passwd")
    os.mkfifo(home / "pipe")
    assert checkpoint.read(checkpoint.locate(home)).step == 5


def test_a_model_misses_no_file(step):
    home = as_model(step)
    (home / "tokens.json").unlink()
    refused(home, r"tokens\.json: expected a regular file, got nothing there")


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_followed_into_the_directory_that_is_named_and_no_further(step, name):
    blobs, outside = step.parent / "blobs", step.parent / "outside"
    blobs.mkdir()
    outside.mkdir()
    (step / name).rename(blobs / "1")
    (step / name).symlink_to("../blobs/1")
    assert checkpoint.read(step, links_within=blobs).step == 5
    refused(step, "regular file")
    (blobs / "1").rename(outside / "1")
    (blobs / "1").symlink_to("../outside/1")  # a link in the cache that leaves it
    with pytest.raises(CheckpointError, match=r"a link into .*blobs, got .*outside"):
        checkpoint.read(step, links_within=blobs)
    (step / name).unlink()
    (step / name).symlink_to("../blobs/../outside/1")
    with pytest.raises(CheckpointError, match="a link into"):
        checkpoint.read(step, links_within=blobs)
    (step / name).unlink()
    (step / name).symlink_to(blobs)
    with pytest.raises(CheckpointError, match="regular file"):
        checkpoint.read(step, links_within=blobs)


def test_checkpoints_behind_a_link_are_not_read(tmp_path, step):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "elsewhere").mkdir()
    step.rename(tmp_path / "elsewhere" / STEP)
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (run / "LATEST").write_text(f"{STEP}\n")
    with pytest.raises(CheckpointError, match="or a link"):
        checkpoint.locate(run)


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "new\nline", "\x1b[2J"])
def test_a_path_that_no_system_has_is_one_line(tmp_path, path):
    with pytest.raises(RunError, match="expected") as caught:
        checkpoint.locate(tmp_path / path)
    assert str(caught.value).isprintable()


def test_a_loop_of_links_is_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(RunError, match="which cannot be read: Too many levels"):
        checkpoint.locate(tmp_path / "a")


def test_tensors_are_read_where_a_network_can_use_them(step):
    for tensor in checkpoint.read(step).model.values():
        assert np.frombuffer(tensor.data, np.uint8).ctypes.data % 64 == 0
        assert not memoryview(tensor.data).readonly
