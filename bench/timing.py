"""Timing side by side: every contestant runs one block a round, in turn, warm."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

STEP_S, QUIET, PATIENCE_S = 0.005, 0.05, 0.5  # of `settle`
WARM_S = 0.005  # untimed, at the head of a block: caches, clock, threads
LONG_S = 0.25  # a call this long warms itself


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 9
    block_s: float = 0.03  # at least, for every block


class Contestant(Protocol):
    """Something to be timed."""

    def block(self) -> float:
        """Run one timed block; return seconds per call."""
        ...


class Local:
    """A function of this process; its first calls, untimed, fix how many make a block."""

    def __init__(self, call: Callable[[], object], block_s: float) -> None:
        self._call, self.calls, self._warm = call, 1, 0
        if self._timed(1) > LONG_S and self._timed(1) > LONG_S:
            return
        while True:
            once = min(self._timed(self.calls) for _ in range(3))  # a stall is not the call's
            if once * self.calls > 0.7 * block_s:
                break
            self.calls = math.ceil(min(10 * self.calls, block_s / once))
        self._warm = math.ceil(min(WARM_S, block_s) / once)

    def block(self) -> float:
        for _ in range(self._warm):
            self._call()
        return self._timed(self.calls)

    def _timed(self, calls: int) -> float:
        gc.disable()
        begin = time.perf_counter()
        for _ in range(calls):
            self._call()
        seconds = time.perf_counter() - begin
        gc.enable()
        return seconds / calls


def settle() -> None:
    """Wait until this process's threads sleep: torch's spin for 5 ms after a call, ONNX Runtime's for 30."""
    for _ in range(round(PATIENCE_S / STEP_S)):
        before = time.process_time()
        time.sleep(STEP_S)
        if time.process_time() - before < QUIET * STEP_S:
            return


def interleave(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Run `rounds` rounds; return the seconds per call of each contestant in each round."""
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for turn in range(rounds):
        first = turn % len(order)  # nobody always runs after the same neighbour
        for name in order[first:] + order[:first]:
            settle()
            samples[name].append(contestants[name].block())
    return samples
