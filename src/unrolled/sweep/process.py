"""The processes of trials, seen from the sweep: started, told what to do, listened to."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled import files

__all__ = ["Process", "environment"]

WORDS = ("-P", "-m", "unrolled.sweep.trial")
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # through no link, and into no pipe
APPEND |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
LAST = 2**12  # bytes of a log that are looked at


class Process:
    """One process; what it says comes into a queue as (process, message), and None at its end."""

    def __init__(self, job: Mapping[str, Any], log: Path, events: queue.SimpleQueue[Any]) -> None:
        self.log, self.stopping = log, False
        with files.writing(log), open(os.open(log, APPEND, 0o666), "ab") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, *WORDS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(),
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which tells its trials
            )
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()
        self.tell(json.dumps(job))

    def _listen(self, events: queue.SimpleQueue[Any]) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # torn by a kill
                    events.put((self, json.loads(line)))
        self._popen.wait()
        events.put((self, None))

    def close(self) -> None:
        """Let go of the pipe of one that has ended, or end it: without a sweep it stops."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def tell(self, word: str) -> None:
        """Send an order; one that is gone hears nothing."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._popen.stdin.write(word.encode() + b"\n")
            self._popen.stdin.flush()

    def stop(self) -> None:
        """Ask it to save after its step and end."""
        self.stopping = True
        self.tell("stop")

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(OSError):
            self._popen.kill()
        self._popen.wait()
        self.close()

    @property
    def code(self) -> int | None:
        """Its exit code, negative after a signal; None while it runs."""
        return self._popen.poll()

    def last_line(self) -> str:
        """Return what it printed last."""
        with contextlib.suppress(OSError), open(self.log, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log) - LAST))
            lines = file.read().decode("utf-8", "replace").split("\n")
            return next((line for line in reversed(lines) if line.strip()), "nothing")
        return "nothing"


def environment() -> dict[str, str]:
    """Return this process's environment, with the places where it finds its modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
