"""From what the user names to documents in memory."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import sysconfig
import zlib
from dataclasses import dataclass
from pathlib import Path

from unrolled.data.documents import Document, document, shown
from unrolled.data.folders import failed, python_files, text_files
from unrolled.errors import DataError, expected

__all__ = ["SENTENCES", "Reading", "name_of", "read"]

SENTENCES = (
    "Fay and Jane play on the same day.",
    "Gail made a fake cake.",
    "It may rain cats and dogs today.",
    "Jed cut the cake and ate the cake.",
    "Jay and Ray hate the name game.",
    "Dave made a cake for Jane's sake.",
    "Kate's mate hates the rain.",
    "Dave can rake hay and play in the rain.",
    "May Jake play the maze game?",
    "Fay ate cake at the bay with Gabe.",
)

BUILT_IN = ("sentences", "stdlib")


@dataclass(frozen=True)
class Reading:
    """What a source held."""

    documents: tuple[Document, ...]
    left_out: int = 0  # files of a folder that are hidden, links, binary, not UTF-8 or empty
    folder: bool = False  # a folder of texts, however many, and not one text


def read(source: str, *, tokens: str = "auto") -> Reading:
    """Read a source into memory, document by document.

    Args:
        source: "sentences" (the ten), "stdlib" (the .py files of this Python's standard library, without
            tests, idlelib, lib2to3 and installed packages), "-" (standard input), a file, a .gz file, or
            a directory (its text files, sorted by path). A built-in name wins over a file of that name;
            write ./sentences for the file.
        tokens: with "byte", a file that is not UTF-8 is taken too, as the bytes it has.
    Raises:
        DataError: the source is missing, unreadable, not text, a broken .gz, a directory without text, or
            has fewer than two characters.
    """
    if source == "sentences":
        reading = Reading((Document("sentences", "\n".join(SENTENCES) + "\n"),))
    elif source == "stdlib":
        reading = _folder(source, Path(sysconfig.get_path("stdlib")), tokens)
    elif source == "-":
        reading = Reading((document("standard input", _standard_input(), tokens=tokens),))
    elif _is_directory(source):
        reading = _folder(source, Path(source), tokens)
    else:
        reading = Reading((document(source, _file(source), tokens=tokens),))
    characters = sum(each.characters for each in reading.documents)
    if characters < 2:
        where = "standard input" if source == "-" else shown(source)
        raise DataError(expected("source", "at least 2 characters", f"{characters} in {where}"))
    return reading


def name_of(source: str) -> str:
    """Return a short name for a run: book.txt → book, a/b.txt.gz → b, texts/ → texts, - → stdin."""
    if source in BUILT_IN:
        return source
    if source == "-":
        return "stdin"
    path = Path(source)
    if path.name in ("", ".."):  # ".", "/", "a/.."
        path = path.resolve()
    name = path.name.lstrip(".")
    if not path.is_dir():
        name = Path(name.removesuffix(".gz")).stem
    return name or "corpus"


def _folder(source: str, root: Path, tokens: str) -> Reading:
    files = python_files(root) if source == "stdlib" else text_files(root)
    documents, left_out = files.read(tokens=tokens)
    if not documents:
        found = f"none in {shown(source)} ({left_out} left out: hidden, linked, binary, not UTF-8 or empty)"
        raise DataError(expected("source", "a directory with text files", found))
    return Reading(documents, left_out, folder=True)


def _file(source: str) -> bytes:
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise failed(source, error) from None
    if not source.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(expected("source", "a .gz file", f"{shown(source)}: {error}")) from None


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise DataError(expected("source", "text on standard input", "a closed one"))
    return sys.stdin.buffer.read()


def _is_directory(source: str) -> bool:
    """Return whether a path that exists is a directory. Raises DataError when it does not exist."""
    try:
        return stat.S_ISDIR(os.stat(source).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        wanted = "a file, a directory, sentences, stdlib or -"
        raise DataError(expected("source", wanted, f"no such path {shown(source)}")) from None
    except OSError as error:
        raise failed(source, error) from None
