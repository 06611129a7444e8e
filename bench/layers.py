"""Measure the engine: every figure that issue 3 asks for, with a baseline in the same run.

    make bench                                        # everything; bench/layers.json and RESULTS.md
    python bench/layers.py --only grid --cell lstm    # a part; replaces that part in both files
    python bench/layers.py --quick                    # tiny sizes, to see that it runs; writes no file

Questions: grid (forward and backward), forward, ragged, resets, threads (one thread), avx2, length, memory,
trajectories, overhead (one step). An op whose tests are red is not timed, and the exit code is 1. Tables go
to standard output, progress to standard error. Nothing else should run on the machine meanwhile.

cases.py what is measured · peers.py, onnx_peer.py by whom · questions.py, processes.py, worker.py in which
comparison · timing.py, limit.py how · guard.py if at all · record.py, targets.py, report.py, machine.py
what became of it
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

import guard
import limit
import machine
import onnx_peer
import processes
import questions
import record
import report
from cases import LONG, SHAPES, TINY, TINY_LONG, TINY_STEPS
from questions import Plan
from record import ROOT, Record, Row
from timing import Effort
from unrolled.errors import expected

QUESTIONS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "grid": questions.grid,
    "forward": questions.forward_only,
    "ragged": questions.ragged,
    "resets": questions.resets,
    "threads": questions.one_thread,
    "avx2": processes.avx2,
    "length": questions.length,
    "memory": processes.memory,
    "trajectories": questions.trajectories,
    "overhead": questions.overhead,
}
CELLS = ("lstm", "gru", "rnn")
BUSY = 0.5
JSON = ROOT / "bench" / "layers.json"
RESULTS = ROOT / "bench" / "RESULTS.md"


def main() -> int:
    args = _arguments()
    asked = args.only or [name for name in QUESTIONS if name != "trajectories" or args.backend == "native"]
    cells = args.cell or list(CELLS)
    torch.set_num_threads(args.threads)
    library = limit.build()
    if os.getloadavg()[0] > BUSY:
        _say(f"the load average is {os.getloadavg()[0]:.1f}: figures beside other work are worth little")
    for name, missing in (
        ("the bench extra", not onnx_peer.available()),
        ("a C++ compiler", library is None),
    ):
        if missing:
            _say(f"without {name}: columns are left out")
    path: Path | None = args.json or (JSON if _official(args) else None)
    facts = machine.facts(args.threads, limit=library is not None)
    part = bool(args.only or args.cell or args.shape)
    kept = record.load(path, facts, _say) if path and part else Record(facts)
    plan = _plan(args, library)
    refused = False
    for name in asked:
        environment = processes.AVX2 if name == "avx2" else {}
        green = [cell for cell in cells if _green(cell, args.backend, environment, kept)]
        refused |= green != cells
        kept.drop(name, set(cells) - set(green))
        _ask(name, dataclasses.replace(plan, cells=tuple(green)), kept, path)
    text = report.section(kept) if kept.rows else "Nothing was measured."
    print(text)
    if _official(args) and kept.rows:
        report.replace_section(RESULTS, "layers", text)
    return 1 if refused else 0


def _ask(name: str, plan: Plan, kept: Record, path: Path | None) -> None:
    """Measure one question, and save after every row."""
    begin = time.perf_counter()
    for row in QUESTIONS[name](plan):
        kept.put(row)
        if path:
            kept.save(path)
        peers = [peer for peer in row.times if peer != "unrolled" and "unrolled" in row.times]
        ratios = ", ".join(f"{peer} {row.ratio(peer):.2f}x" for peer in peers)
        share = row.share() if "unrolled" in row.times else None
        limit_share = "" if share is None else f", {100 * share:.0f} % of the limit"
        seconds = time.perf_counter() - begin
        _say(f"{seconds:5.0f} s  {name} {row.variant}  {row.case}  {ratios}{limit_share}")


_checked: dict[tuple[str, str], bool] = {}


def _green(cell: str, backend: str, environment: Mapping[str, str], kept: Record) -> bool:
    """Run the cell's tests, once for each environment."""
    under = " under AVX2" if environment else ""
    if (cell, under) not in _checked:
        green, said = guard.passes(cell, backend, environment)
        _checked[cell, under] = green
        kept.tests[f"{cell}, {backend}{under}"] = said if green else "red"
        _say(f"tests of {cell} on {backend}{under}: {said}")
        if not green:
            _say(f"REFUSED: {cell} is not timed{under}, its tests are red")
    return _checked[cell, under]


def _plan(args: argparse.Namespace, library: ctypes.CDLL | None) -> Plan:
    plan = Plan(
        backend=args.backend,
        cells=(),
        shapes=tuple(SHAPES[n - 1] for n in args.shape) if args.shape else SHAPES,
        long=LONG,
        threads=args.threads,
        effort=Effort(rounds=args.rounds),
        library=library,
    )
    if not args.quick:
        return plan
    return dataclasses.replace(
        plan, shapes=TINY, long=TINY_LONG, long_steps=TINY_STEPS, effort=Effort(3, 0.002), processes=1
    )


def _official(args: argparse.Namespace) -> bool:
    """Whether this run is one whose figures the tree keeps."""
    return not args.quick and args.json is None and args.backend == "native" and args.rounds >= 7


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, help="default: every question")
    parser.add_argument("--cell", nargs="+", choices=CELLS, help="default: every cell")
    parser.add_argument(
        "--shape", nargs="+", type=int, choices=range(1, 1 + len(SHAPES)), help="rows of the grid, from 1"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, three rounds, no file")
    parser.add_argument("--json", type=Path, help="where rows go, not into layers.json and RESULTS.md")
    parser.add_argument("--backend", choices=("native", "torch"), default="native", help="of this package")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="7 or more, to be kept")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if args.rounds < 3:
        parser.error(expected("--rounds", "3 or more", args.rounds))
    return args


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
