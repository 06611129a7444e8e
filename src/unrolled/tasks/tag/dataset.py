"""From a source to sentences in three parts, kept with the run, and to what the network reads of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import (
    Column,
    Partition,
    Samples,
    Sentences,
    find_scheme,
    in_scheme,
    partition,
    read_sentences,
    unknown_tags_text,
)
from unrolled.errors import DataError, counted, expected
from unrolled.files import printable, shortened
from unrolled.spec import TagData
from unrolled.tasks.stored_arrays import ARRAYS, LEFT_OUT, PARTS
from unrolled.tasks.tag import storing
from unrolled.tasks.tag.batches import Encoded, SentenceBatches
from unrolled.tasks.tag.schema import Schema

__all__ = ["TaggedSentences", "described", "prepare", "read_like", "reopen"]

Array: TypeAlias = npt.NDArray[Any]

FEW = 100  # sentences below which none are held out for a test that nobody asked for
TEST_SHARE = 0.1
EXAMPLES = 3


class TaggedSentences:
    """Sentences of a run in three parts: they train, choose the best network, and test it once."""

    validation_is_train = False
    tokens = None  # a vocabulary of words is in the schema

    def __init__(self, stored: storing.Stored, data: TagData) -> None:
        self.stored, self.data, self.sentences = stored, data, stored.sentences
        self.name, self.sha256, self.identity = self.sentences.name, self.sentences.sha256, stored.identity
        self._parts: dict[str, Sentences] = {}
        self._encoded: dict[str, Encoded] = {}
        if not len(self.part("validation")):
            raise DataError(expected("validation", "at least 1 sentence", "none"))
        self.schema = Schema.fit(self.part("train"))
        self.scored: dict[str, Any] = {}  # what the report has measured so far

    def part(self, name: str) -> Sentences:
        """Return the sentences of a part: train, validation or test."""
        if name not in self._parts:
            chosen = np.flatnonzero(self.stored.parts == PARTS.index(name))
            self._parts[name] = self.sentences.take(chosen)
        return self._parts[name]

    def encoded(self, name: str) -> Encoded:
        """Return what the network reads of a part."""
        if name not in self._encoded:
            self._encoded[name] = self.schema.encode(self.part(name))
        return self._encoded[name]

    def batches(self, name: str, *, rows: int, seed: int = 0, shuffle: bool = False) -> SentenceBatches:
        """Return the batches of a part."""
        return SentenceBatches(self.encoded(name), batch_size=rows, seed=seed, shuffle=shuffle)

    @property
    def longest(self) -> int:
        """Words of the longest training sentence."""
        return max(map(len, self.part("train").words))

    @property
    def has_test(self) -> bool:
        """Whether there is a test part."""
        return bool((self.stored.parts == PARTS.index("test")).any())


def prepare(data: TagData, directory: Path, *, seed: int) -> TaggedSentences:
    """Read a source, divide its sentences and write them into a directory.

    Raises:
        DataError, ConfigError: the source, its columns or the split are not right.
    """
    sentences = _read(data)
    given = None if data.test is None else read_like(data.test, sentences.read_as, argument="test")
    share = data.test_share
    if share is None:
        share = TEST_SHARE if given is None and len(sentences) >= FEW else 0.0
    found = _partition(sentences, data, share, seed)
    parts = np.full(len(sentences), LEFT_OUT)
    for number, name in enumerate(PARTS):
        parts[getattr(found, name)] = number
    notes = [*sentences.notes, *(note.replace("sample", "sentence") for note in found.notes)]
    if given is not None:
        marks = find_scheme(sentences)
        given = in_scheme(given, marks.scheme, marks.spelling)
        notes += _notes_on_test(sentences, given)
        sentences = _joined(sentences, given)
        tested = np.full(len(given), PARTS.index("test"))
        parts = np.concatenate([parts, tested])
    notes += _unseen(sentences, parts)
    return TaggedSentences(storing.write(directory, sentences, parts, notes), data)


def reopen(data: TagData, directory: Path) -> TaggedSentences:
    """Return the sentences that `prepare` wrote. Raises DataError: they are damaged or another run's."""
    return TaggedSentences(storing.read(directory), data)


def read_like(source: str, read_as: Any, *, argument: str = "source", read_tags: bool = True) -> Sentences:
    """Read sentences as others were read: a test file, or a file to be tagged.

    Args:
        read_as: `Sentences.read_as` of those. read_tags: whether it must have tags; otherwise whatever its
            column of tags holds is passed over.
    """
    if (Path(source) / ARRAYS).is_file():
        return storing.read(Path(source)).sentences
    try:
        return read_sentences(source, **read_as, read_tags=read_tags)
    except DataError as error:
        text = str(error)
        if argument == "source":
            raise
        named = text.replace("source", argument, 1) if text.startswith("source") else f"{argument}: {text}"
        raise DataError(named) from None


def described(sentences: Sentences) -> tuple[Column, ...]:
    """Return what the columns of sentences are, with a few of their texts."""
    read_as = sentences.read_as
    columns = [(str(read_as.get("words", "words")), "input", sentences.words)]
    columns += [
        (name, "input", each) for name, each in zip(sentences.features, sentences.columns, strict=True)
    ]
    if sentences.tags is not None:
        columns.append((str(read_as.get("tags", "tags")), "tag", sentences.tags))
    found = []
    for name, role, texts in columns:
        some = list(dict.fromkeys(chain.from_iterable(texts[:EXAMPLES])))[:EXAMPLES]
        found.append(
            Column(printable(name), "text", role, tuple(printable(shortened(text)) for text in some))
        )
    return tuple(found)


def _read(data: TagData) -> Sentences:
    """Read a source: sentences that `storing.write` wrote, or a file as `data.read_sentences` takes it."""
    if (Path(data.source) / ARRAYS).is_file():
        found = storing.read(Path(data.source)).sentences
    else:
        columns = None if data.columns is None else [name.strip() for name in data.columns.split(",")]
        found = read_sentences(data.source, tags=data.tags, words=data.words, columns=columns, id=data.id)
    if found.tags is None:
        raise DataError(expected("tags", "a tag for each word", "none"))
    return found


def _partition(sentences: Sentences, data: TagData, share: float, seed: int) -> Partition:
    """Divide sentences by `data.partition`, which reads their texts and groups."""
    rows = zip(sentences.words, *sentences.columns, strict=True)
    samples = Samples(
        inputs=["\n".join("\t".join(column) for column in row) for row in rows],
        channels=(),
        ids=sentences.ids,
        labels=None,
        groups=sentences.groups,
        times=None,
        name=sentences.name,
        sha256=sentences.sha256,
    )
    return partition(samples, split=data.split, validation=data.validation_share, test=share, seed=seed)


def _unseen(sentences: Sentences, parts: Array) -> list[str]:
    """Note the tags of held-out parts that never occur in training, and how often they occur."""
    found = []
    train = sentences.take(np.flatnonzero(parts == 0))
    known = {tag for each in train.tags or () for tag in each}
    for number, name in enumerate(PARTS[1:], 1):
        part = sentences.take(np.flatnonzero(parts == number))
        unknown = part.unknown_tags(known)
        if unknown:
            found.append(f"the {name} part has {unknown_tags_text(unknown)}")
        if unknown and name == "validation":
            whole = sum(known.issuperset(each) for each in part.tags or ())
            if not whole:
                want = "a sentence whose tags are all in training"
                raise DataError(expected("validation part", want, f"none of {len(part)}"))
            found.append(
                f"{counted(len(part) - whole, 'validation sentence')} with such a tag, "
                "left out of the validation loss"
            )
    return found


def _notes_on_test(sentences: Sentences, given: Sentences) -> list[str]:
    seen = set(sentences.digests())
    shared = sum(each in seen for each in given.digests())
    notes = [f"test: {note}" for note in given.notes]
    if shared:
        what = counted(len(given), "test sentence")
        notes.append(f"{shared} of {what} also {'occurs' if shared == 1 else 'occur'} in the source")
    return notes


def _joined(sentences: Sentences, test: Sentences) -> Sentences:
    """Return both, one after the other; test ids are marked where training has the same."""
    if sentences.features != test.features:
        names = [", ".join(each.features[:5]) or "none" for each in (sentences, test)]
        raise DataError(expected("test", f"the further columns of training, {names[0]}", names[1]))
    assert sentences.tags is not None
    if test.tags is None:
        raise DataError(expected("test", "a tag for each word", "none"))
    known = set(sentences.ids)
    columns = zip(sentences.columns, test.columns, strict=True)
    lines = None
    if sentences.lines is not None and test.lines is not None:
        lines = np.concatenate([sentences.lines, test.lines])
    return replace(
        sentences,
        words=sentences.words + test.words,
        columns=tuple(one + other for one, other in columns),
        tags=sentences.tags + test.tags,
        ids=(*sentences.ids, *(f"test {each}" if each in known else each for each in test.ids)),
        groups=None,
        lines=lines,
    )
