"""Runs that are stopped, for the tests of this room."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from unrolled.spec import TrainConfig
from unrolled.train import Observer, Stopped, run

__all__ = ["Signal", "on_disk", "stopped"]


def on_disk(run: str | Path | None) -> dict[Path, bytes]:
    """Return what every file of a directory holds."""
    return {path: path.read_bytes() for path in Path(run or "").rglob("*") if path.is_file()}


class Signal(Observer):
    """Sends a signal to this process after a step."""

    def __init__(self, at: int, *signals: int) -> None:
        self.at, self.signals = at, signals or (signal.SIGINT,)

    def step(self, record: Any) -> None:
        if record.step == self.at:
            for signum in self.signals:
                os.kill(os.getpid(), signum)


def stopped(config: TrainConfig, at: int, *observers: Observer) -> Stopped:
    """Run until step `at`."""
    with pytest.raises(Stopped) as caught:
        run(config, observers=[*observers, Signal(at)])
    return caught.value
