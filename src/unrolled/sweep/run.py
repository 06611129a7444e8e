"""`unrolled sweep`: many runs of one config with other settings, each in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import checkpoint, figures, tasks
from unrolled.errors import ConfigError, MissingExtraError, RunError, expected
from unrolled.spec import TASKS, Launch, Range, SweepConfig, TaskKind, TrainConfig, kind_of
from unrolled.sweep.axes import Axes, Axis
from unrolled.sweep.results import STATES, Ranking, Sweep, SweepTrial, write
from unrolled.sweep.settings import run_of, with_values, words_of
from unrolled.train import FREE, Stopped, listening

if TYPE_CHECKING:
    from unrolled.sweep.study import Study

__all__ = ["run"]

OWN = ("run", "resume", "overwrite")  # of each trial, by the sweep
GO_ON = "The same command goes on with trials that are unfinished, where no other process is at work on them."
CHECKED = 1000  # trials whose settings are looked at before the first one starts


def run(
    config: TrainConfig,
    axes: Mapping[str, Axis | Sequence[Any]],
    plan: SweepConfig | None = None,
    *,
    asked: Collection[str] | None = None,
) -> Sweep:
    """Train a network with each of many settings, every one an ordinary run, and say which is best.

    Where every axis is a list, trials are their combinations, in a shuffled order; with a `Range` they are
    drawn at random. The settings of a trial follow from the axes, `sweep_seed` and its number, so that any
    number of processes may work on one study at once. What was stopped or killed goes on, each trial from its
    last checkpoint. Ctrl-C and SIGTERM let all trials save and end; a second one ends them at once.

    Args:
        config: of every trial.
        axes: names of settings of `config` or of its `data` → values, or a `Range`.
        plan: how many trials, where, and for how long.
        asked: names of the settings that a study is held to; default those that differ from their defaults.
    Returns:
        Every trial of the study, the best one first.
    Raises:
        ConfigError, RunError, MissingExtraError: before anything is changed. CheckpointError: the file of the
            study is damaged. DataError and others: of a trial, for a reason that all trials share.
        KeyboardInterrupt: stopped by a signal; the text says how to go on.
    """
    begin, plan = time.monotonic(), plan or SweepConfig()
    figures.require()
    _require_optuna()
    from unrolled.sweep.scheduler import Scheduler
    from unrolled.sweep.study import Study, quiet

    every = Axes(
        {name: axis if isinstance(axis, Range) else tuple(axis) for name, axis in axes.items()},
        plan.sweep_seed,
    )
    _check(config, every)
    most = every.most(plan.trials, timed=plan.total_minutes is not None)
    kind, held_to = kind_of(config.data), _asked_of(config) if asked is None else set(asked)
    for number in range(min(most, CHECKED)):
        with_values(config, every.values(number), held_to)
    ranking, place = Ranking.of(kind, every.named), _place(config, plan)
    until = None if plan.total_minutes is None else begin + 60 * plan.total_minutes
    definition = _definition(kind, config, held_to - set(every.named))
    with listening() as stopper, quiet(), stopper.deferring():
        study = Study(place, every, definition, maximise=ranking.maximise, prune=plan.prune)
        work = Scheduler(study, config, plan, ranking, held_to, most=most, until=until)
        try:
            work.go(stopper)
        except Stopped as stopped:
            raise Stopped(f"{stopped}; the same command goes on", stopped.signum) from None
        finally:
            work.end()
        found = _sweep(study, config, ranking, held_to, most)
        write(found)
        if stopper.signum is not None:
            told = f"stopped: {found.summary}; the same command goes on"
            raise Stopped(told, stopper.signum)
        return found


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        want = "Optuna, from the extra: pip install 'unrolled[sweep]'"
        raise MissingExtraError(expected("sweep", want, "none")) from error


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
    for name in OWN:
        if getattr(config, name):
            want = "none in a sweep, which names its runs and resumes them itself (`study` says where)"
            raise ConfigError(expected(name, want, getattr(config, name)))
    namers = {each.asked_by for each in TASKS.values()}
    known = {field.name for cls in (type(config), type(config.data)) for field in fields(cls)} - {"data"}
    for name in axes.named:
        if name not in known:
            raise ConfigError(expected("axes", f"settings of a run of the task {kind.name}", repr(name)))
        if name in (*OWN, "source") or name in namers:
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


def _definition(kind: TaskKind, config: TrainConfig, asked: Collection[str]) -> dict[str, Any]:
    """Return what a study is held to beside its axes."""
    source = str(tasks.of(config.data).source(config.data))
    held = sorted(set(asked) - {*OWN, *FREE, "source"})
    values = {n: getattr(config.data if hasattr(config.data, n) else config, n) for n in held}
    return {
        "task": kind.name,
        "source": os.path.abspath(source) if os.path.exists(source) else source,
        "settings": values,
    }


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


def _sweep(study: Study, config: TrainConfig, ranking: Ranking, asked: Collection[str], most: int) -> Sweep:
    """Return what the study has come to by now."""
    kind, sign = kind_of(config.data), -1 if ranking.maximise else 1
    place = {state: number for number, state in enumerate(STATES)}
    trials = [
        SweepTrial.of(each, run_of(study.place, each.number), study.axes.values(each.number))
        for each in study.trials()
    ]
    trials.sort(key=lambda t: (place[t.state], 0.0 if t.value is None else sign * t.value, t.number))
    best = trials[0].settings if trials and trials[0].state == "finished" else {}
    main = next((each.main for each in trials if each.main), "") if ranking.figure == "main" else ""
    names = {*asked, *best} - {*OWN, "source"}
    given = {n: getattr(config.data if hasattr(config.data, n) else config, n) for n in names}
    source = tasks.of(config.data).source(config.data)
    return Sweep(
        study=study.place,
        task=kind.name,
        ranked_by=main.replace("_", " ") or ranking.name,
        maximise=ranking.maximise,
        axes=study.axes.named,
        trials=tuple(trials),
        most=most,
        notes=() if all(each.state != "unfinished" for each in trials) else (GO_ON,),
        command=("train", *words_of(config, {"source": source, **given, **best})),
    )
