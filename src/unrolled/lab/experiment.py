"""A trial, the unit of the lab's work, and what an experiment is."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.spec import LabConfig

__all__ = ["Done", "Experiment", "Found", "Json", "Trial", "groups", "pick", "plan_of", "seeded"]

Json = dict[str, Any]  # what JSON can hold: no NaN, no infinity, text keys
Found = Mapping[str, Any]  # the same, to read


@dataclass(frozen=True)
class Trial:
    """One unit of work. Its result is a function of its settings alone, apart from the key "timing"."""

    key: str  # stable and unique: "sentences/lstm/seed=0"
    settings: Json  # all that the result depends on; "seed" seeds torch too, "threads" sets torch's
    work: Callable[[Found], Json]  # settings → result
    alone: bool = False  # whether the clock decides the result, so that nothing may run beside it


@dataclass(frozen=True)
class Done:
    """A trial that was run, as trials.json has it."""

    key: str
    settings: Json
    result: Json


@dataclass(frozen=True)
class Experiment:
    """An experiment: how it is planned, summed up, drawn and reported.

    Attributes:
        name: one word: that of the command line, with which keys and pictures begin.
        title: the heading of its section.
        trials: config → the plan. Bad data is refused here, before anything is run or written.
        summary: all trials of the plan, in its order → every number and text that the report prints. What
            depends on the clock is under keys "timing". `pick(done, model="lstm")` gives the runs,
            `spread(values)` median and ends, `within_cap(values, cap)` also how many got there.
        report: summary → the section in Markdown, without its heading: the conclusion first, each picture
            beside its text. It computes no number; `number`, `spread_text`, `within_text` print.
        figures: (summary, curves, folder): draws the PNG files that the report shows, named NAME-….png.
        curves: trials → what pictures are drawn from beside the summary.
        constants: the numbers of the report's fixed words: years, definitions.
        further: (config, what is done of this experiment) → the trials that these results decide on, in
            order: all of them, each time that it is called.
        claims: summary → a row per claim of the lecture: {claim, arms, caps, verdict}.
    """

    name: str
    title: str
    trials: Callable[[LabConfig], list[Trial]]
    summary: Callable[[Sequence[Done]], Json]
    report: Callable[[Found], str]
    figures: Callable[[Found, Found, Path], None]
    curves: Callable[[Sequence[Done]], Json] = lambda _: {}
    constants: tuple[float, ...] = ()
    further: Callable[[LabConfig, Sequence[Done]], list[Trial]] = lambda *_: []
    claims: Callable[[Found], list[dict[str, str]]] = lambda _: []


def plan_of(name: str) -> Json:
    """Return the contents of NAME.toml beside NAME.py: what is compared, and in which words."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8"))


def seeded(
    key: str, settings: Found, work: Callable[[Found], Json], config: LabConfig, *, alone: bool = False
) -> list[Trial]:
    """Return a trial per seed: KEY/seed=0, …."""
    seeds = range(config.seeds)
    return [Trial(f"{key}/seed={seed}", {**settings, "seed": seed}, work, alone) for seed in seeds]


def pick(done: Iterable[Done], **settings: object) -> list[Done]:
    """Return the trials whose settings have these values: `pick(done, model="lstm")`, one run per seed."""
    return [d for d in done if all(d.settings.get(name) == value for name, value in settings.items())]


def groups(done: Iterable[Done], name: str) -> dict[Any, list[Done]]:
    """Return trials by the value of one setting, in the order in which they come."""
    found: dict[Any, list[Done]] = {}
    for one in done:
        found.setdefault(one.settings[name], []).append(one)
    return found
