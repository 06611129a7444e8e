"""Durable writes, guarded reads, and removals that touch no file of another program."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from unrolled import files
from unrolled.checkpoint.format import Entry, refusal
from unrolled.checkpoint.tensors import Buffer
from unrolled.errors import CheckpointError
from unrolled.files import create, open_regular, sync_directory

__all__ = [
    "Guarded",
    "is_directory",
    "is_file",
    "listed",
    "make_directory",
    "opened",
    "remove_directory",
    "write_file",
]

_PIECE = 2**20  # bytes hashed and read at a time


def write_file(path: Path, chunks: Iterable[Buffer]) -> Entry:
    """Create a file, as readable as the umask allows, and sync it to the disk; never overwrites."""
    digest, size = hashlib.sha256(), 0
    with create(path) as file:
        for chunk in chunks:
            files.write(file, chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return Entry(size, digest.hexdigest())


def make_directory(path: Path) -> None:
    """Make a directory and its parents, and sync the new names to the disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_directory(path.parent)


def remove_directory(path: Path, names: Iterable[str]) -> None:
    """Remove the files of these names from a directory, then the directory where nothing else is in it."""
    for name in names:
        if is_file(path / name):
            os.unlink(path / name)
    if not os.listdir(path):
        os.rmdir(path)


def is_file(path: Path) -> bool:
    """Whether this is a regular file itself, not a link to one."""
    return _kind(path, stat.S_ISREG)


def is_directory(path: Path) -> bool:
    """Whether this is a directory itself, not a link to one."""
    return _kind(path, stat.S_ISDIR)


def listed(path: Path) -> list[Path]:
    """Return what a directory holds; nothing where there is no directory, or only a link to one."""
    return sorted(path.iterdir()) if is_directory(path) else []


class Guarded:
    """A file of known size that is read once, front to back, and hashed on the way."""

    def __init__(self, file: BinaryIO, where: Path, size: int) -> None:
        self.where: object = where
        self.size = size
        self._file = file
        self._digest = hashlib.sha256()

    def take(self, count: int) -> bytearray:
        """Read exactly `count` bytes; CheckpointError where the file ends before."""
        data = bytearray(count)
        self.fill(memoryview(data))
        return data

    def fill(self, view: memoryview) -> None:
        """Read exactly as many bytes as a buffer has; CheckpointError where the file ends before."""
        start = 0
        while start < len(view):
            got = self._file.readinto(view[start : start + _PIECE])  # type: ignore[attr-defined]
            if not got:
                raise refusal(self.where, f"{self.size} bytes", "fewer")
            self._digest.update(view[start : start + got])
            start += got

    def finish(self, sha256: str | None) -> None:
        """Refuse a file that is too long, or whose bytes are not those of its manifest."""
        if self._file.read(1):
            raise refusal(self.where, f"{self.size} bytes", "more")
        if sha256 is not None and self._digest.hexdigest() != sha256:
            raise refusal(self.where, f"sha256 {sha256}", self._digest.hexdigest())


@contextlib.contextmanager
def opened(path: Path, *, size: int | None = None, limit: int | None = None) -> Iterator[Guarded]:
    """Open a regular file, no link, that has exactly `size` bytes or at most `limit`."""
    with open_regular(path, CheckpointError) as file:
        status = os.fstat(file.fileno())
        if size is not None and status.st_size != size:
            raise refusal(path, f"{size} bytes", status.st_size)
        if limit is not None and status.st_size > limit:
            raise refusal(path, f"at most {limit} bytes", status.st_size)
        yield Guarded(file, path, status.st_size)


def _kind(path: Path, is_kind: object) -> bool:
    try:
        return bool(is_kind(os.lstat(path).st_mode))  # type: ignore[operator]
    except (FileNotFoundError, NotADirectoryError):
        return False
