"""Write checkpoints so that a crash at any moment leaves a loadable one, and prune old ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from unrolled.checkpoint.contents import Contents, check_contents, check_step, weights_dtype
from unrolled.checkpoint.disk import (
    is_directory,
    is_file,
    listed,
    make_directory,
    opened,
    remove_directory,
    write_file,
)
from unrolled.checkpoint.format import (
    CONFIG,
    DOCUMENT_BYTES,
    FILES,
    FORMAT,
    MANIFEST,
    MODEL,
    MODEL_FILES,
    OPTIMIZER,
    PARSED_BYTES,
    PROGRESS,
    REMOVING,
    TOKENS,
    Manifest,
    encode,
    parse,
    refusal,
)
from unrolled.checkpoint.reading import pointed, steps_of
from unrolled.checkpoint.tensors import Buffer, tensor_chunks
from unrolled.errors import CheckpointError, ConfigError, RunError, expected
from unrolled.files import WRITING, printable, replace, sync_directory, temporary, writing
from unrolled.spec import RunDirectory

__all__ = [
    "ALL_FILES",
    "check_config",
    "is_run",
    "mark",
    "ours",
    "prune",
    "remove_leftovers",
    "rewind",
    "write_into",
    "write_model",
    "write_step",
]

ALL_FILES = (*FILES["step"], MANIFEST)


def write_step(run: str | Path, step: int, contents: Contents) -> Path:
    """Write RUN/checkpoints/step-00001200, completely or not at all; it is never changed afterwards.

    Args:
        run: the run directory; made where it is missing.
        step: optimizer steps behind the weights, 0 or more.
        contents: with optimizer (may be empty) and progress; `path` and `step` are ignored.
    Returns:
        The directory.
    Raises:
        CheckpointError: the contents do not fit their own config, or cannot be written as JSON.
        RunError: the step exists, or the disk is full, read-only or otherwise unwritable.
    """
    if type(step) is not int or not 0 <= step < 10**18:
        raise ConfigError(expected("step", "a whole number from 0 on", repr(step)))
    if contents.optimizer is None or contents.progress is None:
        raise refusal("contents", "optimizer and progress, as every step has them", "None")
    check_step(contents.progress, step)
    final = RunDirectory(run).step(step)
    if os.path.lexists(final):
        raise RunError(expected(str(final), "nothing there: checkpoints are immutable", "that step"))
    files = _files(contents)
    files[OPTIMIZER] = tensor_chunks(contents.optimizer, OPTIMIZER)
    files[PROGRESS] = _document(contents.progress, PROGRESS)
    with writing(final):
        make_directory(final.parent)
        new = _stage(final, Manifest("step", step, {}), files)
        _settle(new, final)
    return final


def write_model(run: str | Path, contents: Contents) -> Path:
    """Write RUN/model, in the place of the one that is there; optimizer and progress stay out.

    A network of other weights than float32 goes to RUN/model-int8 or RUN/model-bfloat16.

    Args:
        run: the run directory, or any directory for `model/`; made where it is missing.
        contents: `step`, where known, is recorded.
    Returns:
        The directory.
    Raises:
        CheckpointError: the contents do not fit their own config, or cannot be written as JSON.
        RunError: in its place is something else, or the disk is full, read-only or otherwise unwritable.
    """
    final = RunDirectory(run).model_of(weights_dtype(contents.config))
    if os.path.lexists(final) and not ours(final):
        raise RunError(expected(str(final), "a model directory or nothing", "something else"))
    files = _files(contents)
    with writing(final):
        make_directory(final.parent)
        new = _stage(final, Manifest("model", contents.step, {}), files)
        if not os.path.lexists(final):
            _settle(new, final)
            return final
        old = final.with_name(temporary(final.name, REMOVING))
        os.rename(final, old)
        try:
            _settle(new, final)
        except BaseException:
            with contextlib.suppress(OSError):
                os.rename(old, final)
            raise
        remove_directory(old, ALL_FILES)
    return final


def mark(run: str | Path, name: Literal["LATEST", "BEST"], step: int) -> None:
    """Let RUN/LATEST or RUN/BEST name a step that has been written; replaced atomically.

    Raises:
        RunError: that step is not there, or the disk is full, read-only or otherwise unwritable.
    """
    if name not in RunDirectory.POINTERS:
        raise ConfigError(expected("name", "LATEST or BEST", repr(name)))
    directory = RunDirectory(run).step(step)
    if not is_directory(directory):
        raise RunError(expected(str(directory), "a checkpoint", "nothing there"))
    replace(Path(run) / name, f"{directory.name}\n")


def prune(run: str | Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` steps and those that LATEST and BEST name, and what crashes left.

    Directories that hold anything foreign stay.

    Args:
        run: the run directory; no other process may be writing there.
        keep: 1 or more.
    Returns:
        The step directories that were removed, oldest first.
    Raises:
        CheckpointError: LATEST or BEST is damaged; nothing is removed then. RunError: a removal failed.
    """
    if type(keep) is not int or keep < 1:
        raise ConfigError(expected("keep", "at least 1", repr(keep)))
    run = Path(run)
    kept = {pointed(run, name) for name in RunDirectory.POINTERS}
    doomed = [path for _, path in steps_of(run)[:-keep] if path not in kept and ours(path)]
    _remove_steps(run, doomed)
    return doomed


def _remove_steps(run: Path, doomed: list[Path]) -> None:
    """Remove leftovers and steps, each renamed first, so that half of one is never taken for a checkpoint."""
    with writing(RunDirectory(run).checkpoints):
        remove_leftovers(run)
        for path in doomed:
            aside = path.with_name(temporary(path.name, REMOVING))
            os.rename(path, aside)
            remove_directory(aside, ALL_FILES)


def rewind(run: str | Path, step: int) -> list[Path]:
    """Remove the steps after `step`, which a run that was killed wrote and never marked, and other leftovers.

    Args:
        run: the run directory; no other process may be writing there.
        step: where the run goes on; LATEST and BEST name it or one before it.
    Returns:
        The step directories that were removed.
    Raises:
        CheckpointError: LATEST or BEST is damaged; nothing is removed then.
        RunError: LATEST or BEST names a later step, or a removal failed.
    """
    run = Path(run)
    later = [
        path
        for path in listed(RunDirectory(run).checkpoints)
        if (RunDirectory.step_of(path.name) or 0) > step
    ]
    for name in RunDirectory.POINTERS:
        if pointed(run, name) in later:
            raise RunError(expected(str(run / name), f"step {step} or one before it", "a later one"))
    doomed = [path for path in later if ours(path)]
    _remove_steps(run, doomed)
    return doomed


def remove_leftovers(run: Path) -> None:
    """Remove what saves and removals that were cut off have left behind."""
    here = sorted(run.iterdir()) if run.is_dir() else []  # the run itself may be a link
    for path in [*here, *listed(RunDirectory(run).checkpoints)]:
        if not path.name.startswith((WRITING, REMOVING)):
            continue
        if ours(path):
            remove_directory(path, ALL_FILES)
        elif path.is_file() and not path.is_symlink():
            os.unlink(path)


def ours(path: Path) -> bool:
    """Whether this is a directory with no other names in it than those that a checkpoint has."""
    return is_directory(path) and set(os.listdir(path)) <= set(ALL_FILES)


def _files(contents: Contents) -> dict[str, Iterable[Buffer]]:
    """Return what the four files of a model hold, having checked that `read` would take it."""
    check_contents(contents)
    files: dict[str, Iterable[Buffer]] = {
        CONFIG: _document(contents.config, CONFIG, indent=2),
        MODEL: tensor_chunks(contents.model, MODEL),
    }
    if contents.tokens is not None:
        files[TOKENS] = _document(contents.tokens, TOKENS)
    return files


def check_config(config: object) -> None:
    """Raise CheckpointError where a checkpoint cannot hold such a config.json, as it is too large, say."""
    _document(config, CONFIG, indent=2)


def _document(document: object, name: str, indent: int | None = None) -> list[bytes]:
    raw = encode(document, name, indent=indent)
    if len(raw) > DOCUMENT_BYTES[name]:
        raise refusal(name, f"at most {DOCUMENT_BYTES[name]} bytes", len(raw))
    return [raw]


def _stage(final: Path, manifest: Manifest, files: dict[str, Iterable[Buffer]]) -> Path:
    """Write a directory beside `final`, under a temporary name, with its manifest last."""
    new = final.with_name(temporary(final.name))
    try:
        os.mkdir(new)
        entries = {name: write_file(new / name, chunks) for name, chunks in files.items()}
        write_file(new / MANIFEST, [Manifest(manifest.kind, manifest.step, entries).to_bytes()])
        sync_directory(new)
    except BaseException:
        _discard(new)
        raise
    return new


def _settle(new: Path, final: Path) -> None:
    """Give a finished directory its name, for good."""
    try:
        os.rename(new, final)
    except BaseException:
        _discard(new)
        raise
    sync_directory(final.parent)


def _discard(new: Path) -> None:
    with contextlib.suppress(OSError):
        remove_directory(new, ALL_FILES)


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
            _discard_place(beside)
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
    return next((run for run in (real, real.parent, *inside) if is_run(run)), None)


def is_run(path: Path) -> bool:
    """Whether a directory is a run, by names that no other program has."""
    run = RunDirectory(path)
    return any(map(os.path.lexists, (run.latest, run.best, run.corpus)))


def _is_model(manifest: Path) -> bool:
    """Whether this is the manifest of a model of ours, of whatever version, complete or not."""
    try:
        with opened(manifest, limit=DOCUMENT_BYTES[MANIFEST]) as source:
            fields = parse(source.take(source.size), manifest, most=PARSED_BYTES[MANIFEST])
    except CheckpointError:
        return False
    return fields.get("format") == FORMAT and fields.get("kind") == "model"


def _discard_place(beside: Path) -> None:
    """Remove the place where the files were made, whatever is left of it."""
    with contextlib.suppress(OSError):
        if (beside / "model").is_dir():
            remove_directory(beside / "model", MODEL_FILES)
        os.rmdir(beside)


def _refused(path: Path, want: str, got: str) -> RunError:
    return RunError(printable(expected(str(path), want, got)))
