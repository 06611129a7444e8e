"""What a sweep came to: every trial, the best one, and what is written of them."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unrolled import figures, files
from unrolled.errors import counted
from unrolled.spec import LANGUAGE, Range, TaskKind, TrainConfig, kind_named, settings, word_of
from unrolled.sweep.axes import Axis

__all__ = ["MOST_SHOWN", "STATES", "Kept", "Ranking", "Sweep", "SweepTrial", "columns", "title", "write"]

RESULTS, REPORT, PICTURE = "sweep.json", "sweep.md", "slices.png"
LARGER = ("classify", "tag")  # tasks whose main figure is better where it is larger
MOST_SHOWN = 30  # rows of the table on the command line; sweep.md has all
STATES = ("finished", "pruned", "unfinished", "failed")  # in the order of a table
GAP = "  "
LEGEND = (
    "A ring marks the best trial, a line the median at each listed value; a cross is a trial that was pruned "
    "or has failed, a triangle one that is far out."
)


@dataclass(frozen=True)
class Ranking:
    """What trials are compared by, on the validation part: a loss, or a figure of the evaluation."""

    name: str  # for people
    figure: str | None  # of the evaluation; "main": the one that the task compares models by; None: the loss
    maximise: bool = False
    comparable: bool = True  # whether validation losses are while trials run, so that they may be pruned

    @classmethod
    def of(cls, kind: TaskKind, axes: Collection[str]) -> Ranking:
        """Return it by the rule: bits per character of a text, of other tasks the lowest validation loss.

        Where a setting of the data varies, losses may be of different things; then it is the main figure.
        """
        of_data = bool({each.name for each in settings(kind.data)} & set(axes))
        if kind is LANGUAGE:
            return cls("bits per char", "bits_per_char", comparable=not of_data)
        if of_data:
            return cls("main figure", "main", maximise=kind.name in LARGER, comparable=False)
        return cls(kind.units[0][0] if kind.units else kind.loss.replace("_", " "), None)

    def name_in(self, known: Mapping[str, Any]) -> str:
        """Return what people call it, once a trial has told the main figure."""
        return str(known["main"]).replace("_", " ") if self.figure == "main" else self.name

    def value(self, known: Mapping[str, Any]) -> float:
        """Return what a finished trial is ranked by; NaN where it has none."""
        name = known.get("main") if self.figure == "main" else self.figure
        found = known.get("loss") if name is None else known.get("figures", {}).get(name)
        return math.nan if found is None else float(found)


@dataclass(frozen=True)
class Kept:
    """What the file of a study holds of a trial."""

    number: int
    state: str  # as in `SweepTrial`
    value: float | None
    known: Mapping[str, Any]  # names and types of KNOWN


KNOWN: dict[str, type | tuple[type, ...]] = {
    "loss": (int, float),
    "step": int,
    "steps": int,
    "seconds": (int, float),
    "parameters": int,
    "figures": dict,
    "main": str,
    "reason": str,
}


@dataclass(frozen=True)
class SweepTrial:
    """One trial: an ordinary run."""

    number: int
    run: Path
    settings: Mapping[str, Any]  # of the axes
    state: str  # "finished", "pruned", "failed", or "unfinished": stopped, or at work in another process
    value: float | None  # what trials are ranked by; None of those that are not finished
    loss: float | None = None  # the lowest validation loss so far
    step: int = 0  # of the best validation; of a trial that is not finished, of the last one
    steps: int = 0
    seconds: float = 0.0
    parameters: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)  # of the evaluation, on the validation part
    main: str = ""  # the one of them that its task compares models by; empty: the loss
    reason: str = ""  # why it failed

    @classmethod
    def of(cls, kept: Kept, run: Path, values: Mapping[str, Any]) -> SweepTrial:
        """Return a trial as the study holds it."""
        return cls(kept.number, run, dict(values), kept.state, kept.value, **kept.known)


@dataclass(frozen=True)
class Sweep:
    """Every trial of a study, the best first. Its `str` is for people."""

    study: Path
    task: str
    ranked_by: str
    maximise: bool
    axes: Mapping[str, Axis]
    trials: tuple[SweepTrial, ...]
    most: int  # trials that were asked for
    command: tuple[str, ...]  # trains the best again, elsewhere
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> SweepTrial | None:
        """The finished trial that ranks first; None: none is finished."""
        first = self.trials[0] if self.trials else None
        return first if first is not None and first.state == "finished" else None

    def count(self, state: str) -> int:
        """Return how many trials are in a state."""
        return sum(each.state == state for each in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Return what sweep.json holds."""
        found: dict[str, Any] = {
            "study": str(self.study),
            "task": self.task,
            "ranked_by": self.ranked_by,
            "maximise": self.maximise,
            "axes": {n: str(a) if isinstance(a, Range) else list(a) for n, a in self.axes.items()},
            "most": self.most,
            "best": None if self.best is None else str(self.best.run),
            "command": list(self.command),
            "notes": list(self.notes),
            "trials": [{**asdict(each), "run": str(each.run)} for each in self.trials],
        }
        stored: dict[str, Any] = files.for_json(found)
        return stored

    def __str__(self) -> str:
        rows = self.rows()
        lines = [self.summary, *self.notes, *columns(rows[: MOST_SHOWN + 1])]
        if len(rows) > MOST_SHOWN + 1:
            lines.append(f"… and {len(rows) - MOST_SHOWN - 1} more, in {self.study / REPORT}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """How many trials there are of each kind, on one line."""
        done = ", ".join(f"{self.count(state)} {state}" for state in STATES if self.count(state))
        return f"{counted(len(self.trials), 'trial')} of {self.most:,}" + (f": {done}" if done else "")

    def rows(self) -> list[list[str]]:
        """Return a table of the trials, its heading first."""
        names = [title(self.task, name) for name in self.axes]
        other = [] if self.other is None else [self.other.replace("_", " ")]
        rows = [["trial", *names, self.ranked_by, *other, "step", "parameters", "seconds", "state"]]
        return rows + [self._row(each) for each in self.trials]

    @property
    def other(self) -> str | None:
        """The main figure of the task, where it is not what trials are ranked by."""
        main = next((each.main for each in self.trials if each.main), self.ranked_by)
        return None if main.replace("_", " ") == self.ranked_by else main

    def _row(self, each: SweepTrial) -> list[str]:
        return [
            f"{each.number:04d}",
            *(word_of(each.settings[name]) for name in self.axes),
            _figure(each.value),
            *([] if self.other is None else [_figure(each.figures.get(self.other))]),
            f"{each.step:,} of {each.steps:,}" if each.steps else "–",
            f"{each.parameters:,}" if each.parameters else "–",
            f"{each.seconds:,.0f}",
            f"{each.state}: {each.reason}" if each.reason else each.state,
        ]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def title(task: str, name: str) -> str:
    """Return what people call a setting: its flag, without the hyphens."""
    for cls in (kind_named(task).data, TrainConfig):
        for each in settings(cls):
            if each.name == name and each.flag is not None:
                return each.flag.lstrip("-")
    return name


def write(found: Sweep) -> None:
    """Write sweep.json, sweep.md and, where a trial has an end, slices.png. Raises RunError."""
    files.replace(found.study / RESULTS, json.dumps(found.to_dict(), indent=2) + "\n")
    shown = [each for each in found.trials if each.state != "unfinished"]
    named = {title(found.task, name): axis for name, axis in found.axes.items()}
    if shown:
        figures.slices(
            found.study / PICTURE,
            axes={title(found.task, name): [each.settings[name] for each in shown] for name in found.axes},
            values=[math.nan if each.value is None else each.value for each in shown],
            order={name: axis for name, axis in named.items() if not isinstance(axis, Range)},
            logarithmic=[n for n, axis in named.items() if isinstance(axis, Range) and axis.logarithmic],
            ylabel=found.ranked_by,
            maximise=found.maximise,
        )
    files.replace(found.study / REPORT, "\n".join(_report(found, picture=bool(shown))) + "\n")


def _report(found: Sweep, *, picture: bool) -> Iterator[str]:
    yield from ("# Sweep", "", f"{found.summary}.", *found.notes, "")
    if found.best is not None:
        again = shlex.join(["unrolled", *found.command])
        yield from (f"The best is `{found.best.run}`. To train it again: `{again}`", "")
    if picture:
        yield from (f"![{found.ranked_by} over each setting]({PICTURE})", "", LEGEND, "")
    head, *rows = [[_cell(cell) for cell in row] for row in found.rows()]
    yield from (f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    """Return a text for a table of Markdown; a reason may hold anything."""
    return files.printable(text).replace("|", "\\|").replace("<", "&lt;")


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield files.printable(GAP.join([*cells, row[-1]]).rstrip())
