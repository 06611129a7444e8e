"""The file of MNIST-1D: known by its bytes, wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from unrolled.errors import DataError, expected
from unrolled.lab.tasks import Mnist1d

__all__ = ["admit", "read"]


def admit(path: str) -> str:
    """Return the sha256 of a file of curves. Raises DataError: it is none."""
    Mnist1d.read(path)
    return _digest(path)


def read(path: str, sha256: str) -> Mnist1d:
    """Return the task of a file. Raises DataError: it is no longer the one with this sha256."""
    task, got = Mnist1d.read(path), _digest(path)
    if got != sha256:
        raise DataError(expected(path, f"sha256 {sha256}", got))
    return task


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
