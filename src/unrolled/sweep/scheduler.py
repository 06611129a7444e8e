"""The trials of a sweep at work: claimed, started, listened to, stopped."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from unrolled import errors, files
from unrolled.errors import RunError, UnrolledError, counted, expected
from unrolled.spec import OF_THE_SWEEP, SweepConfig, TrainConfig, kind_of, to_json
from unrolled.sweep.process import Process
from unrolled.sweep.results import Ranking
from unrolled.sweep.settings import run_of, with_values, words_of
from unrolled.sweep.status import Status
from unrolled.sweep.study import Claim, Study
from unrolled.train import Stopper

__all__ = ["Scheduler"]

WAIT = 0.2  # seconds
MOST_DEATHS = 3  # in a row, with no validation between them
OF_SETTINGS = {"ConfigError", "BackendError", "MemoryError", "NonFiniteError"}  # end a trial, not the sweep


@dataclass
class Work:
    """A trial that this process has claimed."""

    claim: Claim
    process: Process
    began: float
    before: float  # seconds that it had taken before
    known: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None  # the last thing that its process said
    deaths: int = 0

    @property
    def seconds(self) -> float:
        """Seconds that the trial took so far, in every process."""
        return self.before + time.monotonic() - self.began


class Scheduler:
    """Runs as many trials at a time as it may, until none is left, the time is up or a signal comes."""

    def __init__(
        self,
        study: Study,
        config: TrainConfig,
        settings: SweepConfig,
        ranking: Ranking,
        asked: Collection[str],
        *,
        most: int,
        until: float | None,
    ) -> None:
        """`most`: trials that the study may have. `until`: when to stop, by time.monotonic()."""
        self._study, self._config, self._settings, self._ranking = study, config, settings, ranking
        self._asked = sorted({*asked, *study.axes.named} - {*OF_THE_SWEEP, "source"})
        self._most, self._until = most, until
        self._work: dict[Process, Work] = {}
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        states = [each.state for each in study.trials()]
        self._settings_work = "finished" in states or "pruned" in states
        self._done = len(states) - states.count("unfinished")
        self._error: UnrolledError | None = None
        self._status = Status()
        self.time_is_up = False

    def go(self, stopper: Stopper) -> None:
        """Run trials. Raises the error of a trial that all of them share."""
        while True:
            stops = stopper.signum is not None or self._error is not None or self._is_late()
            while not stops and len(self._work) < self._settings.workers:
                claim = self._study.claim(self._most)
                if claim is None:
                    break
                self._start(claim)
            if not self._work:
                break
            if stops:
                self._stop_all(stopper)
            self._show()
            with suppress(queue.Empty):
                self._take(*self._events.get(timeout=WAIT))
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Kill what still runs, and let go of its trials: the next command continues them."""
        self._status.clear()
        for work in self._work.values():
            work.process.kill()
        for work in self._work.values():
            with suppress(UnrolledError, OSError):
                self._study.leave(work.claim, {**work.known, "seconds": work.seconds})
        self._work.clear()

    def _is_late(self) -> bool:
        if self._until is not None and time.monotonic() > self._until:
            self.time_is_up = True
        return self.time_is_up

    def _stop_all(self, stopper: Stopper) -> None:
        running = [work for work in self._work.values() if not work.process.stopping]
        if running:
            why = "the time is up" if self.time_is_up and stopper.signum is None else "stopping"
            who = "1 trial finishes its step and saves" if len(running) == 1 else ""
            who = who or f"{counted(len(running), 'trial')} finish their steps and save"
            self._status.say(f"{why}: {who}")
        for work in running:
            work.process.stop()

    def _start(self, claim: Claim, work: Work | None = None) -> None:
        """Start the process of a trial; `work`: of a trial whose process died."""
        path = run_of(self._study.place, claim.number)
        if path.is_symlink():
            self._study.leave(claim, claim.known)
            raise RunError(expected(str(path), "the run of a trial", "a link to another place"))
        config = replace(with_values(self._config, claim.values, self._asked), run=str(path), resume=True)
        if self._settings.workers > 1 and config.threads is None:
            config = replace(config, threads=max(1, int(files.cpu_limit()) // self._settings.workers))
        kind = kind_of(config.data)
        job = {"task": kind.name, "config": to_json(config), "asked": self._asked}
        process = Process(job, path.with_suffix(".log"), self._events)
        if work is None:
            known = dict(claim.known)
            work = Work(claim, process, time.monotonic(), known.get("seconds", 0.0), known)
        work.process, work.outcome = process, None
        self._work[process] = work
        how = "continues" if claim.begun or work.deaths else "starts"
        self._say(claim, f"{how}: {' '.join(words_of(config, claim.values))}")

    def _take(self, process: Process, message: dict[str, Any] | None) -> None:
        """Take what a process said; None: it ended."""
        work = self._work[process]
        if message is None:
            del self._work[process]
            process.close()
            self._ended(work)
        elif "ended" in message:
            work.outcome = message
        elif "began" in message:
            self._settings_work = True
            work.known |= {"steps": message["steps"], "parameters": message["parameters"]}
            for step, loss in message["past"]:
                self._validated(work, step, message["steps"], loss)
        else:
            work.deaths = 0
            self._validated(work, message["step"], message["steps"], message["loss"])
            process.tell("prune" if self._is_behind(work) else "on")

    def _validated(self, work: Work, step: int, steps: int, loss: float | None) -> None:
        loss = math.inf if loss is None else loss
        known = work.known
        lowest = known.get("loss")
        known |= {"step": step, "steps": steps, "loss": loss if lowest is None else min(loss, lowest)}
        work.claim.report(step / steps, loss)

    def _is_behind(self, work: Work) -> bool:
        prunes = self._settings.prune and self._ranking.comparable
        return prunes and work.known["step"] < work.known["steps"] and work.claim.is_behind()

    def _ended(self, work: Work) -> None:
        """Settle what becomes of a trial whose process has ended."""
        claim, outcome = work.claim, work.outcome or {}
        known = work.known | {"seconds": round(work.seconds, 3)}
        how = outcome.get("ended")
        if how == "finished":
            known |= {name: outcome[name] for name in ("loss", "figures", "steps")}
            known["main"] = outcome["main"] or ""
            known["step"] = outcome["best_step"]
            value = self._ranking.value(known)
            if math.isfinite(value):
                named = self._ranking.name_in(known)
                self._settle(claim, "finished", value, known, f"{named} {value:.5g}")
            else:
                self._fail(claim, known, f"{self._ranking.name} is not a number")
        elif how == "pruned":
            loss = known["loss"]
            told = f"at step {known['step']:,} of {known['steps']:,}, validation loss {loss:.4f}"
            self._settle(claim, "pruned", None, known, told)
        elif how == "failed":
            self._refused(work, known, outcome)
        elif how == "stopped" or work.process.stopping:
            self._study.leave(claim, known)
        else:
            self._died(work, known)

    def _refused(self, work: Work, known: dict[str, Any], outcome: Mapping[str, Any]) -> None:
        """Go on without a trial whose settings do not work; an error that all trials share ends the sweep."""
        diverged = "NonFiniteError" in outcome["kinds"]
        if OF_SETTINGS & set(outcome["kinds"]) and (self._settings_work or diverged):
            self._fail(work.claim, known, outcome["text"])
            return
        self._study.leave(work.claim, known)
        log = work.process.log
        kind = getattr(errors, outcome["kind"], None)
        if isinstance(kind, type) and issubclass(kind, UnrolledError):
            error = kind(f"{outcome['text']} (trial {work.claim.number:04d})")
        else:
            got = f"{outcome['kind']}: {outcome['text']}"
            error = RunError(expected(str(log), "a trial without a fault of the program", got))
        self._error = self._error or error

    def _died(self, work: Work, known: dict[str, Any]) -> None:
        """Let a trial go on whose process was killed, unless that happens again and again."""
        code = work.process.code
        got = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        work.deaths += 1
        if work.deaths < MOST_DEATHS:
            self._say(work.claim, got)
            self._start(work.claim, work)
            return
        self._fail(work.claim, known, f"{got}, {MOST_DEATHS} times in a row; {work.process.last_line()}")

    def _say(self, claim: Claim, what: str) -> None:
        self._status.say(f"trial {claim.number:04d}  {what}")

    def _show(self) -> None:
        """Show how far each trial is."""
        known = [(work.claim.number, work.known) for work in self._work.values()]
        shares = [(n, k.get("step", 0) / k["steps"] if k.get("steps") else None) for n, k in known]
        self._status.show(self._done, self._most, shares)

    def _fail(self, claim: Claim, known: dict[str, Any], reason: str) -> None:
        reason = files.shortened(files.printable(reason))
        self._settle(claim, "failed", None, {**known, "reason": reason}, reason)

    def _settle(
        self, claim: Claim, state: str, value: float | None, known: dict[str, Any], told: str
    ) -> None:
        self._study.finish(claim, state, value, known)
        self._done = sum(each.state != "unfinished" for each in self._study.trials())
        self._say(claim, f"{state}: {told}  [{self._done} of {self._most}]")
