"""Who watches a run, and its figures: the metrics file, TensorBoard's files, a notebook.

The progress bar is an observer too, in `progress.py`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from unrolled import files
from unrolled.errors import MissingExtraError, RunError, expected, older_arguments
from unrolled.spec import RunDirectory, TrainConfig
from unrolled.tasks import SequenceModel, Telemetry
from unrolled.train.fit import Schedule, StepRecord

__all__ = ["MetricsFile", "Observer", "Row", "TensorBoardLog", "require_tensorboard"]


@dataclass(frozen=True)
class Row:
    """One line of `metrics.jsonl`; the training figures are means since the row before.

    In the file the losses are `train_<unit>` and `val_<unit>`, and these are attributes too:
    `row.val_nats_per_token` is `row.val_loss` where the unit is "nats_per_token".
    """

    step: int
    epoch: float
    train_loss: float | None  # None in the row of step 0
    val_loss: float | None  # None where no validation was due
    tokens_per_s: float | None  # targets a second of forward, backward and update
    grad_norm: float | None
    lr: float
    unit: str = "nats_per_token"  # `spec.TaskKind.loss` of the task

    def __getattr__(self, name: str) -> float | None:
        part, _, unit = name.partition("_")
        if part not in ("train", "val") or unit != self.__dict__.get("unit"):
            raise AttributeError(f"a row of {self.__dict__.get('unit')} has no attribute {name!r}")
        return self.train_loss if part == "train" else self.val_loss

    def to_dict(self) -> dict[str, Any]:
        """Return the line."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            f"train_{self.unit}": self.train_loss,
            f"val_{self.unit}": self.val_loss,
            "tokens_per_s": self.tokens_per_s,
            "grad_norm": self.grad_norm,
            "lr": self.lr,
        }


Row.__init__ = older_arguments(  # type: ignore[method-assign]
    "train.Row", train_nats_per_token="train_loss", val_nats_per_token="val_loss"
)(Row.__init__)


class Observer:
    """Derive from it and override what you need; every method does nothing here."""

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        """Sizes and schedule are fixed; the first step is next, or the one after `schedule.start`."""

    def step(self, record: StepRecord) -> None:
        """An optimizer step was taken."""

    def row(self, row: Row) -> None:
        """Figures were collected, with a validation or without."""

    def telemetry(self, step: int, found: Telemetry) -> None:
        """Every `telemetry_every` steps: the gradient by lag and the gates, before the step is taken."""

    def reschedule(self, schedule: Schedule) -> None:
        """A run by minutes takes another number of steps than was said: the machine's speed changed."""

    def note(self, text: str) -> None:
        """Something that the user should read, in one line."""

    def end(self) -> None:
        """The loop has ended, by its last step or by an error."""


Line = Row | tuple[int, Telemetry]


LARGEST = 2**30  # bytes of metrics.jsonl: some million rows


@dataclass(frozen=True)
class Foreign:
    """A line of another version, kept as it is."""

    step: int


class MetricsFile(Observer):
    """Appends every row and telemetry to a file, and keeps them for the pictures at the end."""

    def __init__(self, path: Path, *, until: int = -1, unit: str = "nats_per_token") -> None:
        """Read a file as far as the lines of steps 0 … `until`; `begin` cuts it back to them, or starts one.

        Keys that this version does not know are kept, and so are damaged lines before the last whole one.
        `unit`: of the loss, which names its figures. Raises RunError: the place cannot be read.
        """
        self._path, self._unit = path, unit
        self._lines = list(self._kept(until)) if until >= 0 else []
        lines = [line for _, line in self._lines]
        self.rows = [line for line in lines if isinstance(line, Row)]
        self.telemetries = [line for line in lines if isinstance(line, tuple)]

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        files.replace(self._path, b"".join(text + b"\n" for text, _ in self._lines))

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

    def _kept(self, until: int) -> Iterator[tuple[bytes, Line | Foreign | None]]:
        """Yield the lines of steps up to one, and with None what between them is damaged or steps back."""
        there = os.path.lexists(self._path)
        raw = files.read_regular(self._path, LARGEST, RunError) if there else b""
        last = {Row: -1, tuple: -1, Foreign: -1}  # steps rise among rows, and among telemetries
        damaged: list[bytes] = []
        for each in raw.split(b"\n"):
            line = _line(each, self._unit)
            if line is None:
                damaged.append(each)
                continue
            step = line[0] if isinstance(line, tuple) else line.step
            if step <= until:
                rises, last[type(line)] = step > last[type(line)], max(step, last[type(line)])
                yield from ((text, None) for text in damaged)
                yield each, line if rises else None
                damaged = []


def _text(line: Line) -> str:
    stored = line.to_dict() if isinstance(line, Row) else {"step": line[0], "telemetry": asdict(line[1])}
    return json.dumps(files.for_json(stored)) + "\n"


def _line(text: bytes, unit: str) -> Line | Foreign | None:
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


def require_tensorboard() -> None:
    """Raise MissingExtraError where TensorBoard is not installed."""
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            expected("tensorboard", "the extra: pip install 'unrolled[tensorboard]'", "none")
        ) from error


class TensorBoardLog(Observer):
    """Writes every row as scalars; a resumed run takes over the steps that it takes again.

    Not by torch's SummaryWriter: that writes in a thread, whose traceback is all one sees of a full disk.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / f"{RunDirectory.EVENTS}{time.time_ns()}.{os.getpid()}"
        self._file: Any = None

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        try:
            self._path.parent.mkdir(exist_ok=True)
            self._file = open(self._path, "xb")  # noqa: SIM115 (closed by `end`)
        except OSError as error:
            raise self._refused(error) from error
        self._write(file_version="brain.Event:2")
        if schedule.start is not None:  # what was logged of later steps is taken again
            self._write(step=schedule.start + 1, session_log=SessionLog(status=SessionLog.START))

    def row(self, row: Row) -> None:
        values = row.to_dict()
        self._scalars(values.pop("step"), values)

    def telemetry(self, step: int, found: Telemetry) -> None:
        values = {
            f"grad_norm_by_lag/{name}/{lag}": norm
            for name, norms in found.grad_norm.items()
            for lag, norm in zip(found.lags, norms, strict=True)
        }
        values |= {f"closed/{name}": share for name, share in found.closed.items()}
        values |= {f"open/{name}": share for name, share in found.open.items()}
        self._scalars(step, values)

    def _scalars(self, step: int, values: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        known = {
            name.replace(" ", "."): value for name, value in values.items() if isinstance(value, int | float)
        }
        summary = Summary(value=[Summary.Value(tag=n, simple_value=v) for n, v in known.items()])
        self._write(step=step, summary=summary)

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        try:
            RecordWriter(self._file).write(Event(wall_time=time.time(), **fields).SerializeToString())
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> RunError:
        return RunError(expected(str(self._path), "a file that can be written", error.strerror or error))
