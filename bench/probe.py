"""Measure what measuring costs: gradient flow, memory map, a whole report, and telemetry beside training.

    python bench/probe.py TEXT              # some minutes
    python bench/probe.py TEXT --write

Two models: the demo (ten sentences) and one of 2 x 256 on TEXT. Every tenth step of a run takes telemetry;
what it takes longer than the others, over the N steps of the default, is its share. Nothing else should run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import machine
from record import ROOT, commit
from report import replace_section, table
from unrolled import DataConfig, TrainConfig, data, load, probe, spec, train
from unrolled.data import Batch, StreamBatches
from unrolled.train import StepRecord

REPEATS = 5
BLOCK = 10  # steps between two telemetries here
EVERY = spec.setting_of(TrainConfig, "telemetry_every").bare
ASKED = {"gradient flow": 5.0, "memory map": 10.0, "report": 60.0, "telemetry": 0.03}

Row = tuple[str, str, str, str]


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        demo = train.run(TrainConfig(DataConfig("sentences"), run=f"{folder}/demo"), observers=[]).run
        text = train.run(
            TrainConfig(DataConfig(str(args.text)), run=f"{folder}/text", steps=args.steps), observers=[]
        ).run
        rows = [*_measurements(text), *_reports(demo, text, Path(folder))]
        rows += [_telemetry(DataConfig(str(args.text)), f"{folder}/a", "2 x 256, 16 x 64", args.steps)]
        rows += [_telemetry(DataConfig("sentences"), f"{folder}/b", "the demo, ten lines", args.steps)]
    parts = (
        "## What measuring costs",
        f"`python bench/probe.py {args.text.name}`, {time.strftime('%Y-%m-%d')}, commit {commit()}.",
        f"Medians of {REPEATS}; the reports were made once. Models of `unrolled train`: ten sentences "
        f"(LSTM 1 x 128), and {args.text.name} (LSTM 2 x 256, {args.steps} steps).",
        f"Telemetry: the extra time of a step with it, divided by {EVERY} steps without it.",
        machine.line(machine.facts(torch.get_num_threads(), limit=True)),
        "\n".join(table(("what", "on", "took", "asked for"), rows)),
    )
    section = "\n\n".join(parts)
    print(section)
    if args.write:
        replace_section(ROOT / "bench" / "RESULTS.md", "probe", section)


def _measurements(run: Path) -> list[Row]:
    loaded = load(run)
    corpus = data.reopen(run / "data", loaded.tokens)
    batch = next(iter(StreamBatches(corpus.validation, batch_size=16, bptt_steps=1024, seed=0).epoch(0)))
    batch = Batch(batch.inputs, batch.targets)
    row = Batch(batch.inputs[:200, :1], batch.targets[:200, :1])
    flow = _seconds(lambda: probe.gradient_flow(loaded.model, batch, lags=64))
    memory = _seconds(lambda: probe.memory_map(loaded.model, row))
    return [
        ("gradient flow, 64 lags", "2 x 256, 16 rows of 1,024 steps", *_cells(flow, "gradient flow")),
        ("memory map", "2 x 256, 200 tokens", *_cells(memory, "memory map")),
    ]


def _reports(demo: Path, text: Path, folder: Path) -> list[Row]:
    found = []
    for run, name in ((demo, "the demo"), (text, "2 x 256, 16 rows of 1,024 steps")):
        begin = time.perf_counter()
        probe.examine(run, html=folder / "report.html")
        size = (folder / "report.html").stat().st_size
        took, asked = _cells(time.perf_counter() - begin, "report")
        found.append((f"whole report and page ({size / 1e6:.2f} MB)", name, took, asked))
    return found


def _telemetry(source: DataConfig, run: str, name: str, steps: int) -> Row:
    """Return what one telemetry costs, logging included, beside the steps between two."""
    plain: list[float] = []
    watched: list[float] = []

    class Watch(train.Observer):
        def step(self, record: StepRecord) -> None:
            (watched if record.step % BLOCK == 0 else plain).append(record.seconds)

    config = TrainConfig(source, run=run, steps=steps, telemetry_every=BLOCK, overwrite=True)
    train.run(config, observers=[Watch()])
    step = statistics.median(plain)
    one = statistics.median(watched) - step
    words = f"{1e3 * one:.1f} ms, one step {1e3 * step:.1f} ms: {one / (EVERY * step):.2%}"
    return "telemetry", name, words, f"under {ASKED['telemetry']:.0%}"


def _seconds(call: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def _cells(seconds: float, name: str) -> tuple[str, str]:
    return f"{seconds:.2f} s", f"under {ASKED[name]:.0f} s"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="put the section into bench/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
