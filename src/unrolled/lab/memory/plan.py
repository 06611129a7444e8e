"""What is trained: each kind of cell, equally large, on each task at several lengths."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unrolled.lab.cells import Cell
from unrolled.lab.memory import curvefile
from unrolled.lab.memory.inside import inside
from unrolled.lab.memory.kinds import KINDS
from unrolled.lab.memory.learning import TASKS, learn
from unrolled.lab.tasks import Mnist1d
from unrolled.spec import LabConfig
from unrolled.spec.cells import CELLS

__all__ = ["NAME", "Plan", "cells", "equal_size"]

NAME = "memory"


@dataclass(frozen=True)
class Plan:
    """One task's recipe, the same for every length, and but for a factor on the rate for every kind."""

    lengths: tuple[int, ...]  # T, or the lag of copying
    hidden_size: int  # of the LSTM; the others get about as many parameters
    batch_size: int
    cap: int  # steps of the optimiser
    longest: tuple[int, ...] = ()  # with --long
    learning_rate: float = 1e-2  # constant, so that the step of a solution does not depend on the cap
    evaluate_every: int = 25
    word: int | None = None  # symbols of copying; ten need thousands of steps


FULL = {
    "adding": Plan((50, 100, 200), hidden_size=32, batch_size=64, cap=2000, longest=(400, 750)),
    "copying": Plan((50, 100, 200), hidden_size=48, batch_size=64, cap=2500, longest=(400, 750), word=2),
    "recall": Plan((50, 100, 200), hidden_size=32, batch_size=64, cap=1200, longest=(400, 750)),
    "mnist1d": Plan((40,), hidden_size=64, batch_size=64, cap=2500, learning_rate=5e-3, evaluate_every=50),
}
QUICK = {
    "adding": Plan((20, 50), hidden_size=32, batch_size=32, cap=900),
    "copying": Plan((10, 20), hidden_size=32, batch_size=32, cap=900, word=1),
    "recall": Plan((20, 50), hidden_size=32, batch_size=32, cap=500),
    "mnist1d": Plan((40,), hidden_size=32, batch_size=32, cap=400, learning_rate=5e-3),
}
INSIDE_ROWS = 1024


def cells(config: LabConfig) -> list[Cell]:
    """Return a cell a task, length, kind and seed, and one that looks into the LSTM that learnt adding.

    Raises:
        DataError: config.mnist1d is no such file.
    """
    plans = QUICK if config.quick else FULL
    found = []
    for name in TASKS:
        plan = plans[name]
        for length in plan.lengths + (plan.longest if config.long else ()):
            for kind in KINDS:
                found += [_race(name, plan, length, kind, seed) for seed in range(config.seeds)]
    if config.mnist1d is not None:
        found += _curves(plans["mnist1d"], config.mnist1d, config.seeds)
    adding = plans["adding"]
    settings = {
        **_settings("adding", adding, adding.lengths[-1], "lstm-chrono", 0),
        "part": "inside",
        "rows": INSIDE_ROWS,
    }
    return [*found, Cell(f"{NAME}/inside/seed=0", settings, inside)]


def equal_size(cell: str, inputs: int, outputs: int, lstm_size: int) -> int:
    """Return the hidden size that gives about as many parameters as an LSTM of `lstm_size` has."""
    want = _parameters("lstm", inputs, outputs, lstm_size)
    sizes = range(1, 4 * lstm_size + 1)
    return min(sizes, key=lambda size: abs(_parameters(cell, inputs, outputs, size) - want))


def _parameters(cell: str, inputs: int, outputs: int, size: int) -> int:
    """Return how many numbers one layer and its read-out have; two biases a gate, as torch."""
    return len(CELLS[cell].gates) * size * (inputs + size + 2) + outputs * (size + 1)


def _race(name: str, plan: Plan, length: int, kind: str, seed: int) -> Cell:
    settings = _settings(name, plan, length, kind, seed)
    return Cell(f"{NAME}/{name}/T={length}/{kind}/seed={seed}", settings, learn)


def _curves(plan: Plan, path: str, seeds: int) -> list[Cell]:
    """Return the cells of MNIST-1D: the file's bytes decide, not where it lies."""
    sha256 = curvefile.admit(path)
    work = functools.partial(learn, mnist1d=path)
    found = []
    for kind in KINDS:
        for seed in range(seeds):
            settings = {**_settings("mnist1d", plan, Mnist1d.steps, kind, seed), "sha256": sha256}
            found.append(Cell(f"{NAME}/mnist1d/{kind}/seed={seed}", settings, work))
    return found


def _settings(name: str, plan: Plan, length: int, kind: str, seed: int) -> dict[str, Any]:
    """Return all that a run depends on."""
    task: Any = TASKS.get(name, Mnist1d)
    chosen = KINDS[kind]
    settings: Mapping[str, Any] = {
        "part": "race",
        "task": name,
        "length": length,
        "kind": kind,
        "cell": chosen.cell,
        "hidden_size": equal_size(chosen.cell, task.input_size, task.output_size, plan.hidden_size),
        "chrono_steps": length if chosen.chrono else None,
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate * chosen.rate,
        "evaluate_every": plan.evaluate_every,
        "cap": plan.cap,
        "threads": 1,
        "seed": seed,
    }
    return {**settings, **({} if plan.word is None else {"word": plan.word})}
