"""What a run wrote into its directory: whether there is any of it, and how to take it away again."""

from __future__ import annotations

import os
from pathlib import Path

from unrolled.checkpoint.disk import is_directory, is_file, opened, remove_directory, sync_directory, writing
from unrolled.checkpoint.documents import parse
from unrolled.checkpoint.layout import CONFIG, DOCUMENT_BYTES, SECTIONS, step_of
from unrolled.checkpoint.saving import ALL_FILES, listed, ours, remove_leftovers
from unrolled.errors import CheckpointError, RunError, expected

__all__ = ["DATA_FILES", "RUN_FILES", "clear", "clear_data", "taken"]

# Everything that a run writes, by name: `clear` removes this and nothing else.
POINTERS = ("LATEST", "BEST")
PICTURES = ("loss.png", "gates.png", "telemetry.png")
RUN_FILES = (*POINTERS, "metrics.jsonl", "evaluation.json", "samples.txt", *PICTURES, CONFIG)
CORPUS = "corpus.json"
DATA_FILES = (CORPUS, "train.npy", "train_starts.npy", "val.npy", "val_starts.npy")  # of RUN/data
DIRECTORIES = ("model", "checkpoints", "data", "tensorboard")
EVENTS = "events.out.tfevents."  # how TensorBoard's files begin, those of RUN/tensorboard


def taken(run: str | Path) -> bool:
    """Say whether a directory holds a run, or anything under the name of something that a run writes."""
    return any(os.path.lexists(Path(run) / name) for name in (*RUN_FILES, *DIRECTORIES))


def clear(run: str | Path) -> None:
    """Remove what a run wrote, by an explicit list of names; nothing else, and through no link.

    Files under other names stay where they are. Everything is looked at before anything is removed.

    Raises:
        RunError: a name of the list belongs to something that no run wrote; or a removal failed.
    """
    run = Path(run)
    if not taken(run):
        return
    _check_files(run)
    _check_directories(run)
    with writing(run):
        for name in POINTERS:  # the pointers first: what they name goes next
            _remove(run / name)
        for path in listed(run / "checkpoints"):
            if step_of(path.name) is not None:
                remove_directory(path, ALL_FILES)
        remove_leftovers(run)
        for name, files in (("checkpoints", ()), ("model", ALL_FILES), ("data", DATA_FILES)):
            if is_directory(run / name):
                remove_directory(run / name, files)
        if is_directory(run / "tensorboard"):
            remove_directory(run / "tensorboard", os.listdir(run / "tensorboard"))
        for name in RUN_FILES:  # config.json last: while it stays, the directory shows whose it is
            _remove(run / name)
        sync_directory(run)


def clear_data(run: str | Path) -> None:
    """Remove RUN/data. Raises RunError: it holds what no run wrote, or a removal failed."""
    run = Path(run)
    _check_data(run)
    with writing(run / "data"):
        if is_directory(run / "data"):
            remove_directory(run / "data", DATA_FILES)


def _check_files(run: Path) -> None:
    for name in RUN_FILES:
        if os.path.lexists(run / name) and not is_file(run / name):
            raise _foreign(run / name, "a file written by a run", "a link or a directory")
    if os.path.lexists(run / CONFIG) and not _is_config(run / CONFIG):
        raise _foreign(run / CONFIG, "the config of a run", "another file")
    written_after = [
        name for name in (*RUN_FILES, "model", "checkpoints", "tensorboard") if os.path.lexists(run / name)
    ]
    if written_after and not os.path.lexists(run / CONFIG):  # a run writes its config before all of these
        raise _foreign(run / written_after[0], "beside it the config.json of a run", "none")


def _check_directories(run: Path) -> None:
    for name in DIRECTORIES:
        if os.path.lexists(run / name) and not is_directory(run / name):
            raise _foreign(run / name, "a directory written by a run", "a link or a file")
    if is_directory(run / "model") and not ours(run / "model"):
        raise _foreign(run / "model", "a directory written by a run", "one that holds other files")
    if not all(path.name.startswith(EVENTS) for path in listed(run / "tensorboard")):
        raise _foreign(run / "tensorboard", "a directory written by a run", "one that holds other files")
    _check_data(run)


def _check_data(run: Path) -> None:
    if os.path.lexists(run / "data") and not is_directory(run / "data"):
        raise _foreign(run / "data", "a directory written by a run", "a link or a file")
    data = {path.name for path in listed(run / "data")}
    a_runs = CORPUS in data or os.path.lexists(run / CONFIG)  # the corpus comes before the config
    if data - set(DATA_FILES) or (data and not a_runs):
        raise _foreign(run / "data", "a directory written by a run", "one that holds other files")


def _is_config(path: Path) -> bool:
    """Whether a config.json has the sections of ours."""
    try:
        with opened(path, limit=DOCUMENT_BYTES[CONFIG]) as source:
            return set(SECTIONS) >= set(parse(source.take(source.size), path)) >= {"model"}
    except (CheckpointError, OSError):
        return False


def _remove(path: Path) -> None:
    if is_file(path):
        os.unlink(path)


def _foreign(path: Path, want: str, got: str) -> RunError:
    return RunError(expected(str(path), f"{want}, which may be replaced", f"{got}; nothing was removed"))
