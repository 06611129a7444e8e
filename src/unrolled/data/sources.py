"""From what the user names to documents: a file, a folder, a stream, and their bytes, piece by piece."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import sysconfig
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Protocol

from unrolled.data.text import HEAD, Document, NotText, TextDecoder, as_name, shown
from unrolled.errors import DataError, expected
from unrolled.spec import RunDirectory

__all__ = [
    "READ",
    "SENTENCES",
    "FileOrigin",
    "Folder",
    "MemoryOrigin",
    "Origin",
    "Reading",
    "Scratch",
    "Source",
    "StreamOrigin",
    "check_found",
    "failed",
    "name_of",
    "opened",
    "python_files",
    "read",
    "text_files",
]

READ = 2**20  # bytes per piece

Scratch = Callable[[], IO[bytes]]  # makes a file that nobody else sees and that disappears when it is closed
Opens = Callable[[], AbstractContextManager[IO[bytes]]]


class Origin(Protocol):
    """A document's bytes."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes from the first to the last. Raises DataError: they cannot be read."""


@dataclass(frozen=True)
class MemoryOrigin:
    """Bytes that are there."""

    name: str
    data: bytes

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes."""
        yield self.data


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """A file, perhaps packed."""

    name: str
    path: str
    packed: bool = False  # a .gz file

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, unpacked. Raises DataError: unreadable, or a broken .gz."""
        with open_file(self.path) as file:
            yield from _unpacked(file, self.path) if self.packed else _all_of(file, self.path)


class StreamOrigin:
    """What can be read only once: standard input, a pipe. A file keeps what was read for the next time."""

    def __init__(self, name: str, stream: Opens, *, packed: bool = False, scratch: Scratch | None) -> None:
        """Take what opens the stream, and what makes the file; None keeps nothing: it can be read once."""
        self.name = name
        self._stream, self._packed, self._scratch = stream, packed, scratch
        self._kept: IO[bytes] | None = None
        self._whole = False

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, unpacked. Raises DataError: unreadable, or a broken .gz."""
        source = self._again() if self._whole else self._first()
        if self._packed:
            source = _unpacked(_Joined(source), self.name)
        yield from source

    def _first(self) -> Iterator[bytes]:
        self._kept = self._scratch() if self._scratch is not None else None
        with self._stream() as stream:
            for piece in _all_of(stream, self.name):
                if self._kept is not None:
                    self._kept.write(piece)
                yield piece
        self._whole = True

    def _again(self) -> Iterator[bytes]:
        if self._kept is None:
            raise DataError(expected("source", "a text that can be read again", shown(self.name)))
        self._kept.seek(0)
        yield from _all_of(self._kept, self.name)


class _Joined:
    """Pieces as a file that can be read, for gzip."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def failed(name: str, error: OSError) -> DataError:
    """Return the error for a path that exists but cannot be read."""
    reason = (error.strerror or type(error).__name__).lower()
    return DataError(expected("source", "a file that can be read", f"{shown(name)}: {reason}"))


def open_file(path: str) -> IO[bytes]:
    """Open a file for reading. Raises DataError: it cannot be."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise failed(path, error) from None


def _all_of(file: IO[bytes], name: str) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(READ)
        except OSError as error:
            raise failed(name, error) from None
        if not piece:
            return
        yield piece


def _unpacked(file: IO[bytes] | _Joined, name: str) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:  # type: ignore[arg-type]
        while True:
            try:
                piece = unpacked.read(READ)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DataError(expected("source", "a .gz file", f"{shown(name)}: {error}")) from None
            except OSError as error:
                raise failed(name, error) from None
            if not piece:
                return
            yield piece


NOT_THE_LIBRARY = frozenset(
    ["site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"]
)


@dataclass(frozen=True)
class Folder:
    """Files that may be text, sorted by path, and how many entries were skipped."""

    root: Path
    files: tuple[str, ...]  # relative, with "/"
    left_out: int

    def origins(self) -> tuple[FileOrigin, ...]:
        """Return where the files' bytes come from."""
        return tuple(FileOrigin(name, str(self.root / name)) for name in self.files)


def text_files(root: Path) -> Folder:
    """Return the files under a directory. Hidden entries, links and runs are left out, and counted one each.

    A link that leaves the directory would read what was not named, one that stays would read a text twice.
    What a run writes into its directory changes with every step.
    """
    return _walk(root, lambda path: not _is_run(path), lambda _: True)


def python_files(root: Path) -> Folder:
    """Return the .py files of a standard library, without tests, idlelib, lib2to3 and installed packages.

    What is not such a file is not counted as left out.
    """
    found = _walk(root, lambda path: path.name not in NOT_THE_LIBRARY, lambda name: name.endswith(".py"))
    return Folder(root, found.files, 0)


def _walk(root: Path, enters: Callable[[Path], bool], takes: Callable[[str], bool]) -> Folder:
    files: list[str] = []
    left_out = 0
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        found = len(subfolders)
        subfolders[:] = [
            name for name in subfolders if _is_plain(Path(folder, name)) and enters(Path(folder, name))
        ]
        taken = [name for name in names if takes(name)]
        plain = [
            path for path in (Path(folder, name) for name in taken) if _is_plain(path) and path.is_file()
        ]
        files += [path.relative_to(root).as_posix() for path in plain]
        left_out += found - len(subfolders) + len(taken) - len(plain)
    return Folder(root, tuple(sorted(files)), left_out)


def _is_plain(path: Path) -> bool:
    return not path.name.startswith(".") and not path.is_symlink()


def _is_run(path: Path) -> bool:
    """Whether a directory is a run's: at work it holds a lock, later its corpus or its checkpoints."""
    run = RunDirectory(path)
    if run.lock.is_file() or run.corpus.is_file():
        return True
    return (run.latest.is_file() or run.checkpoints.is_dir()) and run.config.is_file()


def _raise(error: OSError) -> NoReturn:
    raise failed(str(error.filename), error)


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
    return Source((StreamOrigin(source, lambda: open_file(source), packed=packed, scratch=scratch),))


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
            document = Document(origin.name, TextDecoder().feed(data, final=True))
        except NotText as wrong:
            if tokens == "byte":
                document = Document(origin.name, data)
            elif not found.folder:
                raise wrong.as_error(origin.name) from None
            else:
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


def _mode(source: str) -> int:
    """Return what kind of thing a path is. Raises DataError when it does not exist."""
    try:
        return os.stat(source).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        wanted = "a file, a directory, sentences, stdlib or -"
        raise DataError(expected("source", wanted, f"no such path {shown(source)}")) from None
    except OSError as error:
        raise failed(source, error) from None
