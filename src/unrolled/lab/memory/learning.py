"""One run: a network of a kind, trained on a task until it is solved or the cap is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.lab.memory import curvefile
from unrolled.lab.network import Network, NetworkSettings
from unrolled.lab.solving import FitSettings, Solved, solve_and_keep
from unrolled.lab.tasks import Adding, Copying, Recall, Task

__all__ = ["TASKS", "fitted", "learn", "task_of"]

TASKS = {"adding": Adding, "copying": Copying, "recall": Recall}


def learn(settings: Mapping[str, Any], *, mnist1d: str | None = None) -> dict[str, Any]:
    """Train as `settings` say; `mnist1d` is where the curves lie that they name by their sha256."""
    task = task_of(settings, mnist1d)
    solved, _ = fitted(task, settings)
    return {
        "solved_at": solved.steps if solved.solved else None,
        "trained_steps": solved.steps,
        "curve": {"step": [s for s, _ in solved.curve], "score": [score for _, score in solved.curve]},
        "final": solved.final,
        "diverged": solved.diverged,
        "parameters": solved.parameters,
        "score_name": task.score_name,
        "threshold": task.solved_at,
        "control": task.control,
        "timing": {"seconds": solved.seconds},
    }


def task_of(settings: Mapping[str, Any], mnist1d: str | None = None) -> Task:
    """Return the task that settings name."""
    name, length = settings["task"], settings["length"]
    if mnist1d is not None:
        return curvefile.read(mnist1d, settings["sha256"])
    if name == "copying":
        return Copying(length, settings["word"])
    return Recall(length) if name == "recall" else Adding(length)


def fitted(task: Task, settings: Mapping[str, Any]) -> tuple[Solved, Network]:
    """Train up to the first held-out score that solves the task, or to the cap."""
    return solve_and_keep(
        task,
        NetworkSettings(settings["cell"], settings["hidden_size"], chrono_steps=settings["chrono_steps"]),
        FitSettings(
            batch_size=settings["batch_size"],
            learning_rate=settings["learning_rate"],
            evaluate_every=settings["evaluate_every"],
        ),
        seed=settings["seed"],
        steps=settings["cap"],
    )
