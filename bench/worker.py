"""A child process that measures: for settings that are read at start, and for peak memory.

It reads one JSON object a line from standard input and answers each with one; it ends with its input.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from cases import Case
from peers import Peer, trainer
from timing import Local, settle

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


class Worker:
    """The parent's end. Use it as a context; as a `timing.Contestant` once `prepare` was called."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environment or {}),
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def prepare(self, case: Case, who: str, backend: str, threads: int, block_s: float) -> list[float]:
        """Set up forward and backward, warm; return the norms of y and of every gradient."""
        sizes = dataclasses.asdict(case)
        norms: list[float] = self._ask(
            do="prepare", case=sizes, who=who, backend=backend, threads=threads, block_s=block_s
        )
        return norms

    def block(self) -> float:
        """Run one timed block; return seconds per call."""
        seconds: float = self._ask(do="block")
        return seconds

    def peak(self, case: Case, who: str, backend: str, threads: int) -> int:
        """Return by how many bytes one forward and backward raises the peak; once a process."""
        sizes = dataclasses.asdict(case)
        peak: int = self._ask(do="peak", case=sizes, who=who, backend=backend, threads=threads)
        return peak

    def _ask(self, **question: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"worker: expected an answer, got exit code {self._process.wait()}")
        return json.loads(line)


def main() -> None:
    prepared: Local | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any
        if asked["do"] == "block":
            assert prepared is not None
            answer = prepared.block()
            settle()  # the other process is next
        else:
            torch.set_num_threads(asked["threads"])
            case = Case(**asked["case"])
            if asked["do"] == "prepare":
                peer = trainer(case, asked["who"], asked["backend"])
                answer = _norms(peer)
                prepared = Local(peer.call, asked["block_s"])
            else:
                answer = _peak(case, asked["who"], asked["backend"])
        print(json.dumps(answer), flush=True)


def _norms(peer: Peer) -> list[float]:
    y = peer.call().detach()
    return [float(y.norm()), *(float(leaf.grad.norm()) for leaf in peer.leaves if leaf.grad is not None)]


def _peak(case: Case, who: str, backend: str) -> int:
    # What loads and starts at a first call, however small, is not this call's.
    trainer(dataclasses.replace(case, T=2, B=min(case.B, 2)), who, backend).call()
    peer = trainer(case, who, backend)
    _trim()
    return _growth(peer.call)


def _growth(call: Callable[[], object]) -> int:
    """Return peak resident memory within the call, less what was resident before."""
    try:
        CLEAR.write_text("5")  # the peak starts anew
        before, peak = _kib("VmRSS"), "VmHWM"
    except OSError:  # not Linux, or not allowed: the peak so far, which may hide a part
        before, peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, ""
    call()
    after = _kib(peak) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * (after - before)


def _kib(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def _trim() -> None:
    """Give freed memory back, so that the call cannot hide in it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


if __name__ == "__main__":
    main()
