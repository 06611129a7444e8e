"""Ctrl-C and SIGTERM while a run goes on: the first one ends it after the step, the second at once."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from unrolled.spec import RunDirectory

__all__ = ["HowToGoOn", "Stopped", "Stopper", "handlers_kept", "listening"]

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run was stopped by a signal; its text says what was saved and how to go on."""

    def __init__(self, text: str, signum: int) -> None:
        super().__init__(text)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, as shells count."""
        return 128 + self.signum


class Stopper:
    """What has been asked for by a signal so far."""

    def __init__(self) -> None:
        self.signum: int | None = None  # of the first signal that was deferred
        self._defers = False

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        """Within, the first signal is only noted in `signum`; any other raises Stopped where it arrives."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    def stop_if_asked(self, text: str) -> None:
        """Raise Stopped where a signal was noted."""
        if self.signum is not None:
            raise Stopped(text, self.signum)

    def take_lost(self, unraisable: Any) -> bool:
        """Note a Stopped that Python could not raise, in a callback say. Returns whether it was one."""
        if not isinstance(unraisable.exc_value, Stopped):
            return False
        self.signum = unraisable.exc_value.signum
        return True

    def take(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal. It prints nothing: the code that it interrupts may be printing."""
        if not self._defers or self.signum is not None:
            raise Stopped(f"stopped at once by {signal.Signals(signum).name}", signum)
        self.signum = signum


@contextlib.contextmanager
def listening() -> Iterator[Stopper]:
    """Take SIGINT and SIGTERM for the time of a run; outside the main thread they stay as they are."""
    stopper = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield stopper
        return
    before: dict[int, Any] = {}
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = lambda lost: None if stopper.take_lost(lost) else hook(lost)
        for watched in WATCHED:
            if signal.getsignal(watched) is not signal.SIG_IGN:  # `nohup`, or a shell's background job
                before[watched] = signal.signal(watched, stopper.take)
        yield stopper
    finally:
        sys.unraisablehook = hook
        for signum, handler in before.items():
            if signal.getsignal(signum) == stopper.take:  # else it was changed meanwhile, on purpose
                _handle(signum, handler)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Give SIGINT and SIGTERM their handlers back, whatever happens to them within."""
    before = {watched: signal.getsignal(watched) for watched in WATCHED}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for signum, handler in before.items():
                if signal.getsignal(signum) != handler:
                    _handle(signum, handler)


def _handle(signum: int, handler: Any) -> None:
    """Set a handler; None stands for one that Python did not set, and cannot."""
    signal.signal(signum, handler if handler is not None else signal.SIG_DFL)


class HowToGoOn:
    """Adds to what a stopped run says the command that goes on with it."""

    def __init__(self, run: Path, source: str | None, task: Sequence[str] = ()) -> None:
        self._run, self._source, self._task = run, source, task  # the flag that names the task
        self.owns = False  # what the directory holds is this run's, no longer an older one's

    def __enter__(self) -> HowToGoOn:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not isinstance(error, Stopped):
            return
        try:
            told = self._told(error)
        except Stopped as again:  # by a second signal, while the words for the first were found
            error, told = again, self._told(again)
        raise Stopped(told, error.signum) from None

    def _told(self, error: Stopped) -> str:
        if not (self.owns and RunDirectory(self._run).latest.exists()):
            return f"{error}; nothing was saved yet"
        if self._source is None:  # of a task in Python
            return f"{error}; go on with the same config and resume=True"
        words = " ".join(shlex.quote(word) for word in (self._source, *self._task, "--run", str(self._run)))
        again = " with the same text on standard input" if self._source == "-" else ""
        return f"{error}; go on with: unrolled train {words} --resume{again}"
