"""A run's figures in TensorBoard's files, written by its own record writer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled.errors import MissingExtraError, RunError, expected
from unrolled.spec import RunDirectory, TrainConfig
from unrolled.tasks import SequenceModel, Telemetry
from unrolled.train.fit import Schedule
from unrolled.train.observer import Observer, Row

__all__ = ["TensorBoardLog", "require"]


def require() -> None:
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
