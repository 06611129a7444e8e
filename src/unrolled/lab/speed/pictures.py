"""The picture: speed against loss at equal wall-clock, a point a variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled import figures as draw
from unrolled.lab.cells import Done
from unrolled.lab.speed.summary import summary

__all__ = ["figures"]

FILE = "speed-loss.png"


def figures(done: Sequence[Done], folder: Path) -> list[str]:
    """Draw all families side by side: to the right is faster, below is better."""
    panels = {family["title"]: _points(family) for family in summary(done)["families"]}
    draw.points(
        folder / FILE,
        panels=panels,
        xlabel="useful targets per second, times the baseline's",
        ylabel="nats per target at equal wall-clock",
        title="Median and spread of the seeds; the diamond is the baseline; to the right and below is good",
        log_x=True,
    )
    return [FILE]


def _points(family: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the variants that did not diverge: name → x and y, each (low, middle, high)."""
    return {
        row["name"]: (_three(row["timing"]["ratio"]), _three(row["timing"]["nats"]))
        for row in family["rows"]
        if row["timing"]["nats"] is not None
    }


def _three(found: Mapping[str, Any]) -> tuple[float, float, float]:
    return found["low"], found["median"], found["high"]
