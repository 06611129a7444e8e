"""The run directory: claimed before the work starts, so that nothing is lost when it cannot be."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from unrolled import checkpoint
from unrolled.errors import RunError

__all__ = ["claim", "staging"]


def claim(path: Path, *, overwrite: bool) -> None:
    """Check that a run may be written at `path`; nothing is created or removed yet.

    Raises:
        RunError: the path is a file, not writable, or holds another run and `overwrite` is false.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"run: expected a directory or a new path, got the file {path}")
    if path.is_dir() and checkpoint.taken(path) and not overwrite:
        raise RunError(f"run: expected a free directory, got {path}, which holds a run; "
                       "name another with --run, or replace it with --overwrite")  # fmt: skip
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"run: expected a writable directory, got {existing}, which is not")


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Yield a fresh directory inside `path` for a corpus in the making; gone on the way out.

    What the run directory held stays untouched until the corpus is known to be good.
    """
    created = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".data-", dir=path))
    except OSError as error:
        raise RunError(f"run: expected a writable directory, got {path}: {error.strerror}") from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # a directory that came to hold something stays
            for directory in created:
                directory.rmdir()
