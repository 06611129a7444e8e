"""What a run of every task leaves to look at: controls.json, its predictions, and parts of report.md."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from unrolled import files
from unrolled.errors import counted
from unrolled.spec import RunDirectory
from unrolled.tasks.scores import Control, Scores
from unrolled.tasks.standing import standing

__all__ = ["comparison_lines", "parts_line", "picture_lines", "write_controls", "write_predictions"]

KINDS = {"train": "training", "validation": "validation", "test": "test"}


class Evaluated(Protocol):
    """What the evaluations of all tasks have."""

    @property
    def validation(self) -> Scores | None: ...
    @property
    def test(self) -> Scores | None: ...
    @property
    def judged(self) -> Scores: ...
    @property
    def part(self) -> str: ...
    @property
    def main(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def controls(self) -> tuple[Control, ...]: ...
    @property
    def better(self) -> tuple[Control, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def write_controls(place: RunDirectory, found: Evaluated) -> Path:
    """Write the figures of the network and of the controls, on the part that they are judged by."""
    held = [asdict(each) for each in found.controls]
    figures = {"part": found.part, "network": asdict(found.judged), "controls": held}
    files.replace(place.controls, json.dumps(files.for_json(figures), indent=2) + "\n")
    return place.controls


def write_predictions(place: RunDirectory, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write a table of predictions: a Parquet file with polars, else CSV."""
    try:
        import polars
    except ImportError:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        files.replace(place.predictions, text.getvalue())
        return place.predictions
    raw = io.BytesIO()
    polars.DataFrame(dict(columns)).write_parquet(raw)
    files.replace(place.parquet, raw.getvalue())
    return place.parquet


def parts_line(sizes: Mapping[str, int], unit: str) -> str:
    """Return how many of a unit each part has: "80 training samples, 10 validation samples".

    A part that is empty is not among them.
    """
    return ", ".join(
        counted(sizes[name], f"{kind} {unit}") for name, kind in KINDS.items() if sizes.get(name)
    )


def comparison_lines(found: Evaluated, label: Callable[[str], str], digits: str = ".4g") -> list[str]:
    """Return the table of the network and its controls, the notes, and whether the network is ahead.

    Args:
        label: the name of a figure → its heading. digits: the format of a figure.
    """
    names = list(found.judged.values)

    def row(name: str, values: Mapping[str, float], size: str = "–", seconds: str = "–") -> str:
        figures = [values.get(n) for n in names]
        shown = ["–" if each is None or math.isnan(each) else format(each, digits) for each in figures]
        return f"| {name} | " + " | ".join([*shown, size, seconds]) + " |"

    lines = [
        f"| {found.part} part | " + " | ".join(map(label, names)) + " | parameters | seconds to fit |",
        "| --- |" + " --- |" * (len(names) + 2),
        row("network", found.judged.values, f"{found.parameters:,}"),
    ]
    lines += [row(c.name, c.values, f"{c.parameters:,}", f"{c.seconds:.1f}") for c in found.controls]
    if found.test is not None and found.validation is not None:
        lines.append(row("network, validation part", found.validation.values))
    lines += ["", *found.notes] if found.notes else []
    stands = standing(found)
    lines += [] if stands is None else ["", stands]
    return lines


def picture_lines(pictures: Sequence[Path]) -> list[str]:
    """Return the pictures of a run, each under the line before it."""
    return [line for path in pictures for line in ("", f"![{path.stem}]({path.name})")]
