"""One id per word, and one for the end of a line (Mikolov's convention for the Penn Treebank)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, TokenError, expected
from unrolled.tokens.base import (
    UNKNOWN,
    Ids,
    Tokens,
    check_first,
    check_ids,
    check_symbol,
    next_border,
    shown,
)
from unrolled.tokens.counting import WordCounts

__all__ = ["WordTokens"]

SEPARATORS = frozenset(" \t\n")
NONE = -1  # no word: between two separators


class WordTokens(Tokens):
    """A vocabulary of words: `<unk>` (id 0), newline (id 1), then the words.

    A line is split at spaces and tabs; punctuation stays where it is. `<unk>` in the text is the unknown
    word. Decoding joins words by one space, so a text with single spaces between its words comes back as
    it was, unknown words apart.
    """

    kind = "word"
    boundary = 1
    unknown = 0

    def __init__(self, symbols: Sequence[str], *, where: str = "symbols") -> None:
        """Take the symbols in the order of their ids.

        Raises TokenError: not `<unk>`, newline first; an empty word, or one with a space; a duplicate.
        """
        check_first(symbols, where)
        for index, symbol in enumerate(symbols[2:], start=2):
            word = check_symbol(symbol, f"{where}[{index}]")
            if not word or not SEPARATORS.isdisjoint(word):
                raise TokenError(expected(f"{where}[{index}]", "a word without spaces", shown(word)))
        self._symbols = tuple(symbols)
        self._ids = dict(zip(symbols, itertools.count(), strict=False))
        if len(self._ids) != len(symbols):
            twice = next(word for word, count in Counter(symbols).items() if count > 1)
            raise TokenError(expected(where, "each symbol once", f"{shown(twice)} twice"))
        self._ids[""] = NONE

    @classmethod
    def build(cls, texts: Iterable[str], *, max_words: int = 10_000) -> WordTokens:
        """Return the vocabulary of the most frequent words, ties in the order of code points.

        `max_words` counts all ids, `<unk>` and the newline among them. Raises ConfigError below 2.
        """
        _check_most(max_words)
        counts = WordCounts()
        for text in texts:
            counts.feed(text)
        return cls.of(counts, max_words=max_words)

    @classmethod
    def of(cls, counts: WordCounts, *, max_words: int) -> WordTokens:
        """Return the vocabulary of counted words, which are used up. Raises ConfigError below 2."""
        _check_most(max_words)
        return cls([UNKNOWN, "\n", *counts.top(max_words - 2, without=[UNKNOWN])])

    @property
    def size(self) -> int:
        return len(self._symbols)

    def encode(self, text: str) -> Ids:
        words = _words(text)
        found = map(self._ids.get, words, itertools.repeat(self.unknown))
        ids: Ids = np.fromiter(found, np.int64, count=len(words))
        return np.compress(ids != NONE, ids)

    def symbols_of(self, text: str) -> list[str]:
        return [word for word in _words(text) if word]

    def border(self, text: str, at: int) -> int:
        return next_border(text, at)

    def decode(self, ids: npt.ArrayLike) -> str:
        words = map(self._symbols.__getitem__, check_ids(ids, self.size).tolist())
        return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")

    def decoder(self) -> _WordDecoder:
        return _WordDecoder(self)

    def _content(self) -> dict[str, Any]:
        return {"symbols": list(self._symbols)}


def _words(text: str) -> list[str]:
    """Return the words and newlines of a text, and an empty one between two separators."""
    return text.replace("\n", " \n ").replace("\t", " ").split(" ")


def _check_most(max_words: object) -> None:
    if isinstance(max_words, bool) or not isinstance(max_words, int) or max_words < 2:
        raise ConfigError(expected("max_words", "a whole number of at least 2", repr(max_words)))


class _WordDecoder:
    """Writes the space before a word, not after it: what follows a word is not known yet."""

    def __init__(self, tokens: WordTokens) -> None:
        self._tokens = tokens
        self._fresh = True  # at the start, or after a newline

    def feed(self, token: int) -> str:
        word = self._tokens.decode([token])
        space = "" if self._fresh or word == "\n" else " "
        self._fresh = word == "\n"
        return space + word

    def finish(self) -> str:
        self._fresh = True
        return ""
