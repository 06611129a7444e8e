"""Sentences: words with further columns of texts, such as parts of speech, and a tag for each word."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import DataError, DtypeError, ShapeError, counted, expected
from unrolled.files import printable, quoted, shortened
from unrolled.schema import is_unicode

__all__ = ["Sentences", "unknown_tags_text"]

Column: TypeAlias = tuple[tuple[str, ...], ...]  # per sentence, per token
NAMED = 5


@dataclass(frozen=True, eq=False)
class Sentences:
    """N sentences of at least one word each. Equal texts are one object, so that many take little memory."""

    words: Column
    features: tuple[str, ...]  # names of the further columns
    columns: tuple[Column, ...]  # one for each feature
    tags: Column | None  # None: not known
    ids: tuple[str, ...]  # one each, no two alike
    groups: npt.NDArray[Any] | None  # [N] of str: documents, which should not be on both sides of a split
    name: str  # on one line, for people
    sha256: str  # of the source
    notes: tuple[str, ...] = ()  # what was found on the way
    read_as: Mapping[str, Any] = field(default_factory=dict)  # `read_sentences` reads another file alike with
    lines: npt.NDArray[np.int32] | None = None  # of each token, one sentence after the other
    line: str = "line"  # what `lines` counts: "row" in a table

    def __len__(self) -> int:
        return len(self.words)

    @property
    def tokens(self) -> int:
        """The number of words in all."""
        return int(self.begins[-1])

    @cached_property
    def begins(self) -> npt.NDArray[np.int64]:
        """Where each sentence begins among all tokens, and the number of tokens [N + 1]."""
        lengths = np.fromiter(map(len, self.words), np.int64, len(self.words))
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])

    def where(self, sentence: int, token: int) -> str:
        """Say where a token stands in the source: "line 12"; "sentence 3, word 2" where it has no lines."""
        if self.lines is None:
            return f"sentence {self.ids[sentence]}, word {token + 1}"
        place = f"{self.line} {self.lines[self.begins[sentence] + token]}"
        alone = (
            len(self.words[sentence]) < 2
            or self.lines[self.begins[sentence]] != self.lines[self.begins[sentence] + 1]
        )
        return place if alone else f"{place}, word {token + 1}"

    def take(self, indices: Iterable[int]) -> Sentences:
        """Return some of the sentences, in the order of the indices."""
        chosen = [int(index) for index in indices]
        lines = self.lines
        if lines is not None:
            begins = self.begins
            parts = [lines[begins[index] : begins[index + 1]] for index in chosen]
            lines = np.concatenate(parts) if parts else lines[:0]
        return replace(
            self,
            words=tuple([self.words[index] for index in chosen]),
            columns=tuple(tuple([column[index] for index in chosen]) for column in self.columns),
            tags=None if self.tags is None else tuple([self.tags[index] for index in chosen]),
            ids=tuple([self.ids[index] for index in chosen]),
            groups=None if self.groups is None else self.groups[chosen],
            lines=lines,
        )

    def digests(self) -> list[bytes]:
        """Return a digest of each sentence's words and further columns: equal where these are."""
        inputs = zip(self.words, *self.columns, strict=True)
        return [hashlib.sha256(repr(each).encode("utf-8", "surrogatepass")).digest() for each in inputs]

    def unknown_tags(self, known: Collection[str]) -> dict[str, int]:
        """Count the tags that are not among the known ones; most frequent first."""
        counts = Counter(chain.from_iterable(self.tags or ()))
        return {tag: count for tag, count in counts.most_common() if tag not in known}

    @classmethod
    def from_lists(
        cls,
        words: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]] | None = None,
        columns: Mapping[str, Sequence[Sequence[str]]] | None = None,
        *,
        groups: Sequence[Any] | None = None,
        ids: Sequence[Any] | None = None,
        name: str = "lists",
    ) -> Sentences:
        """Make sentences of what Python holds.

        Args:
            words: a list of words for each sentence. tags: as many for each.
            columns: further columns by name.
            groups: [N], such as the document that a sentence is of. ids: [N]; default "0", "1", ….
        Raises:
            DataError: no sentence, an empty one, an empty word or tag. ShapeError: counts disagree.
            DtypeError: no texts, or a text where a list of words should be.
        """
        known: dict[str, str] = {}
        first = _column("words", words, None, known)
        if not first:
            raise DataError(expected("words", "at least 1 sentence", "none"))
        further = {
            str(key): _column(f"columns[{key!r}]", each, first, known)
            for key, each in (columns or {}).items()
        }
        number = len(first)
        for argument, given in (("groups", groups), ("ids", ids)):
            if given is not None and len(given) != number:
                raise ShapeError(expected(argument, f"[{number}], one for each sentence", f"[{len(given)}]"))
        names = tuple(map(str, range(number) if ids is None else ids))
        if len(set(names)) < number:
            raise DataError(expected("ids", "no duplicates", counted(number - len(set(names)), "duplicate")))
        given_tags = None if tags is None else _column("tags", tags, first, known)
        return cls(
            words=first,
            features=tuple(further),
            columns=tuple(further.values()),
            tags=given_tags,
            ids=names,
            groups=None if groups is None else np.array([str(each) for each in groups]),
            name=printable(name),
            sha256=_sha256(first, *further.values(), *(() if given_tags is None else (given_tags,))),
        )


def unknown_tags_text(counts: Mapping[str, int]) -> str:
    """Say which tags training never saw, and how often they stand, from `Sentences.unknown_tags`."""
    some = ", ".join(
        f"{printable(shortened(tag))} ({counted(n, 'word')})" for tag, n in list(counts.items())[:NAMED]
    )
    more = f", … ({counted(sum(counts.values()), 'word')} in all)" if len(counts) > NAMED else ""
    return f"{counted(len(counts), 'tag')} not in the training part: {some}{more}"


def _column(argument: str, given: Any, like: Column | None, known: dict[str, str]) -> Column:
    """Return one text for each token. `like`: of as many tokens as these."""
    if isinstance(given, str) or not hasattr(given, "__len__"):
        raise DtypeError(expected(argument, "a list of sentences", type(given).__name__))
    if like is not None and len(given) != len(like):
        raise ShapeError(expected(argument, f"[{len(like)}], one for each sentence", f"[{len(given)}]"))
    found = []
    for index, sentence in enumerate(given):
        where = f"{argument}[{index}]"
        if isinstance(sentence, str) or not hasattr(sentence, "__len__"):
            raise DtypeError(expected(where, "a list of texts", shortened(repr(sentence))))
        if like is not None and len(sentence) != len(like[index]):
            raise ShapeError(expected(where, f"{len(like[index])} texts, one for each word", len(sentence)))
        if not len(sentence):
            raise DataError(expected(where, "at least 1 word", "none"))
        found.append(tuple([_text(f"{where}[{at}]", text, known) for at, text in enumerate(sentence)]))
    return tuple(found)


def _text(where: str, text: Any, known: dict[str, str]) -> str:
    if not isinstance(text, str):
        raise DtypeError(expected(where, "a text", shortened(repr(text))))
    if not text:
        raise DataError(expected(where, "at least 1 character", quoted(text)))
    text = str(text)  # of numpy's texts and other subclasses
    if text not in known and not is_unicode(text):
        raise DataError(expected(where, "a text in Unicode", f"half a character: {shortened(ascii(text))}"))
    return known.setdefault(text, text)


def _sha256(*columns: Column) -> str:
    total = hashlib.sha256()
    for column in columns:
        for sentence in column:
            total.update(repr(sentence).encode("utf-8", "surrogatepass"))
        total.update(b"\n")
    return total.hexdigest()
