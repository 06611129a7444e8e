"""`metrics.jsonl`: one line a row, written and flushed as it comes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from unrolled.errors import RunError, expected
from unrolled.train.observer import Observer, Row
from unrolled.train.rundir import write_text

__all__ = ["MetricsFile"]


class MetricsFile(Observer):
    """Appends every row to a file and keeps them for the picture at the end."""

    def __init__(self, path: Path) -> None:
        self.rows: list[Row] = []
        self._path = path
        write_text(path, "")

    def row(self, row: Row) -> None:
        self.rows.append(row)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        except OSError as error:
            raise RunError(expected(str(self._path), "a file that can be written", error.strerror)) from error
