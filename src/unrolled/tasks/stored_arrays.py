"""A run's samples in RUN/data: arrays in samples.npz, and what they are in corpus.json; both are checked."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.data import npy_header
from unrolled.errors import DataError

__all__ = [
    "ARRAYS",
    "INDEX",
    "LEFT_OUT",
    "LENGTHS",
    "MOST_NOTES",
    "PARTS",
    "Form",
    "check_finite",
    "cut",
    "fits",
    "of_texts",
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


class Form(NamedTuple):
    """What an array of samples.npz is."""

    kinds: str  # of numpy's dtype, such as "f"
    axes: tuple[int, ...]  # how many there may be


LENGTHS = Form("i", (1,))


def of_texts(*names: str) -> dict[str, Form]:
    """Return the forms of what `packed_texts` packs under these names."""
    pairs = ((f"{name}_bytes", Form("u", (1,))) for name in names)
    return {**dict(pairs), **{f"{name}_lengths": LENGTHS for name in names}}


def write_arrays(directory: Path, arrays: Arrays, index: Mapping[str, Any]) -> str:
    """Write arrays and their index into a directory, and return their digest, the index's "identity".

    Raises RunError where it cannot be written. DataError: the index could not be read again.
    """
    identity = _identity(arrays)
    described = json.dumps({**index, "identity": identity}, indent=2) + "\n"
    if len(described) > LARGEST_INDEX:
        want = f"names of columns that fit into {LARGEST_INDEX // 2**20} MiB of {INDEX}"
        raise files.refusal(DataError, "source", want, f"{len(described) / 2**20:.1f} MiB")
    directory.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    ordered: dict[str, Any] = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    np.savez(packed, **ordered)
    files.replace(directory / ARRAYS, packed.getvalue())
    files.replace(directory / INDEX, described)
    return identity


def read_index(directory: Path) -> tuple[dict[str, Any], Path]:
    """Return the index of a directory, unchecked, and its path. Raises DataError: there is none."""
    path = directory / INDEX
    raw = files.read_regular(path, LARGEST_INDEX, DataError)
    return files.parse_json(raw, path, DataError, most=16 * LARGEST_INDEX), path


def read_arrays(directory: Path, identity: str, what: str, forms: Mapping[str, Form]) -> dict[str, Array]:
    """Return the arrays that `write_arrays` wrote: none is compressed, so all are no larger than the file.

    Large ones stay in the file until they are read: a resumed run does not hold its samples twice.

    Args:
        identity: of the index. what: they are, for messages: "samples". forms: of the arrays that are used.
    Raises:
        DataError: they are missing, damaged, or other ones.
    """
    path = directory / ARRAYS
    try:
        with files.open_regular(path, DataError) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise files.refusal(DataError, path, "arrays that are not compressed", "others")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:  # they lie in one another
                raise files.refusal(DataError, path, "arrays that are no larger than the file", "larger ones")
            found = {
                entry.filename.removesuffix(".npy"): _array(file, archive, entry, path) for entry in entries
            }
    except DataError:
        raise
    except Exception as error:  # of zipfile, of struct, and of numpy
        raise files.refusal(DataError, path, f"the {what} of a run", error) from None
    for name, form in forms.items():
        if name in found and not (found[name].dtype.kind in form.kinds and found[name].ndim in form.axes):
            got = f"{name} of {found[name].dtype} {list(found[name].shape)}"
            raise files.refusal(DataError, path, f"the {what} of a run", got)
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


def _array(file: Any, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> Array:
    """Return an array of an open archive, mapped from the file where it is large.

    Raises ValueError: it is none, or does not fill its entry; RuntimeError: zipfile does not read such an
    entry.
    """
    if entry.file_size < MAPPED:
        with archive.open(entry) as member:
            raw = io.BytesIO(member.read())
        shape, dtype = _header(raw, entry.file_size)
        return np.frombuffer(bytearray(raw.read()), dtype).reshape(shape)
    file.seek(entry.header_offset)
    header = file.read(HEADER)
    if header[:4] != b"PK\x03\x04":
        raise ValueError("an entry without a header")
    begin = (
        entry.header_offset + HEADER + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    )
    file.seek(begin)
    shape, dtype = _header(file, begin + entry.file_size)
    return np.asarray(np.memmap(path, dtype, "r", file.tell(), shape))


def _header(file: BinaryIO, end: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an array of numpy's format, whose values reach from here to the end.

    Raises ValueError: they do not, or there is no such header.
    """
    shape, fortran, dtype = npy_header(file)
    size = math.prod(shape) * dtype.itemsize
    whole = dtype.kind in "biuf" and not fortran
    if not whole or file.tell() + size != end:
        raise ValueError(f"{end - file.tell()} bytes for {dtype} {list(shape)}")
    return shape, dtype


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
    if not fits(lengths, len(flat)):
        raise ValueError("lengths of other texts")
    ends = np.cumsum(lengths).tolist()
    begins = [0, *ends[:-1]]
    return [flat[b:e].decode("utf-8", "surrogatepass") for b, e in zip(begins, ends, strict=True)]


def cut(flat: Array, lengths: Array) -> list[Array]:
    """Return rows as one array for each length. Raises ValueError: there are more rows, or fewer."""
    if not fits(lengths, len(flat)):
        raise ValueError("lengths of other values")
    return np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []


def check_finite(arrays: Arrays, *names: str) -> None:
    """Raise ValueError where one of these arrays, if it is there, has an infinite number."""
    for name in names:
        if name in arrays:
            flat = arrays[name].reshape(-1)
            ends = (np.fmin.reduce(flat, initial=0), np.fmax.reduce(flat, initial=0))
            if not np.isfinite(ends).all():
                raise ValueError(f"{name} with an infinite number")


def fits(lengths: Array, total: int) -> bool:
    """Whether lengths make so many rows in all: each is that long at most, so that no sum overflows."""
    within = lengths.min(initial=0) >= 0 and lengths.max(initial=0) <= total
    return bool(within and lengths.sum() == total)
