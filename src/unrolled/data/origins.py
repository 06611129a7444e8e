"""Where the bytes of a document come from, in pieces, as often as they are needed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

from unrolled.data.documents import shown
from unrolled.errors import DataError, expected

__all__ = ["READ", "FileOrigin", "MemoryOrigin", "Origin", "Scratch", "StreamOrigin", "failed", "opened"]

READ = 2**20  # bytes per piece

Scratch = Callable[[], IO[bytes]]  # makes a file that nobody else sees and that disappears when it is closed
Opens = Callable[[], AbstractContextManager[IO[bytes]]]


class Origin(Protocol):
    """A document's bytes."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes from the first to the last. Raises DataError: they cannot be read."""


@dataclass(frozen=True)
class MemoryOrigin:
    """Bytes that are there."""

    name: str
    data: bytes

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes."""
        yield self.data


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """A file, perhaps packed."""

    name: str
    path: str
    packed: bool = False  # a .gz file

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, unpacked. Raises DataError: unreadable, or a broken .gz."""
        with opened(self.path) as file:
            yield from _unpacked(file, self.path) if self.packed else _all_of(file, self.path)


class StreamOrigin:
    """What can be read only once: standard input, a pipe. A file keeps what was read for the next time."""

    def __init__(self, name: str, stream: Opens, *, packed: bool = False, scratch: Scratch | None) -> None:
        """Take what opens the stream, and what makes the file; None keeps nothing: it can be read once."""
        self.name = name
        self._stream, self._packed, self._scratch = stream, packed, scratch
        self._kept: IO[bytes] | None = None
        self._whole = False

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, unpacked. Raises DataError: unreadable, or a broken .gz."""
        source = self._again() if self._whole else self._first()
        if self._packed:
            source = _unpacked(_Joined(source), self.name)
        yield from source

    def _first(self) -> Iterator[bytes]:
        self._kept = self._scratch() if self._scratch is not None else None
        with self._stream() as stream:
            for piece in _all_of(stream, self.name):
                if self._kept is not None:
                    self._kept.write(piece)
                yield piece
        self._whole = True

    def _again(self) -> Iterator[bytes]:
        if self._kept is None:
            raise DataError(expected("source", "a text that can be read again", shown(self.name)))
        self._kept.seek(0)
        yield from _all_of(self._kept, self.name)


class _Joined:
    """Pieces as a file that can be read, for gzip."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def failed(name: str, error: OSError) -> DataError:
    """Return the error for a path that exists but cannot be read."""
    reason = (error.strerror or type(error).__name__).lower()
    return DataError(expected("source", "a file that can be read", f"{shown(name)}: {reason}"))


def opened(path: str) -> IO[bytes]:
    """Open a file for reading. Raises DataError: it cannot be."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise failed(path, error) from None


def _all_of(file: IO[bytes], name: str) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(READ)
        except OSError as error:
            raise failed(name, error) from None
        if not piece:
            return
        yield piece


def _unpacked(file: IO[bytes] | _Joined, name: str) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:  # type: ignore[arg-type]
        while True:
            try:
                piece = unpacked.read(READ)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DataError(expected("source", "a .gz file", f"{shown(name)}: {error}")) from None
            except OSError as error:
                raise failed(name, error) from None
            if not piece:
                return
            yield piece
