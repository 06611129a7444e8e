"""From the bytes of a file to its text, piece by piece; where the pieces end changes nothing."""

from __future__ import annotations

import codecs

import numpy as np

from unrolled.data.documents import shown
from unrolled.errors import DataError, expected

__all__ = ["HEAD", "NotText", "TextDecoder", "normalised"]

NEWLINE = 10
MARK = "\ufeff"  # the byte order mark
CODECS = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
MARKS = tuple((MARK.encode(codec), codec[:6].upper()) for codec in CODECS)
HEAD = 8 * 1024  # bytes in which a NUL marks a file as binary


class NotText(Exception):  # noqa: N818 (never leaves the room)
    """A byte that cannot be part of a text where it is."""

    def __init__(self, byte: int, offset: int, line: int, encoding: str | None = None) -> None:
        super().__init__(byte, offset, line)
        self.byte, self.offset, self.line, self.encoding = byte, offset, line, encoding

    def as_error(self, name: str) -> DataError:
        """Return what a user is told."""
        if self.encoding is not None:
            found = f"{self.encoding}, by the byte order mark of {shown(name)}"
            remedy = f"convert it with iconv -f {self.encoding} -t UTF-8"
            return DataError(expected("source", "UTF-8 text", f"{found}: {remedy}"))
        found = f"byte 0x{self.byte:02x} at offset {self.offset}, line {self.line} of {shown(name)}"
        return DataError(expected("source", "UTF-8 text (--tokens byte takes any bytes)", found))


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
            self._head, self._encoding = None, next((n for mark, n in MARKS if data.startswith(mark)), None)
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


def normalised(text: str) -> str:
    """Return a text as a corpus has it: without a byte-order mark, and with "\\n" for line ends."""
    return text.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n")
