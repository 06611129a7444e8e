"""The other processes of a run: whether they live, what went wrong with one of them, and who says it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from unrolled.errors import ConfigError, ProcessError, expected
from unrolled.spec import Launch
from unrolled.train.signals import Stopped
from unrolled.train.watch import PULSE, NoAnswerError, Watch

__all__ = ["Peers"]

ANSWER = 5.0  # seconds that the store has for an answer, once something went wrong
SETTLE = 2.3 * PULSE  # in which a living process shows one
LATE = 5.0  # seconds more than the timeout that the others wait for rank 0, which says what is missing
SHORT, LONG = 0.002, 0.1  # seconds between two looks at the store
GO_ON = "; the same command with --resume (resume=True) goes on from the last checkpoint"
T = TypeVar("T")


class Peers:
    """The other processes of a run, by the store that all have.

    Args:
        launch: the place of this one. watch: of the store. timeout_s: to wait for another one.
        launched: whether a launcher keeps the store, and not rank 0.
    """

    def __init__(self, launch: Launch, watch: Watch, *, timeout_s: float, launched: bool) -> None:
        self._rank, self._world_size = launch.rank, launch.world_size
        self._watch, self._timeout_s, self._launched = watch, timeout_s, launched

    def meet(self, about: Mapping[str, Any]) -> None:
        """Wait for every rank, and check that all were started alike.

        Args:
            about: what must be the same: names and values.
        Raises:
            ProcessError: a rank is missing. ConfigError: one was started otherwise; names the difference.
        """
        self.ask(lambda store: store.set(f"hello/{self._rank}", json.dumps(about)))
        if self._rank == 0:
            self._await_all()
            for rank in range(1, self._world_size):
                _compare(about, json.loads(self.ask(partial(_get, f"hello/{rank}"))), rank)
            self.ask(lambda store: store.set("go", "1"))
        else:
            self._wait("go", "it waits for every rank", self._timeout_s + LATE)

    def _await_all(self) -> None:
        deadline, pause = time.monotonic() + self._timeout_s, SHORT
        missing = [self._rank]  # something to begin with
        while missing:
            missing = self.ask(self._missing)
            failed = self.ask(partial(_has, "failed"))
            if missing and failed:
                raise self._second_hand()
            if missing and time.monotonic() > deadline:
                want = f"{self._world_size} to start within {self._timeout_s:g} s"
                names = " and ".join(f"rank {rank}" for rank in missing[:4])
                raise ProcessError(expected("processes", want, f"no sign of {names}"))
            time.sleep(pause)
            pause = min(LONG, 1.2 * pause)

    def _missing(self, store: Any) -> list[int]:
        return [rank for rank in range(self._world_size) if not _has(f"hello/{rank}", store)]

    def exchange(self, start: Callable[[], Any], failed: Callable[[RuntimeError], str] | None = None) -> None:
        """Begin an exchange and wait for it, as long as everybody gives signs of life.

        Args:
            failed: returns what to say where it fails although every rank lives.
        """
        silent, before = [0.0] * self._world_size, [b""] * self._world_size
        failed = _connection_broke if failed is None else failed
        try:
            work = start()
        except RuntimeError as error:
            raise self._lost(failed(error)) from None
        while True:
            try:
                work.wait(timedelta(seconds=PULSE))
                return
            except RuntimeError as error:
                if work.is_completed():  # a connection broke
                    raise self._lost(failed(error)) from None
            try:
                now = self.ask(self._pulses)
                # counted, not by the clock: it goes on while this process itself stands still
                silent = [0.0 if a != b else s + PULSE for a, b, s in zip(now, before, silent, strict=True)]
                before = now
                self._raise_failure()
                if max(silent) > self._timeout_s:
                    self._ignore_the_launcher()
                    raise self._silent([r for r, s in enumerate(silent) if s > self._timeout_s])
            except ProcessError as error:
                error.waits = True
                raise

    def ask(self, call: Callable[[Any], T]) -> T:
        """Return what a call of the store gives. Raises ProcessError: the store does not answer in time."""
        try:
            return self._watch.ask(call, self._timeout_s)
        except NoAnswerError:
            raise self._cut_off() from None

    def _raise_failure(self) -> None:
        """Raise the error that a rank has met, if one has."""
        if self.ask(partial(_has, "failed")):
            self._ignore_the_launcher()
            raise self._second_hand()

    def _ignore_the_launcher(self) -> None:
        """Let the launcher not end this process, which has a line to say before it does so itself."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _cut_off(self) -> ProcessError:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        got = f"none, its host or the network is down{GO_ON}"
        error = ProcessError(expected(place, "an answer of the launcher's store", got))
        error.waits = True
        return error

    def _silent(self, ranks: Sequence[int]) -> ProcessError:
        names = " and ".join(f"rank {rank}" for rank in ranks[:4])
        got = f"none: it has ended or stands still{GO_ON}"
        return self._lost_one(expected(names, f"a sign of life within {self._timeout_s:g} s", got))

    def await_key(self, key: str, what: str) -> bytes:
        """Return the value of a key of the store, once rank 0 has set it.

        Args:
            what: it does meanwhile: "it reads the source".
        Raises:
            ProcessError: it gave up, or no sign of life for longer than the timeout.
        """
        self._wait(key, what, self._timeout_s)
        return self.ask(partial(_get, key))

    def _wait(self, key: str, what: str, seconds: float) -> None:
        """Return when a key is set; rank 0 may take any time while it shows that it lives."""
        pause, last, silent = SHORT, b"", 0.0

        def look(store: Any) -> tuple[bool, bytes]:
            return _has(key, store), store.get("pulse/0") if _has("pulse/0", store) else b""

        while True:
            there, pulse = self.ask(look)
            if there:
                return
            self._raise_failure()
            silent = silent + pause if pulse == last else 0.0
            last = pulse
            if silent > seconds:
                want = f"a sign of life within {seconds:g} s, while {what}"
                raise self._lost_one(expected("rank 0", want, f"none{GO_ON}"))
            time.sleep(pause)
            pause = min(LONG, 1.2 * pause)

    def _lost(self, text: str) -> ProcessError:
        """Return what to say where an exchange failed: what a rank has met, who is gone, or else the text."""
        self._ignore_the_launcher()
        try:
            self._raise_failure()
            before = self.ask(self._pulses)
            time.sleep(SETTLE)
            self._raise_failure()
            after = self.ask(self._pulses)
        except ProcessError as error:
            return error
        gone = [
            rank for rank in range(self._world_size) if before[rank] == after[rank] and rank != self._rank
        ]
        if gone:
            names = " and ".join(f"rank {rank}" for rank in gone[:4])
            text = expected(names, "an answer", f"none: it has ended{GO_ON}")
        return self._lost_one(text)

    def _pulses(self, store: Any) -> list[bytes]:
        keys = [f"pulse/{rank}" for rank in range(self._world_size)]
        return [store.get(key) if store.check([key]) else b"" for key in keys]

    def _lost_one(self, text: str) -> ProcessError:
        """Return an error that one of those who meet it says, if they can settle who."""
        error = ProcessError(text)
        error.elsewhere = not self._claims()
        return error

    def _second_hand(self) -> ProcessError:
        """Return the error for the others, where a rank has said what went wrong."""
        found = json.loads(self.ask(partial(_get, "failed")))
        error = ProcessError(f"rank {found['rank']}: {found['text']}")
        error.elsewhere = found["said"] or not self._claims()
        self.ask(lambda store: store.set(f"heard/{self._rank}", "1"))
        error.exit_code = found["code"]
        return error

    def _claims(self) -> bool:
        """Whether this rank is the one that says what several meet; where nobody can be asked, it is."""
        try:
            won = self._watch.ask(lambda s: s.compare_set("said", "", str(self._rank)), ANSWER)
        except NoAnswerError:
            return True
        return bool(won == str(self._rank).encode())

    def part(self, error: BaseException) -> None:
        """Let the others know why this rank leaves, and settle who says it."""
        stopped = isinstance(error, Stopped)
        known = getattr(error, "elsewhere", None)
        if known is None:
            error.elsewhere = stopped and self._rank > 0  # type: ignore[attr-defined]
        said = error.elsewhere is False or known is not None  # type: ignore[attr-defined]
        record = {
            "rank": self._rank,
            "text": str(error) or type(error).__name__,
            "said": said,
            "code": getattr(error, "exit_code", 2),
        }
        with contextlib.suppress(NoAnswerError):
            self._watch.ask(lambda s: s.compare_set("failed", "", json.dumps(record)), ANSWER)
            if known is None and self._rank == 0 and not self._launched:
                self._wait_until_heard()

    def _wait_until_heard(self) -> None:
        """Keep the store, which ends with this process, until the others have read why."""
        deadline = time.monotonic() + SETTLE
        others = [f"heard/{rank}" for rank in range(1, self._world_size)]
        while time.monotonic() < deadline and not self._watch.ask(lambda s: s.check(others), ANSWER):
            time.sleep(SHORT)

    def await_end_of_store(self) -> None:
        """Wait until the store is gone, which rank 0 keeps: else the next run could take it for its own."""
        deadline = time.monotonic() + ANSWER
        with contextlib.suppress(NoAnswerError):
            while time.monotonic() < deadline:
                self._watch.ask(partial(_has, "go"), ANSWER)
                time.sleep(SHORT)

    def close(self) -> bool:
        """Ask no more, and return whether nothing is left that waits for an answer."""
        return self._watch.close()


def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], rank: int) -> None:
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(name), theirs.get(name)
        if here != there:
            here, there = ("nothing" if each is None else repr(each) for each in (here, there))
            want = f"{here} on every rank, as rank 0 has"
            raise ConfigError(expected(name, want, f"{there} on rank {rank}"))


def _connection_broke(_: RuntimeError) -> str:
    got = f"none: a connection between the processes broke{GO_ON}"
    return expected("the other ranks", "an answer", got)


def _has(key: str, store: Any) -> bool:
    return bool(store.check([key]))


def _get(key: str, store: Any) -> bytes:
    found: bytes = store.get(key)
    return found
