"""Every layer and cell of `accelerate` beside torch.nn's over a grid of sizes: where is it slower?

    python bench/clients.py grid                    # both thread counts, forward and training
    python bench/clients.py grid --quick            # a fifth of the points
    python bench/clients.py grid --threads 1 --cpu --kinds LSTM --json grid.json
    python bench/clients.py grid --few-steps --threads 1 --cpu --backend native    # docs/decisions/0033

torch.nn's layer and the same layer after `accelerate` take turns, in blocks of some milliseconds. A point
whose speed-up (torch's time divided by ours) comes out under 1.03 is measured again for longer. Every point
under 0.97 is printed; at the end the number of points, the lowest speed-ups and the median of each kind. Exit
code 1 where one is under 0.97.
"""

# ruff: noqa: E741, N806  # I, H, T and B are the axes' names in the design

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import unrolled
from unrolled import nn

LIMIT = 0.97
SIZES = {"I": (1, 8, 64, 512), "H": (1, 8, 32, 128, 512), "T": (1, 2, 10, 100, 1000), "B": (1, 4, 32, 128)}
QUICK = {"I": (1, 64), "H": (8, 64, 256), "T": (1, 20, 200), "B": (1, 32)}
# Training calls of few steps, where the rule of nn/few_steps.py decides: I with H, T, B.
FEW_SIZES = ((1, 8), (8, 32), (32, 64), (64, 128), (64, 256), (256, 256), (256, 512))
FEW_STEPS, FEW_ROWS = (1, 2, 3, 4, 5, 6), (1, 4, 16, 64)
DTYPES = {"float32": torch.float32, "float64": torch.float64}
KINDS = ("RNN", "LSTM", "GRU", "LSTM projected", "RNNCell", "LSTMCell", "GRUCell")
GATES = {"R": 1, "L": 4, "G": 3}
MOST_FLOPS = 4e9  # of a forward pass: larger ones are measured by bench/layers.py
BLOCK_S = 0.004


@dataclass(frozen=True)
class Point:
    """One module, one size, and how it is run."""

    kind: str
    I: int
    H: int
    T: int
    B: int
    training: bool
    threads: int

    def flops(self) -> float:
        """Operations of the forward pass's products."""
        return 2.0 * GATES[self.kind[0]] * self.H * (self.I + self.H) * self.T * self.B

    def __str__(self) -> str:
        how = "training" if self.training else "forward "
        sizes = f"I {self.I:3} H {self.H:3} T {self.T:4} B {self.B:3}"
        return f"{self.kind:14} {sizes}  {how} {self.threads} threads"


def points(kinds: list[str], threads: list[int], quick: bool) -> Iterator[Point]:
    """Yield the grid. Cells take one step; a projection is half as wide as H."""
    sizes = QUICK if quick else SIZES
    for held, kind, training in itertools.product(threads, kinds, (False, True)):
        for I, H, T, B in itertools.product(*sizes.values()):
            point = Point(kind, I, H, T, B, training, held)
            if (T > 1 and "Cell" in kind) or (H == 1 and "projected" in kind) or point.flops() > MOST_FLOPS:
                continue
            yield point


def few_steps(kinds: list[str], threads: list[int]) -> Iterator[Point]:
    """Yield training calls of one to six steps of each layer."""
    for held, kind in itertools.product(threads, kinds):
        if "Cell" not in kind:
            for (I, H), T, B in itertools.product(FEW_SIZES, FEW_STEPS, FEW_ROWS):
                yield Point(kind, I, H, T, B, training=True, threads=held)


def pair(point: Point, backend: str, dtype: torch.dtype) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the call of torch.nn's module and of ours."""
    torch.manual_seed(0)
    options = {"proj_size": point.H // 2} if "projected" in point.kind else {}
    theirs = getattr(torch.nn, point.kind.split()[0])(point.I, point.H, dtype=dtype, **options)
    ours = unrolled.accelerate(copy.deepcopy(theirs))
    assert isinstance(ours, nn.Recurrent | torch.nn.RNNCellBase)
    if isinstance(ours, nn.Recurrent):
        ours.backend = backend
    shape = (point.B, point.I) if "Cell" in point.kind else (point.T, point.B, point.I)
    x = torch.randn(shape, dtype=dtype).requires_grad_(point.training)
    return call(theirs, x, point.training), call(ours, x, point.training)


def call(module: torch.nn.Module, x: torch.Tensor, training: bool) -> Callable[[], object]:
    if not training:

        def forward() -> object:
            with torch.no_grad():
                return module(x)

        return forward
    leaves = [x, *module.parameters()]

    def train() -> object:
        found = module(x)
        y = found[0] if isinstance(found, tuple) else found
        return torch.autograd.grad(y, leaves, torch.ones_like(y))

    return train


def speed_up(point: Point, clock: Callable[[], float], asked: argparse.Namespace) -> float:
    """Return torch's time divided by ours: the median over rounds, three times as many where it is low."""
    torch.set_num_threads(point.threads)
    calls = pair(point, asked.backend, DTYPES[asked.dtype])
    repeats = [fill(each, clock) for each in calls]
    found = statistics.median(rounds(calls, repeats, asked.rounds, clock))
    return statistics.median(rounds(calls, repeats, 3 * asked.rounds, clock)) if found < 1.03 else found


def fill(function: Callable[[], object], clock: Callable[[], float]) -> int:
    """Return how many calls make a block, warm."""
    for _ in range(3):
        function()
    count = 1
    while True:
        took = block(function, count, clock) * count
        if took >= BLOCK_S or count >= 1000:
            return count
        count = min(1000, max(2 * count, int(count * BLOCK_S / max(took, 1e-6))))


def rounds(
    calls: tuple[Callable[[], object], ...], repeats: list[int], number: int, clock: Callable[[], float]
) -> list[float]:
    ratios = []
    for turn in range(number):
        order = (0, 1) if turn % 2 else (1, 0)
        took = {which: block(calls[which], repeats[which], clock) for which in order}
        ratios.append(took[0] / took[1])
    return ratios


def block(function: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    gc.disable()
    begin = clock()
    for _ in range(count):
        function()
    seconds = clock() - begin
    gc.enable()
    return max(seconds, 1e-9) / count


def run(asked: argparse.Namespace) -> int:
    """Measure the grid that was asked for; return the exit code."""
    clock = time.thread_time if asked.cpu else time.perf_counter
    found: list[tuple[float, Point]] = []
    plan = list(
        few_steps(asked.kinds, asked.threads)
        if asked.few_steps
        else points(asked.kinds, asked.threads, asked.quick)
    )
    begin = time.monotonic()
    for number, point in enumerate(plan, 1):
        value = speed_up(point, clock, asked)
        found.append((value, point))
        if value < LIMIT:
            print(f"{value:5.2f}x  {point}", flush=True)
        if sys.stderr.isatty() and not number % 20:
            print(f"{number}/{len(plan)} {time.monotonic() - begin:.0f} s", end="\r", file=sys.stderr)
    under = sum(value < LIMIT for value, _ in found)
    print(f"{len(found)} points, {under} under {LIMIT}; the lowest:")
    for value, point in sorted(found, key=lambda each: each[0])[:10]:
        print(f"{value:5.2f}x  {point}")
    for kind in asked.kinds:
        values = [value for value, point in found if point.kind == kind]
        if values:
            print(
                f"{kind:14} median {statistics.median(values):.2f}x, {min(values):.2f} to {max(values):.2f}"
            )
    if asked.json:
        asked.json.write_text(json.dumps([{"speed_up": value, **asdict(point)} for value, point in found]))
    return 1 if under else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the grid can be asked for."""
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="a fifth of the points")
    which.add_argument("--few-steps", action="store_true", help="training calls of one to six steps alone")
    parser.add_argument("--backend", choices=("auto", "native"), default="auto", help="of our layers")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--rounds", type=int, default=5, help="of each point; three times as many where low")
    parser.add_argument(
        "--cpu", action="store_true", help="this thread's CPU time: for one thread, beside other work"
    )
    parser.add_argument("--json", type=Path, help="where every point goes")
