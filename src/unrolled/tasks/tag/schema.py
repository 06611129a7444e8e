"""What reads new sentences as training read its own: words, characters, columns, tags and their scheme."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import IGNORED, Sentences, find_scheme, from_bioes, legal, to_bioes
from unrolled.errors import CheckpointError, DataError, counted, expected
from unrolled.files import quoted, refusal
from unrolled.schema import names_of, temperature_of
from unrolled.tasks.storable import check_storable
from unrolled.tasks.tag.batches import Encoded
from unrolled.tasks.tag.forms import folded, forms_of

__all__ = ["Schema", "is_reading"]

Array: TypeAlias = npt.NDArray[Any]
FORMAT, VERSION = "unrolled tag schema", 1
MOST_WORDS = 50_000  # that have a number of their own; config.json holds them
MOST_CHARACTERS = 5_000
MOST_VALUES = 5_000  # of one further column
MOST_TAGS = 10_000
MOST_COLUMNS = 1000
WORD_BYTES, VALUE_BYTES = 2**19, 2**17  # of config.json, which holds them
LONGEST_VALUE = 10_000  # characters: a longer one of a column is not known
LONGEST_WORD = 100  # characters: a longer one is read by its characters alone
SEEN = 2  # times that training must have a word, or a value of a column
READING = ("tags", "words", "columns", "id")  # what `Sentences.read_as` may say
SCHEMES = (None, "IOB1", "IOB2", "BIOES")
ARGUMENTS = {"tags": "tags", "features": "columns", "values": "columns"}  # field → what people call it


@dataclass(frozen=True)
class Schema:
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    tags: tuple[str, ...]  # as the data has them, sorted
    scheme: str | None  # of the chunks that they mark; None: plain tags
    spelling: str  # letters of begin, inside, end and single
    words: tuple[str, ...]  # in lower case, from number 1 on
    characters: tuple[str, ...]  # from number 2 on
    features: tuple[str, ...]  # names of further columns
    values: tuple[tuple[str, ...], ...]  # of each; before them stands an unknown one
    temperature: float = 1.0  # that scores are divided by, fitted on the validation part
    read_as: Mapping[str, Any] = field(default_factory=dict)  # what `data.read_sentences` reads alike with

    @classmethod
    def fit(cls, train: Sentences) -> Schema:
        """Take it from the training sentences; those of no other part may be among them.

        Raises:
            DataError: no tags, one tag alone, or too many; or what a checkpoint could not hold, such as a
                name that is too long.
        """
        if train.tags is None:
            raise DataError(expected("tags", "a tag for each word", "none"))
        tags = tuple(sorted(set(chain.from_iterable(train.tags))))
        if not 2 <= len(tags) <= MOST_TAGS:
            raise DataError(expected("tags", f"2 to {MOST_TAGS:,} different ones to train on", len(tags)))
        found = find_scheme(train)
        forms = Counter(chain.from_iterable(train.words))
        words: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for form, count in forms.items():
            words[folded(form)] += count
            letters.update(dict.fromkeys(form, count))
        kept = [word for word, count in _ranked(words) if count >= SEEN and _can_be_listed(word)]
        values = tuple(
            _within(
                [
                    value
                    for value, count in _ranked(Counter(chain.from_iterable(column)))
                    if count >= SEEN and len(value) <= LONGEST_VALUE
                ][:MOST_VALUES],
                VALUE_BYTES // len(train.columns),
            )
            for column in train.columns
        )
        schema = cls(
            tags=tags,
            scheme=found.scheme,
            spelling=found.spelling,
            words=_within(kept[:MOST_WORDS], WORD_BYTES),
            characters=tuple(letter for letter, n in _ranked(letters) if n >= SEEN)[:MOST_CHARACTERS],
            features=train.features,
            values=values,
            read_as=dict(train.read_as),
        )
        check_storable(schema, cls.from_json, ARGUMENTS)
        return schema

    def calibrated(self, temperature: float) -> Schema:
        """Return the schema with a temperature."""
        return replace(self, temperature=temperature)

    @cached_property
    def inside(self) -> tuple[str, ...]:
        """The tags of the network's outputs: BIOES of every type, or the plain tags."""
        if self.scheme is None:
            return self.tags
        marked = [tag for (tag,) in to_bioes([[tag] for tag in self.tags], "IOB2")]
        types = sorted({tag.partition("-")[2] for tag in marked if tag != "O"})
        dash = [f"-{each}" if each else "" for each in types]
        return ("O", *(letter + each for each in dash for letter in "BIES"))

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The tag that the data have for each tag inside; of IOB1 as IOB2 writes it, without context."""
        if self.scheme is None:
            return self.tags
        letters = "BIES" if self.scheme == "BIOES" else "BIIB"
        spelled = self.spelling if self.scheme == "BIOES" else letters
        written = dict(zip("BIES", spelled, strict=True))
        return tuple(written[tag[0]] + tag[1:] if tag != "O" else tag for tag in self.inside)

    @cached_property
    def legal(self) -> npt.NDArray[np.bool_]:
        """Which tag inside may follow which [K + 2, K + 2]; see `data.legal`."""
        return legal(self.inside, None if self.scheme is None else "BIOES")

    def outside(self, paths: Sequence[Array]) -> list[list[str]]:
        """Return tags as the data has them, of numbers of tags inside."""
        names = [[self.inside[number] for number in path] for path in paths]
        scheme: Any = self.scheme
        return from_bioes(names, scheme, self.spelling)

    def encode(self, sentences: Sentences) -> Encoded:
        """Return what the network reads of sentences, and their tags where they have any.

        Raises:
            DataError: other columns than those of training.
        """
        if sentences.features != self.features:
            raise DataError(_other_columns(self.features, sentences.features))
        numbers = {form: n for n, form in enumerate(dict.fromkeys(chain.from_iterable(sentences.words)))}
        forms = forms_of(numbers, self._word_numbers, self._character_numbers)
        words = [np.array([numbers[word] for word in each], np.int64) for each in sentences.words]
        columns = [np.zeros((len(each), len(self.features)), np.int64) for each in words]
        begin = 0
        for place, (values, column) in enumerate(zip(self.values, sentences.columns, strict=True)):
            known = {value: n for n, value in enumerate(values, begin + 1)}
            for array, each in zip(columns, column, strict=True):
                array[:, place] = [known.get(value, begin) for value in each]
            begin += len(values) + 1
        return Encoded(forms, words, columns, self._encode_tags(sentences))

    def _encode_tags(self, sentences: Sentences) -> list[Array] | None:
        if sentences.tags is None:
            return None
        scheme: Any = self.scheme
        known = {tag: n for n, tag in enumerate(self.inside)}
        return [
            np.array([known.get(tag, IGNORED) for tag in each], np.int64)
            for each in to_bioes(sentences.tags, scheme)
        ]

    @cached_property
    def _word_numbers(self) -> dict[str, int]:
        return {word: n for n, word in enumerate(self.words, 1)}

    @cached_property
    def _character_numbers(self) -> dict[str, int]:
        return {letter: n for n, letter in enumerate(self.characters, 2)}

    @property
    def column_values(self) -> int:
        """The number of values of all columns, an unknown one of each among them."""
        return sum(len(each) + 1 for each in self.values)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes. Words are one text, a line each, as there are many."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "tags": list(self.tags),
            "scheme": self.scheme,
            "spelling": self.spelling,
            "words": "\n".join(self.words),
            "characters": "".join(self.characters),
            "features": list(self.features),
            "values": [list(each) for each in self.values],
            "temperature": self.temperature,
            "read_as": dict(self.read_as),
        }

    @classmethod
    def from_json(cls, stored: object, *, where: str = "config.json schema") -> Schema:
        """Read what a checkpoint holds; it may come from a stranger.

        Raises:
            CheckpointError: a key is missing, unknown, of another type, or out of range.
        """
        keys = ("format", "version", "tags", "scheme", "spelling", "words", "characters", "features",
                "values", "temperature", "read_as")  # fmt: skip
        if not isinstance(stored, Mapping) or set(stored) != set(keys):
            raise refusal(CheckpointError, where, "the keys " + ", ".join(keys), "others")
        if (stored["format"], stored["version"]) != (FORMAT, VERSION):
            raise refusal(CheckpointError, where, f"{FORMAT}, version {VERSION}", "another")
        for name in ("spelling", "words", "characters"):
            if not isinstance(stored[name], str):
                raise refusal(CheckpointError, f"{where}.{name}", "a text", "something else")
        tags = _names(stored["tags"], MOST_TAGS, f"{where}.tags")
        if len(tags) < 2:
            raise refusal(CheckpointError, f"{where}.tags", "at least 2", len(tags))
        if stored["scheme"] not in SCHEMES or len(stored["spelling"]) != 4:
            raise refusal(CheckpointError, f"{where}.scheme", "IOB1, IOB2, BIOES or none", "something else")
        features = _names(stored["features"], MOST_COLUMNS, f"{where}.features")
        values = stored["values"]
        if not isinstance(values, list) or len(values) != len(features):
            raise refusal(CheckpointError, f"{where}.values", "a list for each column", "something else")
        temperature = temperature_of(stored["temperature"], f"{where}.temperature")
        if not is_reading(stored["read_as"]):
            want = "how another file is read: " + ", ".join(READING)
            raise refusal(CheckpointError, f"{where}.read_as", want, "something else")
        words = stored["words"].split("\n") if stored["words"] else []
        return cls(
            tags=tags,
            scheme=stored["scheme"],
            spelling=stored["spelling"],
            words=_names(words, MOST_WORDS, f"{where}.words"),
            characters=_names(list(stored["characters"]), MOST_CHARACTERS, f"{where}.characters"),
            features=features,
            values=tuple(_names(each, MOST_VALUES, f"{where}.values") for each in values),
            temperature=temperature,
            read_as=dict(stored["read_as"]),
        )


def is_reading(stored: object) -> bool:
    """Whether a stranger's object holds keywords of `data.read_sentences` alone, of their types."""
    if not isinstance(stored, Mapping) or not set(stored) <= set(READING):
        return False
    columns = stored.get("columns", [])
    texts = [value for name, value in stored.items() if name != "columns"]
    return isinstance(columns, list) and all(isinstance(each, str) for each in [*texts, *columns])


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return texts and counts, the most frequent first, equally frequent ones in order."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _within(names: Sequence[str], most: int) -> tuple[str, ...]:
    """Return the first names, as many as take so many bytes in config.json at most."""
    sizes = np.cumsum([len(json.dumps(name)) for name in names])
    return tuple(names[: int(np.searchsorted(sizes, most, "right"))])


def _can_be_listed(word: str) -> bool:
    return len(word) <= LONGEST_WORD and "\n" not in word


def _names(stored: object, most: int, where: str) -> tuple[str, ...]:
    return names_of(stored, where, CheckpointError, most=most)


def _other_columns(want: tuple[str, ...], got: tuple[str, ...]) -> str:
    if len(want) != len(got):
        return expected("columns", f"{counted(len(want), 'further column')}, as in training", len(got))
    place = next(n for n, pair in enumerate(zip(want, got, strict=True)) if pair[0] != pair[1])
    return expected(f"column {place + 1}", f"{quoted(want[place])}, as in training", quoted(got[place]))
