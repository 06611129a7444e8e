"""The text files of a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from unrolled.data.origins import FileOrigin, failed
from unrolled.spec import RunDirectory

__all__ = ["Folder", "python_files", "text_files"]

NOT_THE_LIBRARY = frozenset(
    ["site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"]
)


@dataclass(frozen=True)
class Folder:
    """Files that may be text, sorted by path, and how many entries were skipped."""

    root: Path
    files: tuple[str, ...]  # relative, with "/"
    left_out: int

    def origins(self) -> tuple[FileOrigin, ...]:
        """Return where the files' bytes come from."""
        return tuple(FileOrigin(name, str(self.root / name)) for name in self.files)


def text_files(root: Path) -> Folder:
    """Return the files under a directory. Hidden entries, links and runs are left out, and counted one each.

    A link that leaves the directory would read what was not named, one that stays would read a text twice.
    What a run writes into its directory changes with every step.
    """
    return _walk(root, lambda path: not _is_run(path), lambda _: True)


def python_files(root: Path) -> Folder:
    """Return the .py files of a standard library, without tests, idlelib, lib2to3 and installed packages.

    What is not such a file is not counted as left out.
    """
    found = _walk(root, lambda path: path.name not in NOT_THE_LIBRARY, lambda name: name.endswith(".py"))
    return Folder(root, found.files, 0)


def _walk(root: Path, enters: Callable[[Path], bool], takes: Callable[[str], bool]) -> Folder:
    files: list[str] = []
    left_out = 0
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        found = len(subfolders)
        subfolders[:] = [
            name for name in subfolders if _is_plain(Path(folder, name)) and enters(Path(folder, name))
        ]
        taken = [name for name in names if takes(name)]
        plain = [
            path for path in (Path(folder, name) for name in taken) if _is_plain(path) and path.is_file()
        ]
        files += [path.relative_to(root).as_posix() for path in plain]
        left_out += found - len(subfolders) + len(taken) - len(plain)
    return Folder(root, tuple(sorted(files)), left_out)


def _is_plain(path: Path) -> bool:
    return not path.name.startswith(".") and not path.is_symlink()


def _is_run(path: Path) -> bool:
    """Whether a directory is a run's: at work it holds a lock, later its corpus or its checkpoints."""
    run = RunDirectory(path)
    if run.lock.is_file() or run.corpus.is_file():
        return True
    return (run.latest.is_file() or run.checkpoints.is_dir()) and run.config.is_file()


def _raise(error: OSError) -> NoReturn:
    raise failed(str(error.filename), error)
