"""A corpus that was made ready for training, and the file that says what lies beside it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.data.arrays import Entry, refusal, verified
from unrolled.data.encoding import SHAPES, Split
from unrolled.data.text import as_name
from unrolled.errors import ConfigError, DataError, expected
from unrolled.spec import RunDirectory, bpe_size
from unrolled.tokens import Tokens, id_dtype

__all__ = ["CORPUS_FILE", "Corpus", "identity", "reopen", "stored_fields", "write"]

FORMAT, VERSION = "unrolled-corpus", 1
LARGEST, PARSED = 2**16, 2**22  # bytes of corpus.json, and once parsed
PARTS = {"train": "train", "validation": "val"}
CORPUS_FILE, *FILES = RunDirectory.DATA_FILES


@dataclass(frozen=True, eq=False)
class Corpus:
    """What `prepare` made of a source; the ids are in the run directory, mapped into memory."""

    name: str  # of a run on it: book.txt → book
    shape: str  # lines | stream
    tokens: Tokens
    tokens_setting: str  # what `DataConfig.tokens` would say: char, byte, word, bpe:1000
    train: Split
    validation: Split
    validation_is_train: bool  # the ten sentences, or a corpus too small to hold out a part
    sha256: str  # of one document its bytes', of several that of their digests in order
    characters: int  # of the whole corpus
    documents: int
    left_out: int  # entries of a folder: hidden, links, runs, binary, not UTF-8 or empty
    identity: str  # of the ids: see `identity_of`


def identity_of(shape: str, entries: Mapping[str, Entry]) -> str:
    """Return the sha256 of a corpus's shape and its files' digests; not of its name, which a move changes."""
    files = {name: {"size": each.size, "sha256": each.sha256} for name, each in entries.items()}
    return hashlib.sha256(json.dumps([shape, files], sort_keys=True).encode("ascii")).hexdigest()


def write(corpus: Corpus, entries: Mapping[str, Entry], path: Path) -> None:
    """Write corpus.json beside its place, and put it there once it is on the disk. Raises OSError."""
    stored: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": corpus.name,
        "shape": corpus.shape,
        "tokens": corpus.tokens_setting,
        "tokens_sha256": _digest(corpus.tokens),
        "sha256": corpus.sha256,
        "characters": corpus.characters,
        "documents": corpus.documents,
        "left_out": corpus.left_out,
        "validation_is_train": corpus.validation_is_train,
        "train": {"characters": corpus.train.characters},
        "validation": {"characters": corpus.validation.characters},
        "files": {name: {"size": each.size, "sha256": each.sha256} for name, each in entries.items()},
    }
    stored["check"] = _check(stored)
    with files.replacing(path) as file:
        file.write((json.dumps(stored, indent=2) + "\n").encode("ascii"))


def reopen(directory: Path, tokens: Tokens) -> Corpus:
    """Map a corpus that `prepare` wrote, after every byte of it was verified; nothing is written.

    Args:
        directory: RUN/data. tokens: the vocabulary that it was encoded with.
    Raises:
        DataError: a file is missing, altered, torn, a link, of another format, or of another vocabulary.
    """
    path = directory / CORPUS_FILE
    fields = _Fields(stored_fields(path), str(path))
    fields.check_format()
    setting = fields.text("tokens")
    if not _fits(setting, tokens) or fields.sha256("tokens_sha256") != _digest(tokens):
        raise refusal(path, "the vocabulary that the corpus was encoded with", f"another {tokens.kind}")
    written = fields.inner("files", tuple(FILES))
    entries = {name: _entry(written.inner(name, ("size", "sha256"))) for name in FILES}
    characters = {part: fields.inner(part, ("characters",)).count("characters", 1) for part in PARTS}
    shape = fields.one_of("shape", SHAPES)
    splits = {
        part: _split(directory, name, entries, tokens, shape, characters[part])
        for part, name in PARTS.items()
    }
    return Corpus(
        name=fields.name("name"),
        shape=shape,
        tokens=tokens,
        tokens_setting=setting,
        train=splits["train"],
        validation=splits["validation"],
        validation_is_train=fields.truth("validation_is_train"),
        sha256=fields.sha256("sha256"),
        characters=fields.count("characters", 1),
        documents=fields.count("documents", 1),
        left_out=fields.count("left_out"),
        identity=identity_of(shape, entries),
    )


class _Fields:
    """A JSON object whose every value is checked as it is taken."""

    def __init__(self, stored: object, where: str, keys: tuple[str, ...] = ()) -> None:
        self._where = where
        if not isinstance(stored, dict):
            raise refusal(where, "an object", type(stored).__name__)
        self._stored = stored
        if keys:
            self._check_keys(keys)

    def check_format(self) -> None:
        """Refuse another format, another version, and any other key, present or missing."""
        for key, value in (("format", FORMAT), ("version", VERSION)):
            if type(self._stored.get(key)) is not type(value) or self._stored[key] != value:
                raise self._refusal(key, repr(value))
        self._check_keys(KEYS)
        rest = {key: value for key, value in self._stored.items() if key != "check"}
        if self._stored["check"] != _check(rest):
            raise self._refusal("check", "the sha256 of the other fields")

    def inner(self, key: str, keys: tuple[str, ...]) -> _Fields:
        return _Fields(self._stored[key], f"{self._where} {key}", keys)

    def text(self, key: str) -> str:
        value = self._stored[key]
        if not isinstance(value, str) or not 0 < len(value) <= 1024:
            raise self._refusal(key, "a text")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if value != as_name(value):
            raise self._refusal(key, "a name that can be printed, without a path")
        return value

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        if self._stored[key] not in choices:
            raise self._refusal(key, "one of " + ", ".join(choices))
        return self.text(key)

    def sha256(self, key: str) -> str:
        value = self._stored[key]
        if not isinstance(value, str) or re.fullmatch("[0-9a-f]{64}", value) is None:
            raise self._refusal(key, "64 hexadecimal digits")
        return value

    def count(self, key: str, least: int = 0) -> int:
        value = self._stored[key]
        if type(value) is not int or not least <= value < 2**63:
            raise self._refusal(key, f"a whole number of at least {least}")
        return value

    def truth(self, key: str) -> bool:
        if not isinstance(self._stored[key], bool):
            raise self._refusal(key, "true or false")
        return bool(self._stored[key])

    def _check_keys(self, keys: tuple[str, ...]) -> None:
        if set(self._stored) != set(keys):
            odd = sorted(set(self._stored) ^ set(keys))[0]
            raise refusal(self._where, "the keys " + ", ".join(keys), f"{odd!r} too many or missing")

    def _refusal(self, key: str, want: str) -> DataError:
        return refusal(f"{self._where} {key}", want, repr(self._stored.get(key)))


KEYS = (
    "format", "version", "name", "shape", "tokens", "tokens_sha256", "sha256", "characters", "documents",
    "left_out", "validation_is_train", "train", "validation", "files",
    "check",
)  # fmt: skip


def _check(fields: Mapping[str, Any]) -> str:
    """Return a sum over the fields of corpus.json, in which a flipped bit shows."""
    return hashlib.sha256(json.dumps(fields).encode("ascii")).hexdigest()


def stored_fields(path: Path) -> dict[str, Any]:
    """Return what a corpus.json holds. Raises DataError: it is not there, or no small JSON object."""
    return files.parse_json(files.read_regular(path, LARGEST, DataError), path, DataError, most=PARSED)


def _entry(fields: _Fields) -> Entry:
    return Entry(fields.count("size"), fields.sha256("sha256"))


def _split(
    directory: Path, name: str, entries: Mapping[str, Entry], tokens: Tokens, shape: str, characters: int
) -> Split:
    """Map one part: ids of the vocabulary, and starts that rise from 0 to below N, each at a boundary."""
    ids_file, starts_file = f"{name}.npy", f"{name}_starts.npy"

    def check_ids(ids: npt.NDArray[Any], begin: int) -> None:
        if int(ids.max()) >= tokens.size or (begin == 0 and ids[0] != tokens.boundary):
            raise refusal(directory / ids_file, f"a newline, then ids below {tokens.size}", int(ids.max()))

    ids = verified(directory / ids_file, entries[ids_file], id_dtype(tokens.size), check_ids)
    if len(ids) < 2:
        raise refusal(directory / ids_file, "at least 2 ids", len(ids))
    if shape == "lines" and ids[-1] != tokens.boundary:
        raise refusal(directory / ids_file, "a newline at the end of the last line", int(ids[-1]))
    last = -1

    def check_starts(starts: npt.NDArray[Any], begin: int) -> None:
        nonlocal last
        rising = int(starts[0]) > last and bool((starts[1:] > starts[:-1]).all())
        last = int(starts[-1])
        if not rising or not 0 <= int(starts[0]) <= last < len(ids) - 1 or (begin == 0 and starts[0] != 0):
            wanted = f"offsets that rise from 0 to below {len(ids) - 1}"
            raise refusal(directory / starts_file, wanted, "others")
        if not (ids[starts] == tokens.boundary).all():
            raise refusal(directory / starts_file, "offsets of newlines", "others")

    starts = verified(directory / starts_file, entries[starts_file], np.int64, check_starts)
    if not len(starts):
        raise refusal(directory / starts_file, "at least one offset", "none")
    return Split(ids, starts, characters)


def _fits(setting: str, tokens: Tokens) -> bool:
    """Whether a setting names the kind of a vocabulary."""
    try:
        return tokens.kind == ("bpe" if bpe_size(setting) is not None else setting)
    except ConfigError:
        return False


def _digest(tokens: Tokens) -> str:
    text = json.dumps(tokens.to_json(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def identity(directory: Path) -> str:
    """Return the sha256 of a corpus's shape and of its files' digests; not of its name, which a move changes.

    Args:
        directory: RUN/data, as `prepare` left it or `reopen` verified it.
    Raises:
        DataError: there is no corpus.
    """
    path = directory / CORPUS_FILE
    stored = stored_fields(path)
    if not {"shape", "files"} <= set(stored):
        raise DataError(expected(str(path), "a corpus", "another JSON"))
    what = [stored["shape"], stored["files"]]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode("ascii")).hexdigest()
