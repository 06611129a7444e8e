"""A corpus on disk: found again as it was, and refused in one line when it is not."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from unrolled.data import prepare, reopen
from unrolled.data.corpus import LARGEST
from unrolled.errors import DataError
from unrolled.spec import DataConfig
from unrolled.tokens import build

TEXT = "one two three\n\nfour five six seven\n" * 20
FIELDS = (
    "name", "shape", "tokens", "tokens_setting", "validation_is_train", "sha256", "characters", "documents",
    "left_out",
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return where a corpus lies, and the corpus; nobody writes there."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "book.txt").write_text(TEXT)
    return folder / "data", prepare(DataConfig(str(folder / "book.txt")), folder / "data", seed=0)


@pytest.fixture
def data(prepared, tmp_path):
    """Return a copy that may be spoilt."""
    return shutil.copytree(prepared[0], tmp_path / "data")


def listing(path):
    return {each.name: (each.stat().st_mtime_ns, each.read_bytes()) for each in path.iterdir()}


@pytest.mark.parametrize(
    "settings",
    [{"tokens": kind} for kind in ("auto", "byte", "word", "bpe:260")]
    + [{"shape": "lines"}, {"validation_share": 0.5}],
    ids=str,
)
def test_a_corpus_is_found_again_as_it_was(settings, tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    corpus = prepare(DataConfig(str(tmp_path / "book.txt"), **settings), tmp_path / "data", seed=0)
    before = listing(tmp_path / "data")
    again = reopen(tmp_path / "data", corpus.tokens)
    assert listing(tmp_path / "data") == before
    for name in FIELDS:
        assert getattr(again, name) == getattr(corpus, name)
    for one, other in [(again.train, corpus.train), (again.validation, corpus.validation)]:
        assert isinstance(one.ids, np.memmap)
        assert isinstance(one.starts, np.memmap)
        assert one.ids.tolist() == other.ids.tolist()
        assert one.ids.dtype == other.ids.dtype
        assert one.starts.tolist() == other.starts.tolist()
        assert one.characters == other.characters
    asked = settings.get("tokens", "auto")
    assert again.tokens_setting == ("char" if asked == "auto" else asked)
    assert DataConfig("x", tokens=again.tokens_setting)


def test_the_files_are_what_numpy_reads(prepared):
    path, corpus = prepared
    for name, array in [("train", corpus.train.ids), ("val_starts", corpus.validation.starts)]:
        assert np.load(path / f"{name}.npy", allow_pickle=False).tolist() == array.tolist()


def test_corpus_json_says_what_lies_beside_it(prepared):
    path, corpus = prepared
    stored = json.loads((path / "corpus.json").read_bytes())
    assert (stored["format"], stored["version"]) == ("unrolled-corpus", 1)
    assert stored["sha256"] == corpus.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    for name, entry in stored["files"].items():
        raw = (path / name).read_bytes()
        assert entry == {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    assert sorted(stored["files"]) == ["train.npy", "train_starts.npy", "val.npy", "val_starts.npy"]


def refused(path, tokens, *words):
    with pytest.raises(DataError) as caught:
        reopen(path, tokens)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 700 + len(str(path))
    assert ": expected " in said
    for word in words:
        assert word in said


def test_another_vocabulary_is_refused(data):
    refused(
        data, build("word", [TEXT]), "the vocabulary that the corpus was encoded with", "got another word"
    )
    refused(data, build("char", [TEXT.upper()]), "got another char")


@pytest.mark.parametrize(
    "name", ["corpus.json", "train.npy", "train_starts.npy", "val.npy", "val_starts.npy"]
)
def test_a_file_that_is_none_or_another_is_refused(name, data, prepared):
    tokens, raw = prepared[1].tokens, (data / name).read_bytes()
    (data / name).unlink()
    refused(data, tokens, name, "nothing there")
    os.symlink(prepared[0] / name, data / name)
    refused(data, tokens, name)
    (data / name).unlink()
    os.mkfifo(data / name)
    refused(data, tokens, name, "a regular file")
    (data / name).unlink()
    (data / name).mkdir()
    refused(data, tokens, name)
    (data / name).rmdir()
    for other in (b"", raw[:-1], raw[: len(raw) // 2], raw + b"x", b"\x80\x04."):
        if other != raw[:-1] or name != "corpus.json":  # whose last byte is a newline
            (data / name).write_bytes(other)
            refused(data, tokens, name)
    (data / name).write_bytes(raw)
    assert reopen(data, tokens).sha256 == prepared[1].sha256


@pytest.mark.parametrize(
    "name", ["corpus.json", "train.npy", "train_starts.npy", "val.npy", "val_starts.npy"]
)
def test_a_flipped_bit_is_seen(name, data, prepared):
    raw = (data / name).read_bytes()
    for place in range(0, len(raw), max(1, len(raw) // 60)):
        spoilt = bytearray(raw)
        spoilt[place] ^= 1 << (place % 7)
        (data / name).write_bytes(spoilt)
        refused(data, prepared[1].tokens)


def changed(data, **changes):
    """Write other fields into corpus.json."""
    path = data / "corpus.json"
    stored = json.loads(path.read_bytes())
    for key, value in changes.items():
        if value is KeyError:
            del stored[key]
        else:
            stored[key] = value
    stored["check"] = hashlib.sha256(
        json.dumps({k: v for k, v in stored.items() if k != "check"}).encode()
    ).hexdigest()
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "other"), ("format", None), ("version", 2), ("version", True), ("version", 1.0), ("version", KeyError),
        ("name", 7), ("name", ""), ("name", "x" * 2000), ("shape", "auto"), ("shape", ["lines"]), ("tokens", "word"),
        ("tokens", "bpe:1"), ("tokens", 5), ("tokens_sha256", "0" * 64), ("tokens_sha256", "x"), ("sha256", "0" * 63),
        ("sha256", "G" * 64), ("sha256", 1), ("characters", -1), ("characters", 2**63), ("characters", 1.5),
        ("characters", True), ("documents", "1"), ("left_out", None), ("validation_is_train", 0), ("train", []),
        ("train", {}), ("train", {"characters": "x"}), ("validation", {"characters": 1, "more": 1}), ("files", {}),
        ("files", None), ("files", {"../x.npy": {}}), ("more", 1), ("left_out", KeyError),
        ("name", "a/b"), ("name", "a\\b"), ("name", ".."), ("name", "two\nlines"), ("name", "\x1b[2J"),
        ("name", "\u202ename"), ("characters", 0), ("documents", 0), ("train", {"characters": 0}),
        ("validation", {"characters": 0}),
    ],
)  # fmt: skip
def test_a_field_that_is_not_what_it_was_is_refused(key, value, data, prepared):
    changed(data, **{key: value})
    refused(data, prepared[1].tokens, "corpus.json")


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 50_000,
        b'{"format": 1, "format": 2}',
        b"null",
        b"\xff",
        b" " * (LARGEST + 1),
        b'{"version": NaN}',
        b"1" * 5000,
    ],
)
def test_a_corpus_file_that_is_no_json_of_ours_is_refused(raw, data, prepared):
    (data / "corpus.json").write_bytes(raw)
    refused(data, prepared[1].tokens, "corpus.json")


def replaced(data, name, raw):
    """Put other bytes in the place of a file, and say so in corpus.json: a stranger may."""
    (data / name).write_bytes(raw)
    files = json.loads((data / "corpus.json").read_bytes())["files"]
    files[name] = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    changed(data, files=files)


def saved(array, tmp_path):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    return (tmp_path / "x.npy").read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2, 200], np.uint8),  # no id of the vocabulary
        np.array([1, 2, build("char", [TEXT]).size], np.uint8),  # nor the one behind the last
        np.array([2, 1, 1], np.uint8),  # no newline first
        np.array([1, 2, 3], np.uint16),
        np.array([1, 2, 3], np.int8),
        np.array([1.0, 2.0]),
        np.array([[1, 2]], np.uint8),
        np.array(1, np.uint8),
        np.array([1], np.uint8),
        np.array([], np.uint8),
        np.array([None, {}], object),
        np.array([(1, 2)], [("a", "u1"), ("b", "u1")]),
        np.array(["a", "b"]),
    ],
    ids=str,
)
def test_ids_that_are_none_are_refused_though_the_sums_are_right(array, data, prepared, tmp_path):
    replaced(data, "train.npy", saved(array, tmp_path))
    refused(data, prepared[1].tokens, "train.npy")


@pytest.mark.parametrize(
    "starts",
    [
        [1],
        [],
        [0, 0],
        [0, 5, 3],
        [-1, 0],
        [0, 10**9],
        [0, 2**63 - 1],
        [0, 2**62, -(2**62)],
        [0, 2**63 - 1, -(2**63)],
    ],
    ids=str,
)
def test_starts_that_are_none_are_refused_though_the_sums_are_right(starts, data, prepared, tmp_path):
    replaced(data, "val_starts.npy", saved(np.array(starts, np.int64), tmp_path))
    refused(data, prepared[1].tokens, "val_starts.npy")


def test_starts_at_other_ids_than_newlines_are_refused_though_the_sums_are_right(data, prepared, tmp_path):
    ids = prepared[1].train.ids
    newline, other = (
        next(i for i in range(1, 40) if (ids[i] == ids[0]) == is_one) for is_one in (True, False)
    )
    replaced(data, "train_starts.npy", saved(np.array([0, newline]), tmp_path))
    assert reopen(data, prepared[1].tokens).train.starts.tolist() == [0, newline]
    replaced(data, "train_starts.npy", saved(np.array([0, other]), tmp_path))
    refused(data, prepared[1].tokens, "train_starts.npy", "offsets of newlines")


def test_lines_that_do_not_end_are_refused_though_the_sums_are_right(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    config = DataConfig(str(tmp_path / "book.txt"), shape="lines")
    corpus = prepare(config, tmp_path / "data", seed=0)
    replaced(tmp_path / "data", "val.npy", saved(np.array([*corpus.validation.ids, 2], np.uint8), tmp_path))
    refused(tmp_path / "data", corpus.tokens, "val.npy", "a newline at the end of the last line")


def test_a_corpus_of_a_file_with_an_odd_name_is_found_again(tmp_path):
    odd = os.fsdecode(b"two\nlines \xe9\\x.txt")
    (tmp_path / odd).write_text(TEXT)
    corpus = prepare(DataConfig(str(tmp_path / odd)), tmp_path / "data", seed=0)
    assert corpus.name == "two_lines __x"
    assert reopen(tmp_path / "data", corpus.tokens).name == corpus.name


@pytest.mark.parametrize(
    "head",
    [
        lambda raw: raw.replace(b"(", b"[", 1),
        lambda raw: raw.replace(b"False", b"True ", 1),
        lambda raw: raw.replace(b"|u1", b"|O8", 1),
        lambda raw: raw.replace(b"NUMPY\x01", b"NUMPY\x02", 1),
        lambda raw: raw.replace(b"shape", b"shapE", 1),
        lambda raw: raw.replace(b"'shape': (", b"'shape': (9", 1).replace(b" \n", b"\n", 1),
        lambda raw: raw.replace(b"'shape': (", b"'shape': (0", 1).replace(b" \n", b"\n", 1),
        lambda raw: raw + b"\0",
        lambda raw: raw[:-1],
        lambda raw: raw[:100],
        lambda raw: b"\x93NUMPY\x01\x00\xff\xff" + raw[10:],
    ],
)
def test_headers_that_numpy_would_not_write_are_refused(head, data, prepared):
    replaced(data, "val.npy", head((data / "val.npy").read_bytes()))
    refused(data, prepared[1].tokens, "val.npy")


def test_what_prepare_leaves_is_whole_or_no_corpus(prepared, tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text(TEXT)
    config = DataConfig(str(tmp_path / "book.txt"))
    prepare(config, tmp_path / "data", seed=0)
    replace = os.replace
    for count in range(5):  # the disk fills before the first, the second, … file has its name
        monkeypatch.setattr("os.replace", full_after(count))
        with pytest.raises(OSError, match="no space left on device"):
            prepare(config, tmp_path / "data", seed=0)
        monkeypatch.setattr("os.replace", replace)
        assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".")]
        refused(tmp_path / "data", prepared[1].tokens, "corpus.json", "nothing there")


def full_after(count):
    """Return an os.replace for which the disk is full after so many calls."""
    left, replace = [count], os.replace

    def full(one, other):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        replace(one, other)

    return full


def test_everything_is_brought_to_the_disk_before_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text(TEXT)
    seen = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        seen.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")).rpartition("-")[0]))
        fsync(descriptor)

    def renamed(one, other):
        seen.append(("name", os.path.basename(other)))
        replace(one, other)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", renamed)
    prepare(DataConfig(str(tmp_path / "book.txt")), tmp_path / "data", seed=0)
    files = [f".writing-{name}.npy" for name in ("train", "train_starts", "val", "val_starts")]
    named = [("name", f"{name}.npy") for name in ("train", "train_starts", "val", "val_starts")]
    last = [("sync", ".writing-corpus.json"), ("name", "corpus.json"), ("sync", "")]
    placed = [step for each in named for step in (each, ("sync", ""))]  # the directory's names after each
    assert seen == [*(("sync", name) for name in files), *placed, *last]
