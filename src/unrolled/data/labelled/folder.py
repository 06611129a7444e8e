"""A folder of classes: a file for each, a sample a line, or a folder for each, a sample a file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.labelled.frames import csv_table
from unrolled.data.labelled.npz import npy_file
from unrolled.data.labelled.source import Asked, Found, bytes_of, gathered, most_bytes, named, text_of
from unrolled.data.samples import Numbers, infinite_at
from unrolled.errors import DataError, MissingExtraError, counted, expected
from unrolled.files import printable, quoted, refusal

__all__ = ["samples_of_folder", "samples_of_lines"]

TEXTS = (".txt", "")
KINDS = (*TEXTS, ".npy", ".csv", ".tsv", ".wav", ".flac")
MOST_FILES = 1_000_000


def samples_of_folder(root: Path, asked: Asked) -> tuple[Found, str]:
    """Return the samples of a folder, labelled by the names of its files or folders, and the sha256 of all.

    Raises DataError: neither of the two, files of several kinds, no samples. MissingExtraError: a kind that
    needs another package.
    """
    for role in ("target", "group", "id", "time"):
        if getattr(asked, role) is not None:
            raise refusal(DataError, role, "none for a folder", repr(getattr(asked, role)))
    if asked.label not in (None, "folder"):
        raise refusal(
            DataError, "label", "'folder', as the names in a folder are the labels", repr(asked.label)
        )
    files, folders, left_out = _entries(root)
    if len(files) >= 2 and not folders:
        found, sha256 = _files_of_lines(files)
    elif len(folders) >= 2 and not files:
        found, sha256 = _folders_of_files(root, folders, asked)
    else:
        want = "a file for each class with a line per sample, or a folder for each with a file per sample"
        got = f"{counted(len(files), 'file')} and {counted(len(folders), 'folder')} in {root}"
        raise refusal(DataError, "source", want, got)
    if left_out:
        found.notes.append(
            printable(f"{counted(len(left_out), 'entry', 'entries')} left out: {named(left_out)}")
        )
    found.read_as = asked.read_as(label="folder")
    return found, sha256


def _entries(root: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Return the files and folders in a folder, and the names of what is hidden, linked or about the data."""
    try:
        every = sorted(root.iterdir())
    except OSError as error:
        raise refusal(DataError, "source", "a folder that can be read", error.strerror or error) from None
    files, folders, left_out = [], [], []
    for path in every:
        about = path.name.upper().startswith(("README", "LICENSE", "SHA256SUMS"))
        if path.name.startswith(".") or path.is_symlink() or (about and not path.is_dir()):
            left_out.append(path.name)
        elif path.is_dir():
            folders.append(path)
        elif path.is_file():
            files.append(path)
        else:
            left_out.append(path.name)
    if len(files) > MOST_FILES:
        raise refusal(DataError, "source", f"at most {MOST_FILES} files", len(files))
    return files, folders, left_out


def _files_of_lines(files: Sequence[Path]) -> tuple[Found, str]:
    """Each line of a file is a sample, and the file's name without its end the label."""
    texts: list[str] = []
    ids: list[str] = []
    labels: list[str] = []
    total = hashlib.sha256()
    for path, data in _all_bytes(files):
        if path.suffix.lower() not in TEXTS:
            want = "files .txt with a line per sample, or a folder for each class"
            raise refusal(DataError, "source", want, str(path))
        total.update(hashlib.sha256(data).digest())
        lines = text_of(data, path).removesuffix("\n").split("\n")
        texts += [line.strip() for line in lines]
        ids += [f"{path.name}:{number}" for number in range(1, len(lines) + 1)]
        labels += [path.stem] * len(lines)
    _check_classes([path.stem for path in files])
    found = Found(texts, (), ids, np.array(labels))
    return gathered(found, [bool(text) for text in texts], "a blank line"), total.hexdigest()


def samples_of_lines(path: Path) -> tuple[Found, str]:
    """Return the lines of a file as texts without labels, and its sha256. Raises DataError: it has none."""
    data = bytes_of(path)
    found, _ = _files_of_lines([path])
    found.labels = None
    return found, hashlib.sha256(data).hexdigest()


def _all_bytes(files: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    """Yield each file and its bytes. Raises DataError: together they are too many."""
    total, most = 0, most_bytes()
    for path in files:
        data = bytes_of(path, empty=True)
        total += len(data)
        if total > most:
            raise refusal(DataError, "source", f"at most {most} bytes for this memory", f"more up to {path}")
        yield path, data


def _check_classes(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise refusal(DataError, "source", "files of different names", f"several called {named(twice)}")


def _folders_of_files(root: Path, folders: Sequence[Path], asked: Asked) -> tuple[Found, str]:
    """Each file is a sample, and its folder's name the label."""
    paths, labels, left_out = [], [], []
    for folder in folders:
        files, inner, others = _entries(folder)
        left_out += [f"{folder.name}/{path.name}" for path in inner] + others
        if not files:
            raise refusal(DataError, "source", "a file in each folder", f"none in {folder}")
        paths += files
        labels += [folder.name] * len(files)
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) > 1 or not set(kinds) <= set(KINDS):
        want = f"files of one kind: {', '.join(kind for kind in KINDS if kind)}"
        raise refusal(DataError, "source", want, ", ".join(kinds) or "none")
    if len(paths) > MOST_FILES:
        raise refusal(DataError, "source", f"at most {MOST_FILES} files", len(paths))
    ids = [path.relative_to(root).as_posix() for path in paths]
    if kinds[0] in TEXTS:
        found, sha256 = _text_files(paths, ids)
    else:
        found, sha256 = _number_files(paths, ids, kinds[0], asked)
    found.labels = np.array(labels)
    if left_out:
        found.notes.append(
            printable(f"{counted(len(left_out), 'entry', 'entries')} left out: {named(left_out)}")
        )
    return gathered(found, [len(each) > 0 for each in found.inputs], "nothing in it"), sha256


def _text_files(paths: Sequence[Path], ids: list[str]) -> tuple[Found, str]:
    texts: list[str] = []
    total = hashlib.sha256()
    for path, data in _all_bytes(paths):
        total.update(hashlib.sha256(data).digest())
        texts.append(text_of(data, path).strip())
    return Found(texts, (), ids), total.hexdigest()


def _number_files(paths: Sequence[Path], ids: list[str], kind: str, asked: Asked) -> tuple[Found, str]:
    """Read a file [T, C] or [T] for each sample, all of the same channels."""
    inputs: list[Numbers] = []
    channels: tuple[str, ...] = ()
    total = hashlib.sha256()
    bytes_left, rate = most_bytes(), 0
    for path in paths:
        names, array, found_rate = _read_numbers(path, kind, asked)
        where = str(path)
        bytes_left -= array.nbytes
        if bytes_left < 0:
            raise refusal(DataError, "source", "samples that fit into memory", f"more up to {path}")
        if inputs and names != channels:
            raise refusal(DataError, where, f"the columns {named(channels)} of {paths[0].name}", named(names))
        if inputs and found_rate != rate:
            raise refusal(DataError, where, f"{rate} samples per second as in {paths[0].name}", found_rate)
        bad = infinite_at(array)
        if bad is not None:
            raise refusal(DataError, where, "finite float32 numbers", f"infinity at step {bad[0]}")
        channels, rate = names, found_rate
        inputs.append(array)
        total.update(hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest())
    found = Found(inputs, channels, ids)
    if rate:
        found.notes.append(f"{rate} samples per second")
    return found, total.hexdigest()


def _read_numbers(path: Path, kind: str, asked: Asked) -> tuple[tuple[str, ...], Numbers, int]:
    """Return the channels of a file, its numbers [T, C], and its sampling rate, 0 where it has none."""
    rate = 0
    if kind in (".csv", ".tsv"):
        table = csv_table(path, bytes_of(path), asked)
        names = tuple(asked.columns or table.names)
        unknown = sorted(set(names) - set(table.names))
        if unknown:
            raise refusal(DataError, "columns", f"columns of {path}: {named(table.names)}", named(unknown))
        return names, table.matrix(names), 0
    if kind == ".npy":
        given = npy_file(path)
    else:
        given, rate = _audio(path)
    if given.ndim not in (1, 2) or given.dtype.kind not in "biuf" or given.size == 0:
        raise refusal(DataError, str(path), "numbers [T, C] or [T]", f"{given.dtype} {list(given.shape)}")
    with np.errstate(over="ignore"):
        array: Numbers = np.ascontiguousarray(given.reshape(len(given), -1), np.float32)
    return tuple(map(str, range(array.shape[1]))), array, rate


def _audio(path: Path) -> tuple[Any, int]:
    """Return the frames [T, C] of a sound, and how many there are per second."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library is missing
        want = "the package soundfile, pip install 'unrolled[audio]'"
        raise MissingExtraError(expected("source", f"{want}, for {path.suffix} files", "none")) from error
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames * file.channels * 4 > most_bytes():
                raise refusal(DataError, str(path), "a sound that fits into memory", f"{file.frames} frames")
            return file.read(dtype="float32", always_2d=True), int(file.samplerate)
    except (soundfile.SoundFileError, TypeError) as error:
        raise refusal(DataError, str(path), "a sound", quoted(str(error))) from None
