"""Measure a training step of every variant, and of zoneout and dropout over time, beside the plain cell.

    python bench/variants.py              # CPU time of one thread, interleaved, the minimum of 20
    python bench/variants.py --quick      # a small size and few repeats, to see that it runs

Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from unrolled import nn
from unrolled.spec import CELLS

SIZES = ((100, 64, 64), (64, 32, 128), (64, 16, 256))  # T, B, I = H
OPTIONS: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": 0.1},
    "recurrent_dropout": {"recurrent_dropout": 0.3},
    "input_dropout": {"input_dropout": 0.3},
    "reverse": {"reverse": True},
}


def layers(size: int) -> dict[str, tuple[str, torch.nn.RNNBase]]:
    """Return what is measured by its name: the cell that it is compared with, and the layer."""
    found: dict[str, tuple[str, torch.nn.RNNBase]] = {
        name: (cell.variant_of or name, nn.layer(name, size, size)) for name, cell in CELLS.items()
    }
    for name in ("lstm", "gru"):
        found |= {f"{name}, {word}": (name, nn.layer(name, size, size, **o)) for word, o in OPTIONS.items()}
    return found


def seconds(layer: torch.nn.RNNBase, x: torch.Tensor) -> float:
    """Return the CPU time of one forward and backward pass."""
    begin = time.thread_time()
    y, _ = layer(x)
    y.sum().backward()
    return time.thread_time() - begin


def measure(steps: int, rows: int, size: int, repeats: int) -> None:
    """Print a table of one size."""
    x, measured = torch.randn(steps, rows, size), layers(size)
    best = dict.fromkeys(measured, float("inf"))
    for _ in range(repeats):
        for name, (_, layer) in measured.items():
            best[name] = min(best[name], seconds(layer, x))
    print(f"\n| T {steps}, B {rows}, I = H = {size} | ms | beside the plain cell |\n| --- | --- | --- |")
    for name, (plain, _) in measured.items():
        print(f"| {name} | {1e3 * best[name]:.2f} | {best[name] / best[plain]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small size and few repeats")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    for size in ((20, 4, 16),) if quick else SIZES:
        measure(*size, 2 if quick else 20)


if __name__ == "__main__":
    main()
