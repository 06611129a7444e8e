"""Write a model into a directory of any name that may hold other files too, such as a Hub repository."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from unrolled.checkpoint.contents import Contents
from unrolled.checkpoint.disk import is_file, make_directory, opened, remove_directory
from unrolled.checkpoint.documents import parse
from unrolled.checkpoint.layout import DOCUMENT_BYTES, FORMAT, MANIFEST, MODEL_FILES, PARSED_BYTES
from unrolled.checkpoint.saving import write_model
from unrolled.errors import CheckpointError, RunError, expected
from unrolled.files import printable, sync_directory, temporary, writing
from unrolled.spec import RunDirectory

__all__ = ["write_into"]


def write_into(directory: str | Path, contents: Contents) -> Path:
    """Write a model's four files into a directory, in the place of those that are there; others stay.

    A new directory appears completely or not at all. In one that exists the finished files replace the
    old ones one by one; a reader in between, or after a crash there, is refused by the manifest.

    Args:
        directory: made where it is missing, its parents too.
        contents: optimizer and progress stay out; `step`, where known, is recorded.
    Returns:
        The directory.
    Raises:
        CheckpointError: the contents do not fit their own config, or cannot be written as JSON.
        RunError: the directory is a run, a step or inside a run, or holds another program's files under our
            names; or the disk is full, read-only or otherwise unwritable.
    """
    directory = Path(directory)
    with writing(directory):
        exists = _check_ours(directory)
        home = directory if exists else directory.parent
        beside = home / temporary("model")
        try:
            new = write_model(beside, contents)
            if exists:
                for name in MODEL_FILES:  # the manifest last
                    if os.path.lexists(new / name):
                        os.replace(new / name, directory / name)
            else:
                os.rename(new, directory)
            sync_directory(home)
        finally:
            _discard(beside)
    return directory


def _check_ours(directory: Path) -> bool:
    """Return whether the directory exists, having refused one that is not for a model."""
    _check_no_run(directory)
    if not os.path.lexists(directory):
        make_directory(directory.parent)
        return False
    if not directory.is_dir():
        raise _refused(directory, "a directory or nothing", "something else")
    there = [name for name in MODEL_FILES if os.path.lexists(directory / name)]
    odd = [name for name in there if not is_file(directory / name)]
    if odd:
        raise _refused(directory / odd[0], "a regular file or nothing", "something else")
    if there and not _is_model(directory / MANIFEST):
        got = f"{there[0]} of another program"
        raise _refused(directory, "a directory without a model, or with one that was saved by unrolled", got)
    return True


def _check_no_run(directory: Path) -> None:
    """Refuse a run, a step, and the inside of a run, by their real names: `.` and a link have others."""
    real = Path(os.path.realpath(directory))
    run, want = _run_around(real), "a directory of its own for the model"
    if run == real or RunDirectory.step_of(real.name) is not None or os.path.lexists(real / "checkpoints"):
        raise _refused(directory, want, "a run or a step")
    if run is not None:
        raise _refused(directory, want, f"a place inside the run {run}")


def _run_around(real: Path) -> Path | None:
    """Return the run that a directory is, or is inside of."""
    inside = (place.parent for place in real.parents if place.name in RunDirectory.DIRECTORIES)
    for run in map(RunDirectory, (real, real.parent, *inside)):
        if any(map(os.path.lexists, (run.latest, run.best, run.corpus))):  # no other program has these names
            return run.path
    return None


def _is_model(manifest: Path) -> bool:
    """Whether this is the manifest of a model of ours, of whatever version, complete or not."""
    try:
        with opened(manifest, limit=DOCUMENT_BYTES[MANIFEST]) as source:
            fields = parse(source.take(source.size), manifest, most=PARSED_BYTES[MANIFEST])
    except CheckpointError:
        return False
    return fields.get("format") == FORMAT and fields.get("kind") == "model"


def _discard(beside: Path) -> None:
    """Remove the place where the files were made, whatever is left of it."""
    with contextlib.suppress(OSError):
        if (beside / "model").is_dir():
            remove_directory(beside / "model", MODEL_FILES)
        os.rmdir(beside)


def _refused(path: Path, want: str, got: str) -> RunError:
    return RunError(printable(expected(str(path), want, got)))
