"""Every source is read at most twice, standard input and pipes once, and must not change in between."""

import gzip
import hashlib
import io
import os
import sys
import tempfile
import threading

import pytest

from unrolled.data import fingerprint, prepare, preparing, read, sources
from unrolled.data.sources import FileOrigin
from unrolled.data.survey import survey
from unrolled.errors import DataError, MissingExtraError
from unrolled.spec import DataConfig

TEXT = "one two three\n\nfour five six seven\n" * 20


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def opened(monkeypatch):
    """Count how often each file is opened."""
    found = {}
    original = sources.open_file

    def counted(path):
        found[os.path.basename(path)] = found.get(os.path.basename(path), 0) + 1
        return original(path)

    monkeypatch.setattr(sources, "open_file", counted)
    return found


def write(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def prepared(source, tmp_path, **settings):
    return prepare(DataConfig(source, **settings), tmp_path / "run" / "data", seed=0)


@pytest.mark.parametrize(("kind", "passes"), [("auto", 2), ("byte", 2), ("word", 2), ("bpe:260", 3)])
def test_a_file_is_read_twice_and_with_bpe_three_times(kind, passes, opened, tmp_path):
    write("book.txt", TEXT)
    write("book.gz", gzip.compress(TEXT.encode()))
    write("d/a.txt", TEXT)
    write("d/b.txt", TEXT)
    plain, packed = (prepared(source, tmp_path, tokens=kind) for source in ("book.txt", "book.gz"))
    assert prepared("d", tmp_path, tokens=kind).documents == 2
    assert set(opened.values()) == {passes}
    assert plain.sha256 == packed.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert plain.tokens == packed.tokens


def test_without_the_package_for_bpe_nothing_is_read(opened, tmp_path, monkeypatch):
    write("book.txt", TEXT)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unrolled\[bpe\]'$"):
        prepared("book.txt", tmp_path, tokens="bpe:300")
    assert not opened
    assert not (tmp_path / "run").exists()


def test_a_fingerprint_is_one_pass(opened):
    write("d/a.txt", TEXT)
    write("d/b.txt", "\ufeffx\r\ny")
    sums = [hashlib.sha256(text.encode()).digest() for text in (TEXT, "x\ny")]
    assert fingerprint(DataConfig("d")) == hashlib.sha256(sums[0] + sums[1]).hexdigest()
    assert opened == {"a.txt": 1, "b.txt": 1}
    with pytest.raises(
        DataError, match=r"^source: expected a file, a directory, .* got no such path nowhere$"
    ):
        fingerprint(DataConfig("nowhere"))


def test_standard_input_is_read_once_and_kept_in_a_file_that_goes(tmp_path, monkeypatch):
    class Once(io.BytesIO):
        def seek(self, *_):
            raise OSError("a pipe")

    kept = []
    original = tempfile.TemporaryFile

    def seen(**where):
        kept.append((where["dir"], original(**where)))
        return kept[-1][1]

    monkeypatch.setattr(tempfile, "TemporaryFile", seen)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Once(TEXT.encode())))
    corpus = prepared("-", tmp_path)
    assert (corpus.name, corpus.characters) == ("stdin", len(TEXT))
    assert [folder for folder, _ in kept] == [tmp_path / "run" / "data"]
    assert kept[0][1].closed
    names = ["corpus.json", "train.npy", "train_starts.npy", "val.npy", "val_starts.npy"]
    assert sorted(os.listdir(tmp_path / "run" / "data")) == names
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Once(TEXT.encode())))
    assert fingerprint(DataConfig("-")) == corpus.sha256
    assert len(kept) == 1  # a fingerprint keeps nothing


@pytest.mark.parametrize("name", ["pipe", "pipe.gz"])
def test_a_pipe_is_read_once(name, tmp_path):
    os.mkfifo(name)
    data = TEXT.encode() if name == "pipe" else gzip.compress(TEXT.encode())
    writer = threading.Thread(target=write, args=(name, data))
    writer.start()
    corpus = prepared(name, tmp_path)
    writer.join()
    assert corpus.characters == len(TEXT)
    assert corpus.tokens.decode(corpus.train.ids) == "\n" + TEXT[: int(0.9 * len(TEXT))]


@pytest.mark.parametrize("size", [1, 7, 64 * 1024])
def test_a_pipe_with_broken_gz_is_refused(size, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "READ", size)
    os.mkfifo("pipe.gz")
    writer = threading.Thread(target=write, args=("pipe.gz", gzip.compress(TEXT.encode())[:-9]))
    writer.start()
    with pytest.raises(
        DataError, match=r"^source: expected a \.gz file, got pipe\.gz: Compressed file ended"
    ):
        prepared("pipe.gz", tmp_path)
    writer.join()


@pytest.mark.parametrize(
    "after",
    [
        b"",
        TEXT.encode()[:-1],
        TEXT.encode() + b"x",
        TEXT.encode() * 9,
        TEXT.upper().encode(),
        b"\xff" * 700,
        None,
    ],
    ids=["empty", "shorter", "longer", "much longer", "other", "no text", "gone"],
)
@pytest.mark.parametrize("kind", ["char", "bpe:260"])
@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_a_text_that_changes_between_the_passes_is_refused(kind, shape, after, tmp_path, monkeypatch):
    write("book.txt", TEXT)
    original = preparing.survey

    def then_changed(*args, **settings):
        found = original(*args, **settings)
        if after is None:
            os.unlink("book.txt")
        else:
            write("book.txt", after)
        return found

    monkeypatch.setattr(preparing, "survey", then_changed)
    with pytest.raises(DataError) as caught:
        prepared("book.txt", tmp_path, tokens=kind, shape=shape)
    changed = "the text that was there a moment ago, got another one in book.txt, which has changed since"
    gone = "a file that can be read, got book.txt: no such file or directory"
    assert str(caught.value) == f"source: expected {gone if after is None else changed}"
    assert not (tmp_path / "run" / "data").exists() or not os.listdir(tmp_path / "run" / "data")


def test_what_a_survey_finds_is_what_reading_finds():
    write("d/a.txt", TEXT)
    write("d/nul", b"a\0")
    write("d/latin", b"caf\xe9")
    write("d/mark", b"\xef\xbb\xbf")
    write("d/.hidden", "x")
    for kind in ("auto", "byte"):
        found, reading = survey(DataConfig("d", tokens=kind), scratch=None), read("d", tokens=kind)
        assert found.left_out == reading.left_out == (4 if kind == "auto" else 3)
        assert [each.origin.name for each in found.documents] == [each.name for each in reading.documents]
        assert [each.characters for each in found.documents] == [
            each.characters for each in reading.documents
        ]
        assert [each.is_text for each in found.documents] == [
            isinstance(each.text, str) for each in reading.documents
        ]


@pytest.mark.parametrize("most", [100, 1000, 10**9])
def test_bpe_learns_from_whole_lines_of_everywhere(most, monkeypatch):
    monkeypatch.setattr("unrolled.data.text.BLOCK", 2000)
    text = "".join(f"é line {i} of many\n" for i in range(2000))
    write("x", text)
    taken = "".join(preparing._spread(survey(DataConfig("x"), scratch=None), most))
    lines = text.splitlines(keepends=True)
    assert len(taken.encode()) <= most
    if most == 10**9:
        assert taken == text
    elif most == 1000:
        chosen = [lines.index(line) for line in taken.splitlines(keepends=True)]
        assert chosen == sorted(chosen)
        assert len(taken) > most // 3
        assert chosen[0] < 100
        assert chosen[-1] > 1800


def test_a_file_opened_by_no_name_is_closed(tmp_path):
    write("x", TEXT)
    pieces = FileOrigin("x", str(tmp_path / "x")).pieces()
    assert next(pieces) == TEXT.encode()
    pieces.close()  # warnings are errors: an open file would say so


def test_long_words_leave_memory(tmp_path, monkeypatch):
    from unrolled.tokens import counting

    monkeypatch.setattr(counting, "MOST_LONG", 1000)
    write("x", "\n".join(str(i % 3) * 900 for i in range(9)))
    assert prepared("x", tmp_path, tokens="word").tokens.size == 5
