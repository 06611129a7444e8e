"""A text that comes in pieces, cut into blocks that are a function of the text alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["BLOCK", "Blocks", "block_end"]

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
