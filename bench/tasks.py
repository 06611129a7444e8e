"""Measure how far the tasks reach with their defaults, on real data: with the figures asked for.

    python bench/tasks.py DATA --aeon AEON               # every row that the data allow, three seeds each
    python bench/tasks.py DATA --only names --seeds 1
    python bench/tasks.py DATA --list

DATA has names/, mnist1d/, mnist/, etth1/ and conll2000/; AEON is aeon's folder datasets/data.
Every run is a process of its own: reading, training, controls and report count. Nothing else should run
meanwhile.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import machine
from record import commit
from report import table

HEADS = ("data", "figure", "asked", "each seed", "mean", "controls", "minutes", "allowed", "")


@dataclass(frozen=True)
class Places:
    """Where data are, and where files may go."""

    data: Path
    aeon: Path | None
    scratch: Path


@dataclass(frozen=True)
class Goal:
    """A row: what is trained on what, and what is asked of it."""

    name: str
    config: Callable[[Places], Any]  # → the data config of a task
    figure: str  # of the part that the network is judged by
    asked: float | None
    minutes: float  # allowed for a whole run
    train: float | None  # of them given to --minutes, the rest is for reading, controls and the report
    rising: bool = True  # whether more is better
    settings: dict[str, Any] = field(default_factory=dict)  # of TrainConfig; the defaults otherwise

    def met(self, values: Sequence[float]) -> bool:
        """Whether the mean reaches what is asked."""
        if self.asked is None:
            return True
        mean = statistics.mean(values)
        return mean >= self.asked if self.rising else mean <= self.asked


def names(places: Places, **settings: Any) -> Any:
    from unrolled.spec import ClassifyData

    return ClassifyData(str(places.data / "names"), label="folder", **settings)


def mnist1d(places: Places, *, removed: float = 0.0, fill: bool = False, **settings: Any) -> Any:
    """MNIST-1D; a share of the steps may be removed, and filled by the last value before."""
    from unrolled.spec import ClassifyData

    with np.load(places.data / "mnist1d" / "mnist1d.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("x", "y", "x_test", "y_test")}
    draws = np.random.default_rng(0)
    for name in ("x", "x_test"):
        x = arrays[name].astype(np.float32)
        gone = draws.random(x.shape) < removed
        gone[:, 0] = False
        x[gone] = np.nan
        arrays[name] = (_forward_filled(x) if fill else x)[:, :, None]
    path = places.scratch / "mnist1d.npz"
    np.savez(path, **arrays)
    return ClassifyData(str(path), **settings)


def _forward_filled(x: Any) -> Any:
    last = np.maximum.accumulate(np.where(np.isnan(x), 0, np.arange(x.shape[1])), axis=1)
    return np.take_along_axis(x, last, axis=1)


def mnist(places: Places) -> Any:
    """MNIST, a row of the picture each step."""
    from unrolled.spec import ClassifyData

    arrays = {}
    for part, end in (("train", ""), ("t10k", "_test")):
        images = _idx(places.data / "mnist" / f"{part}-images-idx3-ubyte.gz")
        arrays[f"x{end}"] = images.astype(np.float32) / 255
        arrays[f"y{end}"] = _idx(places.data / "mnist" / f"{part}-labels-idx1-ubyte.gz")
    path = places.scratch / "mnist.npz"
    np.savez(path, **arrays)
    return ClassifyData(str(path))


def _idx(path: Path) -> Any:
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * k : 8 + 4 * k], "big") for k in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def archive(name: str) -> Callable[[Places], Any]:
    """A set of the UCR or UEA archive, from the files that aeon brings."""

    def config(places: Places) -> Any:
        from unrolled.spec import ClassifyData

        if places.aeon is None:
            raise FileNotFoundError("--aeon")
        folder = places.aeon / name
        return ClassifyData(str(folder / f"{name}_TRAIN.ts"), test=str(folder / f"{name}_TEST.ts"))

    return config


def etth1(places: Places) -> Any:
    """ETTh1 as published: months 12, 4 and 4, each series by itself."""
    from unrolled.spec import ForecastData

    lines = (places.data / "etth1" / "ETTh1.csv").read_text().splitlines()
    path = places.scratch / "ETTh1.csv"
    path.write_text("\n".join(lines[: 1 + 20 * 30 * 24]) + "\n")
    return ForecastData(str(path), horizon=96, validation_share=0.2, test_share=0.2)


def conll(columns: str | None) -> Callable[[Places], Any]:
    def config(places: Places) -> Any:
        from unrolled.spec import TagData

        folder = places.data / "conll2000"
        return TagData(str(folder / "train.txt"), tags="2", test=str(folder / "test.txt"), columns=columns)

    return config


GOALS = (
    Goal("ETTh1 96 to 96", etth1, "mse", 0.372, 3, None, rising=False),
    Goal("CoNLL-2000 chunks", conll(None), "f1", 0.939, 10, 8.5),
    Goal("CoNLL-2000 chunks, words alone", conll("0"), "f1", 0.920, 10, 8.5),
    Goal("names", names, "accuracy", 0.848, 3, None),
    Goal("names --balance", lambda p: names(p, balance=True), "balanced_accuracy", 0.565, 3, None),
    Goal("MNIST-1D", mnist1d, "accuracy", 0.98, 2, 1.5),
    Goal("MNIST-1D --causal", lambda p: mnist1d(p, causal=True), "accuracy", 0.975, 2, 1.5),
    Goal("MNIST by rows", mnist, "accuracy", 0.988, 4, 2.75),
    Goal("JapaneseVowels", archive("JapaneseVowels"), "accuracy", 0.98, 0.5, None),
    Goal("ArrowHead", archive("ArrowHead"), "accuracy", None, 0.5, None),
    Goal("MNIST-1D, 30 % removed", lambda p: mnist1d(p, removed=0.3), "accuracy", None, 2, 1.5),
    Goal("the same, forward filled", lambda p: mnist1d(p, removed=0.3, fill=True), "accuracy", None, 2, 1.5),
)


def main() -> None:
    args = _arguments()
    goals = [goal for goal in GOALS if args.only in goal.name]
    if args.list:
        print("\n".join(goal.name for goal in goals))
        return
    if args.one is not None:
        print(json.dumps(_one(next(g for g in GOALS if g.name == args.only), args)))
        return
    rows, found = [], {}
    for goal in goals:
        runs = [_process(goal, seed, args) for seed in range(args.first, args.first + args.seeds)]
        if any("error" in run for run in runs):
            print(f"{goal.name}: {runs[0].get('error')}", file=sys.stderr)
            continue
        found[goal.name] = runs
        rows.append(_row(goal, runs))
        print(" | ".join(rows[-1]), flush=True)
        if args.json is not None:
            args.json.write_text(json.dumps(found, indent=1) + "\n")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{machine.line(machine.facts(2, limit=True))}; commit {commit()}, load {load}\n")
    print("\n".join(table(HEADS, rows)))


def _process(goal: Goal, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run one seed in a process of its own."""
    words = [sys.executable, __file__, str(args.data), "--only", goal.name, "--one", str(seed)]
    words += [] if args.aeon is None else ["--aeon", str(args.aeon)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _one(goal: Goal, args: argparse.Namespace) -> dict[str, Any]:
    from unrolled import train
    from unrolled.spec import TrainConfig

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        places = Places(args.data, args.aeon, Path(folder))
        data = goal.config(places)
        run = str(places.scratch / "run")
        config = TrainConfig(data, run=run, minutes=goal.train, seed=args.one, **goal.settings)
        result = train.run(config, observers=[])
    found = result.evaluation
    return {
        "seed": args.one,
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time(),
        "values": dict(found.judged.values),
        "validation": dict(found.validation.values),
        "controls": [[each.name, each.seconds, dict(each.values)] for each in found.controls],
        "notes": list(found.notes),
        "parameters": found.parameters,
        "best_step": result.best_step,
        "steps": result.schedule.steps,
    }


def _row(goal: Goal, runs: Sequence[dict[str, Any]]) -> list[str]:
    values = [run["values"][goal.figure] for run in runs]
    controls = runs[0]["controls"]
    minutes = [run["seconds"] / 60 for run in runs]
    met = goal.met(values) and max(minutes) <= goal.minutes
    return [
        goal.name,
        goal.figure,
        "–" if goal.asked is None else f"{'≥' if goal.rising else '≤'} {goal.asked:g}",
        ", ".join(f"{value:.4f}" for value in values),
        f"{statistics.mean(values):.4f}",
        "; ".join(f"{name} {figures[goal.figure]:.4f} ({s:.1f} s)" for name, s, figures in controls),
        ", ".join(f"{each:.1f}" for each in minutes),
        f"{goal.minutes:g}",
        "" if goal.asked is None else "yes" if met else "**no**",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--aeon", type=Path, help="the folder datasets/data of the package aeon")
    parser.add_argument("--only", default="", help="rows whose names contain this")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--one", type=int, help="one seed of the row --only, as JSON")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
