"""Find a checkpoint and read it, trusting nothing that its files say about themselves."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.checkpoint.contents import (
    Contents,
    check_state,
    check_step,
    check_vocabulary,
    declared_model,
    declared_optimizer,
    model_config,
    weights_dtype,
)
from unrolled.checkpoint.disk import is_directory, listed, opened
from unrolled.checkpoint.format import (
    CONFIG,
    DOCUMENT_BYTES,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    PARSED_BYTES,
    PROGRESS,
    TOKENS,
    Entry,
    Manifest,
    parse,
    refusal,
)
from unrolled.checkpoint.tensors import Declared, Tensor, header_limit, nbytes, read_tensors
from unrolled.errors import CheckpointError, RunError, UnrolledError, expected
from unrolled.files import memory_limit, printable, quoted
from unrolled.spec import RunDirectory

__all__ = ["PREFERRED", "locate", "pointed", "read", "read_run", "steps_of", "way_on"]

PREFERRED = ("model", "BEST", "LATEST")
NEWEST = 5  # checkpoints that are looked at for a whole one


def locate(path: str | Path, *, prefer: Sequence[str] = PREFERRED) -> Path:
    """Return the directory to read for a run, or for a step or model directory itself.

    Args:
        path: a run, or a directory with a manifest.
        prefer: what to take from a run, first to last; a resume asks for ("LATEST",).
    Raises:
        RunError: nothing is there, or nothing that may be read. CheckpointError: BEST or LATEST is damaged
            or names nothing, or what it names is a link.
    """
    path = Path(path)
    try:
        found = _locate(path, prefer)
    except (OSError, ValueError) as error:  # no permission, a loop of links, a name with a NUL, …
        if isinstance(error, UnrolledError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise _nothing(path, f", which cannot be read: {reason}") from error
    if found is None:
        raise _nothing(path, f", a directory without {' or '.join(prefer)}")
    return found


def _locate(path: Path, prefer: Sequence[str]) -> Path | None:
    try:
        is_run = stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _nothing(path, ", which does not exist") from error
    if not is_run:
        raise _nothing(path, ", a file")
    if RunDirectory.step_of(path.name) is not None or any(_there(path / name) for name in (MANIFEST, MODEL)):
        return path
    for name in prefer:
        found = RunDirectory(path).model if name == "model" else pointed(path, name)
        if found is None or not _there(found):
            continue
        if not is_directory(found):
            raise refusal(found, "a directory", "a file or a link")
        return found
    return None


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
    if not line.endswith("\n") or RunDirectory.step_of(line[:-1]) is None:
        raise refusal(pointer, "the name of a checkpoint, such as step-00001200", quoted(line))
    directory = RunDirectory(run).checkpoints / line[:-1]
    if not (is_directory(directory.parent) and is_directory(directory)):
        raise refusal(pointer, f"{line[:-1]} in checkpoints", "nothing of that name, or a link")
    return directory


def steps_of(run: Path) -> list[tuple[int, Path]]:
    """Return the steps that a run's checkpoints have by their names, and their directories, oldest first."""
    named = ((RunDirectory.step_of(path.name), path) for path in listed(RunDirectory(run).checkpoints))
    return sorted((step, path) for step, path in named if step is not None)


def way_on(run: Path) -> str:
    """Return the end of a message on a damaged run: its newest whole checkpoint, and how to use it."""
    with contextlib.suppress(OSError):
        for _, path in reversed(steps_of(run)[-NEWEST:]):
            with contextlib.suppress(UnrolledError):
                read(path)
                command = f"echo {path.name} > {shlex.quote(str(run / 'LATEST'))}"
                return printable(
                    f"; {path} is whole: load it by that path, or resume from it after: {command}"
                )
    return ""


def read_run(path: str | Path, *, prefer: Sequence[str] = PREFERRED) -> Contents:
    """Read what `locate` finds; where that is damaged, the message names a checkpoint that is whole."""
    try:
        return read(locate(path, prefer=prefer))
    except CheckpointError as error:
        raise CheckpointError(f"{error}{way_on(Path(path))}") from error


def read(path: str | Path, *, links_within: str | Path | None = None) -> Contents:
    """Read one step or model directory (see `locate`), verifying every file of it.

    Sizes are compared with the manifest and with what the config implies before memory is taken for them:
    at most the size of the files and 64 MiB. A model directory may hold other names too, which are
    ignored; a step directory may not.

    Args:
        path: the directory.
        links_within: a directory into which the files may be links, as in the cache of a Hub; default: no
            file may be a link.
    Returns:
        Contents, with `path`, and `step` where known; optimizer and progress are None for a model.
        Tensor data are writable buffers of their own, which nothing else refers to.
    Raises:
        CheckpointError: a file is missing, foreign, torn, altered, a link, of a newer format, or unfit, or
            larger than this machine's memory.
    """
    path = Path(path)
    try:
        return _read(Place(path, None if links_within is None else Path(links_within).resolve()))
    except OSError as error:
        raise refusal(path, "readable files", error.strerror or error) from error
    except MemoryError as error:
        raise refusal(path, "files that fit into memory", "no more memory") from error


@dataclass(frozen=True)
class Place:
    """A directory, and where its files may really be."""

    path: Path
    links_within: Path | None

    def file(self, name: str) -> Path:
        """Return the path to open for a file: itself, or what its link leads to where links are allowed."""
        path = self.path / name
        if self.links_within is None or not path.is_symlink():
            return path
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.links_within):
            raise refusal(path, f"a link into {self.links_within}", real)
        return real


def _read(place: Place) -> Contents:
    path, manifest = place.path, _manifest(place)
    files = manifest.files
    config = _document(place, CONFIG, files[CONFIG])
    architecture = model_config(config, path / CONFIG)
    check_vocabulary(architecture, present=TOKENS in files, where=path / TOKENS)
    declared = declared_model(architecture, weights_dtype(config, path / CONFIG))
    _check_size(path / MODEL, files[MODEL], declared)
    _check_memory(path, manifest)
    model = _tensors(place, MODEL, files[MODEL], declared, complete=True)
    if manifest.kind == "model":
        tokens = _document(place, TOKENS, files[TOKENS]) if TOKENS in files else None
        return Contents(config, model, tokens, path=path, step=manifest.step)
    may_hold = declared_optimizer(architecture)
    optimizer = _tensors(place, OPTIMIZER, files[OPTIMIZER], may_hold, complete=False)
    check_state(optimizer, architecture, path / OPTIMIZER)
    progress = _document(place, PROGRESS, files[PROGRESS])
    check_step(progress, manifest.step, path / PROGRESS)
    tokens = (
        _document(place, TOKENS, files[TOKENS]) if TOKENS in files else None
    )  # last: the largest, when the headers are gone
    return Contents(config, model, tokens, optimizer, progress, path, manifest.step)


def _manifest(place: Place) -> Manifest:
    path = place.path
    if not path.is_dir():
        raise refusal(path, "a directory", "nothing there")
    with opened(place.file(MANIFEST), limit=DOCUMENT_BYTES[MANIFEST]) as source:
        manifest = Manifest.from_bytes(source.take(source.size), path / MANIFEST)
    if manifest.kind == "step":
        _check_names(path, {*manifest.files, MANIFEST})
    named = RunDirectory.step_of(path.name)
    if named is not None and (manifest.kind, manifest.step) != ("step", named):
        raise refusal(path / MANIFEST, f"step {named}, as the directory says", manifest.step)
    return manifest


def _check_names(path: Path, wanted: set[str]) -> None:
    """Refuse a name that does not belong, at the first one, and a name that is missing."""
    missing = set(wanted)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name not in wanted:
                raise refusal(path, "the files of its manifest", f"{quoted(entry.name)} beside them")
            missing.discard(entry.name)
    if missing:
        raise refusal(path, "the files of its manifest", f"no {min(missing)}")


def _document(place: Place, name: str, entry: Entry) -> dict[str, Any]:
    with opened(place.file(name), size=entry.size) as source:
        raw = source.take(source.size)
        source.finish(entry.sha256)
    return parse(raw, place.path / name, most=PARSED_BYTES[name])


def _check_size(path: Path, entry: Entry, declared: Declared) -> None:
    """Compare a file's size with what the config implies, before anything of it is read."""
    least = 8 + sum(nbytes(form.dtypes[0], [size or 0 for size in form.shape]) for form in declared.values())
    if not least <= entry.size <= least + header_limit(len(declared)):
        raise refusal(path, f"at least {least} bytes and little more, as config.json implies", entry.size)


def _check_memory(path: Path, manifest: Manifest) -> None:
    """Refuse what cannot be held: a file with holes may claim to be larger than any disk."""
    need = sum(entry.size for entry in manifest.files.values())
    have = memory_limit()
    if have is not None and need > have:
        raise refusal(path, f"files of at most {have} bytes together, the memory here", need)


def _tensors(
    place: Place, name: str, entry: Entry, declared: Declared, *, complete: bool
) -> dict[str, Tensor]:
    with opened(place.file(name), size=entry.size) as source:
        found = read_tensors(source, declared, complete=complete)
        source.finish(entry.sha256)
    return found


def _there(path: Path) -> bool:
    """Whether something has this name; unlike os.path.lexists, it raises where looking is not permitted."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _nothing(path: Path, what: str) -> RunError:
    return RunError(expected("run", "a run, checkpoint or model directory", f"{str(path)!r}{what}"))
