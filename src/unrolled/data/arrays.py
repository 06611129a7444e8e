"""Arrays of one axis in .npy files: written at their end, mapped into memory, and read strictly."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.errors import DataError

__all__ = ["ArrayFile", "Entry", "Mapped", "refusal", "verified"]

Mapped = npt.NDArray[Any]  # in a file; read-only

HEADER = 128  # bytes; what numpy writes for one axis, with room for any length
CHUNK = 2**20  # elements read, checked or copied at a time
_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00v\x00\{'descr': '([|<][ui][1248])', 'fortran_order': False, "
    rb"'shape': \((\d{1,18}),\), \} *\n"
)


@dataclass(frozen=True)
class Entry:
    """What is known of a file that was written."""

    size: int  # bytes
    sha256: str


class ArrayFile:
    """An array that grows in a file beside its place; `finish` brings it to the disk, `place` to its name.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        """Create the file with no element."""
        self.path, self.dtype, self.count = path, np.dtype(dtype), 0
        self._beside = path.with_name(files.temporary(path.name))
        self._file = files.create(self._beside)  # closed by place or discard
        self._file.write(_header(self.dtype, 0))

    def append(self, array: npt.ArrayLike) -> None:
        """Write elements at the end; they fit into the type."""
        given = np.ascontiguousarray(array, self.dtype)
        if len(given):
            self._file.write(given.data)
            self.count += len(given)

    def truncate(self, count: int) -> None:
        """Take back all but the first elements."""
        self._file.flush()
        self._file.truncate(HEADER + count * self.dtype.itemsize)
        self._file.seek(0, os.SEEK_END)
        self.count = count

    def chunks(self, first: int, last: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the elements first … last − 1; nothing may be appended meanwhile."""
        for begin in range(first, last, CHUNK):
            self._file.seek(HEADER + begin * self.dtype.itemsize)
            size = (min(begin + CHUNK, last) - begin) * self.dtype.itemsize
            yield np.frombuffer(self._file.read(size), self.dtype)
        self._file.seek(0, os.SEEK_END)

    def finish(self) -> Entry:
        """Write the header, sync everything to the disk, and return the file's size and sha256."""
        self._file.seek(0)
        self._file.write(_header(self.dtype, self.count))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256")
        return Entry(self._file.tell(), digest.hexdigest())

    def place(self) -> Mapped:
        """Give the file its name and return it mapped."""
        self._file.close()
        files.place(self._beside, self.path)
        return np.memmap(self.path, self.dtype, "r", HEADER, (self.count,))

    def discard(self) -> None:
        """Remove the file where it has not got its name."""
        self._file.close()
        self._beside.unlink(missing_ok=True)


def verified(
    path: Path, entry: Entry, dtype: npt.DTypeLike, check: Callable[[npt.NDArray[Any], int], None]
) -> Mapped:
    """Map an array after every byte of its file was looked at.

    Args:
        path: the file; no link. entry: its size and sha256. dtype: the only one it may have.
        check: called with chunks of elements and where each begins; raises DataError.
    Raises:
        DataError: another file, or a header that numpy would not write for it.
    """
    with files.open_regular(path, DataError) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry.size:
            raise refusal(path, f"{entry.size} bytes", size)
        head = file.read(HEADER)
        count = _count(head, np.dtype(dtype), size, path)
        digest = hashlib.sha256(head)
        for begin in range(0, count, CHUNK):
            data = file.read(min(CHUNK, count - begin) * np.dtype(dtype).itemsize)
            digest.update(data)
            check(np.frombuffer(data, dtype), begin)
        if digest.hexdigest() != entry.sha256:
            raise refusal(path, f"sha256 {entry.sha256}", digest.hexdigest())
        return np.memmap(file, dtype, "r", HEADER, (count,))


def refusal(path: object, want: object, got: object) -> DataError:
    """Return the error for a stored corpus that is not what was written, in one line of bounded length."""
    return files.refusal(DataError, path, want, got)


def _header(dtype: np.dtype[Any], count: int) -> bytes:
    written = io.BytesIO()
    fields = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(written, fields)
    return written.getvalue()


def _count(head: bytes, dtype: np.dtype[Any], size: int, path: Path) -> int:
    """Return the elements that a header declares, which fill the file."""
    found = _HEAD.fullmatch(head)
    if found is None or found[1].decode() != dtype.str:
        raise refusal(path, f"an array of one axis of {dtype.name}", "another header")
    count = int(found[2])
    if head != _header(dtype, count) or size != HEADER + count * dtype.itemsize:
        raise refusal(path, f"a header for {size} bytes", f"{count} elements")
    return count
