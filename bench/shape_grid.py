"""Every layer and cell of `accelerate` beside torch.nn's over a grid of sizes: where is it slower?

    python bench/clients.py grid                    # both thread counts, forward and training: an hour
    python bench/clients.py grid --pairs --dtypes float32 float64 --keep    # some minutes, for the docs
    python bench/clients.py grid --threads 1 --cpu --kinds LSTM --json grid.json
    python bench/clients.py grid --few-steps --threads 1 --cpu --backend native    # docs/decisions/0033

torch.nn's layer and the same layer after `accelerate` take turns, in blocks of some milliseconds. A point
whose speed-up (torch's time divided by ours) comes out under 1.03 is measured again for longer, and one that
is then under 0.97 once more, in longer blocks; what was measured last counts. Every point under 0.97 is
printed; at the end the number of points, the lowest speed-ups and the median of each kind. Exit code 1 where
one is under 0.97. `--pairs` takes few points, but so many that every two sizes of two axes meet, and others
for each kind, dtype, thread count and direction; `--keep` writes a row for each of those to
bench/clients.json.
"""

# ruff: noqa: E741, N806  # I, H, T and B are the axes' names in the design

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import client_record
import unrolled
from unrolled import nn

LIMIT = 0.97
SIZES = {"I": (1, 8, 64, 512), "H": (1, 8, 32, 128, 512), "T": (1, 2, 10, 100, 1000), "B": (1, 4, 32, 128)}
# Training calls of few steps, where the rule of nn/few_steps.py decides: I with H, T, B.
FEW_SIZES = (
    (1, 8), (8, 32), (32, 64), (64, 128), (64, 256), (256, 256), (256, 512),
    (512, 8), (512, 32), (1, 128), (8, 512),
)  # fmt: skip
FEW_STEPS, FEW_ROWS = (1, 2, 3, 4, 5, 6), (1, 4, 16, 64)
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
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
    dtype: str = "float32"

    def flops(self) -> float:
        """Operations of the forward pass's products."""
        return 2.0 * GATES[self.kind[0]] * self.H * (self.I + self.H) * self.T * self.B

    def __str__(self) -> str:
        how = "training" if self.training else "forward "
        sizes = f"I {self.I:3} H {self.H:3} T {self.T:4} B {self.B:3}"
        return f"{self.kind:14} {sizes}  {how} {self.threads} threads, {self.dtype}"


def points(asked: argparse.Namespace) -> Iterator[Point]:
    """Yield the grid. Cells take one step; a projection is half as wide as H."""
    for dtype, held, kind, training in itertools.product(
        asked.dtypes, asked.threads, asked.kinds, (False, True)
    ):
        every = []
        for I, H, T, B in itertools.product(*SIZES.values()):
            point = Point(kind, I, H, T, B, training, held, dtype)
            if (T > 1 and "Cell" in kind) or (H == 1 and "projected" in kind) or point.flops() > MOST_FLOPS:
                continue
            every.append(point)
        yield from pairs(every, f"{dtype} {held} {kind} {training}") if asked.pairs else every


def pairs(every: list[Point], seed: str) -> Iterator[Point]:
    """Yield few of the points, such that every two sizes that meet in one of them meet in one of the few."""
    met = {
        point: set(itertools.combinations(zip("IHTB", (point.I, point.H, point.T, point.B), strict=True), 2))
        for point in random.Random(seed).sample(every, len(every))
    }
    left = set().union(*met.values())
    while left:
        best = max(met, key=lambda point: len(met[point] & left))
        left -= met[best]
        yield best


def few_steps(asked: argparse.Namespace) -> Iterator[Point]:
    """Yield training calls of one to six steps of each layer."""
    for dtype, held, kind in itertools.product(asked.dtypes, asked.threads, asked.kinds):
        if "Cell" not in kind:
            for (I, H), T, B in itertools.product(FEW_SIZES, FEW_STEPS, FEW_ROWS):
                yield Point(kind, I, H, T, B, training=True, threads=held, dtype=dtype)


def pair(point: Point, backend: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the call of torch.nn's module and of ours."""
    torch.manual_seed(0)
    dtype = DTYPES[point.dtype]
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
    """Return torch's time divided by ours: a median over rounds, more and longer ones where it is low."""
    torch.set_num_threads(point.threads)
    calls = pair(point, asked.backend)
    repeats = [fill(each, clock) for each in calls]
    found = statistics.median(rounds(calls, repeats, asked.rounds, clock))
    if found < 1.03:
        found = statistics.median(rounds(calls, repeats, 3 * asked.rounds, clock))
    if found < LIMIT:
        repeats = [4 * each for each in repeats]
        found = statistics.median(rounds(calls, repeats, 3 * asked.rounds, clock))
    return found


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
    plan = list(few_steps(asked) if asked.few_steps else points(asked))
    begin = time.monotonic()
    for number, point in enumerate(plan, 1):
        value = speed_up(point, clock, asked)
        found.append((value, point))
        if value < LIMIT:
            print(f"{value:5.2f}x  {point}", flush=True)
        if sys.stderr.isatty() and not number % 20:
            print(f"{number}/{len(plan)} {time.monotonic() - begin:.0f} s", end="\r", file=sys.stderr)
    under = sum(value < LIMIT for value, _ in found)
    print(f"{len(found)} points, {under} under {LIMIT}, {time.monotonic() - begin:.0f} s; the lowest:")
    for value, point in sorted(found, key=lambda each: each[0])[:10]:
        print(f"{value:5.2f}x  {point}")
    rows = list(summary(found, "cpu" if asked.cpu else "wall"))
    for row in rows:
        print("{kind:14} {dtype:8} {threads} threads  {what:8}".format(**row), end="  ")
        print("{points:4} points, median {median:.2f}x, {lowest:.2f} to {highest:.2f}".format(**row))
    if asked.json:
        asked.json.write_text(json.dumps([{"speed_up": value, **asdict(point)} for value, point in found]))
    if asked.keep:
        client_record.put("grid", rows, threads=max(asked.threads), key="key")
    return 1 if under else 0


def summary(found: list[tuple[float, Point]], clock: str) -> Iterator[dict[str, Any]]:
    """Yield what is kept of the points of each kind, dtype, thread count and direction."""
    groups: dict[tuple[str, str, int, str], list[tuple[float, Point]]] = {}
    for value, point in found:
        how = "training" if point.training else "forward"
        groups.setdefault((point.kind, point.dtype, point.threads, how), []).append((value, point))
    for group, members in groups.items():
        values = sorted(value for value, _ in members)
        row: dict[str, Any] = dict(zip(("kind", "dtype", "threads", "what"), group, strict=True))
        row |= {"key": " ".join(map(str, group)), "clock": clock, "points": len(values)}
        row |= {"lowest": round(values[0], 3), "highest": round(values[-1], 3)}
        row |= {"median": round(statistics.median(values), 3)}
        yield row | {"under": [[round(value, 3), str(point)] for value, point in members if value < LIMIT]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the grid can be asked for."""
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", choices=tuple(DTYPES), default=["float32"])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pairs", action="store_true", help="few points, where every two sizes meet")
    which.add_argument("--few-steps", action="store_true", help="training calls of one to six steps alone")
    parser.add_argument("--backend", choices=("auto", "native"), default="auto", help="of our layers")
    parser.add_argument("--rounds", type=int, default=5, help="of each point; more and longer where low")
    parser.add_argument(
        "--cpu", action="store_true", help="this thread's CPU time: for one thread, beside other work"
    )
    parser.add_argument("--json", type=Path, help="where every point goes")
    parser.add_argument("--keep", action="store_true", help="write bench/clients.json")
