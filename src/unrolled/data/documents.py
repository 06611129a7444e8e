"""One text, and how bytes become one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.errors import DataError, expected

__all__ = ["Document", "digest", "document", "looks_binary", "shown"]

HEAD = 8 * 1024  # bytes in which a NUL marks a file as binary


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


def document(name: str, data: bytes, *, tokens: str) -> Document:
    """Return the document that some bytes are.

    Args:
        name: what messages call it. data: the whole file, unpacked.
        tokens: "byte" takes any bytes; every other kind takes UTF-8 without a NUL near its start.
    Raises:
        DataError: not text; says at which offset and in which line, and offers --tokens byte.
    """
    try:
        text = data.decode("utf-8")
        wrong = data.find(b"\0", 0, HEAD)
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong < 0:
        return Document(name, _newlines(text.removeprefix("\ufeff")))
    if tokens == "byte":
        return Document(name, data)
    line = data.count(b"\n", 0, wrong) + 1
    found = f"byte 0x{data[wrong]:02x} at offset {wrong}, line {line} of {shown(name)}"
    raise DataError(expected("source", "UTF-8 text (--tokens byte takes any bytes)", found))


def digest(documents: Sequence[Document]) -> str:
    """Return the sha256 of a corpus: of one document its bytes', of several that of their digests in order.

    Of a text file with newlines alone and no byte-order mark it is what `sha256sum` prints.
    """
    digests = [hashlib.sha256(document.data) for document in documents]
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(each.digest() for each in digests)).hexdigest()


def looks_binary(data: bytes) -> bool:
    """Return whether a NUL stands in the first 8 KiB."""
    return data.find(b"\0", 0, HEAD) >= 0


def shown(name: str) -> str:
    """Return a name that stays in one line: itself, or its repr when it cannot be printed."""
    return name if name.isprintable() and name else repr(name)


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
