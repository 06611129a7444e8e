"""`unrolled lab`: plan, run the trials that are not done, sum up, report."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from unrolled import figures
from unrolled.lab import gradients, memory, remedies, sentences, speed
from unrolled.lab.experiment import Experiment, Json, Trial
from unrolled.lab.report import publish
from unrolled.lab.results import REPORT, RESULTS, Store, check_place
from unrolled.lab.workers import Workers, timed
from unrolled.spec import LabConfig
from unrolled.train import Stopped, Stopper, held, listening

__all__ = ["EXPERIMENTS", "Lab", "run"]

EXPERIMENTS: tuple[Experiment, ...] = (  # in the order of the lecture
    sentences.EXPERIMENT,
    memory.EXPERIMENT,
    speed.EXPERIMENT,
    remedies.EXPERIMENT,
    gradients.EXPERIMENT,
)


@dataclass(frozen=True)
class Lab:
    """The result of a run of the lab."""

    out: Path
    results: Path  # results.json
    report: Path  # report.md
    figures: tuple[Path, ...]
    run: int  # trials
    kept: int  # trials that were done before
    seconds: float


def run(config: LabConfig) -> Lab:
    """Run experiments and write OUT/report.md, OUT/results.json and pictures; what is done is kept.

    Ctrl-C and SIGTERM end it at once; the trials that are done stay, and the same call goes on after them.

    Args:
        config: see `unrolled.spec.LabConfig`.
    Returns:
        Where everything lies, and how many trials were run.
    Raises:
        ConfigError, DataError, RunError, CheckpointError: before anything is changed. RunError also where
            the disk is full; what was written stays.
        KeyboardInterrupt: stopped by a signal; the text says how to go on.
    """
    begin, started, out = time.perf_counter(), _now(), Path(config.out)
    figures.require()
    experiments = [e for e in EXPERIMENTS if config.experiment in ("all", e.name)]
    first = {e.name: e.trials(config) for e in experiments}
    check_place(out)
    trials = [trial for part in first.values() for trial in part]
    Store(out, config, trials)  # refused before the place is locked, or made
    with listening() as stopper, held(out, name="out"):
        store = Store(out, config, trials)
        store.clear_leftovers()
        plan = _Plan(experiments, first, config, store)
        kept = len(plan.trials) - len(plan.left)
        if store.older:
            _say(f"{RESULTS} is of an older version: its trials are run again, then it is replaced\n")
        if kept:
            _say(f"{kept} of {len(plan.trials)} trials are done already\n")
        try:
            _run_all(plan, stopper, config.workers)
        except Stopped as error:
            count = len(plan.trials) - len(plan.left)
            told = f"stopped: {count} of {len(plan.trials)} trials are done; go on with: {_command(config)}"
            raise Stopped(told, error.signum) from None
        sections = {}
        for experiment in experiments:
            done = [store.done(trial) for trial in plan.parts[experiment.name]]
            sections[experiment.name] = {
                "trials": len(done),
                "constants": list(experiment.constants),
                "summary": experiment.summary(done),
                "curves": experiment.curves(done),
            }
        order = [experiment.name for experiment in EXPERIMENTS]
        store.publish(sections, order=order, started=started, ended=_now())
        publish(store.document, out, EXPERIMENTS)
    names = re.findall(r"\]\(([\w-]+\.png)\)", (out / REPORT).read_text(encoding="utf-8"))
    pictures = tuple(out / name for name in names if name.partition("-")[0] in plan.parts)
    took = time.perf_counter() - begin
    return Lab(out, out / RESULTS, out / REPORT, pictures, len(plan.trials) - kept, kept, took)


class _Plan:
    """What is to be run: the trials that are known from the start, and those that results decide on."""

    def __init__(
        self, experiments: list[Experiment], first: dict[str, list[Trial]], config: LabConfig, store: Store
    ) -> None:
        self._experiments, self._first, self._config, self.store = experiments, first, config, store
        self.parts: dict[str, list[Trial]] = {}  # of each experiment, in its order
        for experiment in experiments:
            self._look_further(experiment)

    @property
    def trials(self) -> list[Trial]:
        """All that are known so far."""
        return [trial for part in self.parts.values() for trial in part]

    @property
    def left(self) -> list[Trial]:
        """Those that are not done."""
        return [trial for trial in self.trials if not self.store.holds(trial)]

    def add(self, trial: Trial, result: Json, seconds: float) -> None:
        """Keep a trial's result, and plan what it decides on."""
        self.store.add(trial, result, ended=_now(), seconds=seconds)
        for experiment in self._experiments:
            if any(trial.key == one.key for one in self.parts[experiment.name]):
                self._look_further(experiment)

    def _look_further(self, experiment: Experiment) -> None:
        known = self._first[experiment.name]
        while True:  # what was kept may decide on what was kept, too
            done = [self.store.done(trial) for trial in known if self.store.holds(trial)]
            trials = self._first[experiment.name] + experiment.further(self._config, done)
            self.store.check(trials)
            if len(trials) == len(known):
                break
            known = trials
        self.parts[experiment.name] = trials


def _run_all(plan: _Plan, stopper: Stopper, workers: int) -> None:
    """Run all that is left: side by side in `workers` processes, then one by one what the clock decides."""
    with Workers(workers) as pool:
        while workers > 1:
            waiting = [t for t in plan.left if not t.alone and t.key not in pool.running]
            for trial in waiting:
                if pool.free:
                    pool.give(trial)
            if not pool.running:
                break
            trial, result, seconds = pool.take()
            with stopper.deferring():
                plan.add(trial, result, seconds)
            _say(f"{_place(plan)}{trial.key}  {seconds:.1f} s\n")
            stopper.stop_if_asked("stopped")
    while left := plan.left:
        _run_one(left[0], plan, stopper)


def _run_one(trial: Trial, plan: _Plan, stopper: Stopper) -> None:
    """Run one trial and keep its result; a line on standard error says which, then how long it took."""
    _say(_place(plan, 1) + trial.key)
    try:
        result, seconds = timed(trial.work, trial.settings)
        stopper.stop_if_asked("stopped")
        with stopper.deferring():
            plan.add(trial, result, seconds)
        _say(f"  {seconds:.1f} s")
    finally:
        _say("\n")
    stopper.stop_if_asked("stopped")


def _place(plan: _Plan, more: int = 0) -> str:
    """Return "[3/12] ": trials that are done, of those that are known so far."""
    total = len(plan.trials)
    return f"[{total - len(plan.left) + more}/{total}] "


def _say(text: str) -> None:
    """Print on standard error, where that is still there."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _command(config: LabConfig) -> str:
    """Return the command line that does what a config says."""
    words = ["unrolled", "lab", config.experiment]
    words += ["--quick"] if config.quick else []
    words += ["--long"] if config.long else []
    words += ["--seeds", str(config.seeds)]
    words += [] if config.workers == 1 else ["--workers", str(config.workers)]
    words += ["--out", config.out]
    words += [] if config.mnist1d is None else ["--mnist1d", config.mnist1d]
    return " ".join(shlex.quote(word) for word in words)
