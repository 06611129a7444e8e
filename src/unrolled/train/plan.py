"""What a call of `run` is about to do: start, go on from a checkpoint, or nothing, as all is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from unrolled import checkpoint, files, tasks
from unrolled.errors import CheckpointError, ConfigError, DataError, RunError, expected
from unrolled.spec import RunDirectory, TaskKind, TrainConfig, from_json, kind_of, kind_of_stored
from unrolled.tasks import Dataset
from unrolled.train.fit import Schedule
from unrolled.train.rundir import check_apart, check_free, replace_data, staging
from unrolled.train.saving import Progress

__all__ = [
    "BUDGETS",
    "FREE",
    "Finished",
    "Fresh",
    "Plan",
    "ResumePoint",
    "Resumed",
    "config_in",
    "dataset_of",
    "find",
    "plan",
    "resumed_schedule",
    "run_path",
]

FREE = (
    "save_every",
    "keep",
    "tensorboard",
    "telemetry_every",
    "threads",
    "timeout_s",
)  # may differ in a resumed run
BUDGETS = ("minutes", "epochs", "steps")
OWN = ("run", "resume", "overwrite", "data")  # what says which run, and what to do with it
BY_RULE = (None, "auto")
LARGEST = 2**20  # bytes of a config.json


@dataclass(frozen=True)
class ResumePoint:
    """A run's latest checkpoint, from which it goes on."""

    contents: checkpoint.Contents
    progress: Progress
    config: TrainConfig  # as stored: every size resolved
    reported: bool  # the report at the end is written

    @property
    def path(self) -> Path:
        """The checkpoint's directory."""
        assert self.contents.path is not None
        return self.contents.path

    @property
    def complete(self) -> bool:
        """Whether every step is taken."""
        return self.progress.step == self.progress.steps

    @property
    def schedule(self) -> Schedule:
        """The schedule that the run follows, from here."""
        progress = self.progress
        return Schedule(progress.steps, progress.save_every, progress.peak, start=progress.step)


@dataclass(frozen=True)
class Fresh:
    """A run that starts with step 0."""

    path: Path
    config: TrainConfig  # what is None is chosen once the data is known
    overwrite: bool  # what an older run left there may go


@dataclass(frozen=True)
class Resumed:
    """A run that goes on, to the same bits as if it had never stopped."""

    path: Path
    config: TrainConfig  # the run's own, with what may differ as asked for
    point: ResumePoint
    lengthened: bool = False  # every step is taken, and more are asked for


@dataclass(frozen=True)
class Finished:
    """A run of which nothing is left to do."""

    path: Path
    config: TrainConfig
    point: ResumePoint


Plan = Fresh | Resumed | Finished


def plan(config: TrainConfig, *, asked: Collection[str] | None = None) -> Plan:
    """Say what `run` would do; nothing is written.

    Args:
        config: what is asked for.
        asked: names of the settings in it that a resumed run is held to; default those that differ from their
            defaults. The others follow the run.
    Returns:
        `Fresh`, where the directory holds no run, or one that saved nothing yet, or one that may be
        overwritten. With `resume`, `Resumed` from the latest checkpoint; or `Finished`, unless a budget is
        asked for that goes beyond the steps taken.
    Raises:
        RunError: the directory is taken or cannot be written. ConfigError: a setting differs from the run's
            and may not. CheckpointError: the checkpoint is damaged. DataError: a finished run's source is
            another.
    """
    task = tasks.of(config.data)
    path = run_path(config)
    named, config = config.run is not None, replace(config, run=str(path))
    asked = _asked_of(config) if asked is None else asked
    point = find(path) if config.resume else None
    if point is None:
        check_apart(path, task.source(config.data), named=named)
        over = config.overwrite or config.resume or _unsaved(RunDirectory(path))
        check_free(path, overwrite=over)
        if config.resume:
            config = _with_settings_of_unsaved(path, config, asked)
        return Fresh(path, replace(config, overwrite=False, resume=False), over)
    followed = _follow(point, config, asked)
    budget: dict[str, Any] = {name: getattr(config, name) for name in BUDGETS if name in asked}
    longer: Any = {name: budget.get(name) for name in BUDGETS}
    if point.complete and any(budget[name] not in (None, getattr(followed, name)) for name in budget):
        check_free(path, overwrite=True)
        return Resumed(path, replace(followed, **longer), point, lengthened=True)
    if point.complete and point.reported:
        task.check_source(followed.data, point.progress.corpus_sha256)
        return Finished(path, followed, point)
    check_apart(path, task.source(config.data))
    check_free(path, overwrite=True)
    return Resumed(path, followed, point)


def run_path(config: TrainConfig) -> Path:
    """Return where a run goes."""
    if config.run:
        return Path(os.path.normpath(config.run))
    return Path("runs") / tasks.of(config.data).run_name(config.data)


def find(run: Path) -> ResumePoint | None:
    """Return a run's resume point, or None where it saved nothing.

    Raises:
        CheckpointError: the checkpoint is damaged. RunError: there are checkpoints, but no LATEST.
    """
    place = RunDirectory(run)
    if not checkpoint.taken(run):
        return None
    if not os.path.lexists(place.latest):
        saved = _saved(place)
        if saved is not None:
            got = f"none beside {saved.name}{checkpoint.way_on(run)}"
            raise RunError(expected(str(place.latest), "the name of a checkpoint", got))
        return None
    contents = checkpoint.read_run(run, prefer=("LATEST",))
    if contents.progress is None or contents.path is None:
        raise CheckpointError(expected(str(contents.path), "a step directory with its progress", "a model"))
    kind = kind_of_stored(contents.config)
    progress = Progress.from_json(contents.progress, contents.path / "progress.json", unit=kind.loss)
    reported = all(os.path.lexists(each) for each in (place.evaluation, place.model))
    return ResumePoint(contents, progress, config_in(contents.config, contents.path), reported)


def _saved(run: RunDirectory) -> Path | None:
    """Return something worth keeping, which starting anew would remove; None: there is nothing."""
    first = run.step(0)
    saved = [path for path in (run.latest, run.best, run.model, run.evaluation) if os.path.lexists(path)]
    saved += sorted(path for path in first.parent.glob("step-*") if path != first)
    return saved[-1] if saved else None


def _unsaved(run: RunDirectory) -> bool:
    """Whether a directory holds a run that was stopped before it saved anything."""
    if _saved(run) is not None:
        return False
    if os.path.lexists(run.config):
        return _config_in(run) is not None
    others = [path for path in (*run.files, *run.directories) if path != run.data]
    return run.corpus.is_file() and not any(map(os.path.lexists, others))


def _config_in(run: RunDirectory) -> TrainConfig | None:
    """Return the config that a run wrote when it started; None where there is none, or another program's."""
    try:
        raw = files.read_regular(run.config, LARGEST, CheckpointError)
        return config_in(files.parse_json(raw, "config.json", CheckpointError, most=4 * LARGEST), run.path)
    except CheckpointError:
        return None


def _with_settings_of_unsaved(run: Path, config: TrainConfig, asked: Collection[str]) -> TrainConfig:
    """Return the config of a run that was stopped before it saved anything, with what is asked for now.

    What is there and is no config of a run is passed over: `check_free` looks at who it belongs to.
    """
    stored = _config_in(RunDirectory(run))
    if stored is None or type(stored.data) is not type(config.data):
        return config
    now: dict[str, Any] = {n: getattr(config, n) for n in asked if n not in OWN and hasattr(config, n)}
    if any(name in now for name in BUDGETS):
        now = dict.fromkeys(BUDGETS) | now
    return replace(stored, data=_data(stored.data, config.data, asked), run=config.run, **now)


def _asked_of(config: TrainConfig) -> set[str]:
    """Return the names of the settings that are not at their defaults, those of the data among them."""
    owners: tuple[Any, ...] = (config, config.data)
    every = [(owner, field) for owner in owners for field in fields(owner)]
    usual = {"cell": kind_of(config.data).cell}  # its default, "auto", is never seen in a config
    return {
        field.name
        for owner, field in every
        if getattr(owner, field.name) != usual.get(field.name, field.default)
    }


def _follow(point: ResumePoint, config: TrainConfig, asked: Collection[str]) -> TrainConfig:
    """Return the run's own config, with what may differ as asked for.

    Raises:
        ConfigError: a setting that may not differ does; names it.
    """
    stored = point.config
    if type(stored.data) is not type(config.data):
        then, now = (kind_of(each.data).asked_by for each in (stored, config))
        if then is not None:
            want = f"a value, as the run is of the task {kind_of(stored.data).name}"
            raise ConfigError(expected(then, want, f"`{now}`" if now else "none"))
        if now is not None:
            want = f"none, as the run is of the task {kind_of(stored.data).name}"
            raise ConfigError(expected(now, want, repr(getattr(config.data, now))))
        want = f"a {type(stored.data).__name__}, as the run was started with"
        raise ConfigError(expected("data", want, type(config.data).__name__))
    may = {*FREE, *OWN, "source", *(BUDGETS if point.complete else ())}
    for name in sorted(set(asked) - may):
        owners = (config.data, stored.data) if hasattr(stored.data, name) else (config, stored)
        now, then = (getattr(owner, name) for owner in owners)
        if now != then and not (now in BY_RULE and name != "backend"):  # whose stored value is no rule's
            want = f"{'nothing' if then is None else then}, as the run was started with"
            raise ConfigError(expected(name, want, now))
    free: dict[str, Any] = {"threads": point.progress.threads}
    free |= {
        name: getattr(config, name) for name in FREE if name in asked and getattr(config, name) is not None
    }
    return replace(stored, data=_data(stored.data, config.data, ()), run=config.run, **free)


def _data(stored: Any, given: Any, asked: Collection[str]) -> Any:
    """Return a run's data config with the source, and what else is asked for, as given now."""
    names = {"source", *asked} & {field.name for field in fields(stored)}
    return replace(stored, **{name: getattr(given, name) for name in names})


def resumed_schedule(point: ResumePoint, config: TrainConfig) -> Schedule:
    """Return a resumed run's schedule, with the checkpoints as often as is asked for now."""
    schedule = point.schedule
    return replace(
        schedule, save_every=schedule.save_every if config.save_every is None else config.save_every
    )


def config_in(stored: Mapping[str, Any], where: object) -> TrainConfig:
    """Return the config that a config.json holds, every size of it resolved. Raises CheckpointError."""
    try:
        kind: TaskKind = kind_of_stored(stored)
        data: Any = from_json(kind.data, stored.get("data", {}), where="config.json data")
        config = from_json(TrainConfig, {**stored.get("training", {}), "data": data}, where="config.json")
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    open_ones = tasks.of(config.data).open_sizes(config) + (["dtype"] if config.dtype == "auto" else [])
    if open_ones:
        raise CheckpointError(expected(f"{where} config.json", f"a value for {open_ones[0]}", "none"))
    return config


def dataset_of(path: Path, config: TrainConfig, point: ResumePoint) -> Dataset:
    """Return the run's data from its own files, made anew where they are gone, damaged or another run's.

    Raises:
        DataError: the source is not the one that the run was started with.
    """
    task, wanted = tasks.of(config.data), point.progress.corpus_sha256
    directory = RunDirectory(path).data
    try:
        dataset = task.reopen(config.data, directory, seed=config.seed, tokens=point.contents.tokens)
        _check_identity(dataset, point, directory)
    except DataError as error:
        if task.source(config.data) == "-":  # it can be read once: not to be compared and then made anew
            raise
        source = task.check_source(config.data, wanted)
        with staging(path) as temporary:
            dataset = task.prepare(source, temporary, seed=config.seed)
            with contextlib.suppress(DataError):
                _check_identity(dataset, point, temporary)
                replace_data(temporary, path)
                return dataset
            raise error from None
    task.check_source(config.data, wanted)
    return dataset


def _check_identity(dataset: Dataset, point: ResumePoint, directory: Path) -> None:
    """Refuse samples other than the checkpoint's: of another seed, share, shape, vocabulary or source."""
    if dataset.identity != point.progress.ids_sha256:
        raise DataError(expected(str(directory), "the corpus of its checkpoints", "another one"))
