"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from unrolled.errors import RunError, expected
from unrolled.spec import RunDirectory

__all__ = ["held"]


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


def _remove(made: list[Path]) -> None:
    for directory in made:
        with contextlib.suppress(OSError):  # one that came to hold something stays
            directory.rmdir()
