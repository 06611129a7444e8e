"""A run's samples in RUN/data: corpus.json and samples.npz, read again without the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.data import Samples
from unrolled.errors import DataError
from unrolled.tasks.stored_arrays import (
    ARRAYS,
    LENGTHS,
    MOST_NOTES,
    Form,
    check_finite,
    cut,
    of_texts,
    packed_texts,
    read_arrays,
    read_index,
    split_texts,
    write_arrays,
)

__all__ = ["Stored", "read", "write", "write_samples"]

FORMAT, VERSION = "unrolled samples", 1
FORMS = {
    "parts": Form("u", (1,)),
    "values": Form("f", (2,)),
    "lengths": LENGTHS,
    "labels": Form("fb", (1, 2)),
    "step_labels": Form("f", (1,)),
    "times": Form("f", (1,)),
    **of_texts("ids", "inputs", "labels", "step_labels", "groups"),
}

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
    kept = tuple(notes)[:MOST_NOTES]
    index = {
        "format": FORMAT,
        "version": VERSION,
        "name": samples.name,
        "sha256": samples.sha256,
        "channels": list(samples.channels),
        "label_names": list(samples.label_names),
        "read_as": dict(samples.read_as),
        "notes": list(kept),
    }
    identity = write_arrays(directory, _arrays(samples, parts), index)
    return Stored(samples, np.asarray(parts, np.int64), kept, identity)


def write_samples(directory: Path, samples: Samples) -> None:
    """Write samples as a source: `spec.ClassifyData` takes the directory's name."""
    write(directory, samples, np.zeros(len(samples), np.uint8), ())


def read(directory: Path) -> Stored:
    """Read what `write` wrote, every byte of it checked.

    Raises:
        DataError: files are missing, damaged or another program's.
    """
    index, path = read_index(directory)
    index.setdefault("label_names", [])  # older versions knew one label for a sample
    _check_index(index, path)
    arrays = read_arrays(directory, index["identity"], "samples", FORMS)
    try:
        samples = _samples(arrays, index)
    except (KeyError, ValueError, IndexError) as error:  # what the digest covers, but nobody wrote
        raise files.refusal(DataError, directory / ARRAYS, "samples", repr(error)) from None
    return Stored(samples, arrays["parts"].astype(np.int64), tuple(index["notes"]), index["identity"])


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
    check_finite(arrays, "values", "times")
    ids = split_texts(arrays, "ids")
    lengths = None if "inputs_bytes" in arrays else arrays["lengths"]
    inputs: Any = split_texts(arrays, "inputs") if lengths is None else cut(arrays["values"], lengths)
    labels = arrays.get("labels")
    if "labels_bytes" in arrays:
        labels = np.array(split_texts(arrays, "labels"))
    steps = arrays.get("step_labels")
    if "step_labels_bytes" in arrays:
        steps = np.array(split_texts(arrays, "step_labels"))
    step_labels = None if steps is None else cut(steps, arrays["lengths"])
    groups = np.array(split_texts(arrays, "groups")) if "groups_bytes" in arrays else None
    times = cut(arrays["times"], arrays["lengths"]) if "times" in arrays else None
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
