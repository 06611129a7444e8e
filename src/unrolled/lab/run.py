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
from unrolled.lab.experiment import Experiment, Trial
from unrolled.lab.report import publish
from unrolled.lab.results import REPORT, RESULTS, Store, check_place
from unrolled.spec import LabConfig
from unrolled.train import Stopped, Stopper, held, listening, own_random_state

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
    plan = {e.name: e.trials(config) for e in experiments}
    trials = [trial for part in plan.values() for trial in part]
    check_place(out)
    Store(out, config, trials)  # refused before the place is locked, or made
    with listening() as stopper, held(out, name="out"):
        store = Store(out, config, trials)
        store.clear_leftovers()
        kept = sum(store.holds(trial) for trial in trials)
        if store.older:
            _say(f"{RESULTS} is of an older version: its trials are run again, then it is replaced\n")
        if kept:
            _say(f"{kept} of {len(trials)} trials are done already\n")
        try:
            left = [trial for trial in trials if not store.holds(trial)]
            for count, trial in enumerate(left, kept + 1):
                _run_trial(trial, store, stopper, place=f"[{count}/{len(trials)}] ")
        except Stopped as error:
            count = sum(store.holds(trial) for trial in trials)
            told = f"stopped: {count} of {len(trials)} trials are done; go on with: {_command(config)}"
            raise Stopped(told, error.signum) from None
        sections = {}
        for experiment in experiments:
            done = [store.done(trial) for trial in plan[experiment.name]]
            sections[experiment.name] = {
                "trials": len(done),
                "constants": list(experiment.constants),
                "summary": experiment.summary(done),
                "curves": experiment.curves(done),
            }
        store.publish(sections, started=started, ended=_now())
        publish(store.document, out, EXPERIMENTS)
    names = re.findall(r"\]\(([\w-]+\.png)\)", (out / REPORT).read_text(encoding="utf-8"))
    pictures = tuple(out / name for name in names if name.partition("-")[0] in plan)
    took = time.perf_counter() - begin
    return Lab(out, out / RESULTS, out / REPORT, pictures, len(left), kept, took)


def _run_trial(trial: Trial, store: Store, stopper: Stopper, *, place: str) -> None:
    """Run one trial and keep its result; a line on standard error says which, then how long it took."""
    _say(place + trial.key)
    start = time.perf_counter()
    try:
        with own_random_state(trial.settings.get("seed", 0), trial.settings.get("threads")):
            result = trial.work(trial.settings)
        stopper.stop_if_asked("stopped")
        seconds = time.perf_counter() - start
        with stopper.deferring():
            store.add(trial, result, ended=_now(), seconds=seconds)
        _say(f"  {seconds:.1f} s")
    finally:
        _say("\n")
    stopper.stop_if_asked("stopped")


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
    words += ["--seeds", str(config.seeds), "--out", config.out]
    words += [] if config.mnist1d is None else ["--mnist1d", config.mnist1d]
    return " ".join(shlex.quote(word) for word in words)
