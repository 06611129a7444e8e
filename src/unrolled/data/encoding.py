"""From documents to ids, and what lies where among them; in memory, or by a second pass over a corpus."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.arrays import ArrayFile, Entry
from unrolled.data.survey import Found
from unrolled.data.text import Document, shown
from unrolled.errors import ConfigError, DataError, expected
from unrolled.tokens import ByteTokens, Tokens, id_dtype

__all__ = ["SHAPES", "Part", "Split", "encode_text", "fill_lines", "fill_stream", "id_dtype"]

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


class Part:
    """A split in the making; see `Split` for what its arrays mean."""

    def __init__(self, files: ExitStack, directory: Path, name: str, tokens: Tokens) -> None:
        """Create the files of a part; with `files` they go, unless they were placed. Raises OSError."""
        self.ids = ArrayFile(directory / f"{name}.npy", id_dtype(tokens.size))
        files.callback(self.ids.discard)
        self.starts = ArrayFile(directory / f"{name}_starts.npy", np.int64)
        files.callback(self.starts.discard)
        self.characters = 0

    def finish(self) -> dict[str, Entry]:
        """Sync both files to the disk; return the size and sha256 of each."""
        return {each.path.name: each.finish() for each in (self.ids, self.starts)}

    def place(self) -> Split:
        """Give both files their names, and return them mapped."""
        return Split(self.ids.place(), self.starts.place(), self.characters)

    def copy(self, other: Part) -> None:
        """Take all of another part."""
        for mine, its in ((self.ids, other.ids), (self.starts, other.starts)):
            for chunk in its.chunks(0, its.count):
                mine.append(chunk)
        self.characters = other.characters


@dataclass(frozen=True)
class _Cut:
    """Where the held-out part of a stream begins."""

    index: int  # of its first id
    characters: int  # that the targets before stand for


def fill_stream(
    documents: Sequence[Found], tokens: Tokens, kept: int, train: Part, held: Part | None
) -> bool:
    """Write "\\n" document "\\n" document …; from the cut on they are held out.

    Args:
        documents: of the first pass. tokens: the vocabulary.
        kept: characters for training. Where either part would have no target, nothing is held out.
        train, held: the parts; without a second one nothing is held out.
    Returns:
        Whether a part is held out; if not, both parts hold everything.
    Raises:
        DataError: a document is not what it was. OSError: the files cannot be written.
    """
    starts, cut = _write_stream(documents, tokens, kept, train)
    characters = sum(each.characters + 1 for each in documents) - 1
    total = train.ids.count
    ends_document = cut is not None and cut.index < total and bool(np.isin(cut.index, starts))
    if cut is None or held is None or cut.index < 2 or total - cut.index + (not ends_document) < 2:
        train.starts.append(starts[starts < total - 1])
        train.characters = max(characters, 0)
        if held is not None:
            held.copy(train)
        return False
    if not ends_document:  # else the rest has its boundary, which is a target of neither part
        held.ids.append([tokens.boundary])
        held.starts.append([0])
    for chunk in train.ids.chunks(cut.index, total):
        held.ids.append(chunk)
    train.ids.truncate(cut.index)
    train.starts.append(starts[starts < cut.index - 1])
    later = starts[(starts >= cut.index) & (starts < total - 1)]
    held.starts.append(later - cut.index + (not ends_document))
    train.characters = cut.characters
    held.characters = characters - cut.characters - ends_document
    return True


def _write_stream(
    documents: Sequence[Found], tokens: Tokens, kept: int, part: Part
) -> tuple[npt.NDArray[np.int64], _Cut | None]:
    """Write all ids; return where documents start, and the cut once `kept` characters are there."""
    starts = array("q")
    position, cut = -1, None  # the first boundary is no target
    for document in documents:
        if cut is None and 0 <= kept <= position:
            cut = _Cut(part.ids.count, position)
        position += 1
        starts.append(part.ids.count)
        part.ids.append([tokens.boundary])
        for block in document.blocks():
            if cut is None and kept < position + len(block):
                at = tokens.border(block, kept - position)
                part.ids.append(tokens.encode_narrow(block[:at]))
                cut = _Cut(part.ids.count, position + at)
                part.ids.append(tokens.encode_narrow(block[at:]))
            else:
                part.ids.append(tokens.encode_narrow(block))
            position += len(block)
    return np.frombuffer(starts, np.int64) if starts else np.zeros(0, np.int64), cut


def fill_lines(
    documents: Sequence[Found],
    tokens: Tokens,
    held_out: npt.NDArray[np.bool_] | None,
    train: Part,
    held: Part | None,
) -> bool:
    """Write "\\n" line "\\n" line … "\\n" of the lines that are not blank, in their order.

    Args:
        documents: of the first pass. tokens: the vocabulary.
        held_out: [lines] bool; None holds out nothing.
        train, held: the parts; the second one may be missing where nothing is held out.
    Returns, raises: as `fill_stream`.
    """
    writer = _Lines(tokens, train, held, held_out)
    for document in documents:
        for block in document.blocks():
            writer.feed(block)
        writer.end()
    train.ids.append([tokens.boundary])
    if held is None or held_out is None:
        if held is not None:
            held.copy(train)
        return False
    held.ids.append([tokens.boundary])
    return True


class _Lines:
    """Sends each line to its part."""

    def __init__(
        self, tokens: Tokens, train: Part, held: Part | None, held_out: npt.NDArray[np.bool_] | None
    ) -> None:
        self._tokens, self._train, self._held = tokens, train, held
        self._held_out = None if held is None else held_out
        self._line = 0  # the number of the next line that is not blank
        self._open: _Open | None = None  # the line that goes on in the next block

    def feed(self, block: Any) -> None:
        """Take a block of a document: str, or bytes."""
        newline = b"\n" if isinstance(block, bytes) else "\n"
        *lines, rest = block.split(newline)
        if self._open is not None:
            self._go_on(lines[0] if lines else rest)
            if not lines:
                return
            self.end()
            del lines[0]
        self._write(list(itertools.compress(lines, map(type(block).strip, lines))), newline)
        if rest:
            part = self._part()
            self._open = _Open(part, part.ids.count, part.starts.count, part.characters)
            part.characters += 1
            self._add(part, newline)
            self._go_on(rest)

    def end(self) -> None:
        """End the line that is open; a blank one is taken back."""
        line, self._open = self._open, None
        if line is None:
            return
        if line.blank:
            line.part.ids.truncate(line.ids)
            line.part.starts.truncate(line.starts)
            line.part.characters = line.characters
        else:
            self._line += 1

    def _go_on(self, piece: Any) -> None:
        assert self._open is not None
        self._open.part.characters += len(piece)
        self._open.blank = self._open.blank and not piece.strip()
        self._add(self._open.part, piece)

    def _write(self, lines: Sequence[Any], newline: Any) -> None:
        parts: Iterable[tuple[Part, Sequence[Any]]] = [(self._train, lines)]
        if self._held is not None and self._held_out is not None:
            held = self._held_out[self._line : self._line + len(lines)]
            parts = [
                (self._train, list(itertools.compress(lines, (~held).tolist()))),
                (self._held, list(itertools.compress(lines, held.tolist()))),
            ]
        self._line += len(lines)
        for part, mine in parts:
            text = newline.join([newline[:0], *mine])  # "\n" before each
            part.characters += len(text)
            self._add(part, text)

    def _part(self) -> Part:
        """The part of the next line; of a blank one at the end, which is taken back, any."""
        held_out = self._held_out
        chosen = held_out is not None and self._line < len(held_out) and held_out[self._line]
        return self._held if self._held is not None and chosen else self._train

    def _add(self, part: Part, text: Any) -> None:
        ids = self._tokens.encode_narrow(text)
        part.starts.append(np.flatnonzero(ids == self._tokens.boundary) + part.ids.count)
        part.ids.append(ids)


@dataclass
class _Open:
    """A line that is longer than a block, and how its part was before it."""

    part: Part
    ids: int
    starts: int
    characters: int
    blank: bool = True
