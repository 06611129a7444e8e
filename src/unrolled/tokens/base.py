"""What every vocabulary can do, and how its file looks."""

from __future__ import annotations

import json
import os
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from unrolled.errors import TokenError, expected
from unrolled.files import replacing

__all__ = [
    "FORMAT",
    "MARK",
    "UNKNOWN",
    "VERSION",
    "Decoder",
    "Ids",
    "NarrowIds",
    "Tokens",
    "check_first",
    "check_ids",
    "check_symbol",
    "id_dtype",
    "next_border",
    "normalised",
    "shown",
]

FORMAT = "unrolled-tokens"
VERSION = 1
UNKNOWN = "<unk>"
MARK = "\ufeff"  # the byte order mark

Ids = npt.NDArray[np.int64]
NarrowIds = npt.NDArray[np.unsignedinteger[Any]]

COUNTED = 2**20  # ids looked at together: those of a corpus are in a file, and memory need not hold them
BORDER = re.compile(r"(?<=\n)|(?=\n)|(?<=[^ \t\n])(?=[ \t])|\Z")


def normalised(text: str) -> str:
    """Return a text as a corpus has it: without a byte-order mark, and with "\\n" for line ends."""
    return text.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n")


class Decoder(Protocol):
    """Ids to text one at a time, for a terminal; the pieces joined are what `Tokens.decode` returns."""

    def feed(self, token: int) -> str:
        """Return the text that this id completes: perhaps none yet. Raises TokenError for an unknown id."""

    def finish(self) -> str:
        """Return what is still held back; the decoder then starts anew."""


class Tokens(ABC):
    """A vocabulary: text to ids in 0 … size − 1, and back.

    `boundary` is the id of a newline, in every vocabulary: it starts and ends a line, and starts a document.
    `unknown` is the id that a symbol outside the vocabulary becomes; None where no such symbol exists.
    Two vocabularies are equal when their files are.
    """

    kind: ClassVar[str]
    boundary: int
    unknown: int | None

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of ids."""

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """Return the ids [N] of a text; a symbol outside the vocabulary becomes `unknown`."""

    def encode_narrow(self, text: str) -> NarrowIds:
        """Return `encode(text)` in the smallest unsigned type that holds every id; perhaps read-only."""
        return self.encode(text).astype(id_dtype(self.size))

    def border(self, text: str, at: int) -> int:
        """Return the first place from `at` on where a text may be cut without changing a token.

        The ids of both parts, one after the other, are those of the whole; the end is such a place.
        """
        return min(at, len(text))

    @abstractmethod
    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of ids [N]. Raises TokenError for an id outside 0 … size − 1."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """Return a fresh decoder that takes one id at a time."""

    def to_json(self) -> dict[str, Any]:
        """Return what the vocabulary's file holds; `tokens.from_json` takes it back."""
        return {"format": FORMAT, "version": VERSION, "kind": self.kind, **self._content()}

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """Return what the file says of this vocabulary alone."""

    def count_unknown(self, ids: npt.ArrayLike) -> int:
        """Return how many of the ids [N] are `unknown`; 0 where every symbol is known."""
        if self.unknown is None:
            return 0
        row = np.asarray(ids)
        parts = (row[first : first + COUNTED] for first in range(0, len(row), COUNTED))
        return sum(int(np.count_nonzero(part == self.unknown)) for part in parts)

    def symbols_of(self, text: str) -> list[str]:
        """Return the symbols of a text, one for each id of `encode`: here its characters."""
        return list(text)

    def unknown_symbols(self, text: str) -> list[str]:
        """Return the symbols of a text that are outside the vocabulary, each once, in order."""
        if self.unknown is None:
            return []
        pairs = zip(self.symbols_of(text), self.encode(text).tolist(), strict=True)
        return sorted({symbol for symbol, token in pairs if token == self.unknown})

    def count_characters(self, ids: npt.ArrayLike) -> int | None:
        """Return how many characters begin in ids [N]; None where ids do not say, as those of words."""
        return None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary's file atomically. Raises TokenError when it cannot be written."""
        try:
            with replacing(Path(path)) as file:
                file.write((json.dumps(self.to_json()) + "\n").encode("ascii"))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TokenError(expected(os.fspath(path), "a path that can be written", reason)) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.kind, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


def next_border(text: str, at: int) -> int:
    """Return the first place from `at` on that is around a newline or before blanks, or an end of the text.

    Words, and the pieces of BPE, never go on across such a place.
    """
    if at <= 0:
        return 0
    found = BORDER.search(text, at)
    return len(text) if found is None else found.start()


def id_dtype(size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that holds the ids of a vocabulary."""
    return np.dtype(np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.uint32)


def check_ids(ids: npt.ArrayLike, size: int) -> Ids:
    """Return ids as int64 [N]. Raises TokenError naming the first that is not in 0 … size − 1."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise TokenError(expected("ids", "one axis [N]", f"{array.ndim} axes"))
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TokenError(expected("ids", "whole numbers", f"{array.dtype}"))
    outside = (array < 0) | (array >= size)
    if outside.any():
        raise TokenError(expected("ids", f"0 to {size - 1}", int(array[outside][0])))
    return array.astype(np.int64)


def check_first(symbols: Sequence[str], where: str) -> None:
    """Raise TokenError where symbols, in the order of their ids, do not begin with `<unk>` and newline."""
    if list(symbols[:2]) != [UNKNOWN, "\n"]:
        raise TokenError(expected(where, f"{[UNKNOWN, chr(10)]} first", shown(list(symbols[:2]))))


def check_symbol(symbol: object, where: str) -> str:
    """Return a symbol that is a text which UTF-8 can write; else raise TokenError."""
    if not isinstance(symbol, str):
        raise TokenError(expected(where, "a text", shown(symbol)))
    try:
        symbol.encode("utf-8")
    except UnicodeEncodeError:
        raise TokenError(expected(where, "text without lone surrogates", shown(symbol))) from None
    return symbol


def shown(value: object) -> str:
    """Return a value's repr, cut to fit in a line."""
    return reprlib.repr(value)
