"""Runs `unrolled` as several processes, as a launcher would start them: imports once, forks for every rank.

A server like zygote.py. A command:

    argv     the words after `unrolled`, of every rank; or a list of such lists, one for each
    stderr   how the files begin that standard error goes to: the rank's number follows
    ranks    how many
    port     that rank 0 keeps the store at
    only     ranks that are started; default all
    signals  [[seconds after RUN/LATEST appears (or after the start: from_start), signal, rank], …], rising
    patch    words of Python that every rank runs before, with `rank` defined

Answers: codes by rank (negative: the signal that killed it; null: not started), seconds until each had ended.
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


def serve() -> None:
    warm()
    print("ready", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        begin = time.perf_counter()
        running = {start(command, rank): rank for rank in command.get("only", range(command["ranks"]))}
        pids = {rank: pid for pid, rank in running.items()}
        codes: dict[int, int] = {}
        seconds: dict[int, float] = {}
        words = command["argv"]
        words = words[0] if isinstance(words[0], list) else words
        latest = Path(words[words.index("--run") + 1]) / "LATEST"
        zero = begin if command.get("from_start") else None
        signals = list(command.get("signals", []))
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            now = time.perf_counter()
            if pid:
                rank = running.pop(pid)
                codes[rank], seconds[rank] = os.waitstatus_to_exitcode(status), now - begin
                continue
            if zero is None and latest.exists():
                zero = now
            while zero is not None and signals and now - zero >= signals[0][0]:
                _, signum, rank = signals.pop(0)
                if pids[rank] in running:
                    os.kill(pids[rank], int(signum))
            if len(running) == 1 and set(running.values()) <= set(command.get("stopped", [])):
                os.kill(
                    next(iter(running)), signal.SIGKILL
                )  # what the launcher does to one that stands still
            time.sleep(0.002)
        everyone = range(command["ranks"])
        answer = {"codes": [codes.get(r) for r in everyone], "seconds": [seconds.get(r) for r in everyone]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
