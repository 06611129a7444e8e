"""A source made into a corpus on disk."""

import hashlib

import numpy as np
import pytest

from unrolled.data import SENTENCES, prepare
from unrolled.errors import DataError, RunError
from unrolled.spec import DataConfig
from unrolled.tokens import ByteTokens

PARAGRAPHS = "one two three\n\nfour five six seven\n" * 20


@pytest.fixture
def made(tmp_path):
    def make(data, seed=0, **settings):
        path = tmp_path / "book.txt"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return prepare(DataConfig(str(path), **settings), tmp_path / "run" / "data", seed=seed)

    return make


def test_all_ten_sentences_are_trained_on(tmp_path):
    corpus = prepare(DataConfig("sentences"), tmp_path / "data", seed=0)
    assert corpus.validation_is_train
    assert (corpus.name, corpus.shape, corpus.tokens.kind, corpus.documents) == (
        "sentences",
        "lines",
        "char",
        1,
    )
    assert corpus.tokens.decode(corpus.train.ids) == "\n" + "\n".join(SENTENCES) + "\n"
    assert corpus.tokens.decode(corpus.validation.ids) == corpus.tokens.decode(corpus.train.ids)
    assert corpus.characters == corpus.train.characters == 324
    assert prepare(DataConfig("sentences", shape="stream"), tmp_path / "data", seed=0).validation_is_train


def test_ids_and_starts_are_written_and_mapped(made, tmp_path):
    corpus = made(PARAGRAPHS)
    names = ["corpus.json", "train.npy", "train_starts.npy", "val.npy", "val_starts.npy"]
    assert sorted(path.name for path in (tmp_path / "run" / "data").iterdir()) == names
    assert isinstance(corpus.train.ids, np.memmap)
    assert corpus.train.ids.dtype == np.uint8
    assert corpus.train.starts.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        corpus.train.ids[0] = 0
    again = np.load(tmp_path / "run" / "data" / "val.npy", allow_pickle=False)
    assert again.tolist() == corpus.validation.ids.tolist()


def test_a_stream_holds_out_its_last_tenth(made):
    corpus = made(PARAGRAPHS)
    assert (corpus.shape, corpus.name, corpus.validation_is_train) == ("stream", "book", False)
    cut = int(len(PARAGRAPHS) * 0.9)
    assert corpus.tokens.decode(corpus.train.ids) == "\n" + PARAGRAPHS[:cut]
    assert corpus.tokens.decode(corpus.validation.ids) == "\n" + PARAGRAPHS[cut:]
    assert (corpus.characters, corpus.validation.characters) == (len(PARAGRAPHS), len(PARAGRAPHS) - cut)


def test_lines_hold_out_a_seeded_tenth(made):
    text = "".join(f"line {i}\n" for i in range(50))
    corpus = made(text)
    assert (corpus.shape, corpus.validation_is_train) == ("lines", False)
    assert (len(corpus.train.starts), len(corpus.validation.starts)) == (45, 5)
    assert made(text).validation.ids.tolist() == corpus.validation.ids.tolist()
    assert made(text, seed=1).validation.ids.tolist() != corpus.validation.ids.tolist()


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("one\ntwo\n", "lines"),
        ("one\ntwo", "lines"),
        ("one\n\ntwo\n", "stream"),
        ("one\n \ntwo\n", "stream"),
        ("one\n\n", "stream"),
        ("x" * 1000 + "\nab", "lines"),
        ("x" * 1001 + "\nab", "stream"),
        ("ab\n" * 333_333 + "x", "lines"),
        ("ab\n" * 333_333 + "xy", "stream"),
    ],
)
def test_the_shape_follows_the_documented_rule(made, text, shape):
    corpus = made(text)
    assert corpus.shape == shape
    assert corpus.characters == len(text)


def test_a_folder_is_a_stream_whose_documents_start_at_boundaries(tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("b.txt", "a.txt"):
        (tmp_path / "d" / name).write_text(name * 10)
    (tmp_path / "d" / ".hidden").write_text("x")
    corpus = prepare(DataConfig(str(tmp_path / "d"), validation_share=0.2), tmp_path / "data", seed=0)
    assert (corpus.shape, corpus.documents, corpus.left_out, corpus.name) == ("stream", 2, 1, "d")
    assert corpus.train.starts.tolist() == [0, 51]
    assert corpus.train.characters + corpus.validation.characters == corpus.characters + 1
    lines = prepare(DataConfig(str(tmp_path / "d"), shape="lines"), tmp_path / "data", seed=0)
    assert lines.train.starts.tolist() == [0, 51]
    assert lines.validation_is_train


def test_a_corpus_too_small_to_hold_out_a_part_is_validated_on_itself(made):
    assert made("a b c\n" * 9).validation_is_train
    assert not made("a b c\n" * 10).validation_is_train
    assert made("one", tokens="word", shape="stream").validation_is_train
    tiny = made("ab", shape="stream")
    assert (tiny.train.num_targets, tiny.validation.num_targets, tiny.validation_is_train) == (1, 1, False)


def test_words_and_bytes_can_be_asked_for(made):
    words = made(PARAGRAPHS, tokens="word", max_words=5)
    assert (words.tokens.kind, words.tokens.size) == ("word", 5)
    assert words.train.characters + words.validation.characters == len(PARAGRAPHS)
    assert made(PARAGRAPHS, tokens="byte").tokens == ByteTokens()


def test_a_file_that_is_not_utf_8_is_taken_as_bytes(made):
    corpus = made(b"caf\xe9\n\n" * 20, tokens="byte")
    assert (corpus.shape, corpus.characters) == ("stream", 120)
    assert corpus.train.ids[:6].tolist() == [10, *b"caf\xe9\n"]
    assert made(b"caf\xe9\n" * 20, tokens="byte").shape == "lines"


def test_the_digest_is_that_of_the_text_whatever_its_line_ends(made):
    plain, windows, other = made("ab\ncd\n"), made("ab\r\ncd\r\n"), made("ab\ncd")
    assert plain.sha256 == windows.sha256 == hashlib.sha256(b"ab\ncd\n").hexdigest()
    assert plain.sha256 != other.sha256


def test_a_text_with_nothing_to_predict_is_refused(made):
    with pytest.raises(
        DataError, match=r"^source: expected a line that is not blank, got only white space in book$"
    ):
        made("\n\n \n", shape="lines")
    with pytest.raises(DataError, match=r"^source: expected a word, got only white space in book$"):
        made("   ", tokens="word")


def test_a_directory_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError) as caught:
        prepare(DataConfig("sentences"), tmp_path / "taken" / "data", seed=0)
    assert str(caught.value) == (
        f"run: expected a directory that can be written, got {tmp_path / 'taken' / 'data'}: not a directory"
    )


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match=r"no space left on device$"):
        prepare(DataConfig("sentences"), tmp_path, seed=0)
    assert list(tmp_path.iterdir()) == []
