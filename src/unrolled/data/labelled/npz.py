"""Arrays in .npy and .npz files, without pickle, and never more memory than the file has bytes."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from unrolled.data.labelled.source import (
    Array,
    Asked,
    Found,
    bytes_of,
    check_regular,
    label_values,
    most_bytes,
    named,
)
from unrolled.data.samples import Samples, several_of
from unrolled.errors import DataError, UnrolledError
from unrolled.files import quoted, refusal

__all__ = ["array_of_npy", "npy_file", "npy_header", "samples_of_npz"]

INPUTS = ("x", "x_train", "data", "inputs")
LABELS = ("y", "y_train", "labels", "label", "target")
MOST_ENTRIES = 1000


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array as numpy saves it: its shape, whether columns come first, its dtype.

    Raises ValueError: it is none, in one line. A hostile one reaches literal_eval, tokenize and numpy's
    dtypes, which raise whatever they like, and warn.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:
        raise ValueError(next(iter(str(error).splitlines()), type(error).__name__)) from None
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"a shape {list(shape)}")
    return shape, fortran, dtype


def array_of_npy(data: bytes, where: str) -> Array:
    """Return the array of a .npy file's bytes. Raises DataError: they are none, or hold objects."""
    file = io.BytesIO(data)
    try:
        shape, fortran, dtype = npy_header(file)
    except ValueError as error:
        raise refusal(DataError, where, "an array as numpy saves it", error) from None
    if dtype.hasobject or dtype.kind not in "biufUS" or dtype.itemsize == 0:
        raise refusal(DataError, where, "numbers or texts, no objects", dtype)
    size = math.prod(shape) * dtype.itemsize
    if size != len(data) - file.tell():
        got = f"{len(data) - file.tell()} bytes for {list(shape)}"
        raise refusal(DataError, where, f"{size} bytes of values", got)
    if not size:
        raise refusal(DataError, where, "at least 1 value", list(shape))
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def samples_of_npz(path: Path, asked: Asked) -> Found:
    """Return the samples of x and y, and those of x_test and y_test as the test part.

    Raises DataError: no such arrays, or arrays that do not fit one another.
    """
    arrays = _arrays(path)
    names = {name.lower(): name for name in arrays}
    train = _part(arrays, names, asked, INPUTS, LABELS, path)
    train.notes += [] if "x_test" in names else ["no test part: x_test and y_test are not there"]
    if "x_test" in names:
        numbers = train.labels is not None and train.labels.dtype.kind == "f"
        asked = replace(asked, label=None, target="y_test") if numbers else asked
        train.test = _part(arrays, names, asked, ("x_test",), ("y_test",), path)
        if train.test.channels != train.channels:
            got = f"{len(train.test.channels)} channels, where x has {len(train.channels)}"
            raise refusal(DataError, "x_test", "the channels of x", got)
    return train


def _arrays(path: Path) -> Mapping[str, Array]:
    check_regular(path)
    most = most_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            total = sum(entry.file_size for entry in entries)
            if len(entries) > MOST_ENTRIES or total > most:
                got = f"{len(entries)} of {total} bytes in {path}"
                raise refusal(DataError, "source", f"at most {MOST_ENTRIES} arrays of {most} bytes", got)
            found = {}
            for entry in entries:
                with archive.open(entry) as file:
                    data = file.read(entry.file_size + 1)
                found[entry.filename.removesuffix(".npy")] = array_of_npy(
                    data, f"source {quoted(entry.filename)}"
                )
            return found
    except UnrolledError:
        raise
    except Exception as error:  # of zipfile, of struct, and of each of the decompressors
        raise refusal(DataError, "source", "an .npz file", f"{error} in {path}") from None


def _part(
    arrays: Mapping[str, Array],
    names: Mapping[str, str],
    asked: Asked,
    inputs: tuple[str, ...],
    labels: tuple[str, ...],
    path: Path,
) -> Found:
    """Return the samples of one pair of arrays; the first ones asked for by name."""
    test = inputs == ("x_test",)
    wanted = [] if test else list(asked.columns or ())
    name = next(
        (names.get(each, each) for each in (*wanted, *inputs) if names.get(each, each) in arrays), None
    )
    if name is None:
        want = "an array x with the samples, or columns= with its name"
        raise refusal(DataError, "source", want, f"{named(list(arrays))} in {path}")
    given: list[Any] = [] if test else [asked.label or asked.target]
    label = next(
        (
            names.get(each, each)
            for each in (*filter(None, given), *labels)
            if names.get(each, each) in arrays
        ),
        None,
    )
    if given and given[0] and label != given[0] and asked.labelled:
        raise refusal(DataError, "label", f"an array: {named(list(arrays))}", repr(given[0]))
    if label is None and asked.labelled:
        raise refusal(DataError, "label", f"the array of labels: {named(list(arrays))}", "none")
    samples = Samples.from_arrays(_sequences(arrays[name], name))
    found = Found(list(samples.inputs), samples.channels, list(samples.ids))
    if not asked.read_labels:
        asked = replace(asked, group=None)
    elif label is not None and arrays[label].ndim == 2:
        found.labels, found.label_names = _several(
            arrays[label], label, len(samples), asked.target is not None
        )
    elif label is not None:
        found.labels = _labels(arrays[label], label, len(samples), asked.target is not None)
    if asked.group is not None and not test and (asked.labelled or asked.group in arrays):
        found.groups = _groups(arrays, asked.group, len(samples))
    found.read_as = asked.read_as()
    return found


def _sequences(array: Array, name: str) -> Any:
    """Return what `Samples.from_arrays` takes: texts, [N, T, C], or [N, T] for one channel."""
    if array.dtype.kind == "U" and array.ndim == 1:
        return array.tolist()
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3):
        raise refusal(DataError, name, "numbers [N, T] or [N, T, C]", f"{array.dtype} {list(array.shape)}")
    return array[:, :, None] if array.ndim == 2 else array


def _labels(array: Array, name: str, number: int, as_numbers: bool) -> Array:
    if array.shape != (number,):
        raise refusal(DataError, name, f"[{number}], one for each sample", list(array.shape))
    if array.dtype.kind == "f" and not as_numbers:
        as_numbers = not (array == np.round(array)).all()
    if array.dtype.kind in "iuf":
        return label_values(name, array.astype(np.float64), range(number), as_numbers)
    if as_numbers:
        raise refusal(DataError, name, "numbers", array.dtype)
    return array.astype(str)


def _several(array: Array, name: str, number: int, as_numbers: bool) -> tuple[Array, tuple[str, ...]]:
    """Return labels [N, K], and their names: "0", "1", …."""
    if len(array) != number:
        raise refusal(DataError, name, f"[{number}, K], a row for each sample", list(array.shape))
    if as_numbers and array.dtype.kind in "biu":
        array = array.astype(np.float64)
    try:
        return several_of(array, name), tuple(map(str, range(array.shape[1])))
    except DataError as error:
        raise refusal(DataError, "source", "labels [N] or [N, K]", error) from None


def _groups(arrays: Mapping[str, Array], name: str, number: int) -> Array:
    if name not in arrays or arrays[name].shape != (number,):
        got = list(arrays[name].shape) if name in arrays else f"{named(list(arrays))}"
        raise refusal(DataError, "group", f"an array {name!r} of [{number}]", got)
    return arrays[name].astype(str)


def npy_file(path: Path) -> Array:
    """Return the array of a .npy file. Raises DataError."""
    return array_of_npy(bytes_of(path), str(path))
