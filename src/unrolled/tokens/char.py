"""One id per character."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import TokenError, expected
from unrolled.tokens.base import (
    UNKNOWN,
    Ids,
    NarrowIds,
    Tokens,
    check_first,
    check_ids,
    check_symbol,
    id_dtype,
    shown,
)
from unrolled.tokens.counting import Kinds

__all__ = ["CharTokens"]

REPLACEMENT = 0xFFFD  # what <unk> is shown as: one character, so positions stay aligned


class CharTokens(Tokens):
    """A vocabulary of characters: `<unk>` (id 0), newline (id 1), then the others.

    Decoding what was encoded gives the text back, except that a character outside the vocabulary comes
    back as U+FFFD.
    """

    kind = "char"
    boundary = 1
    unknown = 0

    def __init__(self, symbols: Sequence[str], *, where: str = "symbols") -> None:
        """Take the symbols in the order of their ids.

        Raises TokenError: not `<unk>`, newline first; a symbol that is not one character; a duplicate.
        """
        check_first(symbols, where)
        for index, symbol in enumerate(symbols[1:], start=1):
            if len(check_symbol(symbol, f"{where}[{index}]")) != 1:
                raise TokenError(expected(f"{where}[{index}]", "one character", shown(symbol)))
        self._symbols = tuple(symbols)
        self._codes = np.array([REPLACEMENT, *map(ord, symbols[1:])], np.uint32)
        _check_distinct(self._codes[1:], where)
        # from code point to id; one entry longer than the last known one; greater ones are clipped to it
        self._table = np.zeros(int(self._codes[1:].max()) + 2, id_dtype(len(symbols)))
        self._table[self._codes[1:]] = np.arange(1, len(symbols))
        self._bytes = self._table.take(np.arange(256), mode="clip").tobytes()  # from ASCII; 1 byte per id

    @classmethod
    def build(cls, texts: Iterable[str]) -> CharTokens:
        """Return the vocabulary of all kinds of character in the texts, in the order of code points."""
        kinds = Kinds()
        for text in texts:
            kinds.feed(text)
        return cls.of(kinds)

    @classmethod
    def of(cls, kinds: Kinds) -> CharTokens:
        """Return the vocabulary of gathered kinds of character."""
        return cls([UNKNOWN, "\n", *(symbol for symbol in kinds.symbols() if symbol != "\n")])

    @property
    def size(self) -> int:
        return len(self._symbols)

    def encode(self, text: str) -> Ids:
        return self.encode_narrow(text).astype(np.int64)

    def encode_narrow(self, text: str) -> NarrowIds:
        if len(self._bytes) == 256 and text.isascii():
            return np.frombuffer(text.encode("ascii").translate(self._bytes), np.uint8)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return self._table.take(codes, mode="clip")

    def decode(self, ids: npt.ArrayLike) -> str:
        return self._codes[check_ids(ids, self.size)].astype("<u4").tobytes().decode("utf-32-le")

    def count_characters(self, ids: npt.ArrayLike) -> int:
        return len(np.asarray(ids))

    def decoder(self) -> _CharDecoder:
        return _CharDecoder(self)

    def _content(self) -> dict[str, Any]:
        return {"symbols": list(self._symbols)}


class _CharDecoder:
    def __init__(self, tokens: CharTokens) -> None:
        self._tokens = tokens

    def feed(self, token: int) -> str:
        return self._tokens.decode([token])

    def finish(self) -> str:
        return ""


def _check_distinct(codes: npt.NDArray[np.uint32], where: str) -> None:
    kinds, counts = np.unique(codes, return_counts=True)
    if (counts > 1).any():
        symbol = chr(int(kinds[counts > 1][0]))
        raise TokenError(expected(where, "each symbol once", f"{symbol!r} twice"))
