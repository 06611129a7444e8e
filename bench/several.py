"""Several processes against several threads, what an exchange costs, and what 16 machines would make of it.

    python bench/several.py            two processes of one thread beside one of two threads, and of one
    python bench/several.py --steps 50

Language models on random symbols, in float32; the sides take turns, a figure is the median over rounds. An
exchange is measured inside of the steps (with the wait for the slower rank), and alone by its size. The model
of 16 machines takes a step's work from here, and an all_reduce as a ring makes it: 2 (W - 1) messages, each
of 1/W of the buffer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.data import Split, StreamBatches
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.train import make_optimizer
from unrolled.train.fit import Feed, Stepper
from unrolled.train.joining import joined
from unrolled.train.processes import Processes

CASES = ((128, 1, 32, 64), (256, 2, 32, 64), (512, 2, 64, 64))  # hidden, layers, rows, steps of a window
SYMBOLS = 65
SIZES = (2**12, 2**16, 2**20, 2**22, 2**24)  # bytes of an exchange by itself
NETWORKS = {
    "1 Gbit/s": 0.117e9,
    "10 Gbit/s": 1.17e9,
    "25 Gbit/s": 2.9e9,
}  # bytes a second, with TCP's own share off
LATENCY = 50e-6  # seconds of a message between two hosts of one data centre
WORLD = 16
PAYS = 0.1  # share of a step in exchange, from which compression or local SGD is worth its trouble


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if "RANK" in os.environ:
        work(args.steps)
        return
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for name, ranks, threads in (("2 x 1", 2, 1), ("1 x 2", 1, 2), ("1 x 1", 1, 1)):
            rounds.setdefault(name, []).append(measure(ranks, threads, args.steps))
    show(rounds)


def measure(ranks: int, threads: int, steps: int) -> dict[str, Any]:
    """Run one side in processes of its own, by torchrun."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [*words, str(Path(__file__)), f"--steps={steps}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(steps: int) -> None:
    """Time steps, and exchanges alone, as one of the processes."""
    found: dict[str, Any] = {}
    with joined({}, timeout_s=600) as processes:
        for case in CASES:
            found[" ".join(map(str, case))] = time_case(processes, *case, steps)
        found["alone"] = (
            {size: time_exchange(processes, size) for size in SIZES} if not processes.alone else {}
        )
    if processes.first:
        print(json.dumps(found), flush=True)


def time_case(
    processes: Processes, hidden: int, layers: int, rows: int, window: int, steps: int
) -> dict[str, float]:
    symbols = np.random.default_rng(0).integers(1, SYMBOLS, rows * window * (steps + 8) + 1).astype(np.uint16)
    split = Split(symbols, np.zeros(1, np.int64), len(symbols))
    config = ModelConfig(vocab_size=SYMBOLS, embedding_size=hidden, hidden_size=hidden, num_layers=layers)
    model = LanguageModel(config)
    batches = StreamBatches(split, batch_size=rows, bptt_steps=window, seed=0)
    feed = Feed(batches, rank=processes.rank, world_size=processes.world_size)
    optimizer = make_optimizer(model, lr=1e-3, weight_decay=0.0)
    stepper = Stepper(model, optimizer, feed, lambda _: 1e-3, processes=processes)
    spent, plain = [0.0], processes.all_reduce

    def timed(tensor: torch.Tensor) -> None:
        begin = time.perf_counter()
        plain(tensor)
        spent[0] += time.perf_counter() - begin

    processes.all_reduce = timed  # type: ignore[method-assign]
    for step in range(1, 4):
        stepper.step(step)
    spent[0] = 0.0
    seconds = [stepper.step(step).seconds for step in range(4, 4 + steps)]
    processes.all_reduce = plain  # type: ignore[method-assign]
    weights = sum(p.numel() for p in model.parameters())
    return {"step": statistics.median(seconds), "exchange": spent[0] / steps, "bytes": 4.0 * weights}


def time_exchange(processes: Processes, size: int) -> float:
    buffer, taken = torch.zeros(size // 4), []
    for _ in range(20):
        begin = time.perf_counter()
        processes.all_reduce(buffer)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def show(rounds: dict[str, list[dict[str, Any]]]) -> None:
    def middle(side: str, case: str, what: str) -> float:
        return float(statistics.median(each[case][what] for each in rounds[side]))

    print("processes x threads, seconds a step; the share of the exchange is of 2 x 1\n")
    print(
        "| hidden, layers, rows, window | MB a step | 1 x 1 | 1 x 2 | 2 x 1 | exchange "
        "| efficiency of 2 x 1, of 1 x 2 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in rounds["2 x 1"][0]:
        if case == "alone":
            continue
        one, threads, two = (middle(side, case, "step") for side in ("1 x 1", "1 x 2", "2 x 1"))
        share = middle("2 x 1", case, "exchange") / two
        size = middle("2 x 1", case, "bytes") / 1e6
        cells = f"{1e3 * one:.1f} ms | {1e3 * threads:.1f} ms | {1e3 * two:.1f} ms | {share:.0%}"
        print(f"| {case} | {size:.2f} | {cells} | {one / two / 2:.0%}, {one / threads / 2:.0%} |")
    print("\n| bytes | exchange alone, two processes, loopback | bytes a second |\n| --- | --- | --- |")
    for size in SIZES:
        seconds = statistics.median(each["alone"][str(size)] for each in rounds["2 x 1"])
        print(f"| {size:,} | {1e6 * seconds:.0f} us | {size / seconds / 1e9:.2f} GB/s |")
    print(
        f"\nModel: {WORLD} machines of one thread, each with the rows of 1 x 1; share of a step in exchange\n"
    )
    print(
        "| hidden, layers, rows, window | " + " | ".join(NETWORKS) + " |\n| --- |" + " --- |" * len(NETWORKS)
    )
    for case in rounds["1 x 1"][0]:
        if case == "alone":
            continue
        work_s, size = middle("1 x 1", case, "step"), middle("2 x 1", case, "bytes")
        shares = [exchange(size, each) / (exchange(size, each) + work_s) for each in NETWORKS.values()]
        marks = [f"{share:.0%}{' *' if share > PAYS else ''}" for share in shares]
        print(f"| {case} | " + " | ".join(marks) + " |")
    print(f"\n* over {PAYS:.0%}: here compression of gradients or local SGD would begin to pay")


def exchange(size: float, bandwidth: float) -> float:
    """Return the seconds of an all_reduce of so many bytes as a ring of WORLD machines makes it."""
    return 2 * (WORLD - 1) * (LATENCY + size / WORLD / bandwidth)


if __name__ == "__main__":
    main()
