"""`metrics.jsonl`: one line a row, on the disk before the checkpoint of its step is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

from unrolled import checkpoint
from unrolled.errors import RunError, expected
from unrolled.train.observer import Observer, Row

__all__ = ["MetricsFile"]


class MetricsFile(Observer):
    """Appends every row to a file and keeps them for the picture at the end."""

    def __init__(self, path: Path, *, until: int = -1) -> None:
        """Start a file, or cut one back to the rows of steps 0 … `until`; what follows a torn line goes too.

        Raises:
            RunError: the place cannot be read or written.
        """
        self._path = path
        self.rows = _rows(path, until) if until >= 0 else []
        checkpoint.replace_text(path, "".join(_line(row) for row in self.rows))

    def row(self, row: Row) -> None:
        self.rows.append(row)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(expected(str(self._path), "a file that can be written", error.strerror)) from error


def _line(row: Row) -> str:
    return json.dumps(asdict(row)) + "\n"


def _rows(path: Path, until: int) -> list[Row]:
    """Return the rows of a file up to a step, or to the first line that is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise RunError(expected(str(path), "a file that can be read", error.strerror)) from error
    found: list[Row] = []
    for line in text.splitlines():
        row = _row(line)
        if row is None or row.step > until or (found and row.step <= found[-1].step):
            break
        found.append(row)
    return found


def _row(line: str) -> Row | None:
    try:
        stored = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(stored, dict) or set(stored) != {field.name for field in fields(Row)}:
        return None
    numbers = all(value is None or type(value) in (int, float) for value in stored.values())
    return Row(**stored) if numbers and type(stored["step"]) is int else None
