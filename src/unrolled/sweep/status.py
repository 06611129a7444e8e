"""What a sweep says on standard error: a line per event, and on a terminal one on how far trials are."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from unrolled import files

__all__ = ["Status"]

CLEAR = "\r\x1b[K"
SIMPLE = ("dumb", "unknown")  # terminals that would show CLEAR as text
EVERY = 1.0  # seconds, at least, between two looks at the same trials


class Status:
    """Writes to standard error; where that goes away it falls silent, and the sweep goes on."""

    def __init__(self) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._live = terminal and os.environ.get("TERM") not in SIMPLE
        self._began = time.monotonic()
        self._last = -EVERY
        self._shown = False

    def say(self, text: str) -> None:
        """Print a line, in the place of the one that is shown."""
        self._write(f"{files.printable(text)}\n")
        self._shown, self._last = False, -EVERY

    def show(self, done: int, most: int, trials: Sequence[tuple[int, float | None]]) -> None:
        """Show on a terminal how far each trial is, in a line that the next one takes the place of.

        Args:
            done: trials that have ended, of `most`.
            trials: (number, share of its steps that are taken; None: none yet) of each at work.
        """
        now = time.monotonic()
        if not self._live or now < self._last + EVERY:
            return
        self._last = now
        text = _line(done, most, now - self._began, trials, shutil.get_terminal_size().columns - 1)
        self._write(f"{text}\r")
        self._shown = True

    def clear(self) -> None:
        """Take away the line that is shown."""
        if self._shown:
            self._write("")
            self._shown = False

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write((CLEAR if self._live else "") + text)
            sys.stderr.flush()


def _line(
    done: int, most: int, seconds: float, trials: Sequence[tuple[int, float | None]], width: int
) -> str:
    """Return the line, with as many trials as fit."""
    line = f"{done:,} of {most:,} done, {timedelta(seconds=int(seconds))}"
    for place, (number, share) in enumerate(trials):
        how = "starts" if share is None else "finishes" if share >= 1 else f"{share:.0%}"
        more = f"{', ' if place else ': '}{number:04d} {how}"
        rest = "" if place == len(trials) - 1 else ", …"
        if len(line) + len(more) + len(rest) > width:
            line += rest
            break
        line += more
    return line[:width]
