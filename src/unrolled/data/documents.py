"""One text in memory, and the sha256 of a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Document", "as_name", "digest", "digest_of", "shown"]


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
