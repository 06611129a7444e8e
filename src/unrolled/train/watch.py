"""The launcher's key-value store, kept by a thread: signs of life, and questions that never wait for ever."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["PULSE", "NoAnswerError", "Watch"]

PULSE = 1.0  # seconds between two signs of life of a process
Answer = TypeVar("Answer")


class NoAnswerError(Exception):
    """The store is gone, or does not answer in time."""


class Watch:
    """Says every second that this process lives, and asks the store of the others.

    A client of the store has one connection, whose calls wait for one another without a limit of time where
    the network is down. So one thread makes them all, and nobody waits longer for it than he says.
    """

    def __init__(self, store: Any, rank: int) -> None:
        self._store, self._rank = store, rank
        self._asked: queue.SimpleQueue[tuple[Callable[[Any], Any], queue.SimpleQueue[Any]]] = (
            queue.SimpleQueue()
        )
        self._late: queue.SimpleQueue[Any] | None = None  # for an answer that did not come in time
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="unrolled-watch", daemon=True)
        self._thread.start()

    def ask(self, call: Callable[[Any], Answer], seconds: float) -> Answer:
        """Return what a call of the store gives.

        Raises NoAnswerError: it fails, or takes longer than `seconds`.
        """
        if self._late is not None and self._late.empty():
            raise NoAnswerError("no answer to an earlier question either")
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked.put((call, answer))
        try:
            found, error = answer.get(timeout=seconds)
        except queue.Empty:
            self._late = answer
            raise NoAnswerError(f"no answer within {seconds:g} s") from None
        if error is not None:
            raise NoAnswerError(str(error)) from None
        result: Answer = found
        return result

    def close(self) -> None:
        """End the thread, if it can end: one that waits for a dead network is left behind."""
        self._ends.set()
        with contextlib.suppress(NoAnswerError):
            self.ask(lambda _: None, 0.5)
        self._thread.join(0.5)

    def _serve(self) -> None:
        beat, due = 0, 0.0
        while not self._ends.is_set():
            now = time.monotonic()
            if now >= due:
                beat, due = beat + 1, now + PULSE
                with contextlib.suppress(RuntimeError):  # whoever asks next learns that the store is gone
                    self._store.set(f"pulse/{self._rank}", str(beat))
            try:
                call, answer = self._asked.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                continue
            try:
                answer.put((call(self._store), None))
            except Exception as error:
                answer.put((None, error))
