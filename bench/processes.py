"""Questions that need processes of their own: another instruction set, and peak memory."""

from __future__ import annotations

from collections.abc import Iterator

from cases import Case
from peers import NEAR
from questions import Plan
from record import Row
from unrolled.errors import expected
from worker import Worker

PEOPLE = ("unrolled", "torch.nn")
# Read when a library is loaded. Both processes get all of it.
AVX2 = {
    "UNROLLED_ISA": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def avx2(plan: Plan) -> Iterator[Row]:
    """Forward and backward, both sides held to AVX2, in two processes that take turns."""
    block_s = plan.effort.block_s
    with Worker(AVX2) as first, Worker(AVX2) as second:
        blocks = dict(zip(PEOPLE, (first, second), strict=True))
        for case in plan.cases():
            norms = [
                worker.prepare(case, who, plan.backend, plan.threads, block_s)
                for who, worker in blocks.items()
            ]
            for ours, theirs in zip(*norms, strict=True):
                if not abs(ours - theirs) < NEAR * abs(theirs):
                    raise ArithmeticError(expected(f"{case}, avx2", f"a norm of {theirs}", ours))
            flops = case.flops(backward=True)
            yield plan.row_of_blocks("avx2", case, blocks, isa="avx2", flops=flops)


def memory(plan: Plan) -> Iterator[Row]:
    """By how much one forward and backward raises a fresh process's peak of resident memory."""
    cases = plan.cases()
    if plan.long:
        cases += [Case(cell, plan.long_steps[1], *plan.long[0]) for cell in plan.cells]
    for case in cases:
        peaks: dict[str, list[int]] = {who: [] for who in PEOPLE}
        for _ in range(plan.processes):
            for who in PEOPLE:
                with Worker() as worker:
                    peaks[who].append(worker.peak(case, who, plan.backend, plan.threads))
        yield Row("memory", case, plan.threads, {}, peak_bytes=peaks)
