"""What a run came to: returned by `run`, and read from a finished run's files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import tasks
from unrolled.errors import counted
from unrolled.spec import RunDirectory, TrainConfig
from unrolled.tasks import load
from unrolled.train import report
from unrolled.train.fit import Schedule
from unrolled.train.observers import Observer
from unrolled.train.plan import Finished, resumed_schedule

__all__ = ["Result", "finished_result"]


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    run: Path
    config: TrainConfig  # every size resolved
    model: Any  # the best network, in evaluation mode: a LanguageModel, or another task's
    evaluation: Any  # of the held-out part: `unrolled.tasks.Evaluation`, or another task's
    validation_is_train: bool  # nothing was held out
    best_step: int
    schedule: Schedule
    seconds: float  # of everything: reading, calibration, training, report
    sample: str  # of what the network writes; empty where its task writes nothing

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: where the run is, and how well the network does."""
        return {
            "run": str(self.run),
            "best_step": self.best_step,
            "steps": self.schedule.steps,
            "seconds": self.seconds,
            "evaluation": self.evaluation.to_dict(),
        }


def finished_result(found: Finished, watchers: Sequence[Observer], begin: float) -> Result:
    """Return what a finished run came to, from its files."""
    progress, task = found.point.progress, tasks.of(found.config.data)
    for watcher in watchers:
        steps = counted(progress.steps, "step")
        watcher.note(f"finished  {found.path}: {steps} taken, nothing is left to do")
    stored = report.read_evaluation(RunDirectory(found.path).evaluation)
    return Result(
        run=found.path,
        config=found.config,
        model=load(found.path, backend=found.config.backend).model,
        evaluation=task.evaluation_of(stored),
        validation_is_train=stored.get("validation_is_train") is True,
        best_step=progress.best_step,
        schedule=resumed_schedule(found.point, found.config),
        seconds=time.perf_counter() - begin,
        sample=task.sample(found.path),
    )
