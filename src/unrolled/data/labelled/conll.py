"""Files of columns as in the CoNLL tasks: a word a line with its tags, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unrolled.data.labelled.source import named
from unrolled.data.labelled.tokens import Asked, Tokens
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal

__all__ = ["tokens_of_columns"]

LONGEST = 2**20  # characters of a line
BLOCK = 2**16  # characters that are cut into lines at a time
MOST_COLUMNS = 1000
DOCUMENT = "-DOCSTART-"
WORDS = ("word", "words", "token", "tokens", "form", "text")
TAGS = ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "chunk", "entity")
RANGE = re.compile(r"\d+[-.]\d+")  # of CoNLL-U: a token of several words, or an empty one
FIRST = 200  # sentences in which the number of the word is looked for in the first column


@dataclass(frozen=True)
class Layout:
    """What the columns of a file are."""

    width: int
    tabs: bool
    words: int
    tags: int | None
    inputs: tuple[int, ...]
    header: tuple[str, ...] = ()

    @property
    def separators(self) -> str:
        """What stands between two columns, for messages."""
        return "tabs" if self.tabs else "spaces"


def tokens_of_columns(text: str, asked: Asked) -> Tokens:
    """Return the sentences of a text in columns.

    Raises DataError: no word, a row with another number of columns, an empty word or tag, a column that is
    not there, a line too long; the line is named.
    """
    layout, found = _layout(text, asked), Tokens()
    found.begin([_name(layout, index) for index in layout.inputs], layout.tags is not None)
    _read(text, layout, _tags_of_comments(text, layout), found)
    if not found.words:
        raise refusal(DataError, "source", "words with their tags", "none but comments and blank lines")
    found.finish()
    stored = {"words": layout.words, "tags": layout.tags}
    found.read_as = {name: str(index) for name, index in stored.items() if index is not None}
    found.read_as["columns"] = [str(index) for index in layout.inputs]
    if asked.tags is not None and layout.tags is None:
        found.read_as["tags"] = asked.tags
    return found


def _name(layout: Layout, index: int) -> str:
    return layout.header[index] if layout.header else str(index)


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines of a text, which need not all be in memory. Raises DataError: one is too long."""
    begin, number = 0, 0
    while begin < len(text):
        end = text.rfind("\n", begin, begin + BLOCK)
        end = text.find("\n", begin, begin + LONGEST) if end < 0 else end
        if end < 0:
            if len(text) - begin >= LONGEST:
                want = f"at most {LONGEST} characters"
                raise refusal(DataError, f"source line {number + 1}", want, "more: is this a file of tags?")
            end = len(text)
        block = text[begin:end].split("\n")
        number += len(block)
        yield from block
        begin = end + 1


def _fields(line: str, tabs: bool) -> list[str]:
    """Return the columns of a line; white space other than spaces and tabs is part of a word."""
    if tabs:
        return [each.strip(" ") for each in line.split("\t")]
    fields = line.replace("\t", " ").split(" ") if "\t" in line else line.split(" ")
    return [each for each in fields if each] if "" in fields else fields


def _layout(text: str, asked: Asked) -> Layout:
    """Find out, from the first rows, how many columns there are, and which one is what."""
    first = _first_row(text)
    tabs = "\t" in first.strip()
    fields = _fields(first.rstrip("\t") if first.endswith("\t\t") else first, tabs)
    header = _header(fields, asked)
    width = len(fields)
    if width > MOST_COLUMNS:
        raise refusal(DataError, "source", f"at most {MOST_COLUMNS} columns", width)
    numbered = asked.words is None and width > 1 and not header and _is_numbered(text, tabs)
    words = _index("words", asked.words, fields, header, int(numbered))
    tags = _tags(asked, fields, header, words)
    if tags == words:
        raise refusal(DataError, "tags", f"another column than that of the words, {words}", quoted(str(tags)))
    if asked.columns is not None:
        chosen = [_index("columns", name, fields, header, 0) for name in asked.columns]
        inputs = [index for index in dict.fromkeys(chosen) if index != words]
    elif tags is None:
        inputs = list(range(words + 1, width))
    else:
        inputs = list(range(min(words, tags) + 1, max(words, tags)))
    if tags in inputs:
        raise refusal(DataError, "columns", "other columns than that of the tags", quoted(str(tags)))
    read = tags if asked.read_tags else None
    return Layout(width, tabs, words, read, tuple(inputs), tuple(fields) if header else ())


def _first_row(text: str) -> str:
    """Return the first line that is a word with its columns. Raises DataError: there is none."""
    hashed = None
    for line in lines_of(text):
        if not line.strip(" \t"):
            continue
        if line.startswith("#"):
            hashed = hashed or line
        elif not line.startswith(DOCUMENT):
            return line
    if hashed is not None and not hashed.startswith("# "):
        return hashed
    raise refusal(DataError, "source", "words with their tags", "none but comments and blank lines")


def _header(fields: Sequence[str], asked: Asked) -> bool:
    """Whether a first row names the columns: by a name that was asked for, or usual ones at both ends."""
    given = (asked.tags, asked.words, *(asked.columns or ()))
    if any(name is not None and not name.lstrip("-").isdecimal() and name in fields for name in given):
        return True
    lower = [field.lower() for field in fields]
    return len(fields) > 1 and lower[0] in WORDS and lower[-1] in TAGS


def _is_numbered(text: str, tabs: bool) -> bool:
    """Whether the first column is the number of the word in its sentence, as in CoNLL-U."""
    number = sentences = 0
    for line in lines_of(text):
        if not line.strip(" \t"):
            sentences, number = sentences + bool(number), 0
            if sentences > FIRST:
                break
        elif not line.startswith(("#", DOCUMENT)):
            word = line.split("\t" if tabs else None, 1)[0]
            if RANGE.fullmatch(word) and number + sentences:
                continue
            if word != str(number + 1):
                return number == 0 and sentences == 0 and RANGE.fullmatch(word) is not None
            number += 1
    return sentences + number > 1


def _index(role: str, name: str | None, fields: Sequence[str], header: bool, default: int) -> int:
    """Return the number of a column that was asked for."""
    if name is None:
        return default
    if header and name in fields:
        return fields.index(name)
    width = len(fields)
    if name.lstrip("-").isdecimal() and len(name) < 6:
        index = int(name) + (width if name.startswith("-") else 0)
        if 0 <= index < width:
            return index
    columns = named(fields, 8) if header else f"0 to {width - 1}"
    raise refusal(DataError, role, f"a column of the source: {columns}", quoted(name))


def _tags(asked: Asked, fields: Sequence[str], header: bool, words: int) -> int | None:
    """Return the number of the column of tags; None where the source has none."""
    if not asked.labelled:
        try:
            return None if asked.tags is None else _index("tags", asked.tags, fields, header, 0)
        except DataError:
            return None
    if len(fields) < 2 and asked.tags is None:
        got = f"one column: {quoted(fields[0])}"
        raise refusal(DataError, "source", "words with tags, separated by spaces or tabs", got)
    last = len(fields) - 1
    return _index("tags", asked.tags, fields, header, last if last != words else 0)


def _tags_of_comments(text: str, layout: Layout) -> set[str] | None:
    """Return the last columns of all rows that do not begin with "#", where some line does."""
    if not text.startswith("#") and "\n#" not in text:
        return None
    last = layout.width - 1 if layout.tags is None else layout.tags
    rows = (_fields(line, layout.tabs) for line in lines_of(text) if line and line[0] != "#")
    return {fields[last] for fields in rows if len(fields) == layout.width}


def _is_comment(line: str, layout: Layout, usual: set[str]) -> bool:
    """Whether a line that begins with "#", before a sentence, is a comment and no word such as "#" or "#one".

    It is none where it has as many columns as words have, and a tag that words have.
    """
    fields = _fields(line, layout.tabs)
    if len(fields) != layout.width:
        return len(fields) > 1 or line[1:2] in ("", " ") or layout.width == 1
    last = layout.width - 1 if layout.tags is None else layout.tags
    return layout.width > 1 and fields[last] not in usual


def _read(text: str, layout: Layout, usual: set[str] | None, found: Tokens) -> None:
    """Read all lines into sentences."""
    width, tabs = layout.width, layout.tabs
    rows: list[list[str]] = []
    numbers: list[int] = []
    comments = skipped = documents = 0
    skips = layout.words == 1 and _is_numbered(text, tabs)
    header = bool(layout.header)
    for number, line in enumerate(lines_of(text), 1):
        if not line or not line.strip(" \t"):
            if rows:
                _add(rows, numbers, layout, found, documents)
                rows, numbers = [], []
            continue
        if line[0] == "#" and usual is not None and not rows and _is_comment(line, layout, usual):
            comments += 1
            continue
        if line[0] == "-" and line.startswith(DOCUMENT):
            if rows:
                _add(rows, numbers, layout, found, documents)
                rows, numbers = [], []
            documents += 1
            continue
        fields = _fields(line, tabs) if tabs or " " in line or "\t" in line else [line]
        if len(fields) != width:
            fields = _mended(fields, layout, number)
        if header:
            header = False
            continue
        if skips and RANGE.fullmatch(fields[0]):
            skipped += 1
            continue
        rows.append(fields)
        numbers.append(number)
    if rows:
        _add(rows, numbers, layout, found, documents)
    if documents:
        found.notes.append(counted(documents, "document"))
        if found.groups and "0" in found.groups:
            found.notes.append("the sentences before the first -DOCSTART- are one document more")
    if comments:
        found.notes.append(f"{counted(comments, 'comment')} left out")
    if skipped:
        found.notes.append(f"{counted(skipped, 'line')} left out: words written as one, and empty ones")
    if layout.header:
        found.notes.append(f"line 1 names the columns: {named(layout.header, 8)}")
    if layout.words == 1 and skips:
        found.notes.append("column 0 left out: the number of the word")


def _mended(fields: list[str], layout: Layout, number: int) -> list[str]:
    """Return a row without empty columns at its end. Raises DataError: another number of columns."""
    while layout.tabs and len(fields) > layout.width and not fields[-1]:
        fields.pop()
    if len(fields) != layout.width:
        want = f"{counted(layout.width, 'column')} separated by {layout.separators}"
        shown = (" ".join(fields))[:60]
        raise refusal(DataError, f"source line {number}", want, f"{len(fields)} in {quoted(shown)}")
    return fields


def _add(rows: list[list[str]], numbers: list[int], layout: Layout, found: Tokens, documents: int) -> None:
    columns = list(zip(*rows, strict=True))
    if layout.tabs:
        _check_filled(columns, numbers, layout)
    tags = columns[layout.tags] if layout.tags is not None else ()
    found.lines.extend(numbers)
    inputs = [columns[index] for index in layout.inputs]
    found.add(columns[layout.words], inputs, tags, str(len(found.words) + 1))
    group = str(documents)
    found.groups.append(found.groups[-1] if found.groups[-1:] == [group] else group)


def _check_filled(columns: Sequence[Sequence[str]], numbers: Sequence[int], layout: Layout) -> None:
    """Raise DataError for an empty word, tag or other column in use."""
    used = {layout.words: "a word", **dict.fromkeys(layout.inputs, "a text")}
    if layout.tags is not None:
        used[layout.tags] = "a tag"
    for index, what in used.items():
        if "" in columns[index]:
            number = numbers[columns[index].index("")]
            raise refusal(DataError, f"source line {number}", f"{what} in column {index}", "none")
