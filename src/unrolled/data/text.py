"""A document: its bytes, decoded piece by piece, and cut into blocks; where pieces end changes nothing."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.errors import DataError, expected
from unrolled.tokens import MARK

__all__ = [
    "BLOCK",
    "HEAD",
    "Blocks",
    "Document",
    "NotText",
    "TextDecoder",
    "as_name",
    "block_end",
    "digest",
    "digest_of",
    "shown",
]


@dataclass(frozen=True)
class Document:
    """A named text; bytes where the file is not UTF-8, which only byte tokens take.

    A text has "\\n" at the end of its lines and no byte-order mark; bytes are as the file has them.
    """

    name: str
    text: str | bytes

    @property
    def characters(self) -> int:
        """The number of characters; of bytes, the number of bytes."""
        return len(self.text)

    @property
    def data(self) -> bytes:
        """The text in UTF-8, or the bytes."""
        return self.text if isinstance(self.text, bytes) else self.text.encode("utf-8")


def digest(documents: Sequence[Document]) -> str:
    """Return the sha256 of a corpus: of the bytes of one document, or of the digests of several in order.

    Of a text file with newlines alone and no byte-order mark it is what `sha256sum` prints.
    """
    return digest_of([hashlib.sha256(document.data).digest() for document in documents])


def digest_of(digests: Sequence[bytes]) -> str:
    """Return the sha256 of a corpus whose documents have these."""
    return digests[0].hex() if len(digests) == 1 else hashlib.sha256(b"".join(digests)).hexdigest()


def as_name(text: str) -> str:
    """Return a text as a name that can be printed and is not a path: "_" for what it may not contain."""
    plain = "".join("_" if c in "/\\" or not c.isprintable() else c for c in text.lstrip("."))
    return plain or "corpus"


def shown(name: str) -> str:
    """Return a name that stays in one line: itself, or its repr when it cannot be printed."""
    return name if name.isprintable() and name else repr(name)


NEWLINE = 10
CODECS = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
BYTE_ORDER_MARKS = tuple((MARK.encode(codec), codec[:6].upper()) for codec in CODECS)
HEAD = 8 * 1024  # bytes in which a NUL marks a file as binary


class NotText(Exception):  # noqa: N818 (never leaves the room)
    """A byte that cannot be part of a text where it is."""

    def __init__(self, byte: int, offset: int, line: int, encoding: str | None = None) -> None:
        super().__init__(byte, offset, line)
        self.byte, self.offset, self.line, self.encoding = byte, offset, line, encoding

    def as_error(self, name: str, *, advises: bool = True) -> DataError:
        """Return what a user is told; `advises`: the tokens are still to be chosen."""
        if self.encoding is not None:
            found = f"{self.encoding}, by the byte order mark of {shown(name)}"
            remedy = f"convert it with iconv -f {self.encoding} -t UTF-8"
            return DataError(expected("source", "UTF-8 text", f"{found}: {remedy}"))
        found = f"byte 0x{self.byte:02x} at offset {self.offset}, line {self.line} of {shown(name)}"
        advice = " (--tokens byte takes any bytes)" if advises else ""
        return DataError(expected("source", f"UTF-8 text{advice}", found))


class TextDecoder:
    """UTF-8 without a NUL near its start, to text without a byte-order mark and with "\\n" for line ends."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._bytes = 0  # taken so far
        self._head: bytes | None = b""  # what came, until there are four bytes
        self._encoding: str | None = None  # another one, by its byte order mark
        self._newlines = 0  # among them
        self._held = ""  # a "\r" that may be half of a line's end
        self._fresh = True  # no character has come

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return the text that these bytes complete; the last ones are `final`. Raises NotText."""
        if self._head is not None:
            data = self._head + data
            if len(data) < 4 and not final:
                self._head = data
                return ""
            self._head, self._encoding = (
                None,
                next((n for mark, n in BYTE_ORDER_MARKS if data.startswith(mark)), None),
            )
        pending = len(self._utf8.getstate()[0])
        nul = data.find(b"\0", 0, max(0, HEAD - self._bytes))
        try:
            text = self._utf8.decode(data, final)
        except UnicodeDecodeError as error:
            wrong = error.start - pending
            at = wrong if nul < 0 else min(wrong, nul)
            raise self._refusal(data, at, error.object[error.start]) from None
        if nul >= 0:
            raise self._refusal(data, nul, 0)
        self._bytes += len(data)
        self._newlines += int(np.count_nonzero(np.frombuffer(data, np.uint8) == NEWLINE))
        if self._fresh and text:
            self._fresh, text = False, text.removeprefix(MARK)
        return self._with_newlines(text, final)

    def _with_newlines(self, text: str, final: bool) -> str:
        text, self._held = self._held + text, ""
        if "\r" not in text:
            return text
        if text.endswith("\r") and not final:
            text, self._held = text[:-1], "\r"
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _refusal(self, data: bytes, at: int, byte: int) -> NotText:
        byte = data[at] if at >= 0 else byte
        line = self._newlines + data.count(b"\n", 0, max(at, 0)) + 1
        return NotText(byte, self._bytes + at, line, self._encoding)


BLOCK = 2**20  # characters, or bytes
MARKS: tuple[tuple[Any, Any, Any], ...] = (("\n", " ", "\t"), (b"\n", b" ", b"\t"))


class Blocks:
    """Joins pieces and cuts them again: blocks of at most `size` characters, in order and complete.

    A block ends after the last newline that it can; in a longer line before its last white space, where words
    and pieces of BPE end too; else anywhere.
    """

    def __init__(self, size: int | None = None) -> None:
        self._size = BLOCK if size is None else size
        self._held: Any = None  # str, or bytes

    def feed(self, piece: Any) -> Iterator[Any]:
        """Yield the blocks that this piece completes; all pieces are str, or all are bytes."""
        held = self._held + piece if self._held else piece
        begin = 0
        while len(held) - begin > self._size:
            end = block_end(held, begin, begin + self._size)
            yield held[begin:end]
            begin = end
        self._held = held[begin:]

    def finish(self) -> Iterator[Any]:
        """Yield the last block, if anything is left."""
        if self._held:
            yield self._held
        self._held = None


def block_end(text: Any, begin: int, limit: int) -> int:
    """Return where a block that starts at `begin` ends: in begin + 1 … limit. For a str, or bytes."""
    newline, space, tab = MARKS[isinstance(text, bytes)]
    end = text.rfind(newline, begin, limit) + 1
    if end > 0:
        return int(end)
    last = max(text.rfind(space, begin + 1, limit), text.rfind(tab, begin + 1, limit))
    if last > begin:
        word = len(text[begin : last + 1].rstrip(space + tab))
        if word:
            return int(begin + word)
    return limit
