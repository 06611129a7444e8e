"""The questions that the benchmark asks. Each yields rows; each row is measured side by side."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

import onnx_peer
from cases import LONG_STEPS, SHAPES, Case
from limit import Limit
from peers import (
    CellLoop,
    Peer,
    check_alike,
    dense,
    forward,
    ours,
    packed,
    trainer,
    training,
    with_rows,
    with_trajectories,
)
from record import Row
from timing import Contestant, Effort, Local, interleave

SHARES = {"resets 1 %": 0.01, "resets 10 %": 0.1}
LOOP = "resets 1 %"  # what the loop is compared with


@dataclass(frozen=True)
class Plan:
    """What a run measures, and with how much effort."""

    backend: str
    cells: tuple[str, ...]
    shapes: tuple[tuple[int, int, int, int], ...] = SHAPES
    long: tuple[tuple[int, int, int], ...] = ()  # B, I, H
    long_steps: tuple[int, ...] = LONG_STEPS
    threads: int = 1
    effort: Effort = field(default_factory=Effort)
    processes: int = 3  # for each point of peak memory
    library: ctypes.CDLL | None = None  # of limit.py

    def cases(self) -> list[Case]:
        """Return the grid."""
        return [Case(cell, *shape) for cell in self.cells for shape in self.shapes]

    def row(
        self,
        question: str,
        case: Case,
        peers: Mapping[str, Peer],
        *,
        threads: int | None = None,
        **more: Any,
    ) -> Row:
        """Time the peers, and the limit on as many threads, side by side."""
        blocks = {name: Local(peer.call, self.effort.block_s) for name, peer in peers.items()}
        return self.row_of_blocks(question, case, blocks, threads=threads, **more)

    def row_of_blocks(
        self,
        question: str,
        case: Case,
        blocks: Mapping[str, Contestant],
        *,
        threads: int | None = None,
        isa: str | None = None,
        **more: Any,
    ) -> Row:
        """Time contestants that are ready, and the limit on as many threads."""
        threads = threads or self.threads
        limit = Limit(self.library, threads, isa) if self.library else None
        all_blocks = dict(blocks) | ({"limit": Local(limit, self.effort.block_s)} if limit else {})
        times = interleave(all_blocks, self.effort.rounds)
        rates = [limit.flops / t for t in times.pop("limit")] if limit else []
        return Row(question, case, threads, times, limit=rates, **more)


def grid(plan: Plan) -> Iterator[Row]:
    """Forward and backward."""
    for case in plan.cases():
        yield _grid(plan, case, plan.threads)


def forward_only(plan: Plan) -> Iterator[Row]:
    """The forward pass."""
    for case in plan.cases():
        yield _forward(plan, case, plan.threads)


def one_thread(plan: Plan) -> Iterator[Row]:
    """Both, on one thread."""
    torch.set_num_threads(1)
    try:
        for case in plan.cases():
            yield _grid(plan, case, 1, question="threads", variant="forward + backward")
            yield _forward(plan, case, 1, question="threads", variant="forward")
    finally:
        torch.set_num_threads(plan.threads)


def _grid(plan: Plan, case: Case, threads: int, *, question: str = "grid", variant: str = "") -> Row:
    peers = {who: trainer(case, who, plan.backend) for who in ("unrolled", "torch.nn")}
    check_alike(case, peers)
    flops = case.flops(backward=True)
    return plan.row(question, case, peers, threads=threads, flops=flops, variant=variant)


def _forward(plan: Plan, case: Case, threads: int, *, question: str = "forward", variant: str = "") -> Row:
    runs = {"unrolled": dense(ours(case, plan.backend)), "torch.nn": dense(case.torch_layer())}
    if onnx_peer.available():
        runs["onnxruntime"] = onnx_peer.dense(case, threads)
    peers = {name: forward(case, run) for name, run in runs.items()}
    check_alike(case, peers)
    flops = case.flops(backward=False)
    return plan.row(question, case, peers, threads=threads, flops=flops, variant=variant)


def ragged(plan: Plan) -> Iterator[Row]:
    """Rows of unequal length: ours, ours on full rows, torch.nn packed, torch.nn padded."""
    for case in plan.cases():
        lengths = case.lengths()
        valid = (torch.arange(case.T)[:, None] < lengths)[..., None].float()
        layer, theirs = ours(case, plan.backend), case.torch_layer()
        peers = {
            "unrolled": training(case, with_rows(layer, lengths=lengths), layer, valid),
            "packed": training(case, packed(theirs, lengths), theirs, valid),
            "padded": training(case, dense(theirs), theirs, valid),
        }
        check_alike(case, peers, valid)
        peers["dense"] = training(case, dense(layer), layer)
        steps = int(lengths.sum())
        yield plan.row(
            "ragged",
            case,
            peers,
            flops=case.flops(steps, backward=True),
            valid_share=steps / (case.T * case.B),
        )


def resets(plan: Plan) -> Iterator[Row]:
    """Resets on a share of the steps: ours with and without, and the loop that people write."""
    for case in plan.cases():
        layer = ours(case, plan.backend)
        peers = {
            name: training(case, with_rows(layer, resets=case.resets(share)), layer)
            for name, share in SHARES.items()
        }
        loop = CellLoop(case, case.resets(SHARES[LOOP]))
        peers["loop"] = training(case, dense(loop), loop)
        check_alike(case, {name: peers[name] for name in ("loop", LOOP)})
        peers["unrolled"] = training(case, dense(layer), layer)
        yield plan.row("resets", case, peers, flops=case.flops(backward=True))


def length(plan: Plan) -> Iterator[Row]:
    """The same layer on ever longer sequences."""
    effort = dataclasses.replace(plan.effort, rounds=min(plan.effort.rounds, 7))
    for cell in plan.cells:
        for sizes in plan.long:
            cases = [Case(cell, T, *sizes) for T in plan.long_steps]
            check_alike(
                cases[0], {who: trainer(cases[0], who, plan.backend) for who in ("unrolled", "torch.nn")}
            )
            blocks: dict[str, Contestant] = {
                f"{who}, {case.T}": Local(trainer(case, who, plan.backend).call, effort.block_s)
                for case in cases
                for who in ("unrolled", "torch.nn")
            }
            whole = dataclasses.replace(plan, effort=effort).row_of_blocks("length", cases[0], blocks)
            for case in cases:
                times = {who: whole.times[f"{who}, {case.T}"] for who in ("unrolled", "torch.nn")}
                flops = case.flops(backward=True)
                yield dataclasses.replace(whole, case=case, times=times, flops=flops)


def trajectories(plan: Plan) -> Iterator[Row]:
    """Every gate and state kept, against not."""
    for case in plan.cases():
        layer = ours(case, plan.backend)
        runs: dict[str, Callable[..., Any]] = {
            "unrolled": dense(layer),
            "trajectories": with_trajectories(layer),
        }
        for variant, backward in (("forward", False), ("forward + backward", True)):
            peers = {
                name: training(case, run, layer) if backward else forward(case, run)
                for name, run in runs.items()
            }
            check_alike(case, peers)
            flops = case.flops(backward=backward)
            yield plan.row("trajectories", case, peers, flops=flops, variant=variant)


def overhead(plan: Plan) -> Iterator[Row]:
    """One step of one row: what a call costs beside its work."""
    for cell in plan.cells:
        case = Case(cell, 1, 1, 64, 64)
        yield _forward(plan, case, plan.threads, question="overhead", variant="forward")
        yield _grid(plan, case, plan.threads, question="overhead", variant="forward + backward")
