"""Bytes: any text, and streamed UTF-8."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import TokenError
from unrolled.tokens import ByteTokens, build

LAW = settings(deadline=None, max_examples=100)
TOKENS = ByteTokens()


def test_there_are_256_ids_and_nothing_is_unknown():
    assert (TOKENS.kind, TOKENS.size, TOKENS.boundary, TOKENS.unknown) == ("byte", 256, 10, None)
    assert TOKENS.encode("é\n").tolist() == [0xC3, 0xA9, 10]
    assert TOKENS.count_unknown([0, 255]) == 0


@LAW
@given(st.text())
def test_decode_undoes_encode_for_every_text(text):
    ids = TOKENS.encode(text)
    assert (TOKENS.decode(ids), TOKENS.count_characters(ids)) == (text, len(text))


@LAW
@given(st.binary())
def test_streamed_pieces_join_to_the_decoded_text_even_where_it_is_no_utf8(data):
    ids = TOKENS.encode(data)
    assert bytes(ids.tolist()) == data
    decoder = TOKENS.decoder()
    for _ in range(2):  # finish leaves it fresh
        assert "".join(decoder.feed(int(i)) for i in ids) + decoder.finish() == TOKENS.decode(ids)


def test_a_character_is_shown_when_its_last_byte_comes():
    decoder = TOKENS.decoder()
    assert [decoder.feed(b) for b in "é".encode()] == ["", "é"]
    assert (decoder.feed(0xC3), decoder.finish()) == ("", "�")


def test_an_undecodable_byte_of_the_command_line_is_that_byte_again():
    assert TOKENS.encode("a\udce9").tolist() == [97, 0xE9]
    with pytest.raises(TokenError, match=r"^text: expected text without lone surrogates, got '\\ud800'$"):
        TOKENS.encode("a\ud800")


def test_an_id_outside_the_bytes_is_named():
    with pytest.raises(TokenError, match=r"^ids: expected 0 to 255, got 256$"):
        TOKENS.decoder().feed(256)


def test_auto_takes_bytes_beyond_512_kinds_of_character():
    kinds = "".join(map(chr, range(0x4E00, 0x4E00 + 512)))
    assert build("auto", [kinds + "\n"[:0]]).kind == "char"
    assert build("auto", [kinds[:256], kinds[256:] + "x"]).kind == "byte"
