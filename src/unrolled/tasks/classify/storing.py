"""A run's samples in RUN/data: corpus.json and samples.npz, read again without the source."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.data import Samples
from unrolled.errors import DataError

__all__ = ["ARRAYS", "INDEX", "LEFT_OUT", "PARTS", "Stored", "identity_of", "packed_texts",
           "read", "read_arrays", "split_texts", "write", "write_samples"]  # fmt: skip

INDEX, ARRAYS = "corpus.json", "samples.npz"
FORMAT, VERSION = "unrolled samples", 1
PARTS = ("train", "validation", "test")  # by their number in the array `parts`
LEFT_OUT = len(PARTS)
LARGEST_INDEX = 2**22  # bytes
MOST_NOTES = 1000
MAPPED = 2**22  # bytes from which on an array stays in its file
HEADER = 30  # bytes of a header in a zip archive, before names

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Stored:
    """Samples, and the part that each belongs to."""

    samples: Samples
    parts: npt.NDArray[np.int64]  # [N], numbers of `PARTS`, or LEFT_OUT
    notes: tuple[str, ...]
    identity: str  # a digest of samples and parts


def write(directory: Path, samples: Samples, parts: Array, notes: Sequence[str]) -> Stored:
    """Write samples and parts into a directory. Raises RunError where it cannot be written."""
    arrays = _arrays(samples, parts)
    identity = identity_of(arrays)
    index = {
        "format": FORMAT,
        "version": VERSION,
        "name": samples.name,
        "sha256": samples.sha256,
        "identity": identity,
        "channels": list(samples.channels),
        "label_names": list(samples.label_names),
        "read_as": dict(samples.read_as),
        "notes": list(notes),
    }
    directory.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    files.replace(directory / ARRAYS, packed.getvalue())
    files.replace(directory / INDEX, json.dumps(index, indent=2) + "\n")
    return Stored(samples, np.asarray(parts, np.int64), tuple(notes), identity)


def write_samples(directory: Path, samples: Samples) -> None:
    """Write samples as a source: `spec.ClassifyData` takes the directory's name."""
    write(directory, samples, np.zeros(len(samples), np.uint8), ())


def read(directory: Path) -> Stored:
    """Read what `write` wrote, every byte of it checked.

    Raises:
        DataError: files are missing, damaged or another program's.
    """
    path = directory / INDEX
    index = files.parse_json(
        files.read_regular(path, LARGEST_INDEX, DataError), path, DataError, most=16 * LARGEST_INDEX
    )
    index.setdefault("label_names", [])  # older versions knew one label for a sample
    _check_index(index, path)
    arrays = read_arrays(directory / ARRAYS)
    identity = identity_of(arrays)
    if identity != index["identity"]:
        raise files.refusal(DataError, directory / ARRAYS, f"samples {index['identity']}", identity)
    try:
        samples = _samples(arrays, index)
    except (KeyError, ValueError, IndexError) as error:  # what the digest covers, but nobody wrote
        raise files.refusal(DataError, directory / ARRAYS, "samples", repr(error)) from None
    return Stored(samples, arrays["parts"].astype(np.int64), tuple(index["notes"]), identity)


def identity_of(arrays: Arrays) -> str:
    """Return a digest of arrays with their names, types and shapes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _arrays(samples: Samples, parts: Array) -> dict[str, Array]:
    arrays: dict[str, Array] = {"parts": np.asarray(parts, np.uint8)}
    arrays |= packed_texts("ids", samples.ids)
    if samples.is_text:
        arrays |= packed_texts("inputs", list(map(str, samples.inputs)))
    else:
        arrays["lengths"] = samples.steps
        arrays["values"] = np.concatenate([np.asarray(each) for each in samples.inputs])
    if samples.labels is not None:
        numbers = samples.labels.dtype.kind in "fb"
        arrays |= {"labels": samples.labels} if numbers else packed_texts("labels", samples.labels.tolist())
    if samples.step_labels is not None:
        flat = np.concatenate(samples.step_labels)
        arrays |= (
            {"step_labels": flat} if flat.dtype.kind == "f" else packed_texts("step_labels", flat.tolist())
        )
    if samples.groups is not None:
        arrays |= packed_texts("groups", samples.groups.tolist())
    if samples.times is not None:
        arrays["times"] = np.concatenate(samples.times)
    return arrays


def packed_texts(name: str, texts: Sequence[str]) -> dict[str, Array]:
    """Return texts as two arrays: their bytes one after the other, and the length of each."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return {
        f"{name}_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}_lengths": np.array([len(each) for each in encoded], np.int64),
    }


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file of ours: none is compressed, so none is larger than the file.

    Large ones stay in the file until they are read: a resumed run does not hold its samples twice.
    """
    try:
        with files.open_regular(path, DataError) as file, zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise files.refusal(DataError, path, "arrays that are not compressed", "others")
            found = {}
            for entry in archive.infolist():
                found[entry.filename.removesuffix(".npy")] = _mapped(file, archive, entry, path)
            return found
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise files.refusal(DataError, path, "the samples of a run", error) from None


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


def _check_index(index: Mapping[str, Any], path: Path) -> None:
    texts, lists = ("format", "name", "sha256", "identity"), ("channels", "label_names", "notes")
    right = (
        set(index) == {*texts, *lists, "version", "read_as"}
        and all(isinstance(index[name], str) for name in texts)
        and all(isinstance(each, str) for name in lists for each in _list(index[name]))
        and isinstance(index["read_as"], dict)
        and (index["format"], index["version"]) == (FORMAT, VERSION)
        and len(_list(index["notes"])) <= MOST_NOTES
    )
    if not right:
        raise files.refusal(DataError, path, f"{FORMAT}, version {VERSION}", "something else")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _samples(arrays: Arrays, index: Mapping[str, Any]) -> Samples:
    """Return the samples of the arrays. Raises KeyError, ValueError: they are none."""
    ids = split_texts(arrays, "ids")
    lengths = None if "inputs_bytes" in arrays else arrays["lengths"]
    inputs: Any = split_texts(arrays, "inputs") if lengths is None else _cut(arrays["values"], lengths)
    labels = arrays.get("labels")
    if "labels_bytes" in arrays:
        labels = np.array(split_texts(arrays, "labels"))
    steps = arrays.get("step_labels")
    if "step_labels_bytes" in arrays:
        steps = np.array(split_texts(arrays, "step_labels"))
    step_labels = None if steps is None else _cut(steps, arrays["lengths"])
    groups = np.array(split_texts(arrays, "groups")) if "groups_bytes" in arrays else None
    times = _cut(arrays["times"], arrays["lengths"]) if "times" in arrays else None
    columns = (inputs, labels, groups, arrays["parts"])
    if any(column is not None and len(column) != len(ids) for column in columns):
        raise ValueError("columns of unlike length")
    return Samples(
        inputs=inputs,
        channels=tuple(index["channels"]),
        ids=tuple(ids),
        labels=labels,
        groups=groups,
        times=times,
        name=index["name"],
        sha256=index["sha256"],
        read_as=index["read_as"],
        label_names=tuple(index["label_names"]),
        step_labels=step_labels,
    )


def _cut(flat: Array, lengths: Array) -> list[Array]:
    if lengths.min(initial=0) < 0 or lengths.sum() != len(flat):
        raise ValueError("lengths of other values")
    return np.split(flat, np.cumsum(lengths)[:-1])


def split_texts(arrays: Arrays, name: str) -> list[str]:
    flat, lengths = arrays[f"{name}_bytes"].tobytes(), arrays[f"{name}_lengths"]
    ends = np.cumsum(lengths).tolist()
    if lengths.min(initial=0) < 0 or (ends[-1] if ends else 0) != len(flat):
        raise ValueError("lengths of other texts")
    begins = [0, *ends[:-1]]
    return [flat[b:e].decode("utf-8", "surrogatepass") for b, e in zip(begins, ends, strict=True)]
