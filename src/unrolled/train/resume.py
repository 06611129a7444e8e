"""Going on with a run: where it stands, and whether what is asked for is the same run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, data, files, tokens
from unrolled.data import Corpus
from unrolled.errors import CheckpointError, ConfigError, DataError, RunError, expected
from unrolled.spec import DataConfig, RunDirectory, TrainConfig, from_json
from unrolled.tasks import LanguageModel
from unrolled.tasks.loading import from_stored
from unrolled.train.loop import Loop
from unrolled.train.rundir import replace_data, staging
from unrolled.train.schedule import Schedule
from unrolled.train.sizing import Sizes
from unrolled.train.state import Progress, restore_moments, restore_random, state_of

__all__ = [
    "FREE",
    "Stand",
    "asked_of",
    "begun",
    "check_source",
    "corpus_of",
    "find",
    "follow",
    "schedule_of",
    "take_up",
]

FREE = (
    "save_every",
    "keep",
    "tensorboard",
    "telemetry_every",
    "threads",
)  # what may differ from the run that is resumed
OWN = ("run", "resume", "overwrite", "data")  # what says which run, and what to do with it
BY_RULE = (None, "auto")
LARGEST = 2**20  # bytes of a config.json


@dataclass(frozen=True)
class Stand:
    """Where a run stands by its latest checkpoint."""

    contents: checkpoint.Contents
    progress: Progress
    config: TrainConfig  # as stored: every size resolved
    finished: bool

    @property
    def path(self) -> Path:
        """The checkpoint's directory."""
        assert self.contents.path is not None
        return self.contents.path


def find(run: Path) -> Stand | None:
    """Return where a run stands, or None where there is no checkpoint to go on from.

    Raises:
        CheckpointError: the checkpoint is damaged. RunError: there are checkpoints, but no LATEST.
    """
    place = RunDirectory(run)
    if not checkpoint.taken(run):
        return None
    if not os.path.lexists(place.latest):
        _check_nothing_saved(place)
        return None
    contents = checkpoint.read(checkpoint.locate(run, prefer=("LATEST",)))
    if contents.progress is None or contents.path is None:
        raise CheckpointError(expected(str(contents.path), "a step directory with its progress", "a model"))
    progress = Progress.from_json(contents.progress, contents.path / "progress.json")
    finished = progress.step == progress.steps and all(map(os.path.lexists, (place.evaluation, place.model)))
    return Stand(contents, progress, _stored_config(contents.config, contents.path), finished)


def _check_nothing_saved(run: RunDirectory) -> None:
    """Raise RunError where starting anew would remove what was worth saving: LATEST alone is gone, then."""
    saved = list(filter(os.path.lexists, (run.best, run.model, run.evaluation)))
    saved += sorted(path for path in run.checkpoints.glob("step-*") if path != run.step(0))
    if saved:
        got = f"none beside {saved[-1].name}"
        raise RunError(expected(str(run.latest), "the name of a checkpoint", got))


def begun(run: Path, config: TrainConfig, asked: Collection[str]) -> TrainConfig:
    """Return the config of a run that saved nothing yet, where it wrote one, with what is asked for now.

    What is there and is no config of a run is passed over: `claim` looks at who it belongs to.
    """
    try:
        raw = files.read_regular(RunDirectory(run).config, LARGEST, CheckpointError)
        stored = _stored_config(files.parse_json(raw, "config.json", CheckpointError, most=4 * LARGEST), run)
    except CheckpointError:
        return config
    budgets = ("minutes", "epochs", "steps")
    asked_for: dict[str, Any] = {n: getattr(config, n) for n in asked if n not in OWN and hasattr(config, n)}
    if any(name in asked_for for name in budgets):
        asked_for = dict.fromkeys(budgets) | asked_for
    text: dict[str, Any] = {n: getattr(config.data, n) for n in asked if hasattr(config.data, n)}
    text["source"] = config.data.source
    return replace(stored, data=replace(stored.data, **text), run=config.run, **asked_for)


def asked_of(config: TrainConfig) -> set[str]:
    """Return the names of the settings that are not at their defaults, those of the data among them."""
    owners: tuple[Any, ...] = (config, config.data)
    every = [(owner, field) for owner in owners for field in fields(owner)]
    return {field.name for owner, field in every if getattr(owner, field.name) != field.default}


def follow(stand: Stand, config: TrainConfig, asked: Collection[str]) -> TrainConfig:
    """Return the run's own config, with what may differ as asked for.

    Args:
        stand: of the run. config: what is asked for now.
        asked: names of the settings in it that were asked for; the others follow the run.
    Raises:
        ConfigError: a setting that may not differ does; names it.
    """
    stored = stand.config
    for name in sorted(set(asked) - {*FREE, *OWN, "source"}):
        owners = (config.data, stored.data) if hasattr(stored.data, name) else (config, stored)
        now, then = (getattr(owner, name) for owner in owners)
        if now != then and not (now in BY_RULE and name != "backend"):  # whose stored value is no rule's
            want = f"{'nothing' if then is None else then}, as the run was started with"
            raise ConfigError(expected(name, want, now))
    free: dict[str, Any] = {name: getattr(config, name) for name in FREE if name in asked}
    text = replace(stored.data, source=config.data.source)
    return replace(stored, data=text, run=config.run, **free)


def _stored_config(stored: dict[str, Any], where: object) -> TrainConfig:
    """Return the config that a config.json holds, every size of it resolved. Raises CheckpointError."""
    try:
        sections = {**stored.get("training", {}), "data": stored.get("data", {})}
        config = from_json(TrainConfig, sections, where="config.json")
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    lines = config.data.shape == "lines"
    resolved = {name: getattr(config, name) for name in Sizes.__dataclass_fields__}
    open_ones = [name for name, value in resolved.items() if value is None]
    open_ones += ["data.shape"] if config.data.shape == "auto" else []
    open_ones += ["dtype"] if config.dtype == "auto" else []
    if open_ones and open_ones != (["bptt_steps"] if lines else []):
        raise CheckpointError(expected(f"{where} config.json", f"a value for {open_ones[0]}", "none"))
    return config


def check_source(config: TrainConfig, stand: Stand) -> DataConfig:
    """Return under which config a source is the text that the run was started with.

    Raises:
        DataError: it is another text.
    """
    wanted = stand.progress.corpus_sha256
    found = data.fingerprint(config.data)
    if found == wanted:
        return config.data
    if (
        config.data.tokens == "byte" and config.data.source != "-"
    ):  # chosen by auto, which leaves other files out
        before = replace(config.data, tokens="auto")
        with contextlib.suppress(DataError):
            if data.fingerprint(before) == wanted:
                return before
    got = f"{found} of {config.data.source}"
    raise DataError(expected("source", f"the text of the run, sha256 {wanted}", got))


def corpus_of(path: Path, config: TrainConfig, stand: Stand) -> Corpus:
    """Return the run's corpus from its own files, made anew where they are gone, damaged or another run's.

    Raises:
        DataError: the source is not the text that the run was started with.
    """
    vocabulary = tokens.from_json(stand.contents.tokens, where=f"{stand.path / 'tokens.json'}")
    try:
        corpus = data.reopen(RunDirectory(path).data, vocabulary)
        _check_ids(RunDirectory(path).data, stand)
    except DataError as error:
        if config.data.source == "-":  # it can be read once: not to be compared and then made anew
            raise
        return _corpus_anew(path, config, stand, because=error)
    check_source(config, stand)
    return corpus


def _corpus_anew(path: Path, config: TrainConfig, stand: Stand, *, because: DataError) -> Corpus:
    source = check_source(config, stand)
    with staging(path) as temporary:
        corpus = data.prepare(source, temporary, seed=config.seed)
        try:
            _check_ids(temporary, stand)
        except DataError:
            raise because from None
        replace_data(temporary, path)
    return corpus


def _check_ids(directory: Path, stand: Stand) -> None:
    """Refuse ids that are not those of the checkpoint: of another seed, share, shape, vocabulary or text."""
    if data.identity(directory) != stand.progress.ids_sha256:
        raise DataError(expected(str(directory), "the corpus of its checkpoints", "another one"))


def schedule_of(progress: Progress, config: TrainConfig) -> Schedule:
    """Return the schedule that a run follows, from where it stands."""
    every = config.save_every if config.save_every is not None else progress.save_every
    return Schedule(progress.steps, every, progress.peak, start=progress.step)


def take_up(stand: Stand, loop: Loop, model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    """Put everything that changes while a run goes on back to where a checkpoint says it was.

    Raises:
        CheckpointError: the checkpoint is not of this run's corpus, model or optimizer.
    """
    progress, stored = stand.progress, stand.contents.optimizer or {}
    weights = {name: from_stored(tensor) for name, tensor in stand.contents.model.items()}
    model.load_state_dict(weights, strict=not model.config.tie_weights)
    restore_moments(model, optimizer, stored)
    feed = loop.feed
    if progress.batch > feed.batches.len_of(progress.epoch):
        want = f"at most {feed.batches.len_of(progress.epoch)}, the batches of epoch {progress.epoch}"
        raise CheckpointError(expected(f"{stand.path / 'progress.json'} batch", want, progress.batch))
    feed.epoch, feed.index = progress.epoch, progress.batch
    loop.state, loop.best, loop.since = state_of(stored), progress.best_nats_per_token, progress.since
    restore_random(progress.torch_random_state, stand.path / "progress.json torch_random_state")
