"""Files as a crash leaves them: durable writes, guarded reads, removals that touch nothing foreign."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from unrolled.checkpoint.manifest import Entry
from unrolled.checkpoint.refusal import refusal
from unrolled.checkpoint.tensors import Buffer
from unrolled.errors import RunError

__all__ = [
    "Guarded",
    "is_directory",
    "is_file",
    "make_directory",
    "opened",
    "remove_directory",
    "replace_text",
    "sync_directory",
    "temporary",
    "write_file",
    "writing",
]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PIECE = 2**20  # bytes hashed and read at a time


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says (disk full, read-only, …) into a one-line RunError."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path}: expected to write there, got: {error.strerror or error}") from error


def write_file(path: Path, chunks: Iterable[Buffer]) -> Entry:
    """Create a file, as readable as the umask allows, and bring it to the disk; never overwrites."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, _CREATE, 0o666), "wb") as file:
        for chunk in chunks:
            _write(file, chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return Entry(size, digest.hexdigest())


def replace_text(path: Path, text: str) -> None:
    """Put a small file in the place of another one: a reader sees the old text or the new, never a part."""
    new = path.with_name(temporary(path.name))
    try:
        write_file(new, [text.encode("utf-8")])
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    sync_directory(path.parent)


def temporary(name: str, prefix: str = ".writing-") -> str:
    """Return a name that nothing else has."""
    return f"{prefix}{name}-{secrets.token_hex(4)}"


def make_directory(path: Path) -> None:
    """Make a directory and its parents, and bring the new names to the disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        """Refuse a file that goes on, or whose bytes are not those of its manifest."""
        if self._file.read(1):
            raise refusal(self.where, f"{self.size} bytes", "more")
        if sha256 is not None and self._digest.hexdigest() != sha256:
            raise refusal(self.where, f"sha256 {sha256}", self._digest.hexdigest())


@contextlib.contextmanager
def opened(path: Path, *, size: int | None = None, limit: int | None = None) -> Iterator[Guarded]:
    """Open a regular file, no link, that has exactly `size` bytes or at most `limit`."""
    if not is_file(path):
        raise refusal(path, "a regular file", "something else" if os.path.lexists(path) else "nothing there")
    with os.fdopen(os.open(path, _READ), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise refusal(path, "a regular file", "something else")
        if size is not None and status.st_size != size:
            raise refusal(path, f"{size} bytes", status.st_size)
        if limit is not None and status.st_size > limit:
            raise refusal(path, f"at most {limit} bytes", status.st_size)
        yield Guarded(file, path, status.st_size)


def _write(file: BinaryIO, chunk: Buffer) -> None:
    file.write(chunk)  # by itself, so that a test can fill the disk


def _kind(path: Path, is_kind: object) -> bool:
    try:
        return bool(is_kind(os.lstat(path).st_mode))  # type: ignore[operator]
    except (FileNotFoundError, NotADirectoryError):
        return False
