"""Calls that nobody waits for without end: questions to the launcher's store, and those that connect."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar

__all__ = ["PULSE", "Call", "NoAnswerError", "Watch"]

PULSE = 1.0  # seconds between two signs of life of a process
Answer = TypeVar("Answer")


class NoAnswerError(Exception):
    """The store is gone, or does not answer in time."""


class Call(Generic[Answer]):
    """A call in a thread of its own, waited for like an exchange of torch's; whoever waits may give up."""

    def __init__(self, call: Callable[[], Answer]) -> None:
        self._call = call
        self._found: list[Answer] = []
        self._error: Exception | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._make, name="unrolled-call", daemon=True).start()

    def wait(self, limit: timedelta) -> None:
        """Return when the call has ended. Raises RuntimeError: it failed, or takes longer than `limit`."""
        if not self._ended.wait(limit.total_seconds()):
            raise RuntimeError(f"no answer within {limit.total_seconds():g} s")
        if self._error is not None:
            raise RuntimeError(str(self._error)) from self._error

    def is_completed(self) -> bool:
        """Return whether the call has ended, well or not."""
        return self._ended.is_set()

    def take(self) -> Answer:
        """Return what the call gave, once."""
        return self._found.pop()

    def _make(self) -> None:
        try:
            self._found.append(self._call())
        except Exception as error:
            self._error = error
        self._ended.set()


class Watch:
    """Says every second that this process lives, and asks the store of the others.

    A client of the store has one connection, whose calls wait for one another without a limit of time where
    the network is down. So one thread makes them all, and nobody waits longer for it than he says.
    """

    def __init__(self, store: Any, rank: int) -> None:
        self._rank = rank
        self._asked: queue.SimpleQueue[tuple[Callable[[Any], Any], queue.SimpleQueue[Any]]] = (
            queue.SimpleQueue()
        )
        self._late: queue.SimpleQueue[Any] | None = None  # for an answer that did not come in time
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(store,), name="unrolled-watch", daemon=True)
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

    def close(self) -> bool:
        """End the thread, and return whether it ended: one that waits for a dead network is left behind."""
        self._ends.set()
        with contextlib.suppress(NoAnswerError):
            self.ask(lambda _: None, 0.5)
        self._thread.join(0.5)
        return not self._thread.is_alive()

    def _serve(self, store: Any) -> None:  # the store's port is free again when this ends
        beat, due = 0, 0.0
        while not self._ends.is_set():
            now = time.monotonic()
            if now >= due:
                beat, due = beat + 1, now + PULSE
                with contextlib.suppress(RuntimeError):  # whoever asks next learns that the store is gone
                    store.set(f"pulse/{self._rank}", str(beat))
            try:
                call, answer = self._asked.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                continue
            try:
                answer.put((call(store), None))
            except Exception as error:
                answer.put((None, error))
