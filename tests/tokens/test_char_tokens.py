"""Characters: the identity on known text, U+FFFD for the rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import TokenError
from unrolled.tokens import CharTokens, Kinds, base, build

LAW = settings(deadline=None, max_examples=60)


def test_the_vocabulary_is_unknown_then_newline_then_the_kinds_in_order():
    tokens = build("char", ["cab\n", "é😀"])
    assert tokens.to_json()["symbols"] == ["<unk>", "\n", "a", "b", "c", "é", "😀"]
    assert (tokens.kind, tokens.size, tokens.unknown, tokens.boundary) == ("char", 7, 0, 1)


def test_newline_is_always_in_the_vocabulary():
    assert build("char", ["ab"]).encode("\n").tolist() == [1]
    assert build("char", []).size == 2


@LAW
@given(st.text(), st.text())
def test_decode_undoes_encode_for_texts_of_the_corpus(one, other):
    tokens = build("char", [one, other])
    ids = tokens.encode(other + one)
    assert ids.dtype == np.int64
    assert tokens.decode(ids) == other + one
    assert tokens.count_unknown(ids) == 0


@LAW
@given(st.text(), st.text())
def test_every_unknown_character_is_counted_and_shown_as_one(corpus, text):
    tokens = build("char", [corpus])
    ids = tokens.encode(text)
    strangers = [c not in corpus + "\n" for c in text]
    assert tokens.count_unknown(ids) == sum(strangers)
    shown = "".join("�" if strange else c for c, strange in zip(text, strangers, strict=True))
    assert tokens.decode(ids) == shown


@pytest.mark.parametrize("size", [255, 256, 257, 258])
def test_the_narrowest_type_holds_every_id(size):
    text = "".join(map(chr, range(0x400, 0x400 + size - 2)))  # beside <unk> and newline
    tokens = build("char", [text])
    assert tokens.size == size
    assert tokens.encode_narrow(text).tolist() == list(range(2, size))


@LAW
@given(st.lists(st.text(max_size=9), max_size=4))
def test_the_kinds_of_parts_put_together_are_those_of_the_whole(parts):
    together = Kinds()
    for part in parts:
        own = Kinds()
        own.feed(part)
        together.merge(own)
    assert together.symbols() == sorted({*"".join(parts)})


def test_all_unknown_ids_are_counted_however_many_are_looked_at_together(monkeypatch):
    monkeypatch.setattr(base, "COUNTED", 3)
    assert [build("char", ["a"]).count_unknown([0] * number) for number in range(9)] == list(range(9))


@LAW
@given(st.text())
def test_streamed_pieces_join_to_the_decoded_text(text):
    tokens = build("char", ["abc"])
    ids = tokens.encode(text)
    decoder = tokens.decoder()
    assert "".join(decoder.feed(int(i)) for i in ids) + decoder.finish() == tokens.decode(ids)


def test_an_undecodable_byte_of_the_command_line_is_an_unknown_character():
    tokens = build("char", ["ab"])
    assert tokens.encode("a\udce9b").tolist() == [2, 0, 3]


@pytest.mark.parametrize("ids", [[0, 4], [-1], np.array([4], np.uint64)])
def test_an_id_outside_the_vocabulary_is_named(ids):
    tokens = build("char", ["ab"])
    wrong = next(i for i in ids if not 0 <= i < 4)
    with pytest.raises(TokenError, match=f"^ids: expected 0 to 3, got {wrong}$"):
        tokens.decode(ids)
    with pytest.raises(TokenError, match=f"^ids: expected 0 to 3, got {wrong}$"):
        tokens.decoder().feed(int(wrong))


def test_ids_that_are_no_row_of_whole_numbers_are_refused():
    tokens = build("char", ["ab"])
    with pytest.raises(TokenError, match=r"^ids: expected whole numbers, got float64$"):
        tokens.decode([0.5])
    with pytest.raises(TokenError, match=r"^ids: expected one axis \[N\], got 2 axes$"):
        tokens.decode([[1]])
    assert tokens.decode([]) == ""


def test_a_corpus_with_a_lone_surrogate_is_refused():
    with pytest.raises(
        TokenError, match=r"^symbols\[3\]: expected text without lone surrogates, got '\\ud800'$"
    ):
        build("char", ["a\ud800"])


def test_vocabularies_are_equal_when_their_files_are():
    assert build("char", ["ab"]) == CharTokens(["<unk>", "\n", "a", "b"])
    assert hash(build("char", ["ab"])) == hash(build("char", ["ba"]))
    assert build("char", ["ab"]) != build("word", ["a b"])
    assert repr(build("char", ["ab"])) == "CharTokens(size=4)"
