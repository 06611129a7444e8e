"""What a run of the lab keeps in its directory, each file replaced in one piece.

trials.json    every trial that is done, with its settings: a run goes on after them
results.json   a section per experiment: what the report prints, and what its pictures are drawn from
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, files, kernels
from unrolled.errors import CheckpointError, NonFiniteError, RunError, expected
from unrolled.lab.experiment import Done, Found, Json, Trial
from unrolled.spec import LabConfig

__all__ = ["REPORT", "RESULTS", "TRIALS", "Store", "check_place"]

FORMAT, VERSION = "unrolled lab", 3
OLDER = (1, 2)  # whose results are measured again
RESULTS, TRIALS, REPORT = "results.json", "trials.json", "report.md"
LARGEST, PARSED = 2**26, 2**31  # bytes of a file, and parsed
PARTS: dict[str, tuple[str, dict[str, type]]] = {  # of which many, and what each one holds
    RESULTS: ("sections", {"settings": dict, "summary": dict, "curves": dict, "trials": int}),
    TRIALS: ("trials", {"settings": dict, "result": dict, "timing": dict}),
}
PACKAGES = ("unrolled", "torch", "numpy", "matplotlib")
CPUINFO = Path("/proc/cpuinfo")
ELSEWHERE = "name another directory with --out"


def check_place(out: Path) -> None:
    """Check that results may be written at `out`, or that it holds some; nothing is created.

    Raises:
        RunError: it is a file, a run of `unrolled train`, or a directory with another program's report.
    """
    if out.exists() and not out.is_dir():
        raise RunError(expected("out", "a directory or a new path", f"the file {out}"))
    holds_report, holds_run = os.path.lexists(out / REPORT), checkpoint.is_run(out)
    if (holds_report or holds_run) and not any(os.path.lexists(out / name) for name in PARTS):
        found = "which holds a run" if holds_run else f"with a {REPORT} and no {RESULTS}"
        raise RunError(expected("out", "a free directory or one of the lab", f"{out}, {found}"))


class Store:
    """What a directory holds, and what is added to it. Nothing is written before the first `add`.

    Raises:
        RunError: a file is something else, of a newer version, of another kind of run, or has a trial
            of this plan that was run with other settings. CheckpointError: it is not JSON.
    """

    def __init__(self, out: Path, config: LabConfig, trials: Sequence[Trial]) -> None:
        self._out = out
        self._settings = {"quick": config.quick, "long": config.long, "seeds": config.seeds}
        self.document, self._kept = _read(out / RESULTS), _read(out / TRIALS)
        self.older = self.document["version"] < VERSION  # its trials are run again
        if self.older:
            self.document = _empty(RESULTS)
        self._checked: set[str] = set()
        self._check_kind()
        self.check(trials)

    def holds(self, trial: Trial) -> bool:
        """Whether a trial is done, with these settings."""
        return trial.key in self._kept["trials"]

    def done(self, trial: Trial) -> Done:
        """Return a trial that is done."""
        stored = self._kept["trials"][trial.key]
        return Done(trial.key, stored["settings"], stored["result"])

    def add(self, trial: Trial, result: Json, *, ended: str, seconds: float) -> None:
        """Keep a trial's result and write trials.json.

        Raises:
            NonFiniteError: the result holds what JSON cannot. RunError: the file cannot be written.
        """
        timing = {"ended": ended, "seconds": seconds}
        record = {"settings": trial.settings, "result": result, "timing": timing}
        machine, machines = _machine(), self._kept["machines"]
        machines += [] if machine in machines else [machine]
        try:
            self._kept["trials"][trial.key] = _stored(record)
        except (TypeError, ValueError) as error:
            raise NonFiniteError(expected(trial.key, "numbers that JSON can hold", error)) from error
        _write(self._out / TRIALS, self._kept)

    def publish(
        self, sections: Mapping[str, Json], *, order: Sequence[str], started: str, ended: str
    ) -> None:
        """Put sections in the place of older ones and write results.json, in this order. Raises RunError."""
        new = {name: {"settings": self._settings, **s} for name, s in sections.items()}
        known = {**self.document["sections"], **new}
        ordered = [*(name for name in order if name in known), *(name for name in known if name not in order)]
        self.document["sections"] = {name: known[name] for name in ordered}
        self.document["timing"] = {"started": self.document["timing"].get("started", started), "ended": ended}
        machines = self.document["machines"]
        machines += [one for one in self._kept["machines"] if one not in machines]
        _write(self._out / RESULTS, self.document)

    def clear_leftovers(self) -> None:
        """Remove what interrupted writes have left behind. The caller holds the directory."""
        for name in (*PARTS, REPORT):
            for leftover in self._out.glob(f"{files.temporary(name)[:-8]}*"):
                leftover.unlink()

    def check(self, trials: Sequence[Trial]) -> None:
        """Refuse what is kept of these trials with other settings. Raises RunError."""
        kept = self._kept["trials"]
        for trial in trials:
            if trial.key in kept and trial.key not in self._checked:
                if kept[trial.key]["settings"] != _stored(trial.settings):
                    found = f"{self._out / TRIALS}, with other ones; {ELSEWHERE}"
                    raise RunError(expected("out", f"{trial.key} with these settings", found))
                self._checked.add(trial.key)

    def _check_kind(self) -> None:
        """Refuse results that this run would have to replace."""
        quick = self._settings["quick"]
        others = [s["settings"].get("quick") for s in self.document["sections"].values()]
        if any(other is not quick for other in others) or self._kept.setdefault("quick", quick) is not quick:
            kind, other = ("quick", "full") if quick else ("full", "quick")
            found = f"{self._out}, of {other} ones; {ELSEWHERE}"
            raise RunError(expected("out", f"results of {kind} runs", found))


def _stored(value: Any) -> Any:
    """Return a value as JSON gives it back: tuples as lists, and no NaN."""
    return json.loads(json.dumps(value, allow_nan=False))


def _write(path: Path, document: Found) -> None:
    """Replace a file, one line per part. Raises RunError: the disk is full, or the place unwritable."""
    parts = (f"{json.dumps(name)}: {json.dumps(part, allow_nan=False)}" for name, part in document.items())
    files.replace(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _empty(name: str) -> Json:
    return {"format": FORMAT, "version": VERSION, "machines": [], "timing": {}, PARTS[name][0]: {}}


def _read(path: Path) -> Json:
    """Return a document; an empty one where there is none. Raises RunError: it is something else."""
    if not os.path.lexists(path):
        return _empty(path.name)
    raw = files.read_regular(path, LARGEST, RunError)
    document = files.parse_json(raw, path, CheckpointError, most=PARSED)
    if document.get("format") != FORMAT:
        raise RunError(expected(str(path), "results of the lab", "another JSON; nothing was changed"))
    version = document.get("version")
    if version in OLDER and path.name == RESULTS:
        return document
    if version != VERSION:
        raise RunError(expected(str(path), f"version {VERSION}", f"version {version!r}; {ELSEWHERE}"))
    name, shape = PARTS[path.name]
    whole: dict[str, type] = {"machines": list, "timing": dict, name: dict}
    entries: list[tuple[dict[str, type], Any]] = [(whole, document)]
    if isinstance(document.get(name), dict):
        entries += [(shape, entry) for entry in document[name].values()]
    for wanted, entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(n), t) for n, t in wanted.items()):
            raise RunError(expected(str(path), "results of the lab", "a damaged file; nothing was changed"))
    return document


def _machine() -> Json:
    """Return what a figure depends on besides its settings: the machine and the versions."""
    versions = dict.fromkeys(PACKAGES, "(source tree)")
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "processor": _processor(),
        "cores": math.ceil(files.cpu_limit()),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": versions | {"torch": str(torch.__version__)},  # with the build: +cpu, +cu130
        "kernels": kernels.isa() if kernels.available() else None,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown processor"
