"""What the process of one trial does: an ordinary run that tells its validations and takes orders.

`python -m unrolled.sweep.trial`. The first line of standard input is the job; each further one is an order:
"on" after a validation, "prune", or "stop". Its end means that the sweep is gone, and stops the run, which is
saved. On standard output it writes one JSON object per line; what a run prints goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from unrolled import files
from unrolled.errors import RunError, UnrolledError
from unrolled.spec import TrainConfig, from_json, kind_named, kind_of
from unrolled.sweep.curve import curve
from unrolled.train import Observer, ProgressBar, Row, Schedule, Stopped, held, run

__all__ = ["main"]

PATIENCE = 60.0  # seconds for a process that a killed sweep left, and that is about to end


def main() -> int:
    """Do the job that comes on standard input; the exit code is for people."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**message: Any) -> None:
        told.write(json.dumps(files.for_json(message)) + "\n")
        told.flush()

    orders = Orders(0)
    job = orders.job
    try:
        _wait_until_free(Path(job["config"]["run"]))
        config = config_of(job)
        watcher = Watcher(tell, orders)
        try:
            result = run(config, [watcher, ProgressBar()], asked=job["asked"])
        except Stopped:
            tell(ended="pruned" if watcher.pruned else "stopped", step=watcher.taken, steps=watcher.steps)
            return 0
        tell(ended="finished", **_outcome(result, kind_named(job["task"]).loss))
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _refused(error, tell)


def _refused(error: BaseException, tell: Any) -> int:
    if isinstance(error, KeyboardInterrupt):
        tell(ended="stopped", step=0, steps=0)
        return 0
    memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    known = isinstance(error, UnrolledError) or memory
    if not known:
        traceback.print_exc()
    text = "memory: expected enough for this trial, got no more" if memory else str(error)
    kind = "MemoryError" if memory else type(error).__name__
    ours = [each.__name__ for each in type(error).__mro__] if known else []
    tell(ended="failed", kind=kind, kinds=[kind, *ours], text=text or kind)
    return 2 if known else 1


def config_of(job: dict[str, Any]) -> TrainConfig:
    """Return the config that a job holds."""
    stored = dict(job["config"])
    data: Any = from_json(kind_named(job["task"]).data, stored.pop("data"))
    return from_json(TrainConfig, {**stored, "data": data})


class Orders:
    """What the sweep says, line by line; a stop is a SIGTERM, as a run takes it."""

    def __init__(self, descriptor: int) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._descriptor = descriptor
        self.job = json.loads(self._line())
        threading.Thread(target=self._listen, daemon=True).start()

    def _line(self) -> bytes:
        """Read a line, "stop" at the end; without a buffer, whose lock a thread might hold at the exit."""
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._descriptor, 1)
            if not piece:
                return b"stop"
            line += piece
        return line.strip()

    def _listen(self) -> None:
        word = b""
        while word != b"stop":
            word = self._line()
            self._lines.put(word)
        os.kill(os.getpid(), signal.SIGTERM)

    def next(self) -> bytes:
        """Wait for an order."""
        return self._lines.get()


class Watcher(Observer):
    """Tells each validation, and ends the run, which saves it, where it is pruned."""

    def __init__(self, tell: Any, orders: Orders) -> None:
        self._tell, self._orders = tell, orders
        self.taken = self.steps = 0
        self.pruned = False

    def begin(self, config: TrainConfig, schedule: Schedule, model: Any) -> None:
        self.taken, self.steps = schedule.start or 0, schedule.steps
        past = [] if schedule.start is None else curve(Path(str(config.run)), kind_of(config.data).loss)
        parameters = sum(each.numel() for each in model.parameters())
        self._tell(began=self.taken, steps=self.steps, past=list(past), parameters=parameters)

    def reschedule(self, schedule: Schedule) -> None:
        self.steps = schedule.steps

    def row(self, row: Row) -> None:
        self.taken = row.step
        if row.val_loss is None:
            return
        self._tell(step=row.step, steps=self.steps, loss=row.val_loss)
        if self._orders.next() == b"prune" and not self.pruned:
            self.pruned = True
            signal.raise_signal(signal.SIGTERM)  # which the run takes after it has saved


def _wait_until_free(path: Path) -> None:
    """Wait while another process is at work in a run: one that lost its sweep ends after its step."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with held(path):
                return
        except RunError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _outcome(result: Any, unit: str) -> dict[str, Any]:
    """Return what a finished run came to: its lowest validation loss, and the figures of that network."""
    losses = dict(curve(result.run, unit))
    loss = losses.get(result.best_step, min(losses.values(), default=math.nan))
    evaluation = result.evaluation
    scores = getattr(evaluation, "validation", None)
    figures = dict(scores.values) if scores is not None else evaluation.to_dict()
    return {
        "loss": loss,
        "figures": {
            n: v for n, v in figures.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
        },
        "main": getattr(evaluation, "main", None),
        "best_step": result.best_step,
        "steps": result.schedule.steps,
    }


if __name__ == "__main__":
    sys.exit(main())
