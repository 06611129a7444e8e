"""Measure `unrolled train` on the native backend and on torch's, in short runs that alternate.

    python bench/train_backends.py TEXT                  # tokens per second, the default sizes
    python bench/train_backends.py TEXT --minutes 3      # and what three minutes on native come to

Every run is a process of its own; its figure is the median of the rows of its metrics.jsonl, the first fifth
left out. Prints Markdown; with --write it also goes into bench/RESULTS.md. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import machine
from record import ROOT, commit
from report import replace_section, table

BACKENDS = ("native", "torch")
REACH, REACH_NATS = 1.5, 1.58


def main() -> None:
    args = _arguments()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for cell in args.cell:
            rates = _alternate(args, cell, Path(folder) / "run")
            ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
            medians = [f"{statistics.median(rates[backend]):,.0f}" for backend in BACKENDS]
            lines.append([cell, *medians, f"{ratio:.2f}", f"{REACH}" if cell == "lstm" else ""])
        text = _section(args, lines)
        if args.minutes is not None:
            text += "\n\n" + _whole_run(args, Path(folder) / "run")
    print(text)
    if args.write:
        replace_section(ROOT / "bench" / "RESULTS.md", "train_backends", text)


def _alternate(args: argparse.Namespace, cell: str, run: Path) -> dict[str, list[float]]:
    """Return tokens per second, backend → one figure a round."""
    rates: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for turn in range(args.rounds):
        for backend in BACKENDS if turn % 2 == 0 else reversed(BACKENDS):
            budget = ["--steps", str(args.steps), "--save-every", str(args.steps)]
            _train(args.text, run, "--cell", cell, "--backend", backend, "--dtype", args.dtype, *budget)
            rates[backend].append(_rate(run / "metrics.jsonl"))
            print(f"{cell} {backend}: {rates[backend][-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
    return rates


def _rate(metrics: Path) -> float:
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    rates: list[float] = [row["tokens_per_s"] for row in rows if row["tokens_per_s"] is not None]
    return statistics.median(rates[len(rates) // 5 :])


def _whole_run(args: argparse.Namespace, run: Path) -> str:
    begin = time.perf_counter()
    words = ["--backend", "native", "--minutes", f"{args.minutes:g}"]
    _train(args.text, run, *words)
    seconds = time.perf_counter() - begin
    found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    return (
        f"`unrolled train {args.text.name} {' '.join(words)}`, {seconds:.0f} s in all: "
        f"{found['nats_per_token']:.4f} nats\na character carried, {found['cold']['nats_per_token']:.4f} in "
        f"windows of {found['cold_steps']} from a cold start\n(asked for: {REACH_NATS} carried in 3 minutes)."
    )


def _train(text: Path, run: Path, *words: str) -> None:
    command = [sys.executable, "-m", "unrolled", "train", str(text), "--run", str(run), "--overwrite", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"unrolled train {' '.join(words)}: {done.stderr.strip()}")


def _section(args: argparse.Namespace, lines: list[list[str]]) -> str:
    heads = ("cell", *(f"{backend} tokens/s" for backend in BACKENDS), "ratio", "asked for")
    parts = (
        "## Training on the native backend",
        f"`python bench/train_backends.py {args.text.name}`, {time.strftime('%Y-%m-%d')}, commit {commit()}.",
        f"`unrolled train`, default sizes, {args.dtype}: {args.rounds} runs of {args.steps} steps on each "
        "backend,\nalternating, each in its own process; medians of the runs' median rates.",
        machine.line(machine.facts(torch.get_num_threads(), limit=True)),
        "\n".join(table(heads, lines)),
    )
    return "\n\n".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path, help="tiny Shakespeare, for the figures that issue 3 asks for")
    parser.add_argument("--cell", nargs="+", choices=("lstm", "gru", "rnn"), default=["lstm"])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=200, help="of each run")
    parser.add_argument("--minutes", type=float, help="also a whole run on native, as long as this")
    parser.add_argument("--write", action="store_true", help="put the section into bench/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
