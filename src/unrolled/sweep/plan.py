"""What a sweep is about to do: checked before anything is written, or only told (`describe`)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from unrolled import checkpoint, tasks
from unrolled.errors import ConfigError, RunError, counted, expected
from unrolled.spec import (
    OF_THE_SWEEP,
    TASKS,
    Launch,
    Range,
    SweepConfig,
    TaskKind,
    TrainConfig,
    kind_of,
    word_of,
)
from unrolled.sweep.axes import Axes, Axis
from unrolled.sweep.results import MOST_SHOWN, Ranking, columns, title
from unrolled.sweep.settings import with_values, words_of
from unrolled.train import FREE

__all__ = ["STUDY", "Description", "Prepared", "describe", "prepare"]

CHECKED = 1000  # trials whose settings are looked at before the first one starts
STUDY = "study.jsonl"  # in the directory of the study


@dataclass(frozen=True)
class Prepared:
    """A sweep whose config, axes and place are in order."""

    config: TrainConfig
    plan: SweepConfig
    axes: Axes
    kind: TaskKind
    asked: frozenset[str]  # names of the settings that were chosen
    most: int  # trials that the study may have
    ranking: Ranking
    place: Path  # of the study

    def command(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the words after `unrolled` that train a network with a trial's settings."""
        names = {*self.asked, *values} - {*OF_THE_SWEEP, "source"}
        given = {name: _value(self.config, name) for name in names}
        source = tasks.of(self.config.data).source(self.config.data)
        return ("train", *words_of(self.config, {"source": source, **given, **values}))

    def definition(self) -> dict[str, Any]:
        """Return what a study is held to beside its axes."""
        source = str(tasks.of(self.config.data).source(self.config.data))
        held = sorted(self.asked - {*self.axes.named, *OF_THE_SWEEP, *FREE, "source"})
        return {
            "task": self.kind.name,
            "source": os.path.abspath(source) if os.path.exists(source) else source,
            "settings": {name: _value(self.config, name) for name in held},
        }


@dataclass(frozen=True)
class Description:
    """What `sweep.run` would do. Its `str` is for people."""

    study: Path
    begun: bool  # whether there is a study at that place, which the sweep would continue
    task: str
    ranked_by: str
    most: int  # trials, at most
    workers: int
    minutes: float | None  # of a trial, where that is its budget
    total_minutes: float | None
    axes: Mapping[str, Axis]
    trials: tuple[Mapping[str, Any], ...]  # the settings of each, of the first thousand
    command: tuple[str, ...]  # trains the first one; with --dry-run it tells its size and time

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        axes = {n: str(a) if isinstance(a, Range) else list(a) for n, a in self.axes.items()}
        trials, command = [dict(each) for each in self.trials], list(self.command)
        return {**vars(self), "study": str(self.study), "axes": axes, "trials": trials, "command": command}

    def __str__(self) -> str:
        shown = self.trials[:MOST_SHOWN]
        rows = [["trial", *(title(self.task, name) for name in self.axes), ""]]
        rows += [[f"{n:04d}", *map(word_of, values.values()), ""] for n, values in enumerate(shown)]
        left = self.most - len(shown)
        lines = [self._summary, *columns(rows), *([f"… and {left:,} more"] if left else [])]
        how = "is there, and would be continued" if self.begun else "is new"
        lines.append(f"the study {self.study} {how}; nothing was trained or written")
        return "\n".join(lines)

    @property
    def _summary(self) -> str:
        many = counted(self.most, "trial")
        line = f"{many if self.total_minutes is None else f'up to {many}'}, {self.workers} at a time"
        if self.minutes is not None:
            rounds = -(-self.most // self.workers)
            line += f", {self.minutes:g} min each"
            line += f": {rounds * self.minutes:,.4g} min" if self.total_minutes is None else ""
        line += "" if self.total_minutes is None else f", within {self.total_minutes:g} min"
        return f"{line}; ranked by {self.ranked_by}"


def describe(
    config: TrainConfig,
    axes: Mapping[str, Axis | Sequence[Any]],
    plan: SweepConfig | None = None,
    *,
    asked: Collection[str] | None = None,
) -> Description:
    """Say what `run` would do with the same arguments; nothing is trained, and nothing is written.

    Raises:
        ConfigError, RunError: as `run`, of what is wrong with the settings or the place of the study.
    """
    found = prepare(config, axes, plan or SweepConfig(), asked=asked)
    trials = [found.axes.values(number) for number in range(min(found.most, CHECKED))]
    return Description(
        study=found.place,
        begun=(found.place / STUDY).exists(),
        task=found.kind.name,
        ranked_by=found.ranking.name,
        most=found.most,
        workers=found.plan.workers,
        minutes=config.minutes,
        total_minutes=found.plan.total_minutes,
        axes=found.axes.named,
        trials=tuple(trials),
        command=found.command(trials[0]),
    )


def prepare(
    config: TrainConfig,
    axes: Mapping[str, Axis | Sequence[Any]],
    plan: SweepConfig,
    *,
    asked: Collection[str] | None = None,
) -> Prepared:
    """Return a sweep whose settings are in order, at least those of its first trials. Raises as `run`."""
    named = {name: axis if isinstance(axis, Range) else tuple(axis) for name, axis in axes.items()}
    every = Axes(named, plan.sweep_seed)
    _check(config, every)
    most = every.most(plan.trials, timed=plan.total_minutes is not None)
    held_to = frozenset(_asked_of(config) if asked is None else asked)
    for number in range(min(most, CHECKED)):
        with_values(config, every.values(number), held_to)
    kind = kind_of(config.data)
    ranking, place = Ranking.of(kind, every.named), _place(config, plan)
    return Prepared(config, plan, every, kind, held_to, most, ranking, place)


def _check(config: TrainConfig, axes: Axes) -> None:
    """Raise ConfigError for a config of which there cannot be many runs, or an axis that it does not have."""
    kind, launch = kind_of(config.data), Launch.found()
    source = tasks.of(config.data).source(config.data)
    if not launch.alone:
        want = "one process, which starts those of trials itself (`workers` says how many)"
        raise ConfigError(expected("sweep", want, f"{launch.world_size} of a launcher"))
    if not kind.data.__module__.startswith("unrolled."):
        want = "one of this package, as each trial has a process of its own"
        raise ConfigError(expected("task", want, repr(kind.name)))
    if source == "-":
        raise ConfigError(expected("source", "a file, which every trial can read", "standard input"))
    for name in OF_THE_SWEEP:
        if getattr(config, name):
            want = "none in a sweep, which names its runs and resumes them itself (`study` says where)"
            raise ConfigError(expected(name, want, getattr(config, name)))
    namers = {each.asked_by for each in TASKS.values()}
    known = {field.name for cls in (type(config), type(config.data)) for field in fields(cls)} - {"data"}
    for name in axes.named:
        if name not in known:
            raise ConfigError(expected("axes", f"settings of a run of the task {kind.name}", repr(name)))
        if name in (*OF_THE_SWEEP, "source") or name in namers:
            raise ConfigError(expected(name, "one value, as it says what is predicted", "several"))


def _asked_of(config: TrainConfig) -> set[str]:
    """Return the names of the settings that are not at their defaults."""
    kind = kind_of(config.data)
    usual = {"cell": kind.cell}
    return {
        field.name
        for owner in (config, config.data)
        for field in fields(owner)
        if getattr(owner, field.name) != usual.get(field.name, field.default) and field.name != "data"
    }


def _value(config: TrainConfig, name: str) -> Any:
    return getattr(config.data if hasattr(config.data, name) else config, name)


def _place(config: TrainConfig, plan: SweepConfig) -> Path:
    """Return the directory of the study. Raises RunError: it cannot be one."""
    task = tasks.of(config.data)
    name = plan.study or str(Path("runs") / f"{task.run_name(config.data)}-sweep")
    place = Path(os.path.normpath(name))
    if place.exists() and not place.is_dir():
        raise RunError(expected("study", "a directory or a new path", f"the file {place}"))
    if place.is_dir() and checkpoint.taken(place):
        raise RunError(expected("study", "a directory for several runs", f"{place}, which is a run itself"))
    source = task.source(config.data)
    if source is not None and os.path.isdir(source):
        folder, own = Path(os.path.realpath(source)), Path(os.path.realpath(place))
        if folder == own or folder in own.parents:
            raise RunError(expected("study", f"a directory outside the source {source}", place))
    return place
