"""OUT/results.json: everything that was measured, replaced in one piece after each cell."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled import files
from unrolled.errors import CheckpointError, NonFiniteError, RunError, expected
from unrolled.lab.cells import Cell, Done
from unrolled.spec import LabConfig

__all__ = ["FORMAT", "REPORT", "RESULTS", "VERSION", "Store", "check_place", "clear_leftovers", "opened"]

FORMAT, VERSION = "unrolled lab", 1
RESULTS, REPORT = "results.json", "report.md"
LARGEST, PARSED = 2**26, 2**31  # bytes of the file, and parsed
CELL = {"settings": dict, "result": dict, "timing": dict, "machine": int}


def check_place(out: Path) -> None:
    """Check that results may be written at `out`, or that it holds some; nothing is created.

    Raises:
        RunError: it is a file, or a directory with another program's report.
    """
    if out.exists() and not out.is_dir():
        raise RunError(expected("out", "a directory or a new path", f"the file {out}"))
    if os.path.lexists(out / RESULTS):
        return
    if os.path.lexists(out / REPORT):
        raise RunError(
            expected("out", "a free directory or one of the lab", f"{out}, with a {REPORT} and no {RESULTS}")
        )


def clear_leftovers(out: Path) -> None:
    """Remove what writes that were cut off have left. The caller holds the directory."""
    for name in (RESULTS, REPORT):
        for leftover in out.glob(f".writing-{name}-*"):
            leftover.unlink()


def opened(out: Path, config: LabConfig, cells: list[Cell], machine: dict[str, Any]) -> Store:
    """Return what `out` holds, or an empty store; nothing is written.

    Raises:
        RunError: results.json is something else, of another version, of another kind of run, or has a cell
            of this plan that was run with other settings. CheckpointError: it is not JSON.
    """
    path = out / RESULTS
    settings = {"quick": config.quick, "long": config.long, "seeds": config.seeds}
    if not os.path.lexists(path):
        document: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "machines": [],
            "cells": {},
            "sections": {},
        }
    else:
        document = _read(path)
        _check_settings(path, document, config, cells)
    store = Store(path, {**document, "settings": settings})
    store.at(machine)
    return store


class Store:
    """The document, and its file."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self.path, self.document = path, document
        self._machine = 0

    def at(self, machine: dict[str, Any]) -> None:
        """Say where the next cells are run."""
        machines = self.document["machines"]
        if machine not in machines:
            machines.append(machine)
        self._machine = machines.index(machine)

    def holds(self, cell: Cell) -> bool:
        """Whether a cell is done, with these settings."""
        stored = self.document["cells"].get(cell.key)
        return stored is not None and stored["settings"] == _stored(cell.settings)

    def done(self, cell: Cell) -> Done:
        """Return a cell that is done."""
        stored = self.document["cells"][cell.key]
        return Done(cell.key, stored["settings"], stored["result"])

    def add(self, cell: Cell, result: dict[str, Any], *, ended: str, seconds: float) -> None:
        """Keep a cell's result and write the file.

        Raises:
            NonFiniteError: the result holds what JSON cannot. RunError: the file cannot be written.
        """
        record = {"settings": cell.settings, "result": result, "machine": self._machine}
        try:
            record = _stored(record)
        except (TypeError, ValueError) as error:
            raise NonFiniteError(expected(cell.key, "numbers that JSON can hold", error)) from error
        record["timing"] = {"ended": ended, "seconds": seconds}
        self.document["cells"][cell.key] = record
        self.write()

    def write(self) -> None:
        """Replace the file. Raises RunError: the disk is full, or the place unwritable."""
        text = json.dumps(self.document, indent=1, allow_nan=False)
        files.replace(self.path, text + "\n")


def _stored(value: Any) -> Any:
    """Return what comes back from JSON: lists for tuples, and no NaN."""
    return json.loads(json.dumps(value, allow_nan=False))


def _read(path: Path) -> dict[str, Any]:
    document = files.parse_json(_raw(path), path, CheckpointError, most=PARSED)
    if document.get("format") != FORMAT:
        raise RunError(expected(str(path), "results of the lab", "another JSON; nothing was changed"))
    if document.get("version") != VERSION:
        advice = "name another directory with --out"
        raise RunError(
            expected(str(path), f"version {VERSION}", f"version {document.get('version')!r}; {advice}")
        )
    if not _well_formed(document):
        raise RunError(expected(str(path), "results of the lab", "a damaged file; nothing was changed"))
    return document


def _raw(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size <= LARGEST:
            return path.read_bytes()
    except OSError as error:
        raise RunError(expected(str(path), "results of the lab", error.strerror or error)) from error
    raise RunError(expected(str(path), f"a file of at most {LARGEST} bytes", "something else"))


def _well_formed(document: Mapping[str, Any]) -> bool:
    """Whether the parts that are read have the types that are written."""
    cells, machines = document.get("cells"), document.get("machines")
    if not isinstance(cells, dict) or not isinstance(machines, list):
        return False
    if not all(isinstance(document.get(name), dict) for name in ("settings", "timing")):
        return False
    return all(
        isinstance(cell, dict) and all(isinstance(cell.get(name), kind) for name, kind in CELL.items())
        for cell in cells.values()
    )


def _check_settings(path: Path, document: Mapping[str, Any], config: LabConfig, cells: list[Cell]) -> None:
    """Refuse results that this run would have to replace."""
    stored, advice = document["settings"], "name another directory with --out"
    if stored.get("quick") != config.quick:
        kind, other = ("quick", "full") if config.quick else ("full", "quick")
        raise RunError(
            expected("out", f"results of {kind} runs", f"{path.parent}, of {other} ones; {advice}")
        )
    for cell in cells:
        held = document["cells"].get(cell.key)
        if held is not None and held["settings"] != _stored(cell.settings):
            raise RunError(
                expected("out", f"{cell.key} with these settings", f"{path}, with other ones; {advice}")
            )
