"""Files from strangers: whatever they hold, `read` gives one typed line and nothing is executed.

The directories are built here with json and the safetensors library, not with the code under test, and
`seal` writes a manifest that fits whatever the attack has made of the files.
"""

import base64
import contextlib
import json
import os
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from checkpoint_strangers import ARCHITECTURE, FILES, SHAPES, STEP, refused, seal, weights, write_stranger
from safetensors.numpy import save

from unrolled import checkpoint
from unrolled.errors import CheckpointError


@pytest.fixture
def step(tmp_path: Path) -> Path:
    return write_stranger(tmp_path / STEP)


def with_header(header: object, data: bytes, *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def opened_up(directory: Path) -> tuple[dict[str, dict], bytes]:
    """Return the header and the data of the model's file."""
    raw = (directory / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def test_a_directory_that_others_wrote_by_the_format_is_read(step):
    found = checkpoint.read(step)
    assert (found.step, found.progress) == (5, {"step": 5, "rate": 0.25})
    assert {name: t.data for name, t in found.model.items()} == {n: v.tobytes() for n, v in weights().items()}
    assert len(found.optimizer) == 3 * len(SHAPES)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_truncated_anywhere_is_refused(step, name):
    raw = (step / name).read_bytes()
    for size in {0, 1, 7, 8, 9, len(raw) // 2, len(raw) - 1}:
        (step / name).write_bytes(raw[:size])
        refused(step)
    (step / name).write_bytes(raw + b"\0")
    refused(step)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokens.json", "progress.json"])
def test_a_truncated_file_under_a_fitting_manifest_is_refused(step, name):
    raw = (step / name).read_bytes()
    for size in {0, 1, 7, 8, 9, len(raw) // 2, len(raw) - 1}:
        (step / name).write_bytes(raw[:size])
        refused(seal(step))


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_flipped_bit_anywhere_is_refused(step, name):
    raw = (step / name).read_bytes()
    choice = random.Random(name)
    for position in choice.sample(range(len(raw)), min(120, len(raw))):
        altered = bytearray(raw)
        altered[position] ^= 1 << choice.randrange(8)
        (step / name).write_bytes(altered)
        refused(step)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_under_a_fitting_manifest_never_escapes_as_another_error(step, name):
    raw = (step / name).read_bytes()
    choice = random.Random(name)
    for _ in range(120):
        altered = bytearray(raw)
        for _ in range(choice.choice((1, 1, 8))):
            altered[choice.randrange(min(len(raw), 700))] = choice.randrange(256)
        (step / name).write_bytes(altered)
        try:
            checkpoint.read(seal(step))  # some alterations are harmless: another weight, another symbol
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_refused(step, name):
    (step / name).unlink()
    assert name in refused(step)


def test_another_runs_file_is_refused(step):
    (step / "model.safetensors").write_bytes(save(weights(seed=1)))
    assert "sha256" in refused(step, "model.safetensors")


def test_a_file_beside_the_others_is_refused(step):
    (step / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin" in refused(step)


def test_a_step_under_another_steps_name_is_refused(step):
    refused(step.rename(step.with_name("step-00000006")), "step 6")


def test_a_newer_format_is_refused_by_its_version(step):
    assert "newer" in refused(seal(step, version=2), "format version 1")


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0}, {"version": True}, {"version": "1"}, {"version": None}, {"format": "other"},
        {"kind": "weights"}, {"kind": ["step"]}, {"kind": "model"}, {"step": None}, {"step": -1},
        {"step": True}, {"step": 5.0}, {"files": []}, {"files": {}}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_manifest_with_odd_fields_is_refused(step, changes):
    refused(seal(step, **changes), "manifest.json|step 5")


@pytest.mark.parametrize(
    "name", ["../secret", "..", "/etc/passwd", "a/b", "a\\b", "", "config.json\0", "x\ny"]
)
def test_a_manifest_that_names_paths_is_refused(step, name):
    fields = json.loads((step / "manifest.json").read_text())
    entry = {"size": 0, "sha256": "0" * 64}
    refused(seal(step, files=fields["files"] | {name: entry}), "manifest.json")
    swapped = {k: v for k, v in fields["files"].items() if k != "tokens.json"} | {name: entry}
    refused(seal(step, files=swapped), "manifest.json")


@pytest.mark.parametrize("entry", [None, [], {}, {"size": 1}, {"size": True, "sha256": "0" * 64},
                                   {"size": -1, "sha256": "0" * 64}, {"size": 2**63, "sha256": "0" * 64},
                                   {"size": 2**26 + 1, "sha256": "0" * 64}, {"size": 1.0, "sha256": "0" * 64},
                                   {"size": 1, "sha256": "0" * 63}, {"size": 1, "sha256": 5}])  # fmt: skip
def test_a_manifest_with_an_odd_entry_is_refused(step, entry):
    fields = json.loads((step / "manifest.json").read_text())
    refused(seal(step, files=fields["files"] | {"tokens.json": entry}), "manifest.json tokens.json")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_symbolic_link_in_the_place_of_a_file_is_refused(step, name):
    (step / name).rename(step.parent / "elsewhere")
    (step / name).symlink_to(step.parent / "elsewhere")
    refused(step, "regular file")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_pipe_or_a_directory_in_the_place_of_a_file_is_refused_at_once(step, name):
    (step / name).unlink()
    os.mkfifo(step / name)
    refused(step, "regular file")
    (step / name).unlink()
    (step / name).mkdir()
    refused(step, "regular file")


def test_a_model_directory_that_is_a_link_is_refused(tmp_path, step):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(step)
    with pytest.raises(CheckpointError, match="link"):
        checkpoint.locate(tmp_path / "run")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "step-00000005", "step-5\n", "../../etc\n", "step-00000005\nstep-00000004\n",
     "step-00000004\n", "/tmp\n", "step-0000000\u0665\n", "step-00000005\0\n", "x" * 1000],
)  # fmt: skip
@pytest.mark.parametrize("pointer", ["LATEST", "BEST"])
def test_a_damaged_pointer_is_refused(tmp_path, step, text, pointer):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.move(step, run / "checkpoints" / STEP)
    (run / pointer).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=pointer) as caught:
        checkpoint.read_run(run)
    assert str(caught.value).isprintable()
    way = f"{run / 'checkpoints' / STEP} is whole: load it by that path, or resume from it after: echo {STEP} > "
    assert str(caught.value).endswith(f"; {way}{run / 'LATEST'}")


DOCUMENTS = {
    "duplicate keys": b'{"a": 1, "a": 2}',
    "nested duplicate keys": b'{"a": {"b": 1, "b": 1}}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "a number beyond doubles": b'{"a": 1e999}',
    "a number of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "a text": b'"pickle"',
    "nothing": b"",
    "null": b"null",
    "not UTF-8": b'{"a": "\xff"}',
    "another encoding": '{"a": 1}'.encode("utf-16"),
    "deep nesting": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "two documents": b"{}{}",
    "a comment": b"{} // fine",
}


@pytest.mark.parametrize("name", ["config.json", "tokens.json", "progress.json"])
@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_no_strict_json_object_is_refused(step, name, document):
    (step / name).write_bytes(DOCUMENTS[document])
    refused(seal(step), name)


@pytest.mark.parametrize(
    "config",
    [
        {}, {"model": None}, {"model": []}, {"model": {}}, {"model": ARCHITECTURE, "evil": {}},
        {"model": ARCHITECTURE, "data": []},
        *({"model": ARCHITECTURE | change} for change in (
            {"hidden_size": 2**40}, {"hidden_size": 2**20}, {"vocab_size": 2**24}, {"num_layers": 2**62},
            {"num_layers": 1024}, {"hidden_size": -1}, {"hidden_size": 0}, {"hidden_size": True},
            {"hidden_size": 2.0}, {"hidden_size": "2"}, {"hidden_size": None}, {"cell": "transformer"},
            {"cell": "lstm"}, {"hidden_size": 10**4000}, {"dropout": 10**4000}, {"class": "os.system"},
            {"x\n" * 500: 1}, {"vocab_size": 4}, {"tie_weights": True})),
    ],
)  # fmt: skip
def test_a_config_that_is_illegal_or_does_not_fit_the_weights_is_refused(step, config):
    (step / "config.json").write_text(json.dumps(config))
    tracemalloc.start()
    try:
        refused(seal(step))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6  # bytes: nothing was allocated for what the config declares


def test_a_document_over_its_limit_is_refused_before_it_is_read(step):
    (step / "config.json").write_bytes(b'{"model": "' + b"x" * 2**20 + b'"}')
    assert "1048576" in refused(seal(step), "config.json")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 10**6, 7000])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_header_that_declares_more_than_the_file_or_the_limit_is_refused(step, name, length):
    raw = (step / name).read_bytes()
    (step / name).write_bytes(length.to_bytes(8, "little") + raw[8:])
    refused(seal(step), f"a header of at most .*{length}")


def altered(name: str, field: str, value: object):
    def attack(header: dict, data: bytes) -> bytes:
        header[name][field] = value
        return with_header(header, data)

    return attack


def renamed(old: str, new: str):
    def attack(header: dict, data: bytes) -> bytes:
        return with_header({new if k == old else k: v for k, v in header.items()}, data)

    return attack


def duplicated(header: dict, data: bytes) -> bytes:
    text = json.dumps(header)
    return with_header(
        (text[:-1] + ', "readout.bias": ' + json.dumps(header["readout.bias"]) + "}").encode(), data
    )


def with_gap(header: dict, data: bytes) -> bytes:
    last = max(header, key=lambda name: header[name]["data_offsets"])
    header[last]["data_offsets"] = [o + 4 for o in header[last]["data_offsets"]]
    return with_header(header, data + b"1234")


HEADERS = {
    "overlapping": altered("readout.bias", "data_offsets", [0, 12]),
    "past the end": altered("readout.bias", "data_offsets", [10**6, 10**6 + 12]),
    "absurd": altered("readout.bias", "data_offsets", [2**63, 2**63 + 12]),
    "huge": altered("readout.bias", "data_offsets", [10**1000, 10**1000 + 12]),
    "negative": altered("readout.bias", "data_offsets", [-12, 0]),
    "backwards": altered("readout.bias", "data_offsets", [12, 0]),
    "three offsets": altered("readout.bias", "data_offsets", [0, 12, 24]),
    "float offsets": altered("readout.bias", "data_offsets", [0.0, 12.0]),
    "no offsets": altered("readout.bias", "data_offsets", None),
    "wrong dtype": altered("readout.bias", "dtype", "I32"),
    "unknown dtype": altered("readout.bias", "dtype", "PICKLE"),
    "dtype a list": altered("readout.bias", "dtype", ["F32"]),
    "wrong shape": altered("readout.bias", "shape", [3, 1]),
    "shape with true": altered("readout.bias", "shape", [True, 3]),
    "shape that overflows": altered("readout.bias", "shape", [2**32, 2**32, 3]),
    "shape of texts": altered("readout.bias", "shape", ["3"]),
    "an unknown field": altered("readout.bias", "reduce", "os.system"),
    "name with ..": renamed("readout.bias", "../../readout.bias"),
    "name with a newline": renamed("readout.bias", "readout\n.bias"),
    "long name": renamed("readout.bias", "x" * 1000),
    "duplicate names": duplicated,
    "a gap": with_gap,
    "a tensor too few": lambda h, d: with_header({k: v for k, v in h.items() if k != "readout.bias"}, d),
    "a tensor too many": lambda h, d: with_header(
        h | {"extra": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, d),
    "metadata": lambda h, d: with_header(h | {"__metadata__": {"format": "pt"}}, d),
    "bytes at the end": lambda h, d: with_header(h, d + b"hidden"),
    "bytes missing": lambda h, d: with_header(h, d[:-1]),
    "a list": lambda _, d: with_header([], d),
    "an entry that is a list": lambda h, d: with_header(h | {"readout.bias": []}, d),
    "no JSON": lambda _, d: with_header(b"\x80" * 400, d),
    "deep nesting": lambda _, d: with_header(b'{"a":' + b"[" * 3000, d),
    "empty": lambda _, d: with_header(b"", d),
}  # fmt: skip


@pytest.mark.parametrize("attack", HEADERS)
def test_a_header_that_does_not_describe_the_weights_is_refused(step, attack):
    (step / "model.safetensors").write_bytes(HEADERS[attack](*opened_up(step)))
    refused(seal(step), "model.safetensors")


@pytest.mark.parametrize(
    "extra",
    [
        {"momentum.readout.bias": np.zeros(3, np.float32)},
        {"exp_avg.unknown": np.zeros(3, np.float32)},
        {"exp_avg": np.zeros(3, np.float32)},
        {"step.embedding.weight": np.zeros(1, np.float32)},
        {"step.embedding.weight": np.zeros((), np.int64)},
        {"exp_avg.readout.bias": np.zeros(4, np.float32)},
        {"exp_avg.readout.bias": np.zeros(3, np.float64)},
        {"state.h": np.zeros((2, 5, 2), np.float32)},
        {"state.c": np.zeros((1, 5, 2), np.float32)},
        {"state.h": np.zeros((1, 5), np.float32)},
    ],
)
def test_an_optimizer_that_does_not_belong_to_the_weights_is_refused(step, extra):
    (step / "optimizer.safetensors").write_bytes(save(extra))
    refused(seal(step), "optimizer.safetensors")


def test_an_empty_optimizer_and_a_carried_state_are_legal(step):
    for tensors in (
        {},
        {"state.h": np.zeros((1, 5, 2), np.float32)},
        {"state.h": np.zeros((1, 0, 2), np.float32)},
    ):
        (step / "optimizer.safetensors").write_bytes(save(tensors))
        assert set(checkpoint.read(seal(step)).optimizer) == set(tensors)


@pytest.mark.parametrize("progress", [{"step": 6}, {"step": "5"}, {"step": 5.0}, {"step": None}])
def test_a_progress_of_another_step_is_refused(step, progress):
    (step / "progress.json").write_text(json.dumps(progress))
    refused(seal(step), "progress.json")


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_under_any_name_is_refused_and_never_runs(step, name):
    canary = step.parent / "canary"
    bomb = f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode()
    for payload in (bomb, len(bomb).to_bytes(8, "little") + bomb, base64.b64encode(bomb)):
        (step / name).write_bytes(payload)
        refused(step)
        refused(seal(step), name)
    assert not canary.exists()


def test_mutated_directories_give_a_checkpoint_error_and_nothing_else(step):
    """Files are cut, joined, swapped and overwritten at random, under the old manifest and a fitting one."""
    raw = {name: (step / name).read_bytes() for name in (*FILES, "manifest.json")}
    choice = random.Random(0)
    for _ in range(100):
        for name, data in raw.items():
            (step / name).write_bytes(data)
        name, other = choice.choice(FILES), choice.choice(FILES)
        cut = choice.randrange(len(raw[name]))
        mutant = choice.choice((
            raw[name][:cut], raw[name][cut:], raw[other], raw[name][:cut] + raw[other][cut:],
            raw[name] * 2, raw[name][:cut] + choice.randbytes(9) + raw[name][cut:], choice.randbytes(cut),
        ))  # fmt: skip
        (step / name).write_bytes(mutant)
        if mutant != raw[name]:
            refused(step)
        with contextlib.suppress(CheckpointError):  # tokens, say, may be any object
            checkpoint.read(seal(step))


def test_an_unreadable_directory_is_one_line(step, monkeypatch):
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", denied)
    refused(step, "Permission denied")
