"""Long tables of words: a row for each, with a column that says which sentence it is of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unrolled.data.labelled.source import named
from unrolled.data.labelled.tokens import Asked, Tokens
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal

__all__ = ["looks_long", "tokens_of_table"]

SEPARATORS = ",\t;|"
IDS = (
    "sentence #",
    "sentence",
    "sentence_id",
    "sentence_idx",
    "sent_id",
    "sent",
    "sentence_number",
    "sid",
    "id",
)
WORDS = ("word", "words", "token", "tokens", "form", "text")
TAGS = ("tag", "tags", "ner", "ner_tag", "ner_tags", "label", "labels", "chunk", "entity")
MOST_COLUMNS = 1000


@dataclass(frozen=True)
class _Roles:
    """Numbers of columns."""

    id: int
    words: int
    tags: int | None
    inputs: tuple[int, ...]


def looks_long(text: str, asked: Asked) -> bool:
    """Whether a first row names the columns of a long table, that of the sentence among them."""
    header = [cell.strip() for cell in text.split("\n", 1)[0].split("\t")]
    given = asked.id is not None and asked.id in header
    usual = any(cell.lower() in IDS for cell in header) and any(cell.lower() in WORDS for cell in header)
    return given or usual


def tokens_of_table(text: str, asked: Asked) -> Tokens:
    """Return the sentences of a table. Raises DataError: no column of sentences, words or tags; a bad row."""
    rows = _rows(text)
    header = [cell.strip() for cell in next(rows, (1, []))[1]]
    if not any(header):
        raise refusal(DataError, "source", "a first row with the names of the columns", "an empty one")
    if len(header) > MOST_COLUMNS:
        raise refusal(DataError, "source", f"at most {MOST_COLUMNS} columns", len(header))
    roles, found = _roles(header, asked), Tokens(line="row")
    found.begin([header[index] for index in roles.inputs], roles.tags is not None)
    _read(rows, header, roles, found)
    if not found.words:
        raise refusal(DataError, "source", "a table with rows", "a header alone")
    found.finish()
    left = [name for index, name in enumerate(header) if index not in _used(roles) and name]
    left = [name for name in left if asked.read_tags or name != asked.tags]
    if left:
        found.notes.append(f"left out: {named(left)}; to use them, name the columns")
    tags = asked.tags if roles.tags is None else header[roles.tags]
    found.read_as = {"words": header[roles.words], "id": header[roles.id]}
    found.read_as["columns"] = [header[index] for index in roles.inputs]
    found.read_as |= {} if tags is None else {"tags": tags}
    return found


def _used(roles: _Roles) -> set[int | None]:
    return {roles.id, roles.words, roles.tags, *roles.inputs}


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number, fields) of each row that is not blank; the header is row 1."""
    first = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=first.count)
    number = 0
    try:
        for number, row in enumerate(
            csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), 1
        ):
            if any(row):
                yield number, row
    except csv.Error as error:
        raise refusal(DataError, f"source row {number + 1}", "fields of a table", str(error)) from None


def _roles(header: Sequence[str], asked: Asked) -> _Roles:
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise refusal(DataError, "source", "columns of different names", f"two called {quoted(twice)}")
    words = _found("words", asked.words, WORDS, header)
    sentence = _found("id", asked.id, IDS, header, "the column that says which sentence a row is of")
    tags = None
    if asked.labelled or asked.tags in header:
        tags = _found("tags", asked.tags, TAGS, header)
    if len({sentence, words, tags}) < 3:
        raise refusal(
            DataError, "tags, words and id", "different columns", named([header[words], header[sentence]])
        )
    if asked.columns is not None:
        chosen = [_found("columns", name, (), header) for name in asked.columns]
        inputs = [index for index in dict.fromkeys(chosen) if index != words]
        if tags in inputs:
            raise refusal(
                DataError, "columns", "other columns than that of the tags", quoted(header[tags or 0])
            )
    else:
        last = len(header) if tags is None else tags
        inputs = [index for index in range(min(words, last) + 1, max(words, last)) if index != sentence]
        inputs = [index for index in inputs if header[index]]
    return _Roles(sentence, words, tags if asked.read_tags else None, tuple(inputs))


def _found(
    role: str,
    name: str | None,
    usual: Sequence[str],
    header: Sequence[str],
    want: str = "a column of the table",
) -> int:
    if name is not None and name in header:
        return header.index(name)
    if name is None:
        lower = [cell.lower() for cell in header]
        for word in usual:
            if word in lower:
                return lower.index(word)
    raise refusal(DataError, role, f"{want}: {named(header, 8)}", "none" if name is None else repr(name))


def _read(rows: Iterator[tuple[int, list[str]]], header: Sequence[str], roles: _Roles, found: Tokens) -> None:
    """Gather the rows of each sentence, which stand together."""
    width, current = len(header), ""
    own: list[list[str]] = []
    numbers: list[int] = []
    filled = 0
    for number, row in rows:
        if len(row) != width:
            raise refusal(DataError, f"source row {number}", counted(width, "field"), len(row))
        sentence = row[roles.id].strip()
        if not sentence and not current:
            raise refusal(
                DataError, f"source row {number}", f"a sentence in {quoted(header[roles.id])}", "none"
            )
        if sentence and sentence != current:
            if own:
                _add(own, numbers, roles, found, current, header)
            own, numbers, current = [], [], sentence
        elif not sentence:
            filled += 1
        own.append(row)
        numbers.append(number)
    if own:
        _add(own, numbers, roles, found, current, header)
    if filled:
        what = f"{counted(filled, 'row')} without a value in {quoted(header[roles.id])}"
        found.notes.append(f"{what}: of the sentence above")


def _add(
    own: Sequence[Sequence[str]],
    numbers: Sequence[int],
    roles: _Roles,
    found: Tokens,
    sentence: str,
    header: Sequence[str],
) -> None:
    columns = list(zip(*own, strict=True))
    for index in _used(roles) - {roles.id, None}:
        column = [cell.strip(" ") for cell in columns[index or 0]]
        columns[index or 0] = tuple(column)
        if "" in column:
            number = numbers[column.index("")]
            raise refusal(
                DataError, f"source row {number}", f"a text in {quoted(header[index or 0])}", "none"
            )
    tags = () if roles.tags is None else columns[roles.tags]
    found.lines.extend(numbers)
    found.add(columns[roles.words], [columns[index] for index in roles.inputs], tags, sentence)
