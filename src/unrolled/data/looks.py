"""Whether a source looks like data that is no prose: a table, tagged words, labelled files."""

from __future__ import annotations

import csv
import itertools
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from unrolled.data.columns import is_number
from unrolled.data.sources import BUILT_IN, FileOrigin
from unrolled.errors import DataError
from unrolled.tokens import normalised

__all__ = ["looks_like"]

LOOKED_AT = 4096  # bytes of a file's beginning
ENTRIES = 1000  # of a folder, at most
NAMES, LONGEST_NAME = 5, 24  # shown, and characters of each
FEWEST_ROWS = 3
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
TEXT_FILES = frozenset(["", ".txt", ".csv", ".tsv", ".json"])
SHORT_LINE, FEW_WORDS, NEARLY_ALL = 40, 3, 0.97  # of the lines of files that hold a sample a line
MOST_TAGS = 0.5  # different tags or labels, as a share of the rows


def looks_like(source: str) -> str | None:
    """Say what a source looks like, where that is no prose; None for prose, and for what cannot be told.

    Cheap: the first few kB of a file, the names of two levels of a folder. Nothing is raised.

    Args:
        source: what `read` takes. Standard input and pipes, which can be read only once, give None.
    """
    if source in (*BUILT_IN, "-"):
        return None
    try:
        mode = os.stat(source).st_mode
        if stat.S_ISDIR(mode):
            return _labelled_files(Path(source))
        lines = _first_lines(source) if stat.S_ISREG(mode) else []
    except (OSError, ValueError, DataError):  # ValueError: a NUL in the name, or bytes that are no UTF-8
        return None
    return _tagged_words(lines) or _table(lines)


def _first_lines(path: str) -> list[str]:
    """Return the complete lines at the beginning of a text file, which may be packed."""
    data = next(FileOrigin(path, path, path.endswith(".gz")).pieces(), b"")
    cut = len(data) > LOOKED_AT
    head = data[:LOOKED_AT]
    if cut:
        head = head[: head.rfind(b"\n") + 1]
    if b"\0" in head:
        return []
    return normalised(head.decode("utf-8")).splitlines()


def _labelled_files(root: Path) -> str | None:
    """Recognise a folder that holds a folder per label, each with several texts of one kind."""
    with os.scandir(root) as found:
        entries = [each for each in itertools.islice(found, ENTRIES) if not each.name.startswith(".")]
    folders = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    beside = [each.name for each in entries if each.is_file() and not each.name.upper().startswith("README")]
    if not folders and len(beside) >= 2:
        return _files_of_names(root, sorted(beside))
    if len(folders) < 2 or beside:
        return None
    suffixes = set()
    for folder in folders[:ENTRIES]:
        with os.scandir(root / folder) as found:
            inside = [each for each in itertools.islice(found, ENTRIES) if not each.name.startswith(".")]
        if len(inside) < 2 or not all(each.is_file(follow_symlinks=False) for each in inside):
            return None
        suffixes |= {Path(each.name).suffix.lower() for each in inside}
        if len(suffixes) > 1 or not suffixes <= TEXT_FILES:
            return None
    return f"labelled files: a folder per label{_named(folders)}"


def _files_of_names(root: Path, names: Sequence[str]) -> str | None:
    """Recognise a folder that holds a file per label, each line of which is a short sample: a name."""
    if any(Path(name).suffix.lower() not in ("", ".txt") for name in names):
        return None
    lines = [line.strip() for name in names[:ENTRIES] for line in _first_lines(str(root / name))]
    lines = [line for line in lines if line]
    short = sum(len(line) <= SHORT_LINE and len(line.split()) <= FEW_WORDS for line in lines)
    if len(lines) < 2 * len(names) or short < NEARLY_ALL * len(lines) or len(set(lines)) < len(lines) / 2:
        return None
    return f"labelled files: a file per label{_named([Path(name).stem for name in names])}"


def _tagged_words(lines: Sequence[str]) -> str | None:
    """Recognise CoNLL's formats: a word a line with its tags in columns, a blank line after each sentence."""
    words = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    if len(words) < 2 * FEWEST_ROWS or all(line.strip() for line in lines):
        return None
    if any(line[0].isspace() for line in words):  # indented: source
        return None
    tabs = all("\t" in line for line in words)
    rows = [line.split("\t") if tabs else line.split() for line in words]
    columns = len(rows[0])
    if columns < 2 or any(len(row) != columns or any(" " in field for field in row[:1]) for row in rows):
        return None
    if not any(_few(column) and not _prose(column) for column in list(zip(*rows, strict=True))[1:]):
        return None
    return f"tagged words: {columns} columns, sentences between blank lines"


def _table(lines: Sequence[str]) -> str | None:
    """Recognise rows of as many fields each, some of which hold numbers, or labels that repeat."""
    for separator, words in SEPARATORS.items():
        try:
            rows = [row for row in csv.reader([line + "\n" for line in lines], delimiter=separator) if row]
        except csv.Error:
            continue
        if rows and len(rows[-1]) < len(rows[0]):
            rows.pop()  # of a quoted field that goes on after what was looked at
        columns = len(rows[0]) if rows else 0
        if len(rows) < FEWEST_ROWS or columns < 2 or any(len(row) != columns for row in rows):
            continue
        first, *rest = rows
        if not any(_numbers(column) or _few(column) for column in zip(*rest, strict=True)):
            continue
        header = () if any(map(is_number, first)) else first
        return f"a table: {columns} columns separated by {words}{_named(header)}"
    return None


def _few(column: Sequence[str]) -> bool:
    """Whether a column holds tags or labels: short ones, without spaces, that repeat."""
    different = set(column)
    short = all(0 < len(each) <= LONGEST_NAME and not any(map(str.isspace, each)) for each in different)
    return short and len(column) > 2 and len(different) <= max(2, MOST_TAGS * len(column))


def _prose(column: Sequence[str]) -> bool:
    """Whether half or more of a column are words in small letters, as in lines of equally many words."""
    return 2 * sum(each.isalpha() and each.islower() for each in column) >= len(column)


def _numbers(column: Sequence[str]) -> bool:
    return any(map(str.strip, column)) and all(is_number(each) or not each.strip() for each in column)


def _named(names: Sequence[str]) -> str:
    """Return " (a, b, c)", short and printable; nothing where there are no names."""
    shown = [("".join(c if c.isprintable() else "?" for c in name))[:LONGEST_NAME] for name in names[:NAMES]]
    if not any(shown):
        return ""
    return f" ({', '.join(shown)}{', …' if len(names) > NAMES else ''})"
