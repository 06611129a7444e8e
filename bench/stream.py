"""One step of a recurrent layer on one thread: `stream` beside torch, ONNX Runtime, the bare product.

    python bench/stream.py                  # every size; about three minutes on a quiet machine
    python bench/stream.py --sizes 64 256   # some
    python bench/stream.py --json out.json

Everything is interleaved in one process: each round runs a block of every contestant in turn, and each call
is timed on its own, the Python call included. The bare product is what bounds a step from below: one vector
times all packed weights, timed inside the engine, without activations and without a call from Python.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import limit
import machine
import onnx_peer
from timing import Local, interleave
from unrolled import nn, stream

SIZES = (32, 64, 128, 256, 512)
STORAGES = ("float32", "bfloat16", "int8")
CELLS = ("LSTM", "GRU")
COLD_BYTES = 64 << 20
Call = Callable[[], object]


def contestants(cell: str, size: int) -> tuple[dict[str, Call], dict[str, stream.Model]]:
    """Return a call per contestant, and the models behind those of this package."""
    torch.manual_seed(0)
    layer = getattr(torch.nn, cell)(size, size).eval()
    one = getattr(torch.nn, f"{cell}Cell")(size, size).eval()
    ours, our_cell = getattr(nn, cell)(size, size).eval(), getattr(nn, f"{cell}Cell")(size, size).eval()
    ours.load_state_dict(layer.state_dict())
    states = 2 if cell == "LSTM" else 1
    sequence, row = torch.randn(1, 1, size), torch.randn(1, size)
    zeros = tuple(torch.zeros(1, 1, size) for _ in range(states))
    flat = tuple(torch.zeros(1, size) for _ in range(states))
    h, h_row = (zeros, flat) if states == 2 else (zeros[0], flat[0])
    calls: dict[str, Call] = {
        f"torch.nn.{cell}, T = 1": lambda: layer(sequence, h),
        f"torch.nn.{cell}Cell": lambda: one(row, h_row),
        f"unrolled.nn.{cell}, T = 1": lambda: ours(sequence, h),
        f"unrolled.nn.{cell}Cell": lambda: our_cell(row, h_row),
    }
    if onnx_peer.available():
        calls["ONNX Runtime"] = onnx_peer.step(layer)
    x, out = row[0].numpy().copy(), np.empty(size, np.float32)
    models: dict[str, stream.Model] = {
        weights: stream.Recurrent.from_torch(layer, weights=weights) for weights in STORAGES
    }
    for weights, model in models.items():
        calls[f"stream {weights}"] = _step(model.open(), x, out)
    return calls, models


def _step(session: stream.Session, x: Any, out: Any) -> Call:
    return lambda: session.step(x, out)


def measure(cell: str, size: int, rounds: int, calls_a_block: int) -> dict[str, dict[str, float]]:
    """Return {contestant: {p50, p99, cold}} in microseconds."""
    calls, models = contestants(cell, size)
    samples: dict[str, list[float]] = {name: [] for name in [*calls, *(f"bare {w}" for w in models)]}
    count = calls_a_block if size < 512 else calls_a_block // 4
    with torch.inference_mode():
        for _ in range(rounds):
            for name, call in calls.items():
                for _ in range(20):
                    call()
                samples[name] += _timed(call, count)
            for weights, model in models.items():
                samples[f"bare {weights}"] += _bare(model, count + 20)[20:]
        cold = {name: statistics.median(_cold(call, 40)) for name, call in calls.items()}
    found = {}
    for name, each in samples.items():
        each.sort()
        found[name] = {"p50": each[len(each) // 2], "p99": each[len(each) * 99 // 100]}
        if name in cold:
            found[name]["cold"] = cold[name]
    return found


def _timed(call: Call, count: int) -> list[float]:
    clock, took = time.perf_counter_ns, []
    for _ in range(count):
        begin = clock()
        call()
        took.append((clock() - begin) / 1000)
    return took


def _bare(model: stream.Model, count: int) -> list[float]:
    """Time bare products, one per call from Python: the caches then are as they are for a step."""
    return [model.network.bare_product(1)[0] / 1000 for _ in range(count)]


def _cold(call: Call, count: int) -> list[float]:
    """Time calls between which 64 MiB are touched: what a program does that has other work too."""
    rubbish = np.zeros(COLD_BYTES, np.uint8)
    took = []
    for _ in range(count):
        rubbish += 1
        took += _timed(call, 1)
    return took


def reaches(cell: str, size: int, found: dict[str, dict[str, float]]) -> list[tuple[str, float, float, bool]]:
    """Return (what, measured, wanted, reached) for the issue's table."""
    p50 = {name: each["p50"] for name, each in found.items()}
    rows = []

    def most(what: str, value: float, limit: float) -> None:
        rows.append((what, value, limit, value <= limit))

    def least(what: str, value: float, limit: float) -> None:
        rows.append((what, value, limit, value >= limit))

    for weights, above, factor in (("float32", 1.2, 1.2), ("bfloat16", 1.5, 1.35), ("int8", 1.5, 1.35)):
        bare, mine = p50[f"bare {weights}"], p50[f"stream {weights}"]
        most(f"{weights}: us", mine, bare + above if size <= 128 else bare * factor)
        most(f"{weights}: p99 / p50", found[f"stream {weights}"]["p99"] / mine, 2)
    mine = p50["stream float32"]
    if "ONNX Runtime" in p50:
        least(
            "ONNX Runtime / float32",
            p50["ONNX Runtime"] / mine,
            5 if size <= 64 else 2.5 if size == 128 else 1,
        )
        if size >= 256:
            least("ONNX Runtime / int8", p50["ONNX Runtime"] / p50["stream int8"], 5)
    if cell == "LSTM":
        name, least_ratio = "torch.nn.LSTM, T = 1", {256: 8, 512: 15}.get(size, 25)
        least(f"{name} / float32", p50[name] / mine, least_ratio)
    return rows


def pool(threads: int, rounds: int) -> dict[str, float]:
    """Return GFLOP/s of one tick of 1,000 streams through 2 layers of 256, and of the processor's limit."""
    torch.manual_seed(0)
    layer, streams = torch.nn.LSTM(256, 256, 2), 1000
    x, out = (
        np.random.default_rng(0).standard_normal((streams, 256), np.float32),
        np.zeros((streams, 256), np.float32),
    )
    calls: dict[str, Call] = {}
    for weights in STORAGES:
        made = stream.Recurrent.from_torch(layer, weights=weights).pool(streams, threads=threads)
        calls[weights] = _tick(made, x, out)
    flops = dict.fromkeys(calls, 2.0 * 2 * 4 * 256 * 512 * streams)
    library = limit.build()
    if library is not None:
        bound = limit.Limit(library, threads)
        calls["limit"], flops["limit"] = bound, bound.flops
    seconds = interleave({name: Local(call, 0.03) for name, call in calls.items()}, rounds)
    return {name: flops[name] / statistics.median(each) / 1e9 for name, each in seconds.items()}


def _tick(made: stream.Pool, x: Any, out: Any) -> Call:
    return lambda: made.step(x, out=out)


COLD_START = """
import re, sys
from pathlib import Path
from unrolled import stream
model = stream.load(sys.argv[1])
model.open().step(1)
assert "torch" not in sys.modules
most = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(int(most[1]) / 1024 if most else "nan", model.nbytes / 2**20)
"""


def cold_start(times: int) -> tuple[float, float, float]:
    """Return seconds from a new process to the demo model's first output, its MiB, its weights' MiB."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        train = [sys.executable, "-m", "unrolled", "train", "sentences", "--run", run, "--steps", "20"]
        subprocess.run(train, check=True, capture_output=True)
        took, said = [], ""
        for _ in range(times):
            begin = time.perf_counter()
            said = subprocess.run(
                [sys.executable, "-c", COLD_START, run], check=True, capture_output=True, text=True
            ).stdout
            took.append(time.perf_counter() - begin)
    resident, weights = map(float, said.split())
    return statistics.median(took), resident, weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=400, help="of each contestant a round")
    parser.add_argument("--threads", type=int, default=2, help="of the pool")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.line(machine.facts(1, limit=True)))
    figures: dict[str, Any] = {}
    missed = 0
    for cell in options.cells:
        for size in options.sizes:
            found = measure(cell, size, options.rounds, options.calls)
            figures[f"{cell} {size}"] = found
            print(f"\n{cell}, I = H = {size}: microseconds per step\n{'':28}{'p50':>9}{'p99':>9}{'cold':>9}")
            for name, each in found.items():
                cold = f"{each['cold']:9.2f}" if "cold" in each else ""
                print(f"{name:28}{each['p50']:9.2f}{each['p99']:9.2f}{cold}")
            for what, value, wanted, reached in reaches(cell, size, found):
                missed += not reached
                print(f"  {'reached' if reached else 'MISSED':8}{what}: {value:.2f}, asked for {wanted:.2f}")
    rates = pool(options.threads, options.rounds)
    said = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    print(f"\npool of 1,000 streams, 2 x 256, {options.threads} threads: {said} GFLOP/s")
    gain = rates["bfloat16"] / rates["float32"]
    print(f"  bfloat16 is {gain:.2f} times as fast as float32, asked for 1.5")
    missed += gain < 1.5
    if "limit" in rates:
        share = rates["float32"] / rates["limit"]
        print(f"  float32 is {share:.0%} of the limit, asked for 65%")
        missed += share < 0.65
    seconds, resident, weights = cold_start(9)
    memory = f"{resident:.1f} MiB resident, asked for 60 + {weights:.1f}"
    print(f"cold start: {seconds:.3f} s, asked for 0.2; {memory}")
    missed += seconds > 0.2 or resident > 60 + weights
    print(f"{missed} missed" if missed else "all reached")
    figures |= {"pool": rates, "cold start": {"seconds": seconds, "MiB": resident, "weights MiB": weights}}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
