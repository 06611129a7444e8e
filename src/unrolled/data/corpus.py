"""A corpus made ready for training: read, shaped, encoded, split, written and memory-mapped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.documents import Document, digest
from unrolled.data.encoding import Split, encode_text
from unrolled.data.sources import Reading, name_of, read
from unrolled.data.splitting import split_lines, split_stream
from unrolled.errors import DataError, RunError, expected
from unrolled.spec import DataConfig
from unrolled.tokens import Tokens, build

__all__ = ["Corpus", "prepare", "shape_of"]

VALIDATION_SHARE = 0.1  # when nobody says
MOST_WORDS = 10_000  # of a word vocabulary, when nobody says
LONGEST_TEXT = 1_000_000  # characters; a longer one is a stream
LONGEST_LINE = 1_000


@dataclass(frozen=True, eq=False)
class Corpus:
    """What `prepare` made of a source; the ids lie in the run directory and are mapped into memory."""

    name: str  # of a run on it: book.txt → book
    shape: str  # lines | stream
    tokens: Tokens
    train: Split
    validation: Split
    validation_is_train: bool  # the ten sentences, or a corpus too small to hold out a part
    sha256: str  # of one document its bytes', of several that of their digests in order
    characters: int  # of the whole corpus
    documents: int
    left_out: int  # files of a folder: hidden, links, binary, not UTF-8 or empty


def prepare(config: DataConfig, directory: Path, *, seed: int) -> Corpus:
    """Make a corpus of a source.

    Writes train.npy, val.npy (ids in the smallest unsigned type), train_starts.npy and val_starts.npy
    (int64) and maps them; each file appears whole or not at all.

    Args:
        config: the source and how it is cut. directory: where the files go (RUN/data), made if missing.
        seed: of the choice of held-out lines; a stream holds out its end.
    Raises:
        DataError: the source, see `read`; or nothing in it can be predicted.
        RunError: the directory cannot be written.
    """
    reading = read(config.source, tokens=config.tokens)
    documents = reading.documents
    shape = shape_of(config, reading)
    texts = (str(each.text) for each in documents)  # all are str unless tokens is byte, which reads none
    tokens = build(config.tokens, texts, max_words=config.max_words or MOST_WORDS)
    whole = encode_text(documents, tokens, shape)
    if whole.num_targets < 1:
        wanted = "a line that is not blank" if shape == "lines" else "a word"
        raise DataError(expected("source", wanted, f"only white space in {name_of(config.source)}"))
    parts = None if config.source == "sentences" else _split(config, shape, whole, documents, tokens, seed)
    train, validation = parts or (whole, whole)
    return Corpus(
        name=name_of(config.source),
        shape=shape,
        tokens=tokens,
        train=_stored(directory, "train", train),
        validation=_stored(directory, "val", validation),
        validation_is_train=parts is None,
        sha256=digest(documents),
        characters=sum(each.characters for each in documents),
        documents=len(documents),
        left_out=reading.left_out,
    )


def shape_of(config: DataConfig, reading: Reading) -> str:
    """Return "lines" or "stream": what the config says, or by the rule for auto.

    auto: lines for one text without blank lines, of at most 1,000,000 characters, no line over 1,000; else
    stream. A folder is always a stream.
    """
    if config.shape != "auto":
        return config.shape
    document = reading.documents[0]
    if reading.folder or document.characters > LONGEST_TEXT:
        return "stream"
    text: Any = document.text
    lines = text.split(b"\n" if isinstance(text, bytes) else "\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline is no line
    return "lines" if all(line.strip() and len(line) <= LONGEST_LINE for line in lines) else "stream"


def _split(
    config: DataConfig, shape: str, whole: Split, documents: Sequence[Document], tokens: Tokens, seed: int
) -> tuple[Split, Split] | None:
    share = VALIDATION_SHARE if config.validation_share is None else config.validation_share
    if shape == "lines":
        return split_lines(whole, documents, share, np.random.default_rng(seed))
    return split_stream(whole, documents, tokens, share)


def _stored(directory: Path, name: str, part: Split) -> Split:
    ids = _write(directory / f"{name}.npy", part.ids)
    return Split(ids, _write(directory / f"{name}_starts.npy", part.starts), part.characters)


def _write(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Write an array beside its place, put it there in one step, and return it mapped."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(beside, path)
    except OSError as error:
        if path.parent.is_dir():
            beside.unlink(missing_ok=True)
        reason = f"{path.parent}: {(error.strerror or type(error).__name__).lower()}"
        raise RunError(expected("run", "a directory that can be written", reason)) from None
    mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
