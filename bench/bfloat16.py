"""Measure layers in bfloat16, forward and backward, beside torch.nn's and beside float32, in turn.

    python bench/bfloat16.py                     # the grid of docs/decisions/0029, two threads
    python bench/bfloat16.py --cell gru --threads 1

All run under CPU autocast on float32 weights, as a trainer's do; "float32" is the same without autocast.
Shares are of a loop of `vdpbf16ps`, or of float32 multiply-adds, timed in the same rounds. "ragged" is the
time of a batch with lengths T/4..T over the full batch's, divided by its share of valid steps. Nothing else
should run.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

import limit
import machine
import peers
from cases import Case
from record import commit
from report import table
from timing import Effort, Local, interleave

SHAPES = ((64, 16, 256, 256), (100, 128, 32, 64), (128, 64, 256, 256), (64, 64, 512, 512))
HEADS = (
    "cell", "T, B, I, H", "bfloat16 GFLOP/s", "of its limit", "torch bfloat16", "times torch", "ragged",
    "float32", "of its limit", "torch float32", "times torch", "ragged",
)  # fmt: skip


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    library = limit.build()
    rows: list[list[str]] = []
    times: dict[str, list[tuple[float, float]]] = {}
    for cell in args.cell:
        for shape in SHAPES:
            row, both = _measure(Case(cell, *shape), library, args)
            times.setdefault(cell, []).append(both)
            rows.append(row)
            print(" | ".join(row), flush=True)
    print(f"\n{machine.line(machine.facts(args.threads, limit=library is not None))}; commit {commit()}\n")
    print("\n".join(table(HEADS, rows)))
    for cell, ratios in times.items():
        narrow = math.prod(each[0] for each in ratios) ** (1 / len(ratios))
        whole = math.prod(each[1] for each in ratios) ** (1 / len(ratios))
        print(f"{cell}: geometric mean against torch.nn: bfloat16 {narrow:.2f}, float32 {whole:.2f}")


def _measure(
    case: Case, library: ctypes.CDLL | None, args: argparse.Namespace
) -> tuple[list[str], tuple[float, float]]:
    lengths = case.lengths()
    valid = (torch.arange(case.T)[:, None] < lengths).unsqueeze(-1)
    ours, theirs = peers.ours(case, "native"), case.torch_layer()
    ragged = peers.with_rows(ours, lengths=lengths)
    calls: dict[str, Callable[[], object]] = {
        "bfloat16": _within(peers.training(case, _wide(peers.dense(ours)), ours)),
        "torch bfloat16": _within(peers.training(case, _wide(peers.dense(theirs)), theirs)),
        "ragged bfloat16": _within(peers.training(case, _wide(ragged), ours, valid)),
        "float32": peers.training(case, peers.dense(ours), ours).call,
        "torch float32": peers.training(case, peers.dense(theirs), theirs).call,
        "ragged float32": peers.training(case, ragged, ours, valid).call,
    }
    limits = {}
    if library is not None:
        limits["limit bfloat16"] = limit.Limit(library, args.threads, "bfloat16")
        limits["limit float32"] = limit.Limit(library, args.threads)
    calls |= limits
    effort = Effort(args.rounds)
    samples = interleave({name: Local(call, effort.block_s) for name, call in calls.items()}, effort.rounds)
    seconds = {name: statistics.median(each) for name, each in samples.items()}
    share = int(lengths.sum()) / (case.T * case.B)
    row, ratios = [case.cell, case.shape], []
    for dtype in ("bfloat16", "float32"):
        rate = case.flops(backward=True) / seconds[dtype]
        theirs_rate = case.flops(backward=True) / seconds[f"torch {dtype}"]
        of = limits.get(f"limit {dtype}")
        part = "–" if of is None else f"{100 * rate * seconds[f'limit {dtype}'] / of.flops:.0f} %"
        ratios.append(rate / theirs_rate)
        over = seconds[f"ragged {dtype}"] / seconds[dtype] / share
        row += [f"{rate / 1e9:.0f}", part, f"{theirs_rate / 1e9:.0f}", f"{ratios[-1]:.2f}", f"{over:.2f}"]
    return row, (ratios[0], ratios[1])


def _wide(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Give y as float32, so that the same gradient is sent into every run."""
    return lambda x: run(x).float()


def _within(peer: peers.Peer) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return peer.call()

    return call


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell", nargs="+", default=["lstm", "gru", "rnn"], choices=("lstm", "gru", "rnn"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
