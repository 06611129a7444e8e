"""From the bytes of a file to its text, piece by piece; where the pieces end changes nothing."""

from __future__ import annotations

import codecs

import numpy as np

from unrolled.data.documents import shown
from unrolled.errors import DataError, expected

__all__ = ["HEAD", "NotText", "TextDecoder"]

NEWLINE = 10
HEAD = 8 * 1024  # bytes in which a NUL marks a file as binary


class NotText(Exception):  # noqa: N818 (never leaves the room)
    """A byte that cannot be part of a text where it is."""

    def __init__(self, byte: int, offset: int, line: int) -> None:
        super().__init__(byte, offset, line)
        self.byte, self.offset, self.line = byte, offset, line

    def as_error(self, name: str) -> DataError:
        """Return what a user is told."""
        found = f"byte 0x{self.byte:02x} at offset {self.offset}, line {self.line} of {shown(name)}"
        return DataError(expected("source", "UTF-8 text (--tokens byte takes any bytes)", found))


class TextDecoder:
    """UTF-8 without a NUL near its start, to text without a byte-order mark and with "\\n" for line ends."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._bytes = 0  # taken so far
        self._newlines = 0  # among them
        self._held = ""  # a "\r" that may be half of a line's end
        self._fresh = True  # no character has come

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return the text that these bytes complete; the last ones are `final`. Raises NotText."""
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
            self._fresh, text = False, text.removeprefix("\ufeff")
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
        return NotText(byte, self._bytes + at, line)
