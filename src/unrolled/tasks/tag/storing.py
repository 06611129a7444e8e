"""A run's sentences in RUN/data: corpus.json and samples.npz, read again without the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.data import Sentences
from unrolled.errors import DataError
from unrolled.tasks.stored_arrays import (
    ARRAYS,
    LENGTHS,
    MOST_NOTES,
    Form,
    fits,
    of_texts,
    packed_texts,
    read_arrays,
    read_index,
    split_texts,
    write_arrays,
)
from unrolled.tasks.tag.schema import is_reading

__all__ = ["Stored", "read", "write", "write_sentences"]

FORMAT, VERSION = "unrolled sentences", 1
FORMS = {
    "parts": Form("u", (1,)),
    "lengths": LENGTHS,
    "codes": Form("i", (2,)),
    "tagged": Form("b", (0,)),
    "lines": Form("i", (1,)),
    **of_texts("texts", "ids", "groups"),
}

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Stored:
    """Sentences, and the part that each belongs to."""

    sentences: Sentences
    parts: npt.NDArray[np.int64]  # [N], numbers of `PARTS`, or LEFT_OUT
    notes: tuple[str, ...]
    identity: str  # a digest of sentences and parts


def write(directory: Path, sentences: Sentences, parts: Array, notes: Sequence[str]) -> Stored:
    """Write sentences and parts into a directory. Raises RunError where it cannot be written."""
    kept = tuple(notes)[:MOST_NOTES]
    index = {
        "format": FORMAT,
        "version": VERSION,
        "name": sentences.name,
        "sha256": sentences.sha256,
        "features": list(sentences.features),
        "line": sentences.line,
        "read_as": dict(sentences.read_as),
        "notes": list(kept),
    }
    identity = write_arrays(directory, _arrays(sentences, parts), index)
    return Stored(sentences, np.asarray(parts, np.int64), kept, identity)


def write_sentences(directory: Path, sentences: Sentences) -> None:
    """Write sentences as a source: `spec.TagData` takes the directory's name."""
    write(directory, sentences, np.zeros(len(sentences), np.uint8), sentences.notes)


def read(directory: Path) -> Stored:
    """Read what `write` wrote, every byte of it checked.

    Raises:
        DataError: files are missing, damaged or another program's.
    """
    index, path = read_index(directory)
    _check_index(index, path)
    arrays = read_arrays(directory, index["identity"], "sentences", FORMS)
    try:
        sentences = _sentences(arrays, index)
    except (KeyError, ValueError, IndexError) as error:  # what the digest covers, but nobody wrote
        raise files.refusal(DataError, directory / ARRAYS, "sentences", repr(error)) from None
    return Stored(sentences, arrays["parts"].astype(np.int64), tuple(index["notes"]), index["identity"])


def _arrays(sentences: Sentences, parts: Array) -> dict[str, Array]:
    """Return every text once, and of each column the numbers of its texts."""
    columns = [sentences.words, *sentences.columns]
    columns += [] if sentences.tags is None else [sentences.tags]
    texts = list(dict.fromkeys(chain.from_iterable(chain.from_iterable(columns))))
    numbers = {text: number for number, text in enumerate(texts)}
    codes = [[numbers[text] for text in chain.from_iterable(column)] for column in columns]
    arrays: dict[str, Array] = {
        "parts": np.asarray(parts, np.uint8),
        "lengths": np.array([len(each) for each in sentences.words], np.int64),
        "codes": np.array(codes, np.int32),  # words, further columns, tags
        "tagged": np.array(sentences.tags is not None),
        **packed_texts("texts", texts),
        **packed_texts("ids", sentences.ids),
    }
    if sentences.groups is not None:
        arrays |= packed_texts("groups", sentences.groups.tolist())
    if sentences.lines is not None:
        arrays["lines"] = sentences.lines
    return arrays


def _sentences(arrays: Mapping[str, Array], index: Mapping[str, Any]) -> Sentences:
    """Return the sentences of the arrays. Raises KeyError, ValueError, IndexError: they are none."""
    texts, ids = split_texts(arrays, "texts"), split_texts(arrays, "ids")
    codes, lengths, tagged = arrays["codes"], arrays["lengths"], bool(arrays["tagged"])
    features = tuple(index["features"])
    groups = np.array(split_texts(arrays, "groups")) if "groups_bytes" in arrays else None
    lines = arrays.get("lines")
    number = len(ids)
    if codes.ndim != 2 or len(codes) != 1 + len(features) + tagged or codes.min(initial=0) < 0:
        raise ValueError("columns of other texts")
    if lengths.shape != (number,) or lengths.min(initial=1) < 1 or not fits(lengths, codes.shape[1]):
        raise ValueError("lengths of other sentences")
    for given, size in ((groups, number), (arrays["parts"], number), (lines, codes.shape[1])):
        if given is not None and len(given) != size:
            raise ValueError("columns of unlike length")
    ends = np.cumsum(lengths).tolist()
    begins = [0, *ends[:-1]]
    columns = []
    for row in codes.tolist():
        flat = [texts[code] for code in row]
        columns.append(tuple(tuple(flat[b:e]) for b, e in zip(begins, ends, strict=True)))
    return Sentences(
        words=columns[0],
        features=features,
        columns=tuple(columns[1 : 1 + len(features)]),
        tags=columns[-1] if tagged else None,
        ids=tuple(ids),
        groups=groups,
        name=index["name"],
        sha256=index["sha256"],
        read_as=index["read_as"],
        lines=lines,
        line=index["line"],
    )


def _check_index(index: Mapping[str, Any], path: Path) -> None:
    texts, lists = ("format", "name", "sha256", "identity", "line"), ("features", "notes")
    right = (
        set(index) == {*texts, *lists, "version", "read_as"}
        and all(isinstance(index[name], str) for name in texts)
        and all(isinstance(index[name], list) for name in lists)
        and all(isinstance(each, str) for name in lists for each in index[name])
        and is_reading(index["read_as"])
        and (index["format"], index["version"]) == (FORMAT, VERSION)
        and len(index["notes"]) <= MOST_NOTES
    )
    if not right:
        raise files.refusal(DataError, path, f"{FORMAT}, version {VERSION}", "something else")
