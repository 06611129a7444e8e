"""Tagged words of people's own files: columns as in the CoNLL tasks, JSON lines, long tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unrolled.data.labelled.conll import tokens_of_columns
from unrolled.data.labelled.source import bytes_of, check_regular, digest, text_of
from unrolled.data.labelled.tagged_records import tokens_of_lines
from unrolled.data.labelled.tagged_table import looks_long, tokens_of_table
from unrolled.data.labelled.tokens import Asked, Tokens
from unrolled.data.schemes import find_scheme
from unrolled.data.sentences import Sentences
from unrolled.errors import ConfigError, DataError, counted, expected
from unrolled.files import printable, quoted, refusal

__all__ = ["read_sentences"]

BINARY = (".parquet", ".pq", ".npz", ".npy", ".wav", ".zip", ".ts", ".arff")
LONG = 5000  # words of a sentence, from which blank lines may be missing


def read_sentences(
    source: str | os.PathLike[str],
    *,
    tags: str | int | None = None,
    words: str | int | None = None,
    columns: Sequence[str | int] | None = None,
    id: str | None = None,
    labelled: bool = True,
    read_tags: bool = True,
) -> Sentences:
    """Read sentences of tagged words, whole, into memory.

    A file of columns (.conll, .iob, .bio, .txt, .tsv, …) has a word a line, its columns separated by tabs, or
    by spaces where the first row has no tab, and a blank line after each sentence. "-DOCSTART-" begins a
    document; documents become groups. A line "# …" before a sentence is a comment, unless it has as many
    columns as words have and a tag that words have. A first column that numbers the words, as in CoNLL-U, is
    left out.

    A line of .jsonl or .ndjson is {"tokens": [texts], "tags": [texts or whole numbers], …}; numbers take
    their names from a list "names" (or "tag_names", …) in the file. A .csv, or a .tsv whose first row names
    the columns, has a word a row and a column that says which sentence it is of. Where only the first row
    of a sentence says so, as in a well-known table with "Sentence #", the rows below belong to it: in no
    other column is anything filled in. All may be packed as .gz.

    Args:
        tags: the column of the tags: its number from 0 (also "2"; −1 is the last) in a file of columns, a
            name elsewhere. Default the last column, or the one with a usual name.
        words: that of the words; default the first, or by its usual name.
        columns: further inputs, in the same way; that of the words may be among them, and alone: ["0"].
            Default the columns between words and tags; in JSON lines those with usual names such as "pos".
        id: the column that says which sentence a row is of; in JSON lines, what names the sentence.
        labelled: False takes a source without tags too.
        read_tags: False passes over the column that `tags` names, which may be empty or hold anything;
            `labelled` is False then too.
    Returns:
        The sentences. Tags that break their scheme are counted in the notes, with the line of the first, and
        kept: see `schemes`.
    Raises:
        DataError: a source that is missing, empty, torn, not UTF-8 or too large; a row with another number
            of columns or without a word or tag, tags beside those of a scheme that no scheme has; the line is
            named. ConfigError: arguments of the wrong kind.
    """
    asked = replace(_asked(tags, words, columns, id, labelled and read_tags), read_tags=read_tags)
    path = Path(source)
    if path.is_dir():
        raise refusal(DataError, "source", "a file of tagged words", f"a folder: {quoted(str(path))}")
    check_regular(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in BINARY:
        want = "a text in columns (.conll, .txt, .tsv, …), .jsonl or .csv with tagged words"
        raise refusal(DataError, "source", want, quoted(path.name))
    data = bytes_of(path)
    sha256 = digest(data)
    if suffix in (".jsonl", ".ndjson"):
        found = tokens_of_lines(path, data, asked)
    else:
        text = text_of(data, path)
        del data
        _check_text(text)
        is_long = suffix == ".csv" or (suffix == ".tsv" and looks_long(text, asked))
        if asked.id is not None and not is_long:
            raise refusal(DataError, "id", "none for a file of columns", quoted(asked.id))
        found = tokens_of_table(text, asked) if is_long else tokens_of_columns(text, asked)
    return _finished(found, path, sha256)


def _asked(
    tags: str | int | None,
    words: str | int | None,
    columns: Sequence[str | int] | None,
    id: str | None,
    labelled: bool,
) -> Asked:
    for argument, value in (("tags", tags), ("words", words), ("id", id)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
            raise ConfigError(expected(argument, "the name or the number of a column", repr(value)))
    if isinstance(columns, (str, int)) or not all(isinstance(each, (str, int)) for each in columns or ()):
        raise ConfigError(expected("columns", "a list of names or numbers", repr(columns)))
    given = None if columns is None else tuple(map(str, columns))
    tags, words = (None if each is None else str(each) for each in (tags, words))
    return Asked(tags, words, given, None if id is None else str(id), labelled)


def _check_text(text: str) -> None:
    at = text.find("\0")
    if at >= 0:
        raise refusal(DataError, f"source line {text.count(chr(10), 0, at) + 1}", "a text", "a NUL")


def _finished(found: Tokens, path: Path, sha256: str) -> Sentences:
    """Return what a reader found, with notes on its scheme and on what looks wrong."""
    if len(set(found.ids)) < len(found.ids):
        twice = Counter(found.ids).most_common(1)[0][0]
        raise refusal(DataError, "id", "a different one for each sentence", f"{quoted(twice)} twice")
    sentences = Sentences(
        words=tuple(found.words),
        features=found.features,
        columns=tuple(map(tuple, found.columns)),
        tags=tuple(found.tags) if found.tagged else None,
        ids=tuple(found.ids),
        groups=np.array(found.groups) if len(set(found.groups)) > 1 else None,
        name=printable(path.name or str(path)),
        sha256=sha256,
        read_as=found.read_as,
        lines=found.line_numbers(),
        line=found.line,
    )
    notes = [*found.notes, *_remarks(sentences)]
    object.__setattr__(sentences, "notes", tuple(map(printable, notes)))
    return sentences


def _remarks(sentences: Sentences) -> list[str]:
    notes = []
    if sentences.tags is not None:
        note = find_scheme(sentences).note
        notes += [] if note is None else [f"warning: {note}"]
    longest = max(range(len(sentences)), key=lambda index: len(sentences.words[index]))
    length = len(sentences.words[longest])
    if length > LONG:
        where = sentences.where(longest, 0)
        notes.append(f"warning: {counted(length, 'word')} without a blank line from {where} on: one sentence")
    return notes
