"""Going on with a run: where it stands, and whether what is asked for is the same run."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, data, tokens
from unrolled.data import Corpus
from unrolled.errors import CheckpointError, ConfigError, DataError, RunError, expected
from unrolled.models import LanguageModel
from unrolled.models.loading import from_stored
from unrolled.spec import DataConfig, TrainConfig, from_json
from unrolled.train.loop import Loop
from unrolled.train.rundir import replace_data, staging
from unrolled.train.schedule import Schedule
from unrolled.train.signals import Stopped
from unrolled.train.state import Progress, restore_moments, restore_random, state_of

__all__ = [
    "FREE",
    "MARKER",
    "Stand",
    "asked_of",
    "check_source",
    "corpus_of",
    "find",
    "follow",
    "saying_how_to_go_on",
    "schedule_of",
    "take_up",
]

FREE = ("save_every", "keep", "tensorboard", "threads")  # what may differ from the run that is resumed
OWN = ("run", "resume", "overwrite", "data")  # what says which run, and what to do with it
BY_RULE = (None, "auto")
MARKER = "evaluation.json"  # the last file that a run writes


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
    if not checkpoint.taken(run):
        return None
    if not os.path.lexists(run / "LATEST"):
        first = checkpoint.step_path(run, 0)
        steps = [p for p in first.parent.glob("step-*") if p != first]
        if steps:  # starting anew would remove them
            got = f"none beside {max(steps).name}"
            raise RunError(expected(str(run / "LATEST"), "the name of a checkpoint", got))
        return None
    contents = checkpoint.read(checkpoint.locate(run, prefer=("LATEST",)))
    if contents.progress is None or contents.path is None:
        raise CheckpointError(expected(str(contents.path), "a step directory with its progress", "a model"))
    progress = Progress.from_json(contents.progress, contents.path / "progress.json")
    finished = progress.step == progress.steps and os.path.lexists(run / MARKER)
    return Stand(contents, progress, _stored_config(contents), finished)


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
        if now != then and now not in BY_RULE:
            raise ConfigError(expected(name, f"{then}, as the run was started with", now))
    free: dict[str, Any] = {name: getattr(config, name) for name in FREE if name in asked}
    text = replace(stored.data, source=config.data.source)
    return replace(stored, data=text, run=config.run, **free)


def _stored_config(contents: checkpoint.Contents) -> TrainConfig:
    stored = dict(contents.config.get("training", {}))
    try:
        return from_json(
            TrainConfig, {**stored, "data": contents.config.get("data", {})}, where="config.json"
        )
    except ConfigError as error:
        raise CheckpointError(f"{contents.path}: {error}") from error


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
    """Return the run's corpus from its own files, made anew where they are gone or damaged.

    Raises:
        DataError: the source is not the text that the run was started with.
    """
    vocabulary = tokens.from_json(stand.contents.tokens, where=f"{stand.path / 'tokens.json'}")
    try:
        corpus = data.reopen(path / "data", vocabulary)
    except DataError as error:
        if config.data.source == "-":  # it can be read once, and was
            raise
        return _corpus_anew(path, config, check_source(config, stand), vocabulary, because=error)
    check_source(config, stand)
    if corpus.sha256 != stand.progress.corpus_sha256:
        raise DataError(expected(str(path / "data"), "the corpus of its checkpoints", "another one"))
    return corpus


def _corpus_anew(
    path: Path, config: TrainConfig, source: DataConfig, vocabulary: tokens.Tokens, *, because: DataError
) -> Corpus:
    with staging(path) as temporary:
        corpus = data.prepare(source, temporary, seed=config.seed)
        if corpus.tokens != vocabulary:
            raise because
        replace_data(temporary, path)
    return corpus


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
    loop.resumed = True
    feed.epoch, feed.index = progress.epoch, progress.batch
    loop.state, loop.best, loop.since = state_of(stored), progress.best_nats_per_token, progress.since
    restore_random(progress.torch_random_state, stand.path / "progress.json torch_random_state")


@contextlib.contextmanager
def saying_how_to_go_on(run: Path, source: str) -> Iterator[None]:
    """Add to what a stopped run says the command that goes on with it."""
    try:
        yield
    except Stopped as stopped:
        if not os.path.lexists(run / "LATEST"):
            raise Stopped(f"{stopped}; nothing was saved yet", stopped.signum) from None
        words = " ".join(shlex.quote(word) for word in (source, "--run", str(run)))
        raise Stopped(f"{stopped}; go on with: unrolled train {words} --resume", stopped.signum) from None
