"""From what the user names to documents: where their bytes are, or the documents in memory."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from unrolled.data import origins
from unrolled.data.decoding import HEAD, NotText, TextDecoder
from unrolled.data.documents import Document, as_name, shown
from unrolled.data.folders import python_files, text_files
from unrolled.data.origins import FileOrigin, MemoryOrigin, Origin, Scratch, StreamOrigin, failed
from unrolled.errors import DataError, expected

__all__ = ["SENTENCES", "Reading", "Source", "check_found", "name_of", "opened", "read"]

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
LEFT_OUT = "hidden, linked, a run, packed as .gz, binary, not UTF-8 or empty"


@dataclass(frozen=True)
class Source:
    """What a name means, before anything is read."""

    origins: tuple[Origin, ...]
    left_out: int = 0  # entries of a folder that are hidden, links, runs, or no files
    folder: bool = False  # a folder of texts, however many, and not one text


@dataclass(frozen=True)
class Reading:
    """What a source held."""

    documents: tuple[Document, ...]
    left_out: int = 0  # entries of a folder that are hidden, links, runs, binary, not UTF-8 or empty
    folder: bool = False  # a folder of texts, however many, and not one text


def opened(source: str, *, scratch: Scratch | None = None) -> Source:
    """Return where the bytes of a source are; a folder is walked through, nothing is read.

    Args:
        source: see `read`. scratch: makes the file that keeps what comes through standard input or a pipe;
            None lets these be read once.
    Raises:
        DataError: the source is missing, or cannot be looked at.
    """
    if source == "sentences":
        return Source((MemoryOrigin("sentences", ("\n".join(SENTENCES) + "\n").encode("ascii")),))
    if source == "stdlib":
        found = python_files(Path(sysconfig.get_path("stdlib")))
        return Source(found.origins(), found.left_out, folder=True)
    if source == "-":
        if sys.stdin is None:
            raise DataError(expected("source", "text on standard input", "a closed one"))
        standard_input = sys.stdin.buffer
        stream = StreamOrigin("standard input", lambda: nullcontext(standard_input), scratch=scratch)
        return Source((stream,))
    mode = _mode(source)
    if stat.S_ISDIR(mode):
        found = text_files(Path(source))
        return Source(found.origins(), found.left_out, folder=True)
    packed = source.endswith(".gz")
    if stat.S_ISREG(mode):
        return Source((FileOrigin(source, source, packed),))
    return Source((StreamOrigin(source, lambda: origins.opened(source), packed=packed, scratch=scratch),))


def read(source: str, *, tokens: str = "auto") -> Reading:
    """Read a source into memory, document by document; `prepare` does without.

    Args:
        source: "sentences" (the ten), "stdlib" (the .py files of this Python's standard library, without
            tests, idlelib, lib2to3 and installed packages), "-" (standard input), a file, a .gz file, or
            a directory (its text files, sorted by path; runs are skipped). A built-in name comes before a
            file of that name; write ./sentences for the file.
        tokens: with "byte", a file that is not UTF-8 is taken too, as the bytes it has.
    Raises:
        DataError: the source is missing, unreadable, not text, a broken .gz, a directory without text, or
            has fewer than two characters.
    """
    found = opened(source)
    documents = []
    for origin in found.origins:
        data = b"".join(origin.pieces())
        if found.folder and b"\0" in data[:HEAD]:
            continue
        try:
            document = _document(origin.name, data, tokens)
        except NotText as wrong:
            if not found.folder:
                raise wrong.as_error(origin.name) from None
            continue
        if document.text or not found.folder:
            documents.append(document)
    left_out = found.left_out + len(found.origins) - len(documents)
    check_found(source, found, len(documents), left_out, sum(each.characters for each in documents))
    return Reading(tuple(documents), left_out, found.folder)


def check_found(source: str, found: Source, documents: int, left_out: int, characters: int) -> None:
    """Raise DataError for a directory without text, and for a text of fewer than two characters."""
    if found.folder and not documents:
        got = f"none in {shown(source)} ({left_out} left out: {LEFT_OUT})"
        raise DataError(expected("source", "a directory with text files", got))
    if characters < 2:
        where = "standard input" if source == "-" else shown(source)
        raise DataError(expected("source", "at least 2 characters", f"{characters} in {where}"))


def name_of(source: str) -> str:
    """Return a short name for a run: book.txt → book, a/b.txt.gz → b, texts/ → texts, - → stdin.

    What cannot be printed in it becomes "_".
    """
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
    return as_name(name)


def _document(name: str, data: bytes, tokens: str) -> Document:
    try:
        return Document(name, TextDecoder().feed(data, final=True))
    except NotText:
        if tokens == "byte":
            return Document(name, data)
        raise


def _mode(source: str) -> int:
    """Return what kind of thing a path is. Raises DataError when it does not exist."""
    try:
        return os.stat(source).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        wanted = "a file, a directory, sentences, stdlib or -"
        raise DataError(expected("source", wanted, f"no such path {shown(source)}")) from None
    except OSError as error:
        raise failed(source, error) from None
