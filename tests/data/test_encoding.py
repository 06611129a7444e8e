"""Documents to one row of ids: what is a target, and where the state is zero."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Document, encode_source, encode_text
from unrolled.errors import ConfigError, DataError
from unrolled.tokens import build, id_dtype

LAW = settings(deadline=None, max_examples=60)
texts = st.lists(st.text("ab é\n", min_size=1), min_size=1, max_size=4)
kinds = st.sampled_from(["char", "byte", "word"])


def documents_of(texts):
    return [Document(str(i), text) for i, text in enumerate(texts)]


def test_a_stream_has_a_boundary_before_each_document():
    tokens = build("char", ["ab"])
    split = encode_text(documents_of(["ab\n", "b"]), tokens, "stream")
    assert split.ids.tolist() == [1, 2, 3, 1, 1, 3]
    assert split.starts.tolist() == [0, 4]
    assert (split.num_targets, split.characters, split.boundary) == (5, 5, 1)
    assert split.ids.dtype == np.uint8


def test_lines_are_each_between_boundaries_and_blank_ones_are_none():
    tokens = build("char", ["ab "])
    split = encode_text(documents_of(["a\n\n \nab", "b\n"]), tokens, "lines")
    assert tokens.decode(split.ids) == "\na\nab\nb\n"
    assert split.starts.tolist() == [0, 2, 5]
    assert (split.num_targets, split.characters) == (7, 7)


@LAW
@given(texts, kinds)
def test_every_character_of_a_stream_is_a_target_once(texts, kind):
    tokens = build(kind, texts)
    split = encode_text(documents_of(texts), tokens, "stream")
    joined = "\n".join(texts)
    assert split.ids[1:].tolist() == tokens.encode(joined).tolist()
    assert split.characters == len(joined)
    assert (split.ids[split.starts] == tokens.boundary).all()
    inputs_before = [len(tokens.encode("\n".join(["", *texts[:i]]))) for i in range(len(texts))]
    assert split.starts.tolist() == [i for i in inputs_before if i < split.num_targets]


@LAW
@given(texts, kinds)
def test_every_line_is_a_row_from_its_boundary_to_its_newline(texts, kind):
    tokens = build(kind, texts)
    split = encode_text(documents_of(texts), tokens, "lines")
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    ends = [*split.starts, split.num_targets][1:]
    found = [split.ids[a + 1 : b + 1].tolist() for a, b in zip(split.starts, ends, strict=True)]
    assert found == [tokens.encode(line + "\n").tolist() for line in lines]
    assert split.characters == sum(len(line) + 1 for line in lines)


@LAW
@given(texts, kinds, st.sampled_from(["stream", "lines"]))
def test_a_source_is_encoded_in_files_as_its_documents_are_in_memory(texts, kind, shape):
    tokens = build(kind, ["ab "])
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            Path(folder, str(number)).write_text(text, newline="")
        if sum(map(len, texts)) < 2:
            return
        found = encode_source(folder, tokens, shape, Path(folder, ".data"))
        assert sorted(os.listdir(Path(folder, ".data"))) == ["text.npy", "text_starts.npy"]
    whole = encode_text(documents_of(texts), tokens, shape)
    assert found.ids.tolist() == whole.ids.tolist()
    assert found.starts.tolist() == whole.starts.tolist()
    assert (found.characters, found.ids.dtype) == (whole.characters, whole.ids.dtype)


def test_unknown_symbols_are_counted_on_the_ids():
    tokens = build("char", ["ab"])
    split = encode_text(documents_of(["axb", "y"]), tokens, "stream")
    assert tokens.count_unknown(split.ids) == 2


def test_bytes_are_encoded_as_they_are_and_by_bytes_only():
    document = Document("x", b"\xe9\n\xff")
    split = encode_text([document], build("byte", []), "stream")
    assert split.ids.tolist() == [10, 0xE9, 10, 0xFF]
    assert split.characters == 3
    assert encode_text([document], build("byte", []), "lines").starts.tolist() == [0, 2]
    with pytest.raises(DataError, match=r"^source: expected UTF-8 text for char tokens, got bytes in x$"):
        encode_text([document], build("char", ["a"]), "stream")


def test_a_text_without_symbols_has_no_target():
    assert encode_text(documents_of(["\n \n"]), build("char", []), "lines").num_targets == 0
    words = encode_text(documents_of(["  \t"]), build("word", ["a"]), "stream")
    assert (words.num_targets, len(words.starts)) == (0, 0)
    assert encode_text([], build("char", []), "stream").num_targets == 0


def test_the_head_of_a_split_is_its_first_targets():
    split = encode_text(documents_of(["abab", "ba"]), build("char", ["ab"]), "stream")
    head = split.head(5)
    assert head.ids.tolist() == split.ids[:6].tolist()
    assert (head.starts.tolist(), head.characters) == ([0], 5)
    assert split.head(7) is split


KINDS = ["char", "byte", "bpe:300"]
WORDS = "naïve 😀 word, another one\nline\n\n"


@pytest.mark.parametrize("shape", ["lines", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_characters_of_a_head_are_counted_not_estimated(kind: str, shape: str):
    """Against decoding; the text begins with its widest characters, where an estimate errs most."""
    texts = ["😀é" * 7 + "\n" + "ascii only " * 50 + "\n" + WORDS]
    tokens = build(kind, texts)
    split = encode_text(documents_of(texts), tokens, shape)
    for count in range(1, split.num_targets):
        head = split.head(count, tokens)
        decoded = tokens.decode(head.ids[1:])
        whole = len(decoded.rstrip("\ufffd")) if kind != "char" else len(decoded)
        assert whole <= head.characters <= whole + 1  # a character that the cut goes through may have begun
        assert not head.estimated
    assert split.head(count, tokens).characters >= split.characters - 8


def test_where_characters_cannot_be_counted_the_head_says_that_they_are_estimated():
    tokens = build("word", ["a bb ccc"])
    words = encode_text(documents_of(["a  bb unknown ccc"]), tokens, "stream")
    assert words.head(2, tokens).estimated
    assert not words.head(4, tokens).estimated  # the whole
    assert not words.estimated
    raw = encode_text([Document("x", b"\x80\xfe" * 9), Document("y", "é" * 9)], build("byte", []), "stream")
    assert raw.head(5, build("byte", [])).estimated
    assert words.head(2).estimated  # without the vocabulary


def test_another_shape_is_refused():
    with pytest.raises(ConfigError, match=r"^shape: expected one of lines, stream, got 'auto'$"):
        encode_text([], build("char", []), "auto")


def test_ids_take_the_smallest_unsigned_type():
    assert [id_dtype(n).name for n in (2, 256, 257, 65536, 65537)] == [
        "uint8",
        "uint8",
        "uint16",
        "uint16",
        "uint32",
    ]
