"""`unrolled train`: corpus → sizes → model → loop → report, into one run directory."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unrolled import data, figures, kernels
from unrolled.data import Batches, Corpus, LineBatches, StreamBatches
from unrolled.errors import BackendError, ConfigError, expected
from unrolled.models import Evaluation, LanguageModel, load
from unrolled.spec import ModelConfig, TrainConfig, to_json
from unrolled.train import report
from unrolled.train.calibrate import steps_within
from unrolled.train.loop import Feed, Loop
from unrolled.train.memory import check_memory
from unrolled.train.metrics import MetricsFile
from unrolled.train.notes import describe, notes
from unrolled.train.observer import Observer
from unrolled.train.optim import make_optimizer
from unrolled.train.progress import ProgressBar
from unrolled.train.rundir import claim, settle, staging, write_text
from unrolled.train.saving import Saver
from unrolled.train.schedule import Schedule
from unrolled.train.sizing import CHECKS, resolve

__all__ = ["Result", "run"]

VALIDATION_ROWS = 16  # parallel streams of a validation while training
VALIDATION_TOKENS = 131_072  # of it at most; the report at the end scores all


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    run: Path
    config: TrainConfig  # every size resolved
    model: LanguageModel  # the best one, in evaluation mode
    evaluation: Evaluation  # on the whole validation part
    validation_is_train: bool  # nothing was held out
    best_step: int
    schedule: Schedule
    seconds: float  # of everything: reading, calibration, training, report
    sample: str


def run(config: TrainConfig, observers: Sequence[Observer] | None = None) -> Result:
    """Train a language model as `config` says, and leave a run directory.

    Args:
        config: see `unrolled.spec.TrainConfig`; what is None is chosen by `unrolled.train.sizing`.
        observers: who watches; default a progress bar on standard error.
    Returns:
        The best model by validation, its evaluation, and where everything lies.
    Raises:
        DataError, ConfigError, RunError, BackendError: before anything is written or removed.
        NonFiniteError: training diverged; the last checkpoint is kept.
    """
    begin = time.perf_counter()
    watchers: list[Observer] = [ProgressBar()] if observers is None else list(observers)
    path = (
        Path(os.path.normpath(config.run)) if config.run else Path("runs") / data.name_of(config.data.source)
    )
    _check_backend(config)
    figures.require()
    claim(path, overwrite=config.overwrite)
    with _own_random_state(config):
        with staging(path) as temporary:
            corpus = data.prepare(config.data, temporary, seed=config.seed)
            config = resolve(replace(config, run=str(path)), corpus)
            model_config = _model_config(config, corpus)
            check_memory(model_config, config, corpus)
            settle(temporary, path, overwrite=config.overwrite)  # nothing that can be refused is left
        return _Run(path, config, model_config, corpus, watchers, begin).go()


class _Run:
    """The pieces of one run, put together in `go`."""

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        model_config: ModelConfig,
        corpus: Corpus,
        observers: list[Observer],
        begin: float,
    ) -> None:
        self.path, self.config, self.model_config = path, config, model_config
        self.corpus, self.begin = corpus, begin
        self.model = LanguageModel(model_config, seed=config.seed, backend=config.backend)
        self.stored = self._write_config()  # first: it marks the directory as a run's
        self.metrics = MetricsFile(path / "metrics.jsonl")
        self.observers = [self.metrics, *observers]

    def go(self) -> Result:
        """Calibrate, train, report."""
        for note in notes(self.config, self.corpus, self.model):
            self._note(note)
        feed = Feed(_batches(self.config, self.corpus))
        schedule = _schedule(self.config, self.begin, self.model, feed, self.validate)
        optimizer = make_optimizer(
            self.model, lr=_known(self.config.learning_rate), weight_decay=self.config.weight_decay
        )
        saver = Saver(self.path, self.stored, self.model, optimizer, self.corpus, schedule.steps)
        loop = Loop(
            model=self.model,
            optimizer=optimizer,
            feed=feed,
            config=self.config,
            schedule=schedule,
            observers=self.observers,
            validate=self.validate,
            save=saver.save,
        )
        for observer in self.observers:
            observer.begin(self.config, schedule, self.model)
        try:
            loop.run()
        finally:
            for observer in self.observers:
                observer.end()
        best = load(saver.finish(), backend=self.config.backend).model
        return self._report(best, saver.best_step, schedule)

    def validate(self) -> float:
        """Return nats per token of the validation part, or of its beginning when it is long."""
        nats, count = self.model.evaluate(_validation(self.corpus), carry=self.corpus.shape == "stream")
        return nats / count

    def _report(self, best: LanguageModel, best_step: int, schedule: Schedule) -> Result:
        held = (
            ", nothing held out: validation is the training text" if self.corpus.validation_is_train else ""
        )
        name = f"{self.corpus.name}: {describe(self.model_config)}{held}"
        found = report.evaluate(best, self.corpus, self.path / "evaluation.json")
        report.draw_loss(self.metrics.rows, self.path / "loss.png", best_step=best_step, title=name)
        report.draw_gates(best, self.corpus, self.path / "gates.png")
        sample = report.write_samples(best, self.corpus, self.path / "samples.txt", seed=self.config.seed)
        return Result(
            run=self.path,
            config=self.config,
            model=best,
            evaluation=found,
            validation_is_train=self.corpus.validation_is_train,
            best_step=best_step,
            schedule=schedule,
            seconds=time.perf_counter() - self.begin,
            sample=sample,
        )

    def _write_config(self) -> dict[str, object]:
        training = to_json(self.config)
        stored = {"model": to_json(self.model_config), "data": training.pop("data"), "training": training}
        write_text(self.path / "config.json", json.dumps(stored, indent=2) + "\n")
        return stored

    def _note(self, text: str) -> None:
        for observer in self.observers:
            observer.note(text)


def _check_backend(config: TrainConfig) -> None:
    """Refuse a backend that cannot train here before a corpus is read."""
    if config.backend != "native":
        return
    if config.dtype == "bfloat16":
        raise ConfigError(expected("dtype", "float32 with the native backend", "bfloat16"))
    if not kernels.available():
        got = f"native: {kernels.why_not()}"
        raise BackendError(expected("backend", "one that this install has (auto, reference, torch)", got))


@contextlib.contextmanager
def _own_random_state(config: TrainConfig) -> Iterator[None]:
    """Seed torch's generator and set its threads for the run; give both back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _known(value: float | None) -> float:
    assert value is not None  # by `resolve`
    return value


def _batches(config: TrainConfig, corpus: Corpus) -> Batches:
    rows = int(_known(config.batch_size))
    if corpus.shape == "lines":
        return LineBatches(corpus.train, batch_size=rows, seed=config.seed)
    return StreamBatches(
        corpus.train,
        batch_size=rows,
        bptt_steps=int(_known(config.bptt_steps)),
        seed=config.seed,
        restart_share=config.restart_share,
    )


def _validation(corpus: Corpus) -> Iterator[data.Batch]:
    part = corpus.validation.head(VALIDATION_TOKENS)
    if corpus.shape == "lines":
        return LineBatches(part, batch_size=64, seed=0).epoch(0)
    return StreamBatches(part, batch_size=VALIDATION_ROWS, bptt_steps=256, seed=0).epoch(0)


def _schedule(
    config: TrainConfig, begin: float, model: LanguageModel, feed: Feed, validate: Callable[[], float]
) -> Schedule:
    """Fix the number of steps and of those between checkpoints."""
    checks = CHECKS
    if config.epochs is not None:
        steps = sum(feed.batches.len_of(epoch) for epoch in range(config.epochs))
    elif config.steps is not None:
        steps = config.steps
    else:
        left = 60 * _known(config.minutes) - (time.perf_counter() - begin)
        steps, checks = steps_within(left, model, feed, validate, config=config, checks=CHECKS)
    every = config.save_every if config.save_every is not None else max(1, -(-steps // checks))
    return Schedule(steps, every, _known(config.learning_rate))


def _model_config(config: TrainConfig, corpus: Corpus) -> ModelConfig:
    hidden = int(_known(config.hidden_size))
    return ModelConfig(
        vocab_size=corpus.tokens.size,
        embedding_size=config.embedding_size if config.embedding_size is not None else hidden,
        hidden_size=hidden,
        num_layers=int(_known(config.num_layers)),
        cell=config.cell,
        nonlinearity=config.nonlinearity,
        dropout=_known(config.dropout),
        tie_weights=config.tie_weights,
        chrono_steps=config.chrono_steps,
    )
