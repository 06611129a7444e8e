"""Processes that run trials side by side: each takes one at a time, and what comes back is its result."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import torch

from unrolled.errors import RunError, expected
from unrolled.lab.experiment import Json, Trial
from unrolled.train import own_random_state

__all__ = ["Workers", "timed"]


def timed(work: Callable[[Any], Json], settings: Json) -> tuple[Json, float]:
    """Do a trial's work with a random state of its own; return its result, and the seconds that it took."""
    begin = time.perf_counter()
    with own_random_state(settings.get("seed", 0), settings.get("threads")):
        result = work(settings)
    return result, time.perf_counter() - begin


class Workers:
    """A fixed number of processes, started when they are first needed and killed at the end of the block.

    A process writes nothing but to its parent, so that it may be killed at any moment; where the parent is
    gone it ends. Trials go to it, and results come back, as Python objects of this package's own.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: list[tuple[BaseProcess, Connection]] = []
        self._busy: dict[Connection, tuple[BaseProcess, Trial]] = {}
        self._context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads half

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes = [process for process, _ in (*self._idle, *((p, t) for p, t in self._busy.values()))]
        for process in processes:
            process.kill()
        for process in processes:
            process.join()

    @property
    def running(self) -> list[str]:
        """The keys of the trials that are being run."""
        return [trial.key for _, trial in self._busy.values()]

    @property
    def free(self) -> bool:
        """Whether another trial can be given."""
        return len(self._busy) < self.count

    def give(self, trial: Trial) -> None:
        """Have a free process run a trial."""
        if not self._idle:
            mine, other = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(other, torch.get_num_threads()), daemon=True)
            process.start()
            other.close()
            self._idle.append((process, mine))
        ready, pipe = self._idle.pop()
        self._busy[pipe] = (ready, trial)
        pipe.send((trial.work, trial.settings))

    def take(self) -> tuple[Trial, Json, float]:
        """Wait for the next result. Raises what the trial raised; RunError: its process is gone."""
        (pipe, *_) = wait(list(self._busy))
        assert isinstance(pipe, Connection)
        process, trial = self._busy[pipe]
        try:
            result, seconds, error = pipe.recv()
        except (EOFError, OSError):
            process.join()
            got = f"exit code {process.exitcode}"
            raise RunError(expected(trial.key, "its worker process to end with a result", got)) from None
        if error is not None:
            raise error
        del self._busy[pipe]
        self._idle.append((process, pipe))
        return trial, result, seconds


def _serve(pipe: Connection, threads: int) -> None:
    """Run what comes through a pipe until it is closed; Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            work, settings = pipe.recv()
            try:
                answer: tuple[Json, float, Exception | None] = (*timed(work, settings), None)
            except Exception as error:  # raised again by the parent
                answer = ({}, 0.0, error)
            pipe.send(answer)
