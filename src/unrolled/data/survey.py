"""The first pass over a corpus: how long it is, what it is made of, and which sha256 it has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unrolled.data.sources import Origin, Scratch, check_found, opened
from unrolled.data.text import HEAD, Blocks, NotText, TextDecoder, digest_of, shown
from unrolled.errors import DataError, expected
from unrolled.spec import DataConfig
from unrolled.tokens import Kinds, WordCounts, gatherer

__all__ = ["Found", "Survey", "fingerprint", "survey"]

LONGEST_TEXT = 1_000_000  # characters; a longer one is a stream
LONGEST_LINE = 1_000

Counts = Kinds | WordCounts | None


@dataclass(frozen=True, slots=True)
class Found:
    """A document that was read once."""

    origin: Origin
    is_text: bool  # not bytes that only byte tokens take
    characters: int  # of bytes, their number
    size: int  # bytes, of a text in UTF-8
    digest: bytes  # sha256 of these

    def blocks(self) -> Iterator[Any]:
        """Read it again and yield its blocks: str, or bytes. Raises DataError: it is not what it was."""
        decoder = TextDecoder() if self.is_text else None
        blocks, digest, characters = Blocks(), hashlib.sha256(), 0
        for piece in _decoded(self.origin, decoder):
            characters += len(piece)
            digest.update(_bytes(piece))
            if characters > self.characters:
                break
            yield from blocks.feed(piece)
        if digest.digest() != self.digest:
            got = f"another one in {shown(self.origin.name)}, which has changed since"
            raise DataError(expected("source", "the text that was there a moment ago", got))
        yield from blocks.finish()


@dataclass(frozen=True)
class Survey:
    """What the first pass found."""

    documents: tuple[Found, ...]
    left_out: int  # entries of a folder: hidden, links, runs, binary, not UTF-8 or empty
    shape: str  # lines | stream
    lines: int  # that are not blank; counted for the shape "lines"
    counts: Counts  # what a vocabulary is made from

    @property
    def sha256(self) -> str:
        """Of one document its bytes', of several that of their digests in order."""
        return digest_of([each.digest for each in self.documents])

    @property
    def characters(self) -> int:
        """Of all documents."""
        return sum(each.characters for each in self.documents)

    @property
    def size(self) -> int:
        """The bytes of all documents."""
        return sum(each.size for each in self.documents)


def survey(config: DataConfig, *, scratch: Scratch | None, counted: bool = True) -> Survey:
    """Read a source once, in pieces.

    Args:
        config: the source, its tokens and its shape.
        scratch: makes files for what comes through a pipe, and for counts; None lets a pipe be read once.
        counted: gather what the vocabulary is made from.
    Raises:
        DataError: as `read`.
    """
    source = opened(config.source, scratch=scratch)
    counts = _gatherer(config, scratch) if counted else None
    documents, left_out, last = [], source.left_out, None
    lines = 0
    for origin in source.origins:
        own = _gatherer(config, scratch) if counted and source.folder else counts
        last = _look(origin, config, own, folder=source.folder)
        if last is None:
            left_out += 1
            continue
        documents.append(last.found(origin))
        lines += last.lines
        if own is not counts:
            counts.merge(own)  # type: ignore[union-attr,arg-type]
    check_found(config.source, source, len(documents), left_out, sum(each.characters for each in documents))
    shape = config.shape
    if shape == "auto":
        shape = "stream" if source.folder or last is None else last.shape()
        lines = last.lines if last is not None else 0
    return Survey(tuple(documents), left_out, shape, lines, counts)


def fingerprint(config: DataConfig) -> str:
    """Return the sha256 of a source, as `Corpus.sha256` has it, by one pass; standard input is read.

    Args:
        config: as it was given to `prepare`: `tokens` says whether files that are not UTF-8 belong to it.
    Raises:
        DataError: as `read`.
    """
    return survey(config, scratch=None, counted=False).sha256


class _Look:
    """What one reading of a document learns, taken as a text or as bytes."""

    def __init__(self, config: DataConfig, counts: Counts, *, folder: bool) -> None:
        self._counts = counts
        self._blocks, self._digest = Blocks(), hashlib.sha256()
        self._lines = Lines() if config.shape == "lines" else None
        self._beginning: list[Any] | None = [] if config.shape == "auto" and not folder else None
        self.characters = self.size = 0
        self.is_text = True

    def feed(self, piece: str | bytes) -> None:
        data = _bytes(piece)
        self.characters += len(piece)
        self.size += len(data)
        self._digest.update(data)
        if self._beginning is not None:
            self._beginning.append(piece)
            if self.characters > LONGEST_TEXT:
                self._beginning = None
        for block in self._blocks.feed(piece):
            self._take(block)

    def finish(self, *, is_text: bool) -> _Look:
        self.is_text = is_text
        for block in self._blocks.finish():
            self._take(block)
        return self

    @property
    def lines(self) -> int:
        """The number of lines that are not blank, where they were counted."""
        return 0 if self._lines is None else self._lines.count

    def shape(self) -> str:
        """Return the shape by the rule for auto, and count the lines of "lines".

        auto: lines for one text without blank lines, of at most 1,000,000 characters, no line over 1,000;
        else stream. A folder is always a stream.
        """
        if not self._beginning:
            return "stream"
        text = self._beginning[0][:0].join(self._beginning)
        lines = text.split(b"\n" if isinstance(text, bytes) else "\n")
        if not lines[-1]:
            lines.pop()  # what follows the last newline is no line
        if not all(line.strip() and len(line) <= LONGEST_LINE for line in lines):
            return "stream"
        self._lines = Lines(len(lines))
        return "lines"

    def found(self, origin: Origin) -> Found:
        return Found(origin, self.is_text, self.characters, self.size, self._digest.digest())

    def _take(self, block: Any) -> None:
        if self._counts is not None:
            self._counts.feed(block)
        if self._lines is not None:
            self._lines.feed(block)


class Lines:
    """Counts the lines of a document that hold more than white space."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._open = False  # the last line goes on, and has been counted

    def feed(self, block: Any) -> None:
        """Take a block: str, or bytes."""
        words = list(map(type(block).strip, block.split(b"\n" if isinstance(block, bytes) else "\n")))
        filled = sum(map(bool, words))
        self.count += filled - (self._open and bool(words[0]))  # the rest of a line that was counted
        self._open = bool(words[-1]) or (self._open and len(words) == 1)


def _look(origin: Origin, config: DataConfig, counts: Counts, *, folder: bool) -> _Look | None:
    """Read a document once; None for a file of a folder that is left out. Raises DataError."""
    text = _Look(config, counts, folder=folder)
    raw = _Look(config, None, folder=folder) if config.tokens == "byte" else None
    decoder, wrong, head = TextDecoder(), None, b""
    for data in origin.pieces():
        if folder and len(head) < HEAD:
            head += data[: HEAD - len(head)]
            if b"\0" in head:
                return None
        if raw is not None:
            raw.feed(data)
        wrong = wrong or _feed(text, decoder, data)
        if wrong is not None and raw is None:
            break
    wrong = wrong or _feed(text, decoder, b"", final=True)
    if wrong is None:
        seen = text.finish(is_text=True)
    elif raw is not None:
        seen = raw.finish(is_text=False)
    elif folder:
        return None
    else:
        raise wrong.as_error(origin.name, advises=counts is not None)
    return seen if seen.characters or not folder else None


def _feed(text: _Look, decoder: TextDecoder, data: bytes, *, final: bool = False) -> NotText | None:
    try:
        text.feed(decoder.feed(data, final=final))
    except NotText as wrong:
        return wrong
    return None


def _decoded(origin: Origin, decoder: TextDecoder | None) -> Iterator[str | bytes]:
    """Yield a document's pieces, up to the first one that is not text."""
    if decoder is None:
        yield from origin.pieces()
        return
    try:
        for data in origin.pieces():
            yield decoder.feed(data)
        yield decoder.feed(b"", final=True)
    except NotText:
        return


def _bytes(piece: str | bytes) -> bytes:
    return piece if isinstance(piece, bytes) else piece.encode("utf-8")


def _gatherer(config: DataConfig, scratch: Scratch | None) -> Counts:
    return gatherer(config.tokens) if scratch is None else gatherer(config.tokens, scratch)
