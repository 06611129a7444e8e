"""One id per byte of UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import TokenError, expected
from unrolled.tokens.base import COUNTED, Ids, NarrowIds, Tokens, check_ids, shown

__all__ = ["ByteTokens", "Utf8Decoder", "begin_in", "characters_in", "utf8"]


class ByteTokens(Tokens):
    """The 256 bytes. Nothing is unknown; any text, and any file, can be encoded.

    Decoding what was encoded gives the text back; bytes that are not UTF-8 are shown as U+FFFD.
    """

    kind = "byte"
    boundary = 10
    unknown = None

    @property
    def size(self) -> int:
        return 256

    def encode(self, text: str | bytes) -> Ids:
        """Return the bytes [N] of a text; bytes are taken as they are.

        A byte that the command line could not decode (a surrogate U+DC80 … U+DCFF) is that byte again.
        Raises TokenError: any other lone surrogate.
        """
        return self.encode_narrow(text).astype(np.int64)

    def encode_narrow(self, text: str | bytes) -> NarrowIds:
        return np.frombuffer(utf8(text), np.uint8)

    def decode(self, ids: npt.ArrayLike) -> str:
        return check_ids(ids, self.size).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def count_characters(self, ids: npt.ArrayLike) -> int:
        return characters_in(np.asarray(ids), BEGINS)

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder([bytes([i]) for i in range(256)])

    def _content(self) -> dict[str, Any]:
        return {}


class Utf8Decoder:
    """Ids of bytes to text: a character is shown when its last byte has come."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        """Take the bytes of each id."""
        self._parts = parts
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._text.decode(self._parts[int(check_ids([token], len(self._parts))[0])])

    def finish(self) -> str:
        rest = self._text.decode(b"", final=True)
        self._text.reset()
        return rest


def characters_in(ids: npt.NDArray[Any], begins: npt.NDArray[np.int64]) -> int:
    """Return the characters that begin in ids [N], by how many begin in each id's bytes [V]."""
    parts = (ids[first : first + COUNTED] for first in range(0, len(ids), COUNTED))
    return sum(int(begins[part].sum()) for part in parts)


def begin_in(data: bytes) -> int:
    """Return the characters whose first byte in UTF-8 is among these."""
    return sum(byte & 0xC0 != 0x80 for byte in data)


BEGINS = np.array([begin_in(bytes([i])) for i in range(256)])


def utf8(text: str | bytes) -> bytes:
    """Return a text's bytes; bytes of the command line that were not UTF-8 come back as they were."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        symbol = text[error.start]
        raise TokenError(expected("text", "text without lone surrogates", shown(symbol))) from None
