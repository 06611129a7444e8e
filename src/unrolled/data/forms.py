"""Whether a source looks like something else than prose: a table, tagged words, a folder per label."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import zlib
from pathlib import Path

__all__ = ["form_of"]

LOOKED_AT = 2**16  # bytes of a file, and entries of a folder: enough to tell
FEWEST = 5  # lines that a form needs


def form_of(source: str) -> str | None:
    """Return what a source looks like, None for plain text. Reads little of it, and raises nothing.

    >>> form_of("sentences") is None
    True
    """
    path = Path(source)
    with contextlib.suppress(OSError, EOFError, ValueError, zlib.error):  # who reads it says what is wrong
        if path.is_dir():
            return _labels(path)
        if path.is_file():
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                text = file.read(LOOKED_AT).decode("utf-8", errors="replace")
            lines = text.splitlines()
            whole = lines if len(text.encode()) < LOOKED_AT else lines[:-1]  # the last one is cut
            return _table(whole) or _tagged(whole)
    return None


def _table(lines: list[str]) -> str | None:
    """Every line has the same number of separators: one tab, or two of the others."""
    lines = [line for line in lines if line.strip()]
    if len(lines) < FEWEST:
        return None
    for separator, name, least in (("\t", "tab", 1), (",", ",", 2), (";", ";", 2)):
        counts = {line.count(separator) for line in lines}
        if len(counts) == 1 and (count := counts.pop()) >= least:
            return f"a table of {count + 1} columns, separated by {name}"
    return None


def _tagged(lines: list[str]) -> str | None:
    """A word and its tags per line, sentences separated by blank lines, as CoNLL has them."""
    lines = [line for line in lines if not line.startswith("#")]
    words = [len(line.split()) for line in lines if line.strip()]
    if len(words) < FEWEST or len(words) == len(lines) or len(set(words)) > 1 or words[0] < 2:
        return None
    return f"tagged words, {words[0]} columns, as in CoNLL files"


def _labels(path: Path) -> str | None:
    """At least two folders with files in them, and no files beside them."""
    with os.scandir(path) as found:
        entries = [e for e in itertools.islice(found, LOOKED_AT) if not e.name.startswith(".")]
    if len(entries) < 2 or not all(entry.is_dir() for entry in entries):
        return None
    for entry in entries:
        with os.scandir(entry) as inside:
            if not any(each.is_file() for each in itertools.islice(inside, LOOKED_AT)):
                return None
    return f"a folder per label ({', '.join(sorted(e.name for e in entries)[:3])}, ...)"
