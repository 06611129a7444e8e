"""Kill `unrolled train` at random moments and at every point of a save, resume it, and compare the bits.

    python bench/torture.py                  # 200 kills on each backend, and every point; some minutes
    python bench/torture.py --kills 20 --write

What is checked each time (tests/train/killing.py): once a checkpoint was marked there is one that loads,
whatever bears a step's name is whole, and the resumed run ends with the weights, losses, samples and scores
of the run that nobody killed. One failure ends it with a traceback. With --write the section goes into
bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.progress import track

import machine
from record import ROOT, commit
from report import replace_section, table
from unrolled import kernels

sys.path.append(str(ROOT / "tests" / "train"))
killing: Any = importlib.import_module("killing")  # what the tests use


def main() -> None:
    args = _arguments()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for backend in args.backend:
            torture = killing.Torture(Path(folder) / backend, backend)
            try:
                lines.append(_row(torture, backend, args))
            finally:
                torture.zygote.close()
    text = _section(args, lines)
    print(text)
    if args.write:
        replace_section(ROOT / "bench" / "RESULTS.md", "torture", text)


def _row(torture: Any, backend: str, args: argparse.Namespace) -> list[str]:
    random = Random(args.seed)
    begin = time.perf_counter()
    kills = sum(torture.killed_at(random) for _ in track(range(args.kills), f"{backend}: random moments"))
    points = _points(torture)
    seconds = time.perf_counter() - begin
    each = seconds / (args.kills + points)
    return [backend, str(args.kills), str(kills), str(points), f"{seconds:.0f}", f"{each:.1f}"]


def _points(torture: Any) -> int:
    """Kill before every call of the fifth save, which prunes too; return how many there are."""
    for call in itertools.count(1):
        torture.fresh()
        point = torture.killed_before(5, call)
        torture.finish()
        if point is None:
            return call - 1
    raise AssertionError


def _section(args: argparse.Namespace, lines: list[list[str]]) -> str:
    heads = ("backend", "rounds", "kills", "disk operations of a save", "seconds", "seconds per round")
    parts = (
        "## Kills",
        f"`python bench/torture.py --kills {args.kills} --seed {args.seed}`, {time.strftime('%Y-%m-%d')}, "
        f"commit {commit()}.",
        f"A run of {killing.STEPS} steps with a checkpoint every {killing.EVERY} is killed (SIGKILL) at a "
        "random moment, often its\nresumed run too, then resumed to its end. Every time the checkpoint that "
        "LATEST names loads, and the run ends with\nthe weights, losses, samples and scores of a run that "
        "was not killed, bit for bit. Then the same with a kill before\nevery single disk operation of a "
        "save that removes old checkpoints.",
        machine.line(machine.facts(torch.get_num_threads(), limit=True)),
        "\n".join(table(heads, lines)),
    )
    return "\n\n".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    backends = ("torch", *(("native",) if kernels.available() else ()))
    parser.add_argument("--backend", nargs="+", choices=backends, default=list(backends))
    parser.add_argument("--kills", type=int, default=200, help="rounds of random moments, a backend")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the section into bench/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
