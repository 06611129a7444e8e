"""A run's samples in RUN/data: arrays in samples.npz, and what they are in corpus.json; both are checked."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.errors import DataError

__all__ = [
    "ARRAYS",
    "INDEX",
    "LEFT_OUT",
    "MOST_NOTES",
    "PARTS",
    "cut",
    "packed_texts",
    "read_arrays",
    "read_index",
    "split_texts",
    "write_arrays",
]

INDEX, ARRAYS = "corpus.json", "samples.npz"
PARTS = ("train", "validation", "test")  # by their number in an array of parts
LEFT_OUT = len(PARTS)
LARGEST_INDEX = 2**22  # bytes
MOST_NOTES = 1000
MAPPED = 2**22  # bytes from which on an array stays in its file
HEADER = 30  # bytes of a header in a zip archive, before names

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]


def write_arrays(directory: Path, arrays: Arrays, index: Mapping[str, Any]) -> str:
    """Write arrays and their index into a directory, and return their digest, the index's "identity".

    Raises RunError where it cannot be written.
    """
    identity = _identity(arrays)
    directory.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    ordered: dict[str, Any] = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    np.savez(packed, **ordered)
    files.replace(directory / ARRAYS, packed.getvalue())
    files.replace(directory / INDEX, json.dumps({**index, "identity": identity}, indent=2) + "\n")
    return identity


def read_index(directory: Path) -> tuple[dict[str, Any], Path]:
    """Return the index of a directory, unchecked, and its path. Raises DataError: there is none."""
    path = directory / INDEX
    raw = files.read_regular(path, LARGEST_INDEX, DataError)
    return files.parse_json(raw, path, DataError, most=16 * LARGEST_INDEX), path


def read_arrays(directory: Path, identity: str, what: str) -> dict[str, Array]:
    """Return the arrays that `write_arrays` wrote: none is compressed, so none is larger than the file.

    Large ones stay in the file until they are read: a resumed run does not hold its samples twice.

    Args:
        identity: of the index. what: they are, for messages: "samples".
    Raises:
        DataError: they are missing, damaged, or other ones.
    """
    path = directory / ARRAYS
    try:
        with files.open_regular(path, DataError) as file, zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise files.refusal(DataError, path, "arrays that are not compressed", "others")
            found = {}
            for entry in archive.infolist():
                found[entry.filename.removesuffix(".npy")] = _mapped(file, archive, entry, path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise files.refusal(DataError, path, f"the {what} of a run", error) from None
    own = _identity(found)
    if own != identity:
        raise files.refusal(DataError, path, f"{what} {identity}", own)
    return found


def _identity(arrays: Arrays) -> str:
    """Return a digest of arrays with their names, types and shapes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _mapped(file: Any, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> Array:
    """Return an array of an open archive, mapped from the file where it is large.

    Raises ValueError: it is none, or does not fill its entry.
    """
    if entry.file_size < MAPPED:
        with archive.open(entry) as member:
            found: Array = np.lib.format.read_array(member, allow_pickle=False)
            return found
    file.seek(entry.header_offset)
    header = file.read(HEADER)
    if header[:4] != b"PK\x03\x04":
        raise ValueError("an entry without a header")
    begin = (
        entry.header_offset + HEADER + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    )
    file.seek(begin)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version of numpy's format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or fortran or file.tell() + size != begin + entry.file_size:
        raise ValueError(f"{entry.file_size} bytes for {dtype} {list(shape)}")
    return np.asarray(np.memmap(path, dtype, "r", file.tell(), shape))


def packed_texts(name: str, texts: Sequence[str]) -> dict[str, Array]:
    """Return texts as two arrays: their bytes one after the other, and the length of each."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return {
        f"{name}_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}_lengths": np.array([len(each) for each in encoded], np.int64),
    }


def split_texts(arrays: Arrays, name: str) -> list[str]:
    """Return the texts that `packed_texts` packed. Raises KeyError, ValueError: there are none."""
    flat, lengths = arrays[f"{name}_bytes"].tobytes(), arrays[f"{name}_lengths"]
    ends = np.cumsum(lengths).tolist()
    if lengths.min(initial=0) < 0 or (ends[-1] if ends else 0) != len(flat):
        raise ValueError("lengths of other texts")
    begins = [0, *ends[:-1]]
    return [flat[b:e].decode("utf-8", "surrogatepass") for b, e in zip(begins, ends, strict=True)]


def cut(flat: Array, lengths: Array) -> list[Array]:
    """Return rows as one array for each length. Raises ValueError: there are more rows, or fewer."""
    if lengths.min(initial=0) < 0 or lengths.sum() != len(flat):
        raise ValueError("lengths of other values")
    return np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []
