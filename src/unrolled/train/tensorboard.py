"""A run's figures in TensorBoard."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from unrolled.errors import MissingExtraError, expected
from unrolled.models import SequenceModel
from unrolled.spec import TrainConfig
from unrolled.train.observer import Observer, Row
from unrolled.train.schedule import Schedule

__all__ = ["DIRECTORY", "TensorBoardLog", "require"]

DIRECTORY = "tensorboard"  # the directory inside a run


def require() -> None:
    """Raise MissingExtraError where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            expected("tensorboard", "the extra: pip install 'unrolled[tensorboard]'", "none")
        ) from error


class TensorBoardLog(Observer):
    """Writes every row as scalars; a resumed run takes over the steps that it takes again."""

    def __init__(self, directory: Path) -> None:
        require()
        self._directory = directory
        self._writer: Any = None

    def begin(self, config: TrainConfig, schedule: Schedule, model: SequenceModel) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(
            str(self._directory), purge_step=schedule.start + 1 if schedule.start else None
        )

    def row(self, row: Row) -> None:
        for name, value in asdict(row).items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def end(self) -> None:
        if self._writer is not None:
            self._writer.close()
