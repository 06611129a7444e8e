"""From documents to one array of ids, and where each one starts in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.documents import Document, shown
from unrolled.errors import ConfigError, DataError, expected
from unrolled.tokens import ByteTokens, Tokens, id_dtype

__all__ = ["SHAPES", "Split", "encode_text", "id_dtype"]

SHAPES = ("lines", "stream")

CHUNK = 2**20  # lines looked at together

UnsignedIds = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, eq=False)
class Split:
    """A part of a corpus as one row of ids, in which each is predicted from those before it.

    Inputs are `ids[:-1]`, targets `ids[1:]`; at an input in `starts` a document or a line starts, and the
    state is zero before it. A stream is "\\n" document "\\n" document …; lines are "\\n" line "\\n" line …
    "\\n". So every character is a target exactly once, as is the "\\n" after a line or between documents.
    """

    ids: UnsignedIds  # [N + 1], perhaps memory-mapped
    starts: npt.NDArray[np.int64]  # [S] rising offsets in 0 … N − 1
    characters: int  # that the N targets stand for; bytes, where a document is not UTF-8
    estimated: bool = False  # `characters` is in proportion to those of a larger split, and not counted

    @property
    def num_targets(self) -> int:
        """N, the number of predictions to be scored."""
        return len(self.ids) - 1

    def head(self, num_targets: int, tokens: Tokens | None = None) -> Split:
        """Return the split's first targets, at most so many; a last line may be cut.

        With the vocabulary of characters, bytes or BPE, `characters` is counted: those that begin in the
        targets. Ids of words do not say how much space lay between, nor how long an unknown word was; then,
        where a document is not UTF-8, and without the vocabulary it is `estimated`.
        """
        if num_targets >= self.num_targets:
            return self
        ids, begun = self.ids[: num_targets + 1], int(np.searchsorted(self.starts, num_targets))
        if tokens is not None and tokens.count_characters(self.ids[1:]) == self.characters:
            counted = tokens.count_characters(ids[1:])
            assert counted is not None
            return Split(ids, self.starts[:begun], counted)
        characters = round(self.characters * num_targets / self.num_targets)
        return Split(ids, self.starts[:begun], characters, estimated=True)

    def lengths(self, lines: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        """Return the steps [K] of lines, or of documents, by their numbers [K]."""
        after = np.minimum(lines + 1, len(self.starts) - 1)
        ends = np.where(after > lines, self.starts[after], self.num_targets)
        found: npt.NDArray[np.int64] = ends - self.starts[lines]
        return found

    @property
    def longest(self) -> int:
        """The steps of the longest line, or document; they are looked at in chunks."""
        count = len(self.starts)
        chunks = (np.arange(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK))
        return max((int(self.lengths(chunk).max()) for chunk in chunks), default=0)

    @property
    def boundary(self) -> int:
        """The id of the newline, with which the row starts."""
        return int(self.ids[0])


def encode_text(documents: Sequence[Document], tokens: Tokens, shape: str) -> Split:
    """Encode documents in memory, in the order given.

    Args:
        documents: texts; bytes only where tokens are bytes.
        tokens: the vocabulary; what it lacks becomes `unknown`, see `tokens.count_unknown(split.ids)`.
        shape: "stream": each document is a sequence; "lines": each line that is not blank is one.
    Returns:
        A split; its N may be 0 (blank lines alone, or a text without words).
    Raises:
        ConfigError: another shape. DataError: a document is not UTF-8 and tokens are not bytes.
    """
    if shape not in SHAPES:
        raise ConfigError(expected("shape", "one of " + ", ".join(SHAPES), repr(shape)))
    dtype = id_dtype(tokens.size)
    boundary = np.array([tokens.boundary], dtype)
    parts: list[UnsignedIds] = []
    characters = 0
    for document in documents:
        if shape == "lines":
            lines, newline = _lines(document)
            text = newline.join([newline[:0], *lines])  # "\n" before each; empty when there is no line
            characters += len(text)
            parts.append(_encode(document.name, text, tokens).astype(dtype))
        else:
            parts += [boundary, _encode(document.name, document.text, tokens).astype(dtype)]
            characters += len(document.text) + 1
    if shape == "lines":
        ids = np.concatenate([*parts, boundary])
        return Split(ids, np.flatnonzero(ids == tokens.boundary)[:-1].astype(np.int64), characters)
    sizes = np.array([len(part) for part in parts[1::2]], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes + 1)])[: len(sizes)]
    ids = np.concatenate(parts) if parts else boundary
    return Split(ids, starts[starts < len(ids) - 1], max(characters - 1, 0))


def _lines(document: Document) -> tuple[list[Any], Any]:
    """Return the lines that hold more than white space, and the newline: str, or bytes."""
    text: Any = document.text
    newline: Any = b"\n" if isinstance(text, bytes) else "\n"
    return [line for line in text.split(newline) if line.strip()], newline


def _encode(name: str, text: str | bytes, tokens: Tokens) -> npt.NDArray[np.int64]:
    if isinstance(text, str):
        return tokens.encode(text)
    if isinstance(tokens, ByteTokens):
        return tokens.encode(text)
    raise DataError(expected("source", f"UTF-8 text for {tokens.kind} tokens", f"bytes in {shown(name)}"))
