"""A picture a downside: every variant's curve, median and spread of the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import figures as draw
from unrolled.lab.cells import Done, pick
from unrolled.lab.remedies.part import Part
from unrolled.lab.remedies.parts import PARTS

__all__ = ["figures"]


def figures(done: Sequence[Done], folder: Path) -> list[str]:
    """Draw them all."""
    return [_part(part, pick(done, part=name), folder) for name, part in PARTS.items()]


def _part(part: Part, runs: Sequence[Done], folder: Path) -> str:
    name = f"remedies-{part.name}.png"
    draw.series(
        folder / name,
        curves={words: _curve(part, pick(runs, variant=words)) for words in part.variants},
        xlabel=part.xlabel,
        ylabel=part.ylabel,
        title=part.title,
        log_x=part.log,
        log_y=part.log,
    )
    return name


def _curve(part: Part, runs: Sequence[Done]) -> dict[str, Any]:
    """Return the median over runs and its ends; a run that ended early stays where it ended."""
    place = [run.result["timing"] if part.measures[0].timing else run.result for run in runs]
    curves = [found["curve"] for found in place]
    longest = max((curve["x"] for curve in curves), key=len)
    values = np.full((len(curves), len(longest)), np.nan)
    for row, curve in zip(values, curves, strict=True):
        y = np.array(curve["y"], dtype=np.float64)
        row[: len(y)], row[len(y) :] = y, y[-1]
    middle, low, high = np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
    return {"x": longest, "middle": middle, "low": low, "high": high}
