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
from typing import Any

import torch

import machine
from record import ROOT, commit
from report import replace_section, table
from unrolled.lab.learning import Learnt, learn
from unrolled.lab.mnist1d import Mnist1d
from unrolled.lab.problems import Adding, Problem

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
# Settings that solve each problem, found by trial. Adding: the chrono start alone lets the marks
# through, at T = 200 and 600, without a curriculum; at a rate of 0.01 the plateau ends four times as
# early as at 0.003; the cosine takes the last decimals. MNIST-1D: the curve may lie anywhere, so it is
# read both ways, each step with its neighbours, and answered from the largest outputs over time; no lag
# is longer than the curve, so there is no chrono start.
ADDING: dict[str, Any] = {
    "cell": "lstm",
    "hidden_size": 64,
    "batch_size": 64,
    "learning_rate": 1e-2,
    "cap": 2000,
}
MNIST1D: dict[str, Any] = {
    "cell": "gru",
    "hidden_size": 48,
    "num_layers": 2,
    "bidirectional": True,
    "dropout": 0.2,
    "neighbours": 2,
    "pool": "max",
    "batch_size": 128,
    "learning_rate": 5e-3,
    "cap": 1200,
}
# The same without what makes its row look good: each step one point, answered from the last outputs.
PLAIN = {name: value for name, value in MNIST1D.items() if name not in ("neighbours", "pool")}
CONTROLS = ("task", "trivial predictor", "solved at")


@dataclass(frozen=True)
class Goal:
    """A problem, what is trained, and the seconds in which its threshold is to be reached."""

    name: str
    task: Callable[[], Problem]
    recipe: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Run:
    """One seed's run to the end of its recipe."""

    solved: Learnt
    seconds: float


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    goals = [
        Goal("adding, T = 200", lambda: Adding(200), {**ADDING, "chrono_steps": 200}, 180),
        Goal("adding, T = 600", lambda: Adding(600), {**ADDING, "chrono_steps": 600}, 600),
        Goal("MNIST-1D, test", lambda: Mnist1d.read(args.mnist1d), MNIST1D, 120),
        Goal("MNIST-1D, test, plain", lambda: Mnist1d.read(args.mnist1d), PLAIN, 120),
        Goal(
            "MNIST-1D, test, plain, one way",
            lambda: Mnist1d.read(args.mnist1d),
            {**PLAIN, "bidirectional": False},
            120,
        ),
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
    how = {"seed": seed, "evaluate_every": 100, "cosine": True, "stop": False}
    solved = learn(goal.task(), {**goal.recipe, **how})
    return Run(solved, time.perf_counter() - begin)


def _row(goal: Goal, task: Problem, runs: Sequence[Run]) -> list[str]:
    finals = [run.solved.final for run in runs if run.solved.final is not None]
    reached = statistics.median(finals) if len(finals) == len(runs) else float("nan")
    seconds = statistics.median(run.seconds for run in runs)
    firsts = [run.solved for run in runs if run.solved.solved]
    met = task.solved_by(reached) and seconds <= goal.seconds
    return [
        goal.name,
        _network(goal.recipe, runs[0].solved),
        f"{'≥' if task.score_name == 'accuracy' else '≤'} {_number(task, task.solved_at)}",
        _number(task, reached),
        ", ".join(_number(task, final) for final in finals),
        ", ".join(str(first.steps) for first in firsts) or "never",
        ", ".join(f"{first.seconds:.0f}" for first in firsts),
        str(goal.recipe["cap"]),
        ", ".join(f"{run.seconds:.0f}" for run in runs),
        f"{goal.seconds:.0f}",
        "yes" if met else "**no**",
    ]


def _network(recipe: dict[str, Any], learnt: Learnt) -> str:
    parameters = sum(weight.numel() for weight in learnt.network.parameters())
    ways = "two ways" if recipe.get("bidirectional") else "one way"
    start = ", chrono" if "chrono_steps" in recipe else ""
    layers = recipe.get("num_layers", 1)
    further = f", steps of {2 * recipe['neighbours'] + 1} points" if "neighbours" in recipe else ""
    further += ", max-pooled over time" if recipe.get("pool") == "max" else ""
    further += f", dropout {recipe['dropout']:g}" if "dropout" in recipe else ""
    shape = f"{recipe['cell']} {recipe['hidden_size']} x {layers}, {ways}"
    return f"{shape}{start}{further}; {parameters:,} parameters"


def _number(task: Problem, value: float) -> str:
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
