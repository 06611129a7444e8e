"""Runs `unrolled` in children that may be killed: imports once, forks for every command.

A server on standard input and output, one JSON object a line. It never runs torch itself, so that its children
can. A command:

    argv     the words after `unrolled`
    stderr   file that the child's standard error goes to
    signals  [[seconds after RUN/LATEST appears (or after the start: from_start), signal], …], rising
    close    [directory, seconds]: take its writing permission away so long after RUN/LATEST appears
    point    [number of the save, of the call in it]: SIGKILL before that call on the disk; 0 counts from the start

Answers: code (negative: the signal that killed it), seconds, point (what was about to be called).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CALLS = ("open", "mkdir", "fsync", "rename", "replace", "unlink", "rmdir")  # what changes a disk


class Point:
    """Counts the calls that change the disk, once armed, and kills this process before the chosen one."""

    def __init__(self, save: int, call: int, report: Path) -> None:
        from unrolled.train.saving import Saver

        self.save, self.call, self.report = save, call, report
        self.saves = self.calls = 0
        plain = Saver.save

        def counted_save(saver: Any, now: Any) -> None:
            self.saves += 1
            plain(saver, now)
            if self.saves == self.save:
                self.call = 10**9  # the save is over

        Saver.save = counted_save  # type: ignore[method-assign]
        for name in CALLS:
            setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, call: Any) -> Any:
        def counting(*args: Any, **kwargs: Any) -> Any:
            reading = name == "open" and args[1] & os.O_ACCMODE == os.O_RDONLY
            if not reading and self.saves >= self.save:
                self.calls += 1
                if self.calls == self.call:
                    self.report.write_text(f"{name} {Path(str(args[0])).name}")
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counting


def child(command: dict[str, Any]) -> None:
    from unrolled.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(command["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if command.get("point"):
        Point(*command["point"], Path(command["stderr"]).with_suffix(".point"))
    try:
        code = main(command["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 99
        os.write(2, f"{error!r}".encode())
    os._exit(int(code or 0))


def close(directory: Path, seconds: float, latest: Path) -> threading.Thread:
    """Close a directory later, in a thread, unless it is gone by then."""

    def wait() -> None:
        deadline = time.perf_counter() + 10
        while not latest.exists() and time.perf_counter() < deadline:
            time.sleep(0.001)
        time.sleep(seconds)
        with contextlib.suppress(OSError):
            directory.chmod(0o555)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def send(pid: int, signals: list[list[float]], latest: Path, *, from_start: bool) -> int:
    """Send each signal at its time, unless the child has ended; return its wait status."""
    ended = 0
    while not from_start and not latest.exists() and not ended:
        ended, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)
    begin = time.perf_counter()
    for delay, signum in signals:
        while not ended and time.perf_counter() - begin < delay:
            ended, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(min(0.001, max(0.0, delay - (time.perf_counter() - begin))))
        if not ended:
            os.kill(pid, int(signum))
    return status if ended else os.waitpid(pid, 0)[1]


def warm() -> None:
    """Let everything load that loads at its first use, on one thread: a second one would not survive a fork."""
    import torch

    from unrolled.cli import main

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        words = ["--run", f"{folder}/run", "--steps", "1", "--hidden", "4", "--threads", "1"]
        with contextlib.redirect_stderr(io.StringIO()):
            main(["train", "sentences", *words])
    torch.set_num_threads(threads)


def serve() -> None:
    warm()
    print("ready", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        point = Path(command["stderr"]).with_suffix(".point")
        point.unlink(missing_ok=True)
        begin = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            child(command)
        words = command["argv"]
        latest = Path(words[words.index("--run") + 1]) / "LATEST"
        closing = (
            close(Path(command["close"][0]), command["close"][1], latest) if "close" in command else None
        )
        status = send(pid, command.get("signals", []), latest, from_start=command.get("from_start", False))
        if closing is not None:
            closing.join()
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "seconds": time.perf_counter() - begin,
            "point": point.read_text() if point.exists() else None,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
