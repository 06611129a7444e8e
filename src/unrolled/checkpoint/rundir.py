"""What a run wrote into its directory: whether there is any of it, and how to remove it."""

from __future__ import annotations

import os
from pathlib import Path

from unrolled.checkpoint.disk import is_directory, is_file, listed, opened, remove_directory
from unrolled.checkpoint.format import CONFIG, DOCUMENT_BYTES, SECTIONS, parse
from unrolled.checkpoint.reading import steps_of
from unrolled.checkpoint.writing import ALL_FILES, ours, remove_leftovers
from unrolled.errors import CheckpointError, RunError, expected
from unrolled.files import sync_directory, writing
from unrolled.spec import RunDirectory

__all__ = ["clear", "clear_data", "taken"]

IN_DATA = (*RunDirectory.DATA_FILES, *RunDirectory.SAMPLE_FILES)


def taken(run: str | Path) -> bool:
    """Say whether a directory holds a run, or anything under the name of something that a run writes."""
    place = RunDirectory(run)
    return any(map(os.path.lexists, (*place.files, *place.directories)))


def clear(run: str | Path) -> None:
    """Remove what a run wrote, by an explicit list of names; nothing else, and through no link.

    Files under other names stay where they are. Everything is looked at before anything is removed.

    Raises:
        RunError: a name of the list belongs to something that no run wrote; or a removal failed.
    """
    if not taken(run):
        return
    place = RunDirectory(run)
    _check_files(place)
    _check_directories(place)
    with writing(place.path):
        for pointer in (place.latest, place.best):  # what they name goes next
            _remove(pointer)
        for _, path in steps_of(place.path):
            remove_directory(path, ALL_FILES)
        remove_leftovers(place.path)
        events = [path.name for path in listed(place.tensorboard)]
        for directory, names in (
            (place.checkpoints, ()),
            *((path, ALL_FILES) for path in place.models),
            (place.data, IN_DATA),
            (place.tensorboard, events),
        ):
            if is_directory(directory):
                remove_directory(directory, names)
        for file in place.files:
            _remove(file)
        sync_directory(place.path)


def clear_data(run: str | Path) -> None:
    """Remove RUN/data. Raises RunError: it holds what no run wrote, or a removal failed."""
    place = RunDirectory(run)
    _check_data(place)
    with writing(place.data):
        if is_directory(place.data):
            remove_directory(place.data, IN_DATA)


def _check_files(run: RunDirectory) -> None:
    for path in run.files:
        if os.path.lexists(path) and not is_file(path):
            raise _foreign(path, "a file written by a run", "a link or a directory")
    if os.path.lexists(run.config):
        if not _is_config(run.config):
            raise _foreign(run.config, "the config of a run", "another file")
        return
    for path in (*run.files, *run.directories):
        if path != run.data and os.path.lexists(path):  # a run writes its config before all of these
            raise _foreign(path, f"beside it the {CONFIG} of a run", "none")


def _check_directories(run: RunDirectory) -> None:
    for path in run.directories:
        if os.path.lexists(path) and not is_directory(path):
            raise _foreign(path, "a directory written by a run", "a link or a file")
    for path in run.models:
        if is_directory(path) and not ours(path):
            raise _foreign(path, "a directory written by a run", "one that holds other files")
    if not all(path.name.startswith(RunDirectory.EVENTS) for path in listed(run.tensorboard)):
        raise _foreign(run.tensorboard, "a directory written by a run", "one that holds other files")
    _check_data(run)


def _check_data(run: RunDirectory) -> None:
    if os.path.lexists(run.data) and not is_directory(run.data):
        raise _foreign(run.data, "a directory written by a run", "a link or a file")
    data = set(listed(run.data))
    a_runs = run.corpus in data or os.path.lexists(run.config)  # the corpus comes before the config
    if data - {run.data / name for name in IN_DATA} or (data and not a_runs):
        raise _foreign(run.data, "a directory written by a run", "one that holds other files")


def _is_config(path: Path) -> bool:
    """Whether a config.json has the sections of ours."""
    try:
        with opened(path, limit=DOCUMENT_BYTES[CONFIG]) as source:
            return {"task", *SECTIONS} >= set(parse(source.take(source.size), path)) >= {"model"}
    except (CheckpointError, OSError):
        return False


def _remove(path: Path) -> None:
    if is_file(path):
        os.unlink(path)


def _foreign(path: Path, want: str, got: str) -> RunError:
    return RunError(expected(str(path), f"{want}, which may be replaced", f"{got}; nothing was removed"))
