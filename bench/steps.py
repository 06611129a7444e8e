"""One step inside torch: layers and cells of `unrolled.nn`, packed and not, beside torch.nn and ONNX Runtime.

    python bench/steps.py                            # every cell and size; about four minutes
    python bench/steps.py --cells LSTM --sizes 64 256 --rows 1
    python bench/steps.py --grad                     # calls that record gradients: nothing is packed then

One thread, `inference_mode` unless `--grad`, interleaved blocks, the median of the rounds in microseconds.
Each line ends with what the issue asks for: ours over theirs, at most 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import machine
import onnx_peer
from timing import Local, interleave
from unrolled import nn

CELLS, SIZES, ROWS = ("LSTM", "GRU", "RNN"), (32, 64, 128, 256, 512), (1, 16)
Call = Callable[[], object]
HELD = ExitStack()  # what is packed stays so
# ours → what it must not be slower than
PAIRS = {
    "layer": "torch layer",
    "cell": "torch cell",
    "packed layer": "torch layer",
    "packed cell": "ONNX Runtime",
}


def contestants(cell: str, size: int, rows: int, grad: bool) -> dict[str, Call]:
    """Return a call per contestant, all with explicit states."""
    torch.manual_seed(0)
    theirs, their_cell = getattr(torch.nn, cell)(size, size), getattr(torch.nn, f"{cell}Cell")(size, size)
    ours, our_cell = getattr(nn, cell)(size, size), getattr(nn, f"{cell}Cell")(size, size)
    packed, packed_cell = getattr(nn, cell)(size, size), getattr(nn, f"{cell}Cell")(size, size)
    x, h = torch.randn(1, rows, size), torch.zeros(1, rows, size)
    hx = (h, h.clone()) if cell == "LSTM" else h
    row, row_hx = x[0], (h[0], h[0].clone()) if cell == "LSTM" else h[0]
    calls: dict[str, Call] = {
        "torch layer": lambda: theirs(x, hx),
        "torch cell": lambda: their_cell(row, row_hx),
        "layer": lambda: ours(x, hx),
        "cell": lambda: our_cell(row, row_hx),
    }
    if not grad:
        for module in (packed, packed_cell):
            HELD.enter_context(module.packed())
        calls["packed layer"] = lambda: packed(x, hx)
        calls["packed cell"] = lambda: packed_cell(row, row_hx)
        if rows == 1 and cell != "RNN" and onnx_peer.available():
            calls["ONNX Runtime"] = onnx_peer.step(theirs)
    return calls


def measure(calls: dict[str, Call], rounds: int, block_s: float) -> dict[str, float]:
    """Return the median of each contestant's blocks, in microseconds."""
    samples = interleave({name: Local(call, block_s) for name, call in calls.items()}, rounds)
    return {name: statistics.median(each) * 1e6 for name, each in samples.items()}


def line(cell: str, size: int, rows: int, found: dict[str, float]) -> str:
    """Say it in one line."""
    times = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    ratios = {
        ours: found[ours] / found[other] for ours, other in PAIRS.items() if {ours, other} <= found.keys()
    }
    over = ", ".join(f"{ours} {ratio:.2f}{'' if ratio <= 1 else ' !'}" for ours, ratio in ratios.items())
    return f"{cell} H {size} B {rows}: {times} | {over}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--grad", action="store_true", help="record gradients")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block-ms", type=float, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.line(machine.facts(1, limit=True)))
    print(f"load {os.getloadavg()[0]:.2f}; below 1.2 the figures count")
    with torch.inference_mode(not options.grad):
        for cell in options.cells:
            for rows in options.rows:
                for size in options.sizes:
                    calls = contestants(cell, size, rows, options.grad)
                    found = measure(calls, options.rounds, options.block_ms / 1e3)
                    print(line(cell, size, rows, found), flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
