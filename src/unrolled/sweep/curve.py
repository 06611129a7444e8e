"""The validations that a run has written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from unrolled import files
from unrolled.errors import RunError
from unrolled.spec import RunDirectory

__all__ = ["curve"]

LINE = 2**16  # bytes of a line of metrics.jsonl; a longer one is passed over
STEPS = 2**53  # no run takes more


def curve(run: Path, unit: str) -> Iterator[tuple[int, float]]:
    """Yield (step, validation loss) of each row of a run's metrics.jsonl that has one.

    Args:
        unit: of the loss, as `TaskKind.loss`.
    """
    path = RunDirectory(run).metrics
    if not path.is_file():
        return
    with files.open_regular(path, RunError) as file:
        while line := file.readline(LINE):
            try:
                row = json.loads(line)
                step, loss = row["step"], row[f"val_{unit}"]
            except (ValueError, KeyError, TypeError, RecursionError):  # telemetry, or a torn line
                continue
            if type(step) is int and 0 <= step <= STEPS and type(loss) is float:
                yield step, loss
