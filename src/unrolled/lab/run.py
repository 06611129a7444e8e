"""`unrolled lab`: plan, run the cells that are not done, sum up, report."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from unrolled import figures, files
from unrolled.lab import machine
from unrolled.lab.cells import Cell, Experiment
from unrolled.lab.progress import Bar, shown
from unrolled.lab.registry import chosen
from unrolled.lab.report import write_report
from unrolled.lab.store import REPORT, RESULTS, Store, check_place, clear_leftovers, opened
from unrolled.spec import LabConfig
from unrolled.train import Stopped, Stopper, held, listening

__all__ = ["Lab", "run"]

Plan = dict[str, list[Cell]]  # experiment → its cells


@dataclass(frozen=True)
class Lab:
    """What a run of the lab came to."""

    out: Path
    results: Path  # results.json
    report: Path  # report.md
    figures: tuple[Path, ...]
    run: int  # cells
    kept: int  # cells that were done before
    seconds: float


def run(config: LabConfig) -> Lab:
    """Run experiments and write OUT/report.md, OUT/results.json and pictures; what is done is kept.

    Ctrl-C and SIGTERM end it at once; the cells that are done stay, and the same call goes on after them.

    Args:
        config: see `unrolled.spec.LabConfig`.
    Returns:
        Where everything lies, and how many cells were run.
    Raises:
        ConfigError, DataError, RunError, CheckpointError: before anything is changed. RunError also where
            the disk is full; what was written stays.
        KeyboardInterrupt: stopped by a signal; the text says how to go on.
    """
    begin, out = time.perf_counter(), Path(config.out)
    figures.require()
    experiments = chosen(config.experiment)
    plan: Plan = {e.NAME: e.cells(config) for e in experiments}
    cells = [cell for part in plan.values() for cell in part]
    check_place(out)
    opened(out, config, cells, machine.describe())  # refused before the place is locked, or made
    with listening() as stopper, _HowToGoOn(config, cells) as how, held(out, name="out"):
        clear_leftovers(out)
        store = how.store = opened(out, config, cells, machine.describe())
        store.document.setdefault("timing", {"started": _now()})
        kept = sum(store.holds(cell) for cell in cells)
        with shown(len(cells)) as bar:
            bar.kept(kept)
            _run_cells([cell for cell in cells if not store.holds(cell)], store, bar, stopper)
        pictures = _conclude(experiments, plan, store)
    return Lab(
        out, out / RESULTS, out / REPORT, pictures, len(cells) - kept, kept, time.perf_counter() - begin
    )


def _run_cells(cells: list[Cell], store: Store, bar: Bar, stopper: Stopper) -> None:
    for cell in cells:
        bar.begin(cell.key)
        start = time.perf_counter()
        with _alone(cell):
            result = cell.work(cell.settings)
        stopper.stop_if_asked("stopped")
        seconds = time.perf_counter() - start
        with stopper.deferring():
            store.add(cell, result, ended=_now(), seconds=seconds)
        bar.end(cell.key, seconds)
        stopper.stop_if_asked("stopped")


@contextlib.contextmanager
def _alone(cell: Cell) -> Iterator[None]:
    """Seed torch and set its threads for one cell, so that it depends on none before it."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(cell.settings.get("seed", 0)))
        torch.set_num_threads(int(cell.settings.get("threads", before)))
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _conclude(experiments: tuple[Experiment, ...], plan: Plan, store: Store) -> tuple[Path, ...]:
    """Sum up the experiments that were run, draw their pictures, and report them beside earlier ones."""
    out = store.path.parent
    pictures: list[Path] = []
    for experiment in experiments:
        done = [store.done(cell) for cell in plan[experiment.NAME]]
        names = experiment.figures(done, out)
        pictures += [out / name for name in names]
        section = {
            "settings": store.document["settings"],
            "cells": len(done),
            "constants": list(experiment.CONSTANTS),
            "summary": experiment.summary(done),
            "figures": names,
        }
        store.document.setdefault("sections", {})[experiment.NAME] = section
    store.document["timing"]["ended"] = _now()
    store.write()
    files.replace(out / REPORT, write_report(store.document))
    return tuple(pictures)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _HowToGoOn:
    """Adds to what a stopped run says how much is done and the command that goes on with it."""

    def __init__(self, config: LabConfig, cells: list[Cell]) -> None:
        self._config, self._cells = config, cells
        self.store: Store | None = None

    def __enter__(self) -> _HowToGoOn:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not isinstance(error, Stopped):
            return
        done = 0 if self.store is None else sum(self.store.holds(cell) for cell in self._cells)
        text = f"stopped: {done} of {len(self._cells)} cells are done; go on with: {command(self._config)}"
        raise Stopped(text, error.signum) from None


def command(config: LabConfig) -> str:
    """Return the command line that does what a config says."""
    words = ["unrolled", "lab", config.experiment]
    words += ["--quick"] if config.quick else []
    words += ["--long"] if config.long else []
    words += ["--seeds", str(config.seeds), "--out", config.out]
    words += [] if config.mnist1d is None else ["--mnist1d", config.mnist1d]
    return " ".join(shlex.quote(word) for word in words)
