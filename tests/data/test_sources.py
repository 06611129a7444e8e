"""Sources: files, folders, standard input, built-in names, and every bad one with its message."""

import gzip
import hashlib
import io
import os
import sys
from pathlib import Path

import pytest

from unrolled.data import SENTENCES, Document, fingerprint, name_of, prepare, read, sources
from unrolled.data import text as room
from unrolled.errors import DataError
from unrolled.spec import DataConfig


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path, data):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data if isinstance(data, bytes) else data.encode())


def texts(reading):
    return {each.name: each.text for each in reading.documents}


def test_the_ten_sentences_ship_with_the_package():
    reading = read("sentences")
    assert texts(reading) == {"sentences": "\n".join(SENTENCES) + "\n"}
    assert len(SENTENCES) == 10
    assert (SENTENCES[0], SENTENCES[9]) == (
        "Fay and Jane play on the same day.",
        "Fay ate cake at the bay with Gabe.",
    )
    assert hashlib.sha256(reading.documents[0].data).hexdigest()[:8] == "3f7a2673"


def test_a_file_becomes_one_document_with_newlines_and_no_mark():
    write("a.txt", b"\xef\xbb\xbfone\r\ntwo\rthr\xc3\xa9e\n")
    reading = read("a.txt")
    assert texts(reading) == {"a.txt": "one\ntwo\nthrée\n"}
    assert not reading.folder


def test_only_the_first_mark_is_dropped():
    write("a.txt", "\ufeff\ufeffab")
    assert texts(read("a.txt")) == {"a.txt": "\ufeffab"}


def test_a_gz_file_is_unpacked():
    write("a.txt.gz", gzip.compress(b"packed\r\n"))
    assert texts(read("a.txt.gz")) == {"a.txt.gz": "packed\n"}


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("né\r\n".encode())))
    assert texts(read("-")) == {"standard input": "né\n"}


def test_a_directory_is_read_sorted_and_what_is_no_text_is_counted():
    write("d/b.txt", "bb")
    write("d/a/z.md", "zz")
    write("d/a/a.txt", "aa")
    write("d/.hidden", "no")
    write("d/.git/config", "no")
    write("d/.git/other", "no")
    write("d/nul.bin", b"text\0")
    write("d/latin.txt", b"caf\xe9")
    write("d/empty.txt", b"")
    reading = read("d")
    assert list(texts(reading).items()) == [("a/a.txt", "aa"), ("a/z.md", "zz"), ("b.txt", "bb")]
    assert reading.left_out == 5  # .git counts once
    assert reading.folder
    assert read("d", tokens="byte").documents[3] == Document("latin.txt", b"caf\xe9")


def test_links_of_a_directory_are_not_followed():
    write("outside/secret.txt", "secret")
    write("d/a.txt", "aa")
    os.symlink("../outside/secret.txt", "d/file")
    os.symlink("../outside", "d/folder")
    os.symlink(".", "d/loop")
    os.mkfifo("d/pipe")  # opening it would wait for ever
    reading = read("d")
    assert texts(reading) == {"a.txt": "aa"}
    assert reading.left_out == 4


def test_what_runs_write_into_a_directory_is_no_text_of_it():
    write("d/a.txt", "some text\n" * 9)
    before = fingerprint(DataConfig("d"))
    config = '{"model": {}}'
    for run, files in {
        "runs/at-work": {".lock": "", ".data-01234567/train.npy": "x", "notes.txt": "x"},
        "runs/begun": {"data/corpus.json": "{}"},
        "runs/named": {"config.json": config, "LATEST": "step-00000001\n", "metrics.jsonl": "{}\n"},
        "deep/er/saved": {"config.json": config, "checkpoints/step-00000001/config.json": config},
    }.items():
        for name, text in files.items():
            write(f"d/{run}/{name}", text)
    assert fingerprint(DataConfig("d")) == before
    reading = read("d")
    assert texts(reading) == {"a.txt": "some text\n" * 9}
    assert reading.left_out == 4
    prepared = prepare(DataConfig("d"), Path("d/runs/more/data"), seed=0)
    assert (prepared.sha256, fingerprint(DataConfig("d"))) == (before, before)


def test_what_only_looks_like_a_run_is_read():
    write("d/config.json", "config")
    write("d/LATEST/a.txt", "latest")
    write("d/checkpoints/b.txt", "checks")
    write("d/inner/LATEST", "a file")
    write("d/inner/config/c.txt", "no")
    assert len(texts(read("d"))) == 5
    write("one/LATEST", "a run that is named")
    write("one/config.json", "{}")
    assert len(texts(read("one"))) == 2


def test_a_directory_named_by_a_link_is_read():
    write("d/a.txt", "aa")
    os.symlink("d", "link")
    assert texts(read("link")) == {"a.txt": "aa"}


def test_the_standard_library_is_sorted_python_without_its_tests(tmp_path, monkeypatch):
    for name in ("os.py", "json/__init__.py", "abc.py"):
        write(tmp_path / name, f"# {name}\n")
    for name in (
        "test/a.py",
        "json/tests/a.py",
        "idlelib/a.py",
        "lib2to3/a.py",
        "site-packages/a.py",
        "os.pyc",
    ):
        write(tmp_path / name, "left out\n")
    write(tmp_path / "latin.py", b"\xe9")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    reading = read("stdlib")
    assert list(texts(reading)) == ["abc.py", "json/__init__.py", "os.py"]
    assert (reading.left_out, reading.folder) == (1, True)


def test_this_machine_has_a_standard_library():
    names = texts(read("stdlib"))
    assert "os.py" in names
    assert "json/decoder.py" in names
    assert not [name for name in names if "/tests/" in name or "site-packages" in name]


def test_a_built_in_name_wins_unless_the_file_is_written_as_a_path():
    write("sentences", "my own")
    assert len(texts(read("sentences"))["sentences"]) > 100
    assert texts(read("./sentences")) == {"./sentences": "my own"}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("book.txt", "book"),
        ("a/b.txt.gz", "b"),
        ("a/b.gz", "b"),
        ("a/b.c.txt", "b.c"),
        ("plain", "plain"),
        ("-", "stdin"),
        ("sentences", "sentences"),
        ("./sentences", "sentences"),
        ("stdlib", "stdlib"),
        (".hidden.txt", "hidden"),
        ("v1.2", "v1.2"),
        ("v1.2/", "v1.2"),
        (".", "here"),
        ("v1.2/..", "here"),
        ("/", "corpus"),
        ("two\nlines.txt", "two_lines"),
        ("caf\udce9\\x.txt", "caf__x"),
    ],
)
def test_a_source_has_a_short_name(source, name, tmp_path, monkeypatch):
    (tmp_path / "here" / "v1.2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert name_of(source) == name


def bad(source, message, **settings):
    with pytest.raises(DataError) as caught:
        read(source, **settings)
    assert str(caught.value) == f"source: expected {message}"


def test_a_missing_path_is_named():
    wanted = "a file, a directory, sentences, stdlib or -, got no such path"
    write("a.txt", "aa")
    bad("nowhere.txt", f"{wanted} nowhere.txt")
    bad("a.txt/b", f"{wanted} a.txt/b")
    bad("", f"{wanted} ''")
    bad("two\nlines", f"{wanted} 'two\\nlines'")
    bad("nul\0", f"{wanted} 'nul\\x00'")


def test_a_text_of_fewer_than_two_characters_is_refused(monkeypatch):
    write("empty.txt", b"")
    write("mark.txt", b"\xef\xbb\xbf")
    write("one.txt", "é")
    write("end.txt", "\r\n")
    write("d/one.txt", "a")
    bad("empty.txt", "at least 2 characters, got 0 in empty.txt")
    bad("empty.txt", "at least 2 characters, got 0 in empty.txt", tokens="byte")
    bad("mark.txt", "at least 2 characters, got 0 in mark.txt")
    bad("one.txt", "at least 2 characters, got 1 in one.txt")
    bad("end.txt", "at least 2 characters, got 1 in end.txt")
    bad("d", "at least 2 characters, got 1 in d")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    bad("-", "at least 2 characters, got 0 in standard input")
    monkeypatch.setattr(sys, "stdin", None)
    bad("-", "text on standard input, got a closed one")


def test_a_file_that_is_not_utf_8_is_refused_with_the_place_and_taken_as_bytes():
    write("latin.txt", b"one\ntwo\ncaf\xe9 au lait\r\n")
    offer = "UTF-8 text (--tokens byte takes any bytes), got byte"
    bad("latin.txt", f"{offer} 0xe9 at offset 11, line 3 of latin.txt")
    bad("latin.txt", f"{offer} 0xe9 at offset 11, line 3 of latin.txt", tokens="char")
    assert texts(read("latin.txt", tokens="byte")) == {"latin.txt": b"one\ntwo\ncaf\xe9 au lait\r\n"}
    write("mark.txt", b"\xef\xbb\xbf\xff")
    bad("mark.txt", f"{offer} 0xff at offset 3, line 1 of mark.txt")
    write("utf16.txt", "ab".encode("utf-16-le"))
    bad("utf16.txt", f"{offer} 0x00 at offset 1, line 1 of utf16.txt")
    write("latin.gz", gzip.compress(b"\xff"))
    bad("latin.gz", f"{offer} 0xff at offset 0, line 1 of latin.gz")


def test_bytes_tokens_read_utf_8_as_text():
    write("a.txt", "é\r\n")
    assert texts(read("a.txt", tokens="byte")) == {"a.txt": "é\n"}


def test_a_directory_without_text_is_refused():
    write("d/.hidden", "text")
    write("d/x.bin", b"\0\0")
    os.mkdir("none")
    write("d/packed.txt.gz", gzip.compress(b"some text"))
    write("d/run/.lock", b"")
    write("d/run/notes.txt", "text")
    why = "left out: hidden, linked, a run, packed as .gz, binary, not UTF-8 or empty)"
    bad("d", f"a directory with text files, got none in d (4 {why}")
    bad("none", f"a directory with text files, got none in none (0 {why}")


def test_a_broken_gz_file_is_refused():
    whole = gzip.compress(b"some text, packed")
    for name, data, reason in [
        ("plain.gz", b"no gzip", "Not a gzipped file (b'no')"),
        ("short.gz", whole[:-9], "Compressed file ended before the end-of-stream marker was reached"),
        ("sum.gz", whole[:-8] + bytes(4) + whole[-4:], "CRC check failed"),
        ("torn.gz", whole[:10] + b"\xff" * 20, "Error -3 while decompressing data: invalid block type"),
    ]:
        write(name, data)
        with pytest.raises(DataError) as caught:
            read(name)
        assert str(caught.value).startswith(f"source: expected a .gz file, got {name}: {reason}")
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(monkeypatch):
    write("d/a.txt", "aa")

    def refuse(path, _):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sources, "open", refuse, raising=False)
    bad("d/a.txt", "a file that can be read, got d/a.txt: permission denied")
    bad("d", "a file that can be read, got d/a.txt: permission denied")
    bad("x" * 5000, "a file that can be read, got " + "x" * 5000 + ": file name too long")


def test_a_folder_that_cannot_be_entered_is_named(monkeypatch):
    write("d/inner/a.txt", "aa")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    bad("d", "a file that can be read, got d/inner: permission denied")


def test_the_digest_of_one_document_is_that_of_its_bytes_and_of_several_that_of_their_digests():
    one, two = Document("a", "é"), Document("b", b"\xe9")
    sums = [hashlib.sha256(data).digest() for data in ("é".encode(), b"\xe9")]
    assert room.digest([one]) == sums[0].hex()
    assert room.digest([one, two]) == hashlib.sha256(sums[0] + sums[1]).hexdigest()
    assert room.digest([Document("", "ab"), Document("", "c")]) != room.digest(
        [Document("", "a"), Document("", "bc")]
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("size", [1, 3, 2**20])
def test_a_byte_order_mark_is_named_with_the_remedy(encoding, size, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "READ", size)
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeffthe cat\n".encode(encoding))
    name = encoding[:6].upper()
    wanted = (
        f"source: expected UTF-8 text, got {name}, by the byte order mark of {path}: "
        f"convert it with iconv -f {name} -t UTF-8"
    )
    for call in (lambda: read(str(path)), lambda: prepare(DataConfig(str(path)), tmp_path / "data", seed=0)):
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value) == wanted
