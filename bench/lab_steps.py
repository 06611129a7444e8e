"""Measure what a training step of each cell takes on each problem of the lab's memory section.

    taskset -c 1 python bench/lab_steps.py MNIST1D.npz           # prints [full.ms] and [quick.ms]
    taskset -c 1 python bench/lab_steps.py MNIST1D.npz --long    # the longest lengths too

CPU milliseconds of one thread, so that other programs matter little: the whole training loop, its examples
and its scores included, over a few hundred steps; of several repeats the least. The caps of memory.toml
are seconds over these, so that they are steps, and the same on every machine.
"""

from __future__ import annotations

import argparse
import time

import torch

from unrolled import LabConfig
from unrolled.lab import memory
from unrolled.lab.learning import learn

SECONDS = 0.6  # of each repeat, about
FIRST = 25  # steps that say how many make up a repeat


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mnist1d")
    parser.add_argument("--long", action="store_true", help="measure the longest lengths too")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for quick in (False, True):
        print("[quick.ms]" if quick else "[full.ms]")
        config = LabConfig("memory", quick=quick, mnist1d=args.mnist1d)
        for name in memory.PROBLEMS:
            usual, longer = (memory.QUICK if quick else memory.FULL)[name]["lengths"]
            found: dict[str, list[float]] = {"rnn": [], "gru": [], "lstm": []}
            for length in usual + (longer if args.long else []):
                for kind in ("rnn-orthogonal", "gru-orthogonal", "lstm-forget"):
                    settings = memory._settings(name, length, kind, config)
                    path = args.mnist1d if name == "mnist1d" else None
                    found[settings["cell"]].append(round(_step(settings, path, args.repeats), 2))
            cells = ", ".join(f"{cell} = {times}" for cell, times in found.items())
            print(f"{name} = {{ {cells} }}", flush=True)


def _step(settings: dict[str, object], mnist1d: str | None, repeats: int) -> float:
    """Return the CPU milliseconds that a step takes, scores included."""
    if mnist1d is not None:
        settings = {**settings, "sha256": memory._sha256(mnist1d)}
    problem = memory.problem_of(settings, mnist1d)
    how = {**settings, "seed": 0, "learning_rate": 1e-3, "stop": False}

    def run(steps: int) -> float:
        begin = time.process_time()
        learn(problem, {**how, "cap": steps})
        return 1000 * (time.process_time() - begin)

    run(FIRST)
    few = run(FIRST)
    steps = FIRST * max(int(1000 * SECONDS / few), 4)
    # the difference leaves out what a run does once: the network, the first and the last score
    return min((run(steps) - few) / (steps - FIRST) for _ in range(repeats))


if __name__ == "__main__":
    main()
