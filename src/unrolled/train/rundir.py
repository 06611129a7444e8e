"""The run directory: free before the work starts, and held by one process at a time."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from unrolled import checkpoint, files
from unrolled.errors import RunError, expected
from unrolled.spec import RunDirectory

__all__ = [
    "check_apart",
    "check_free",
    "held",
    "remove_left_lock",
    "replace_data",
    "settle",
    "staging",
    "witness",
]

STAGED = re.compile(r"\.data-[0-9a-f]{8}", re.ASCII)
WITNESS = re.compile(r"\.witness-[0-9a-f]{16}", re.ASCII)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Check that a run may be written at `path`; nothing is created or removed yet.

    Raises:
        RunError: the path is a file, not writable, or holds another run and `overwrite` is false.
    """
    if path.exists() and not path.is_dir():
        raise RunError(expected("run", "a directory or a new path", f"the file {path}"))
    if path.is_dir() and checkpoint.taken(path) and not overwrite:
        advice = "name another with --run, go on with it by --resume, or replace it by --overwrite"
        raise RunError(expected("run", "a free directory", f"{path}, which holds a run; {advice}"))
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(expected("run", "a writable directory", f"{existing}, which is not"))


def check_apart(path: Path, source: str | None, *, named: bool = False) -> None:
    """Refuse to write a run into the folder that it reads: its own files would change the corpus.

    Raises:
        RunError: they are one directory; or the run is `named` by the user, and inside the folder.
    """
    if source is None or not os.path.isdir(source):
        return
    run, folder = (Path(os.path.realpath(each)) for each in (path, source))
    if run == folder or (named and folder in run.parents):
        raise RunError(expected("run", f"a directory outside the source {source}", path))


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Yield a fresh directory inside `path` for a corpus in the making; gone on the way out.

    What the run directory held stays untouched until the corpus is known to be good. The caller holds the
    directory (`held`), so what runs that were killed left of this kind can go.
    """
    try:
        for leftover in path.iterdir():
            if STAGED.fullmatch(leftover.name) and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
        temporary = path / f".data-{secrets.token_hex(4)}"
        temporary.mkdir()  # not mkdtemp, which hides the directory from everyone else
    except OSError as error:
        raise RunError(expected("run", "a writable directory", f"{path}: {error.strerror}")) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def witness(path: Path) -> Iterator[str]:
    """Yield the name of an empty file in a run directory, by which other processes know that it is the same.

    The caller holds the directory (`held`), so what runs that were killed left of this kind can go.

    Raises:
        RunError: the place cannot be written.
    """
    name = f".witness-{secrets.token_hex(8)}"
    try:
        for leftover in path.iterdir():
            if WITNESS.fullmatch(leftover.name):
                leftover.unlink()
        (path / name).touch(exist_ok=False)
    except OSError as error:
        raise RunError(expected("run", "a writable directory", f"{path}: {error.strerror}")) from error
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):
            (path / name).unlink()


def settle(staged: Path, path: Path, *, overwrite: bool) -> None:
    """Make a finished corpus the run's own: `path`/data. What the run held before goes, if it may.

    Raises:
        RunError: another run came to be here meanwhile, or holds what no run wrote.
    """
    check_free(path, overwrite=overwrite)
    if overwrite:
        checkpoint.clear(path)
    _move(staged, path)


def replace_data(staged: Path, path: Path) -> None:
    """Put a finished corpus in the place of the run's own, which is damaged.

    Raises:
        RunError: the place holds what no run wrote, or cannot be written.
    """
    checkpoint.clear_data(path)
    _move(staged, path)


def _move(staged: Path, path: Path) -> None:
    try:
        files.place(staged, RunDirectory(path).data)
    except OSError as error:
        got = f"{RunDirectory(path).data}: {error.strerror}"
        raise RunError(expected("run", "a free directory", got)) from error


@contextlib.contextmanager
def held(path: Path, *, name: str = "run") -> Iterator[None]:
    """Hold a run directory, which is made where it is missing; directories left empty are removed again.

    `name` is what messages call it. The system lets go of the lock when the process ends, however it ends.

    Raises:
        RunError: another run is at work there, or the place cannot be written.
    """
    lock_file = RunDirectory(path).lock
    made = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for each in made:
            files.sync_directory(each.parent)
        lock = FileLock(lock_file, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunError(expected(name, "a directory that no run is using", f"{path}, in use")) from None
    except OSError as error:
        _remove(made)
        raise RunError(expected(name, "a writable directory", f"{path}: {error.strerror}")) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock_file.unlink()  # while it is held: whoever waits for this file finds it gone
        lock.release()
        _remove(made)


def remove_left_lock(path: Path) -> None:
    """Remove the lock file of a process that was killed, where that can be done and nobody holds it."""
    lock_file = RunDirectory(path).lock
    if not lock_file.exists():
        return
    with contextlib.suppress(OSError, Timeout):
        lock = FileLock(lock_file, timeout=0)
        lock.acquire()
        lock_file.unlink()
        lock.release()


def _remove(made: list[Path]) -> None:
    for directory in made:
        with contextlib.suppress(OSError):  # one that came to hold something stays
            directory.rmdir()
