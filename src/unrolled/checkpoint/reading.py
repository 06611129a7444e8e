"""Find a checkpoint and read it, believing nothing that its files say of themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.checkpoint.contents import (
    Contents,
    check_state,
    check_step,
    declared_model,
    declared_optimizer,
    model_config,
)
from unrolled.checkpoint.disk import is_directory, opened
from unrolled.checkpoint.documents import parse
from unrolled.checkpoint.layout import (
    CONFIG,
    DOCUMENT_BYTES,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    PROGRESS,
    TOKENS,
    step_of,
)
from unrolled.checkpoint.manifest import Entry, Manifest
from unrolled.checkpoint.refusal import quoted, refusal
from unrolled.checkpoint.tensors import Declared, Tensor, header_limit, nbytes, read_tensors
from unrolled.errors import RunError, expected

__all__ = ["locate", "pointed", "read"]


def locate(path: str | Path, *, prefer: Sequence[str] = ("model", "BEST", "LATEST")) -> Path:
    """Return the directory to read for a run, or for a step or model directory itself.

    Args:
        path: a run, or a directory with a manifest.
        prefer: what to take from a run, first to last; a resume asks for ("LATEST",).
    Raises:
        RunError: nothing is there. CheckpointError: BEST or LATEST is damaged or names nothing.
    """
    path = Path(path)
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing there"
        raise RunError(expected(str(path), "a run, checkpoint or model directory", got))
    if step_of(path.name) is not None or any(os.path.lexists(path / name) for name in (MANIFEST, MODEL)):
        return path
    for name in prefer:
        found = path / name if name == "model" else pointed(path, name)
        if found is None or not os.path.lexists(found):
            continue
        if not is_directory(found):
            raise refusal(found, "a directory", "a file or a link")
        return found
    raise RunError(expected(str(path), "a run with " + ", else ".join(prefer), "none of them"))


def pointed(run: Path, name: str) -> Path | None:
    """Return the step directory that RUN/LATEST or RUN/BEST names, or None where there is no such file."""
    pointer = run / name
    if not os.path.lexists(pointer):
        return None
    try:
        with opened(pointer, limit=64) as source:
            line = source.take(source.size).decode("ascii", "replace")
    except OSError as error:
        raise refusal(pointer, "a readable file", error.strerror or error) from error
    if not line.endswith("\n") or step_of(line[:-1]) is None:
        raise refusal(pointer, "the name of a checkpoint, such as step-00001200", quoted(line))
    directory = run / "checkpoints" / line[:-1]
    if not is_directory(directory):
        raise refusal(pointer, f"{line[:-1]} in checkpoints", "nothing of that name")
    return directory


def read(path: str | Path) -> Contents:
    """Read one step or model directory (see `locate`), verifying every file of it.

    Sizes are compared with the manifest and with what the config implies before memory is taken for them.

    Returns:
        Contents, with `path`, and `step` where known; optimizer and progress are None for a model.
        Tensor data are bytearrays of their own.
    Raises:
        CheckpointError: a file is missing, foreign, torn, altered, a link, of a newer format, or unfit.
    """
    path = Path(path)
    try:
        return _read(path)
    except OSError as error:
        raise refusal(path, "readable files", error.strerror or error) from error


def _read(path: Path) -> Contents:
    manifest = _manifest(path)
    files = manifest.files
    config = _document(path / CONFIG, files[CONFIG])
    architecture = model_config(config, path / CONFIG)
    declared = declared_model(architecture)
    _check_size(path / MODEL, files[MODEL], declared)
    model = _tensors(path / MODEL, files[MODEL], declared, complete=True)
    tokens = _document(path / TOKENS, files[TOKENS])
    if manifest.kind == "model":
        return Contents(config, model, tokens, path=path, step=manifest.step)
    progress = _document(path / PROGRESS, files[PROGRESS])
    check_step(progress, manifest.step, path / PROGRESS)
    optimizer = _tensors(path / OPTIMIZER, files[OPTIMIZER], declared_optimizer(architecture), complete=False)
    check_state(optimizer, architecture, path / OPTIMIZER)
    return Contents(config, model, tokens, optimizer, progress, path, manifest.step)


def _manifest(path: Path) -> Manifest:
    if not path.is_dir():
        raise refusal(path, "a directory", "nothing there")
    with opened(path / MANIFEST, limit=DOCUMENT_BYTES[MANIFEST]) as source:
        manifest = Manifest.from_bytes(source.take(source.size), path / MANIFEST)
    found, wanted = set(os.listdir(path)), {*manifest.files, MANIFEST}
    if found != wanted:
        odd = sorted(found - wanted)
        got = f"{quoted(odd[0])} beside them" if odd else f"no {min(wanted - found)}"
        raise refusal(path, "the files of its manifest", got)
    named = step_of(path.name)
    if named is not None and (manifest.kind, manifest.step) != ("step", named):
        raise refusal(path / MANIFEST, f"step {named}, as the directory says", manifest.step)
    return manifest


def _document(path: Path, entry: Entry) -> dict[str, Any]:
    with opened(path, size=entry.size) as source:
        raw = source.take(source.size)
        source.finish(entry.sha256)
    return parse(raw, path)


def _check_size(path: Path, entry: Entry, declared: Declared) -> None:
    """Hold a file's size against what the config implies, before anything is read of it."""
    least = 8 + sum(nbytes(form.dtypes[0], [size or 0 for size in form.shape]) for form in declared.values())
    if not least <= entry.size <= least + header_limit(len(declared)):
        raise refusal(path, f"at least {least} bytes and little more, as config.json implies", entry.size)


def _tensors(path: Path, entry: Entry, declared: Declared, *, complete: bool) -> dict[str, Tensor]:
    with opened(path, size=entry.size) as source:
        found = read_tensors(source, declared, complete=complete)
        source.finish(entry.sha256)
    return found
