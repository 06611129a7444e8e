"""Texts in pieces: what comes out is a function of the text, never of how it was read."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unrolled.data import Document, encode_text, fingerprint, prepare, sources
from unrolled.data import text as blocks
from unrolled.data.text import Blocks, NotText, TextDecoder, block_end
from unrolled.spec import DataConfig
from unrolled.tokens import build

LAW = settings(deadline=None, max_examples=80)
SIZES = (1, 7, 64 * 1024)
data = st.lists(
    st.sampled_from([b"a", b"b ", b"\n", b"\r", b"\r\n", "é".encode(), "😀".encode(), b"\xef\xbb\xbf", b"\t"])
).map(b"".join)
wild = st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\0", b"\xe9", b"\xc3", "😀".encode(), b"\x80"])).map(
    b"".join
)


def in_pieces(raw, sizes):
    """Cut bytes at the places that the sizes give, again and again."""
    begin, number = 0, 0
    while begin < len(raw):
        yield raw[begin : begin + sizes[number % len(sizes)]]
        begin, number = begin + sizes[number % len(sizes)], number + 1


def decoded(raw, sizes):
    decoder = TextDecoder()
    return "".join([decoder.feed(piece) for piece in in_pieces(raw, sizes)] + [decoder.feed(b"", final=True)])


@LAW
@given(data, st.lists(st.integers(1, 5), min_size=1))
@example("é\r\n".encode(), [1])
def test_a_text_is_decoded_alike_however_it_is_read(raw, sizes):
    whole = raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert decoded(raw, sizes) == whole


@LAW
@given(wild, st.lists(st.integers(1, 5), min_size=1))
@example(b"\xc3\0", [1])
@example(b"ab\n\xe9", [4])
def test_the_first_wrong_byte_is_named_however_it_is_read(raw, sizes):
    places = [raw.find(b"\0")] if b"\0" in raw else []
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        places.append(error.start)
    if not places:
        decoded(raw, sizes)
        return
    wrong = min(places)
    with pytest.raises(NotText) as caught:
        decoded(raw, sizes)
    assert caught.value.args == (raw[wrong], wrong, raw.count(b"\n", 0, wrong) + 1)


def test_a_nul_far_from_the_start_is_a_character():
    raw = b"a" * 8192 + b"\0"
    assert decoded(raw, [100]) == raw.decode()
    with pytest.raises(NotText):
        decoded(b"a" * 8191 + b"\0", [100])


@LAW
@given(st.text("ab \t\n"), st.lists(st.integers(1, 9), min_size=1), st.integers(1, 9))
def test_blocks_are_a_function_of_the_text(text, sizes, size):
    def cut(sizes):
        own = Blocks(size)
        return [block for piece in in_pieces(text, sizes) for block in own.feed(piece)] + list(own.finish())

    found = cut(sizes)
    assert found == cut([len(text) + 1])
    assert "".join(found) == text
    assert all(1 <= len(block) <= size for block in found)
    own = Blocks(size)
    as_bytes = [*own.feed(text.encode()), *own.finish()]
    assert [block.decode() for block in as_bytes] == found


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("ab\ncd\nefgh", 6),  # after the last newline
        ("abcd  efgh", 4),  # before the last blanks
        ("a b\tcdefgh", 3),
        ("abcdefghij", 8),  # anywhere
        ("        ab", 8),
        (" abcdefghi", 8),  # nothing stands before that blank
    ],
)
def test_a_block_ends_where_words_do(text, end):
    assert block_end(text, 0, 8) == end


pairs = st.tuples(st.sampled_from([" ", "  ", "\t"]), st.sampled_from(["a", "é", "dog", "“x”", "7"])).map(
    "".join
)
lines = st.lists(st.lists(pairs, max_size=6).map("".join))
corpora = st.lists(lines.map("\n".join).filter(str.strip), min_size=1, max_size=3)


def written(texts, folder):
    """Write texts with every line's end; return a source of them."""
    for number, text in enumerate(texts):
        Path(folder, f"{number}.txt").write_bytes(text.replace("\n", "\r\n").encode())
    return str(folder) if len(texts) > 1 else str(Path(folder, "0.txt"))


def split_of(part):
    return part.ids.tolist(), part.starts.tolist(), part.characters


@LAW
@given(corpora, st.sampled_from(["char", "byte", "word", "bpe:260"]), st.sampled_from(["stream", "lines"]))
def test_encoding_in_blocks_equals_encoding_the_whole(texts, kind, shape):
    """Blocks of 12 characters; neither a word nor a row of blanks is longer."""
    found = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        source = written(texts, folder)
        for read, block in [(1, 12), (7, 12), (64 * 1024, 12), (64 * 1024, 2**20)]:
            patch.setattr(sources, "READ", read)
            patch.setattr(blocks, "BLOCK", block)
            config = DataConfig(source, shape=shape, tokens=kind, validation_share=0.3)
            try:
                corpus = prepare(config, Path(folder, ".data"), seed=0)
            except ValueError as error:  # one character, or no word
                found.append(str(error))
                continue
            found.append((corpus.sha256, split_of(corpus.train), split_of(corpus.validation), corpus.tokens))
            assert fingerprint(config) == corpus.sha256
    assert all(one == found[0] for one in found[1:])
    if isinstance(found[0], str) or shape == "stream":
        return
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    whole = encode_text(documents, found[0][3], shape)
    if len(whole.starts) < 10:
        assert found[0][1] == split_of(whole)


@LAW
@given(st.text("ab ", max_size=40), st.sampled_from(["word", "bpe:258"]))
def test_a_word_longer_than_a_block_is_cut_alike_however_it_is_read(text, kind):
    found = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "x").write_text("ab " + text)
        patch.setattr(blocks, "BLOCK", 5)
        for read in SIZES:
            patch.setattr(sources, "READ", read)
            corpus = prepare(DataConfig(str(Path(folder, "x")), "stream", kind), Path(folder, "data"), seed=0)
            found.append((split_of(corpus.train), split_of(corpus.validation)))
            assert corpus.tokens.count_unknown(corpus.train.ids) == 0
    assert found[0] == found[1] == found[2]


def test_a_long_blank_line_is_taken_back(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 4)
    text = "\n".join([*(f"line {i}" for i in range(12)), " " * 50, "", " " * 30 + "x", " " * 99])
    (tmp_path / "x").write_text(text)
    corpus = prepare(DataConfig(str(tmp_path / "x"), shape="lines"), tmp_path / "data", seed=3)
    whole = encode_text([Document("", text)], corpus.tokens, "lines")
    assert len(corpus.train.starts) + len(corpus.validation.starts) == len(whole.starts) == 13
    assert corpus.train.characters + corpus.validation.characters == whole.characters
    assert corpus.train.num_targets + corpus.validation.num_targets == whole.num_targets
    text_of = [corpus.tokens.decode(part.ids) for part in (corpus.train, corpus.validation)]
    assert sum(part.count(" " * 30 + "x\n") for part in text_of) == 1
    assert not any(" " * 31 in part for part in text_of)


def test_a_folder_of_lines_counts_those_of_every_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("".join(f"{name} {i}\n\n" for i in range(10)))
    corpus = prepare(DataConfig(str(tmp_path), shape="lines"), tmp_path / ".data", seed=0)
    assert (len(corpus.train.starts), len(corpus.validation.starts)) == (18, 2)


def test_bytes_are_bytes_however_late_that_shows(tmp_path, monkeypatch):
    raw = b"one\r\ntwo\n" * 30 + b"caf\xe9"
    (tmp_path / "x").write_bytes(raw)
    for read in SIZES:
        monkeypatch.setattr(sources, "READ", read)
        corpus = prepare(DataConfig(str(tmp_path / "x"), tokens="byte"), tmp_path / "data", seed=0)
        joined = corpus.train.ids[1:].tolist() + corpus.validation.ids[1:].tolist()
        assert corpus.shape == "lines" or joined == list(raw)
        assert (corpus.characters, corpus.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())


def test_words_are_counted_exactly_where_memory_holds_few(tmp_path, monkeypatch):
    from unrolled.tokens import counting

    text = "".join(f"w{i % (17 + i % 5)} w{i % 7}\n" for i in range(500))
    (tmp_path / "x").write_text(text)
    monkeypatch.setattr(blocks, "BLOCK", 64)
    monkeypatch.setattr(counting, "MOST_WORDS", 3)
    corpus = prepare(DataConfig(str(tmp_path / "x"), tokens="word", max_words=9), tmp_path / "data", seed=0)
    assert corpus.tokens == build("word", [text], max_words=9)
    (tmp_path / "d").mkdir()
    for number in range(5):
        (tmp_path / "d" / f"{number}").write_text(text[number::5])
    found = prepare(DataConfig(str(tmp_path / "d"), tokens="word"), tmp_path / "data2", seed=0)
    assert found.tokens == build("word", [text[number::5] for number in range(5)])


def test_kinds_of_character_of_a_file_that_is_left_out_are_not_in_the_vocabulary(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "READ", 8)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("abc\n" * 9)
    (tmp_path / "d" / "b").write_bytes("xyzé".encode() * 20 + b"\xff")
    corpus = prepare(DataConfig(str(tmp_path / "d")), tmp_path / "data", seed=0)
    assert corpus.tokens == build("char", ["abc"])
    assert (corpus.documents, corpus.left_out) == (1, 1)


def test_the_ids_of_a_long_text_are_those_of_its_parts(tmp_path):
    generator = np.random.default_rng(0)
    text = "\n".join("".join(generator.choice(list("abc é"), 50)) for _ in range(30_000))
    (tmp_path / "x").write_text(text)
    corpus = prepare(DataConfig(str(tmp_path / "x"), tokens="char"), tmp_path / "data", seed=0)
    whole = encode_text([Document("", text)], corpus.tokens, "stream")
    assert np.array_equal(np.concatenate([corpus.train.ids, corpus.validation.ids[1:]]), whole.ids)
