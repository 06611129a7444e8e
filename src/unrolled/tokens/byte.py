"""One id a byte of UTF-8."""

from __future__ import annotations

import codecs
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import TokenError, expected
from unrolled.tokens.base import FORMAT, VERSION, Ids, Tokens, check_ids, shown

__all__ = ["ByteTokens"]


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
        return np.frombuffer(_utf8(text), np.uint8).astype(np.int64)

    def decode(self, ids: npt.ArrayLike) -> str:
        return check_ids(ids, self.size).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> _ByteDecoder:
        return _ByteDecoder()

    def characters_before(self, text: str | bytes, index: int) -> int:
        """Return how many characters of `text` start before its byte number `index`; of bytes, `index`."""
        if isinstance(text, bytes):
            return min(index, len(text))
        first = np.frombuffer(_utf8(text), np.uint8)[:index]
        return int(np.count_nonzero(first & 0xC0 != 0x80))  # all but continuation bytes

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, "kind": self.kind}


class _ByteDecoder:
    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._utf8.decode(check_ids([token], 256).astype(np.uint8).tobytes())

    def finish(self) -> str:
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def _utf8(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        symbol = text[error.start]
        raise TokenError(expected("text", "text without lone surrogates", shown(symbol))) from None
