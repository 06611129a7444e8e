"""`metrics.jsonl`: one line a row, or a telemetry, on the disk before the checkpoint of its step is."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from unrolled import files
from unrolled.errors import RunError, expected
from unrolled.tasks import Telemetry
from unrolled.train.observer import Observer, Row

__all__ = ["MetricsFile"]

Line = Row | tuple[int, Telemetry]


@dataclass(frozen=True)
class Foreign:
    """A line of another version, kept as it is."""

    step: int


class MetricsFile(Observer):
    """Appends every row and telemetry to a file, and keeps them for the pictures at the end."""

    def __init__(self, path: Path, *, until: int = -1, unit: str = "nats_per_token") -> None:
        """Start a file, or cut one back to the lines of steps 0 … `until`; what follows a torn line goes too.

        Keys that this version does not know are kept. `unit`: of the loss, which names its figures.

        Raises:
            RunError: the place cannot be read or written.
        """
        self._path, self._unit = path, unit
        kept = list(self._kept(until)) if until >= 0 else []
        lines = [line for _, line in kept]
        self.rows = [line for line in lines if isinstance(line, Row)]
        self.telemetries = [line for line in lines if isinstance(line, tuple)]
        files.replace(path, "".join(f"{text}\n" for text, _ in kept))

    def row(self, row: Row) -> None:
        self.rows.append(row)
        self._append(row)

    def telemetry(self, step: int, found: Telemetry) -> None:
        self.telemetries.append((step, found))
        self._append((step, found))

    def _append(self, line: Line) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_text(line))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(expected(str(self._path), "a file that can be written", error.strerror)) from error

    def _kept(self, until: int) -> Iterator[tuple[str, Line | Foreign]]:
        """Yield the lines of a file up to a step, or to the first one that is torn or steps back."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        except OSError as error:
            raise RunError(expected(str(self._path), "a file that can be read", error.strerror)) from error
        last = {Row: -1, tuple: -1, Foreign: -1}  # steps rise among rows, and among telemetries
        for each in text.splitlines():
            line = _line(each, self._unit)
            if line is None:
                return
            step = line[0] if isinstance(line, tuple) else line.step
            if step > until or step <= last[type(line)]:
                return
            last[type(line)] = step
            yield each, line


def _text(line: Line) -> str:
    stored = line.to_dict() if isinstance(line, Row) else {"step": line[0], "telemetry": asdict(line[1])}
    return json.dumps(_finite(stored)) + "\n"


def _finite(value: Any) -> Any:
    """Return None for numbers that JSON cannot hold; tuples become lists."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(text: str, unit: str) -> Line | Foreign | None:
    """Return what a line says, None where it is torn."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(stored, dict) or type(stored.get("step")) is not int:
        return None
    if "telemetry" in stored:
        found = _telemetry(stored["telemetry"])
        return None if found is None else (stored["step"], found)
    losses = {f"{part}_{unit}": f"{part}_loss" for part in ("train", "val")}
    names = list(Row(0, 0, None, None, None, None, 0, unit).to_dict())
    values = {losses.get(name, name): stored[name] for name in names if name in stored}
    if set(values) == {"step"}:
        return Foreign(stored["step"])
    whole = len(values) == len(names) and all(map(_is_number, values.values()))
    return Row(**values, unit=unit) if whole else None


def _telemetry(stored: Any) -> Telemetry | None:
    if not isinstance(stored, dict) or not {field.name for field in fields(Telemetry)} <= set(stored):
        return None
    lags, norms, *shares = (stored[field.name] for field in fields(Telemetry))
    whole = isinstance(lags, list) and all(type(lag) is int for lag in lags)
    if not whole or not all(isinstance(each, dict) for each in (norms, *shares)):
        return None
    fit = all(isinstance(n, list) and len(n) == len(lags) and all(map(_is_number, n)) for n in norms.values())
    if not fit or not all(_is_number(value) for share in shares for value in share.values()):
        return None
    return Telemetry(tuple(lags), {name: tuple(map(_number, n)) for name, n in norms.items()}, *shares)


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
