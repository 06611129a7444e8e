"""Which line of a text gates.png shows."""

from __future__ import annotations

import pytest

from unrolled import tokens
from unrolled.data import Document, encode_text
from unrolled.tasks.language.report import STRIP_TOKENS, one_sentence

RULER = "- " * 40
RULED = "| --- | --- | --- | --- | --- | ---: | --- | --- | --- | --- | --- | --- | --- |"
NUMBERS = "| 100, 128 | 6.17 | 57 % | 4.8 % | 17.4 | 20 % | 2.78 | 1.11 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |"
SENTENCE = "a whole line that reads as a sentence , with words enough for any kind of symbol , and so on to its end here ."
SHORT = "too short"


def shown(kind: str, *lines: str) -> str:
    text = "\n".join(lines) + "\n"
    known = {"byte": tokens.ByteTokens(), "bpe": tokens.BpeTokens([[116, 104], [256, 101]])}  # th, the
    vocabulary = known[kind] if kind in known else tokens.build(kind, [text])
    split = encode_text([Document("text", text)], vocabulary, "stream")
    return vocabulary.decode(one_sentence(split, vocabulary)).strip("\n")


@pytest.mark.parametrize("kind", ["char", "byte", "word", "bpe"])
def test_the_sentence_is_one_whatever_stands_around_it_and_whatever_the_symbols_are(kind: str):
    drawn = shown(kind, SHORT, RULER, RULED, NUMBERS, SENTENCE, RULED, SENTENCE[::-1])
    assert drawn
    assert SENTENCE.startswith(drawn)
    assert len(drawn) >= STRIP_TOKENS - 2


def test_without_a_sentence_it_is_the_line_with_most_to_see():
    assert shown("char", SHORT, RULER, NUMBERS, RULED) == NUMBERS[: STRIP_TOKENS - 1]
    assert shown("char", "ab", SHORT, "abc") == SHORT
