"""Measure what a checkpoint costs: the seconds of a save and of a step, and the share of a default run.

    python bench/saving.py TEXT              # a run of 200 steps with ten saves, default sizes
    python bench/saving.py TEXT --write

A default run saves step 0 and ten times more in three minutes; its share is computed from the median save. A
validation, which comes with a save, is not counted as one. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import machine
from record import ROOT, commit
from report import replace_section, table
from unrolled import DataConfig, TrainConfig, train
from unrolled.train import StepRecord
from unrolled.train.saving import Saver, Snapshot

DEFAULT_SECONDS, DEFAULT_SAVES = 180.0, 11
REACH = 0.05


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        saves, steps, size = _measure(args, Path(folder) / "run")
    save, step = statistics.median(saves), statistics.median(steps)
    share = DEFAULT_SAVES * save / DEFAULT_SECONDS
    heads = (
        "checkpoint, MB",
        "one save, ms",
        "slowest",
        "one step, ms",
        "share of a default run",
        "asked for",
    )
    row = [
        f"{size / 1e6:.1f}",
        f"{1e3 * save:.0f}",
        f"{1e3 * max(saves):.0f}",
        f"{1e3 * step:.1f}",
        f"{share:.2%}",
        f"under {REACH:.0%}",
    ]
    parts = (
        "## A checkpoint's cost",
        f"`python bench/saving.py {args.text.name}`, {time.strftime('%Y-%m-%d')}, commit {commit()}.",
        f"{len(saves)} saves in {args.steps} steps, default sizes; medians. A default run is taken as three "
        f"minutes with {DEFAULT_SAVES} saves.",
        machine.line(machine.facts(torch.get_num_threads(), limit=True)),
        "\n".join(table(heads, [row])),
    )
    text = "\n\n".join(parts)
    print(text)
    if args.write:
        replace_section(ROOT / "bench" / "RESULTS.md", "saving", text)


def _measure(args: argparse.Namespace, run: Path) -> tuple[list[float], list[float], int]:
    """Return the seconds of every save and of every step, and a checkpoint's bytes."""
    saves: list[float] = []
    steps: list[float] = []
    plain = Saver.save

    def timed(saver: Saver, now: Snapshot) -> None:
        begin = time.perf_counter()
        plain(saver, now)
        saves.append(time.perf_counter() - begin)

    class Watch(train.Observer):
        def step(self, record: StepRecord) -> None:
            steps.append(record.seconds)

    setattr(Saver, "save", timed)  # noqa: B010 (mypy takes no other method in its place)
    config = TrainConfig(
        DataConfig(str(args.text)), run=str(run), steps=args.steps, save_every=max(1, args.steps // 10)
    )
    train.run(config, observers=[Watch()])
    last = max((run / "checkpoints").iterdir())
    return saves, steps, sum(file.stat().st_size for file in last.iterdir())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the run goes; default: a temporary directory")
    parser.add_argument("--write", action="store_true", help="put the section into bench/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
