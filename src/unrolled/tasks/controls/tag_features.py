"""Features of words for a linear model: forms, affixes, shapes, neighbours and further columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Sentences
from unrolled.errors import DataError, expected

__all__ = ["Features"]

Array: TypeAlias = npt.NDArray[Any]
REACH = 2  # words to each side
LONGEST = 40  # characters of a word whose shape is looked at
LARGEST = 2**21  # different values of an attribute
RUNS = re.compile(r"(.)\1+")


def _shape(word: str) -> str:
    """Return "Xx-d" of "Feb-15": capitals, small letters and digits, runs as one."""
    kinds = "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word[:LONGEST]
    )
    return RUNS.sub(r"\1", kinds)


def _last(characters: int) -> Callable[[str], str]:
    return lambda word: word[-characters:].lower()


def _first(characters: int) -> Callable[[str], str]:
    return lambda word: word[:characters].lower()


ATTRIBUTES: dict[str, Callable[[str], str]] = {
    "word": lambda word: word,
    "shape": _shape,
    **{f"last {n}": _last(n) for n in (1, 2, 3, 4)},
    **{f"first {n}": _first(n) for n in (1, 2, 3)},
}
# What is joined into one feature: attributes of a word, each with the place of the word from here.
OF_WORDS: tuple[tuple[tuple[str, int], ...], ...] = (
    *((("word", place),) for place in range(-REACH, REACH + 1)),
    (("word", -1), ("word", 0)),
    (("word", 0), ("word", 1)),
    *(((name, 0),) for name in ATTRIBUTES if name != "word"),
    *(((name, place),) for name in ("last 3", "shape") for place in (-1, 1)),
)
RUNS_OF_COLUMNS = [(-2,), (-1,), (0,), (1,), (2,), (-2, -1), (-1, 0), (0, 1), (1, 2)]
RUNS_OF_COLUMNS += [(-2, -1, 0), (-1, 0, 1), (0, 1, 2)]


@dataclass(frozen=True, eq=False)
class _Attribute:
    """The numbers of one attribute's values: those of training, one for all others, one beyond a sentence."""

    known: dict[str, int]

    @property
    def size(self) -> int:
        return len(self.known) + 2


class Features:
    """From sentences to rows of a table of weights, one for each feature of each word.

    Row 0 stands for every feature that training did not have. Only the most frequent features have a row, at
    least as often as `least`; `least` rises until there are at most `most` rows.
    """

    def __init__(self, train: Sentences, most: int) -> None:
        """Number the features of training sentences."""
        self._columns = len(train.features)
        self._templates = OF_WORDS + tuple(
            tuple((str(column), place) for place in places)
            for column in range(self._columns)
            for places in RUNS_OF_COLUMNS
        )
        flat = list(chain.from_iterable(train.words))
        kinds = list(dict.fromkeys(flat))
        self._attributes = {name: _numbered(map(of, kinds)) for name, of in ATTRIBUTES.items()}
        for column, texts in enumerate(train.columns):
            self._attributes[str(column)] = _numbered(chain.from_iterable(texts))
        largest = max(each.size for each in self._attributes.values())
        if largest >= LARGEST:
            raise DataError(expected("sentences", f"at most {LARGEST} different texts", largest))
        keys = self._keys(train)
        counts = [np.unique(each, return_counts=True) for each in keys]
        self.least = 1
        while sum(int((count >= self.least).sum()) for _, count in counts) >= most:
            self.least += 1
        self._known = [values[count >= self.least] for values, count in counts]
        sizes = [len(values) for values in self._known]
        self._begins = np.cumsum([1, *sizes])[:-1]
        self.rows = 1 + sum(sizes)

    def __call__(self, sentences: Sentences) -> Array:
        """Return the rows [tokens, F] int32 of all words, one sentence after the other."""
        found = np.zeros((sentences.tokens, len(self._templates)), np.int32)
        for index, keys in enumerate(self._keys(sentences)):
            known = self._known[index]
            if len(known):
                at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
                found[:, index] = np.where(known[at] == keys, at + self._begins[index], 0)
        return found

    def _keys(self, sentences: Sentences) -> list[Array]:
        """Return a number of each word's feature, for each template."""
        values = self._values(sentences)
        begins = sentences.begins
        lengths = np.diff(begins)
        place = np.arange(sentences.tokens) - np.repeat(begins[:-1], lengths)
        after = np.repeat(lengths, lengths) - 1 - place
        moved: dict[tuple[str, int], Array] = {}

        def at(name: str, step: int) -> Array:
            if (name, step) not in moved:
                beyond = self._attributes[name].size - 1
                rolled = np.roll(values[name], -step)
                moved[name, step] = np.where((place + step < 0) | (step > after), beyond, rolled)
            return moved[name, step]

        found = []
        for template in self._templates:
            key = np.zeros(sentences.tokens, np.int64)
            for name, step in template:  # three of these fit
                key = key * self._attributes[name].size + at(name, step)
            found.append(key)
        return found

    def _values(self, sentences: Sentences) -> dict[str, Array]:
        """Return the number of each attribute of each word."""
        flat = list(chain.from_iterable(sentences.words))
        kinds = {word: number for number, word in enumerate(dict.fromkeys(flat))}
        codes = np.fromiter(map(kinds.__getitem__, flat), np.int64, len(flat))
        found = {}
        for name, of in ATTRIBUTES.items():
            known = self._attributes[name].known
            found[name] = np.array([known.get(of(word), len(known)) for word in kinds], np.int64)[codes]
        for column, texts in enumerate(sentences.columns):
            known = self._attributes[str(column)].known
            each = (known.get(text, len(known)) for text in chain.from_iterable(texts))
            found[str(column)] = np.fromiter(each, np.int64, len(flat))
        return found


def _numbered(values: Any) -> _Attribute:
    return _Attribute({value: number for number, value in enumerate(dict.fromkeys(values))})
