"""One downside: how it is shown, its remedies, and what is measured of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unrolled.lab.cells import Work

__all__ = ["Measure", "Part"]

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A figure of a run that the table shows.

    Attributes:
        name: its key in the result, or in the result's "timing".
        words: the table's heading.
        kind: "spread" of the runs' values; "within" the cap, where a run without a value counts as more than
            it; "count" of runs of which it is true.
        cap: the number, or the name of a setting. more_is_better: which way a remedy is to move it.
        timing: whether the clock gives it.
    """

    name: str
    words: str
    kind: str
    cap: str | float | None = None
    more_is_better: bool = False
    timing: bool = False


@dataclass(frozen=True)
class Part:
    """A downside with its remedies.

    Attributes:
        name: one word, of the keys. title: its heading.
        words: a paragraph, with {names} of settings and of `numbers` in it.
        shared: whether quick → the settings of all its runs.
        variants: words → the settings of a run, the one without remedy first.
        work: does a cell. measures: of a run; the first one decides whether a remedy helps.
        xlabel, ylabel: of the picture of each run's "curve". log: whether both axes are logarithmic.
        numbers: settings → what else the paragraph prints.
    """

    name: str
    title: str
    words: str
    shared: Callable[[bool], dict[str, Any]]
    variants: Mapping[str, Mapping[str, Any]]
    work: Work
    measures: tuple[Measure, ...]
    xlabel: str
    ylabel: str
    log: bool = False
    numbers: Callable[[Settings], dict[str, float]] = field(default=lambda _: {})
