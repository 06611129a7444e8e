"""Measure how far the lab's recipes reach: long memory and MNIST-1D, against what was asked for.

    python bench/lab_reach.py DATA.npz           # three seeds of each
    python bench/lab_reach.py DATA.npz --write
    python bench/lab_reach.py DATA.npz --only MNIST --threads 1

A row's seconds are those of one whole run, everything included but the import: reading or drawing the data,
training, scores in between, the last score. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import machine
from record import ROOT, commit
from report import replace_section, table
from unrolled.lab.network import NetworkSettings
from unrolled.lab.recipes import Recipe, recipe_for
from unrolled.lab.solving import Solved, solve
from unrolled.lab.tasks import Adding, Mnist1d, Task, solved_by

HEADS = (
    "task",
    "network",
    "asked for",
    "reached, median",
    "each seed",
    "first reached on held-out, steps",
    "s",
    "steps",
    "whole run, s",
    "allowed, s",
    "",
)
CONTROLS = ("task", "trivial predictor", "solved at")


@dataclass(frozen=True)
class Goal:
    """A task, and the seconds in which its threshold is to be reached."""

    name: str
    task: Callable[[], Task]
    seconds: float


@dataclass(frozen=True)
class Run:
    """One seed's run to the end of its recipe."""

    solved: Solved
    seconds: float


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    goals = [
        Goal("adding, T = 200", lambda: Adding(200), 180),
        Goal("adding, T = 600", lambda: Adding(600), 600),
        Goal("MNIST-1D, test", lambda: Mnist1d.read(args.mnist1d), 120),
    ]
    goals = [goal for goal in goals if args.only in goal.name]
    rows, controls = [], []
    for goal in goals:
        runs = [_run(goal, seed) for seed in range(args.seeds)]
        task = goal.task()
        rows.append(_row(goal, task, runs))
        controls.append((goal.name, _number(task, task.control), _number(task, task.solved_at)))
        print(" | ".join(rows[-1]), flush=True)
    text = _section(args, rows, controls)
    print(text)
    if args.write:
        replace_section(ROOT / "bench" / "RESULTS.md", "lab_reach", text)


def _run(goal: Goal, seed: int) -> Run:
    begin = time.perf_counter()
    task = goal.task()
    recipe = recipe_for(task)
    solved = solve(task, recipe.network, recipe.fit, seed=seed, steps=recipe.steps, stop=False)
    return Run(solved, time.perf_counter() - begin)


def _row(goal: Goal, task: Task, runs: Sequence[Run]) -> list[str]:
    recipe = recipe_for(task)
    finals = [run.solved.final for run in runs if run.solved.final is not None]
    reached = statistics.median(finals) if len(finals) == len(runs) else float("nan")
    seconds = statistics.median(run.seconds for run in runs)
    firsts = [run.solved for run in runs if run.solved.solved]
    met = solved_by(task, reached) and seconds <= goal.seconds
    return [
        goal.name,
        _network(recipe, runs[0].solved.parameters),
        f"{'≥' if task.score_name == 'accuracy' else '≤'} {_number(task, task.solved_at)}",
        _number(task, reached),
        ", ".join(_number(task, final) for final in finals),
        ", ".join(str(first.steps) for first in firsts) or "never",
        ", ".join(f"{first.seconds:.0f}" for first in firsts),
        str(recipe.steps),
        ", ".join(f"{run.seconds:.0f}" for run in runs),
        f"{goal.seconds:.0f}",
        "yes" if met else "**no**",
    ]


def _network(recipe: Recipe, parameters: int) -> str:
    net: NetworkSettings = recipe.network
    directions = "both directions" if net.bidirectional else "one direction"
    start = ", chrono" if recipe.chrono else ""
    return f"{net.cell} {net.hidden_size} x {net.num_layers}, {directions}{start}; {parameters:,} parameters"


def _number(task: Task, value: float) -> str:
    return f"{value:.1%}" if task.score_name == "accuracy" else f"{value:.2g}"


def _section(
    args: argparse.Namespace, rows: Sequence[Sequence[str]], controls: Sequence[Sequence[str]]
) -> str:
    parts = (
        "## How far the lab's recipes reach",
        f"`python bench/lab_reach.py {args.mnist1d.name}`, {time.strftime('%Y-%m-%d')}, commit {commit()}.",
        f"{args.seeds} seeds each, from scratch, one after another. The score is that of examples that "
        "influenced no decision: 2,048 fresh sequences, or the 1,000 curves of the test part, read once per "
        "run. A whole run includes data, training and all scores. The machine's load over the last quarter "
        f"of an hour was {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores; above {args.threads} means that "
        "other work ran as well.",
        machine.line(machine.facts(args.threads, limit=True)),
        "\n".join(table(HEADS, rows)),
        "\n".join(table(CONTROLS, controls)),
    )
    return "\n\n".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mnist1d", type=Path, help="the MNIST-1D data, an .npz file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="of the tasks, those whose name holds this")
    parser.add_argument("--write", action="store_true", help="put the section into bench/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
