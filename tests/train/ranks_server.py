"""Runs `unrolled` as several processes, as a launcher would start them: imports once, forks for every rank.

A server like zygote.py. A line is a list of commands, which run side by side:

    argv     the words after `unrolled`, of every rank; or a list of such lists, one for each
    stderr   how the files begin that standard error goes to: the rank's number follows
    ranks    how many
    port     that rank 0 keeps the store at
    only     ranks that are started; default all
    signals  [[seconds after RUN/LATEST appears (or after the start: from_start), signal, rank], …], rising
    patch    words of Python that every rank runs before, with `rank` defined

Answers with as many: codes by rank (negative: the signal that killed it; null: not started), seconds until each
had ended, and had ended or was stopped.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from zygote import child, warm


def start(command: dict[str, Any], rank: int) -> int:
    """Fork one rank and return its number."""
    pid = os.fork()
    if pid:
        return pid
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(command["ranks"]),
        "LOCAL_WORLD_SIZE": str(command["ranks"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(command["port"]),
    }
    words = command["argv"]
    if isinstance(words[0], list):
        words = words[rank]
    try:
        exec(command.get("patch", ""), {"rank": rank})
    finally:
        child({"argv": words, "stderr": f"{command['stderr']}{rank}"})
    raise AssertionError("a child has no way back")


def brief() -> None:
    """Let pictures be empty files, and samples short: most of a tiny run's time, and tested elsewhere."""
    from unrolled import figures, files
    from unrolled.tasks.language import report

    report.SAMPLE_TOKENS = 40
    for name in ("loss", "strips", "families", "confusion", "reliability", "error_by", "slices"):
        setattr(figures, name, lambda path, **_: files.replace(path, b""))


class Running:
    """A command whose ranks are at work."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.command, self.begin = command, time.perf_counter()
        self.pids = {rank: start(command, rank) for rank in command.get("only", range(command["ranks"]))}
        self.left = {pid: rank for rank, pid in self.pids.items()}
        self.codes: dict[int, int] = {}
        self.seconds: dict[int, float] = {}
        self.struck: dict[int, float] = {}
        self.signals = list(command.get("signals", []))
        self.zero = self.begin if command.get("from_start") else None
        words = command["argv"][0] if isinstance(command["argv"][0], list) else command["argv"]
        self.latest = Path(words[words.index("--run") + 1]) / "LATEST"

    def ended(self, pid: int, status: int) -> None:
        """Note how a process ended, if it is one of these."""
        if pid not in self.left:
            return
        rank, now = self.left[pid], time.perf_counter() - self.begin
        self.struck.setdefault(rank, now)
        if not os.WIFSTOPPED(status):
            del self.left[pid]
            self.codes[rank], self.seconds[rank] = os.waitstatus_to_exitcode(status), now

    def look(self) -> None:
        """Send the signals that are due."""
        now = time.perf_counter()
        if self.zero is None and self.latest.exists():
            self.zero = now
        while self.zero is not None and self.signals and now - self.zero >= self.signals[0][0]:
            _, signum, rank = self.signals.pop(0)
            if self.pids[rank] in self.left:
                os.kill(self.pids[rank], int(signum))
        if len(self.left) == 1 and set(self.left.values()) <= set(self.command.get("stopped", [])):
            os.kill(next(iter(self.left)), signal.SIGKILL)  # what the launcher does to one that stands still

    def answer(self) -> dict[str, Any]:
        everyone = range(self.command["ranks"])
        return {
            "codes": [self.codes.get(r) for r in everyone],
            "seconds": [self.seconds.get(r) for r in everyone],
            "struck": [self.struck.get(r) for r in everyone],
        }


def serve() -> None:
    warm()
    brief()
    print("ready", flush=True)
    for line in sys.stdin:
        every = [Running(command) for command in json.loads(line)]
        while any(each.left for each in every):
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            for each in every:
                each.ended(pid, status)
                if each.left and not pid:
                    each.look()
            if not pid:
                time.sleep(0.002)
        print(json.dumps([each.answer() for each in every]), flush=True)


if __name__ == "__main__":
    serve()
