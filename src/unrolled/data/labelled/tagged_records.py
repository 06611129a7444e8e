"""JSON, an object a line: the words of a sentence, and their tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled.data.labelled.source import named, text_of
from unrolled.data.labelled.tokens import Asked, Tokens
from unrolled.errors import DataError, counted
from unrolled.files import parse_json, quoted, refusal

__all__ = ["tokens_of_lines"]

LINE = 2**28  # bytes that a line may take once parsed
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "ner", "labels", "chunk_tags", "pos_tags", "tag", "label")
FEATURES = ("pos", "pos_tags", "upos", "xpos", "chunk", "chunks", "chunk_tags", "lemma", "lemmas")
NAMES = ("names", "tag_names", "ner_tag_names", "label_names")  # of tags that are numbers


def tokens_of_lines(path: Path, data: bytes, asked: Asked) -> Tokens:
    """Return the sentences of JSON lines. Raises DataError: a line is wrong, or what is what is not clear."""
    found, keys = Tokens(), None
    names: Sequence[str] | None = None
    left_out = 0
    for number, line in enumerate(text_of(data, path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"source line {number}"
        record = parse_json(line.encode("utf-8"), where, DataError, most=LINE)
        names = _names(record) or names
        if keys is None:
            if names and not any(isinstance(record.get(key), list) for key in (*WORDS, asked.words or "")):
                continue  # a first line with the names alone
            keys = _Keys.of(record, asked)
            found.begin(keys.inputs, keys.tags is not None)
        words = keys.texts(record, keys.words, None, where)
        if not words:
            left_out += 1
            continue
        if not all(words):
            raise refusal(DataError, where, f"words in {quoted(keys.words)}", "an empty one")
        inputs = [keys.texts(record, name, len(words), where) for name in keys.inputs]
        tags = [] if keys.tags is None else keys.texts(record, keys.tags, len(words), where, names)
        if not all(tags):
            raise refusal(DataError, where, f"tags in {quoted(keys.tags or '')}", "an empty one")
        found.lines.extend([number] * len(words))
        found.add(words, inputs, tags, keys.id_of(record, number, where))
    if keys is None or not found.words:
        raise refusal(DataError, "source", "an object with words a line", "none")
    found.finish()
    if left_out:
        found.notes.append(f"{counted(left_out, 'sentence')} left out: no words")
    found.notes += keys.notes(names)
    tags_key = keys.tags or asked.tags
    found.read_as = {"words": keys.words, "columns": list(keys.inputs)}
    found.read_as |= {} if tags_key is None else {"tags": tags_key}
    found.read_as |= {} if asked.id is None else {"id": asked.id}
    return found


def _names(record: Mapping[str, Any]) -> list[str] | None:
    """Return the names of tags that are numbers, if an object gives them."""
    for key in NAMES:
        given = record.get(key)
        if isinstance(given, list) and given and all(isinstance(each, str) and each for each in given):
            return given
    return None


class _Keys:
    """Which key of the objects is what, from the first of them."""

    def __init__(self, words: str, tags: str | None, inputs: tuple[str, ...], id: str | None) -> None:
        self.words, self.tags, self.inputs, self.id = words, tags, inputs, id
        self.numbers: set[str] = set()  # keys whose texts are written as numbers
        self.other: list[str] = []

    @classmethod
    def of(cls, record: Mapping[str, Any], asked: Asked) -> _Keys:
        """Find the keys. Raises DataError: one is not there."""
        lists = [name for name, value in record.items() if isinstance(value, list)]
        words = _found("words", asked.words, WORDS, record, lists)
        tags = asked.tags
        if asked.labelled or tags in record:
            others = [name for name in lists if name != words]
            tags = _found("tags", tags, TAGS, record, others)
        else:
            tags = None
        free = [name for name in lists if name not in (words, tags, *NAMES)]
        if asked.columns is not None:
            inputs = [name for name in dict.fromkeys(asked.columns) if name != words]
            missing = [name for name in inputs if name not in record]
            if missing:
                raise refusal(
                    DataError, "columns", f"a key of the objects: {named(list(record))}", repr(missing[0])
                )
            if tags in inputs:
                raise refusal(DataError, "columns", "other keys than that of the tags", repr(tags))
        else:
            length = len(record[words])
            inputs = [name for name in free if name.lower() in FEATURES and len(record[name]) == length]
        keys = cls(words, tags if asked.read_tags else None, tuple(inputs), asked.id)
        keys.other = [name for name in free if name not in inputs]
        return keys

    def texts(
        self,
        record: Mapping[str, Any],
        key: str,
        length: int | None,
        where: str,
        names: Sequence[str] | None = None,
    ) -> list[str]:
        """Return a list of texts of an object. Raises DataError: something else, or not as many as words."""
        given = record.get(key)
        if not isinstance(given, list):
            raise refusal(DataError, where, f"a list of texts in {quoted(key)}", repr(given))
        if length is not None and len(given) != length:
            raise refusal(DataError, where, f"{length} in {quoted(key)}, one for each word", len(given))
        if all(type(each) is str for each in given):
            return given
        wrong = next((each for each in given if type(each) not in (str, int)), None)
        if length is None or wrong is not None:
            shown = next(each for each in given if type(each) is not str) if wrong is None else wrong
            raise refusal(DataError, where, f"texts in {quoted(key)}", repr(shown))
        self.numbers.add(key)
        if names is None:
            return [str(each) for each in given]
        for each in given:
            if type(each) is not int or not 0 <= each < len(names):
                raise refusal(DataError, where, f"numbers of {counted(len(names), 'name')}", repr(each))
        return [names[each] for each in given]

    def id_of(self, record: Mapping[str, Any], number: int, where: str) -> str:
        """Return what names a sentence."""
        if self.id is None:
            return str(number)
        value = record.get(self.id)
        if type(value) not in (str, int) or value == "":
            raise refusal(DataError, where, f"a text in {quoted(self.id)}", repr(value))
        return str(value)

    def notes(self, names: Sequence[str] | None) -> list[str]:
        """Return what people should know of the keys."""
        found = []
        if self.tags in self.numbers and names is None:
            found.append(
                f"{quoted(str(self.tags))} holds numbers, taken as plain tags: a line "
                '{"names": ["O", "B-…", …]} names them'
            )
        if self.inputs:
            found.append(f"inputs beside the words: {named(self.inputs)}")
        if self.other:
            found.append(f"left out: {named(self.other)}; to use them, name the columns")
        return found


def _found(
    role: str, name: str | None, usual: Sequence[str], record: Mapping[str, Any], lists: Sequence[str]
) -> str:
    if name is not None:
        if name in record:
            return name
        raise refusal(DataError, role, f"a key of the objects: {named(list(record))}", repr(name))
    for word in usual:
        for each in lists:
            if each.lower() == word:
                return each
    raise refusal(
        DataError, role, f"a key with a list, such as {usual[0]!r} or {usual[1]!r}", named(list(record))
    )
