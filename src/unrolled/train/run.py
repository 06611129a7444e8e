"""`unrolled train`: corpus → sizes → model → loop → report, into one run directory."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unrolled import checkpoint, data, figures, kernels
from unrolled.data import Batches, Corpus, LineBatches, StreamBatches
from unrolled.errors import BackendError, ConfigError, expected
from unrolled.spec import ModelConfig, RunDirectory, TrainConfig, from_json, to_json
from unrolled.tasks import Evaluation, LanguageModel, load
from unrolled.train import report, tensorboard
from unrolled.train.calibrate import steps_within
from unrolled.train.lock import held
from unrolled.train.loop import Feed, Loop
from unrolled.train.memory import check_memory
from unrolled.train.metrics import MetricsFile
from unrolled.train.notes import describe, notes
from unrolled.train.observer import Observer
from unrolled.train.optim import make_optimizer
from unrolled.train.progress import ProgressBar
from unrolled.train.resume import (
    Stand,
    asked_of,
    begun,
    check_source,
    corpus_of,
    find,
    follow,
    schedule_of,
    take_up,
)
from unrolled.train.rundir import check_apart, claim, settle, staging, write_text
from unrolled.train.saving import Saver
from unrolled.train.schedule import Schedule
from unrolled.train.signals import HowToGoOn, Stopper, listening
from unrolled.train.sizing import CHECKS, resolve

__all__ = ["Result", "run"]

VALIDATION_ROWS = 16  # parallel streams of a validation while training
IN_REPORT = "stopped in the report, which a resume writes again"
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


def run(
    config: TrainConfig, observers: Sequence[Observer] | None = None, *, asked: Collection[str] | None = None
) -> Result:
    """Train a language model as `config` says into a run directory; or go on with one (`resume=True`).

    Ctrl-C and SIGTERM end a run after the step that they come in, which is saved; a second one at once.

    Args:
        config: see `unrolled.spec.TrainConfig`; what is None is chosen by `unrolled.train.sizing`.
        observers: who watches; default a progress bar on standard error.
        asked: names of the settings that a resumed run is held to; default those that `config` changes from
            their defaults. The others follow the run.
    Returns:
        The best model by validation, its evaluation, and where everything lies.
    Raises:
        DataError, ConfigError, RunError, BackendError, CheckpointError: before anything is changed.
        NonFiniteError: training diverged; the last checkpoint is kept.
        KeyboardInterrupt: stopped by a signal; the text says how to go on.
    """
    begin = time.perf_counter()
    watchers: list[Observer] = [ProgressBar()] if observers is None else list(observers)
    path = (
        Path(os.path.normpath(config.run)) if config.run else Path("runs") / data.name_of(config.data.source)
    )
    config = replace(config, run=str(path))
    _check_install(config)
    asked = asked_of(config) if asked is None else asked
    if config.resume and os.path.lexists(RunDirectory(path).evaluation):  # finished? nothing is written then
        stand = find(path)
        if stand is not None and stand.finished:
            config = follow(stand, config, asked)
            check_source(config, stand)
            return _finished(path, config, stand, watchers, begin)
    check_apart(path, config.data.source)
    claim(path, overwrite=config.overwrite or config.resume)
    with listening() as stopper, HowToGoOn(path, config.data.source) as how, held(path):
        stand = find(path) if config.resume else None
        if stand is None:
            over = config.overwrite or config.resume
            config = begun(path, config, asked) if config.resume else config
            _check_install(config)
            config = replace(config, overwrite=False, resume=False)
            return _start(path, config, watchers, stopper, how, begin, over=over)
        how.owns = True
        config = follow(stand, config, asked)
        _check_install(config)
        return _go_on(path, config, stand, watchers, stopper, begin)


def _start(
    path: Path,
    config: TrainConfig,
    watchers: list[Observer],
    stopper: Stopper,
    how: HowToGoOn,
    begin: float,
    *,
    over: bool,
) -> Result:
    """Make the corpus, then run from step 0. `over`: what an older run left may go, if it may at all."""
    with _own_random_state(config.seed, config.threads):
        with staging(path) as temporary:
            corpus = data.prepare(config.data, temporary, seed=config.seed)
            config = resolve(config, corpus)
            model_config = _model_config(config, corpus)
            check_memory(model_config, config, corpus)
            settle(temporary, path, overwrite=over)  # nothing can be refused any more
        how.owns = True
        return _Run(path, config, model_config, corpus, watchers, stopper, begin).go()


def _go_on(
    path: Path,
    config: TrainConfig,
    stand: Stand,
    watchers: list[Observer],
    stopper: Stopper,
    begin: float,
) -> Result:
    """Run on from a checkpoint."""
    threads = config.threads if config.threads is not None else stand.progress.threads
    with _own_random_state(config.seed, threads):
        model_config = from_json(ModelConfig, stand.contents.config["model"], where="config.json model")
        corpus = corpus_of(path, config, stand)
        checkpoint.rewind(path, stand.progress.step)
        checkpoint.mark(path, "BEST", stand.progress.best_step)  # a kill may have come before it
        return _Run(path, config, model_config, corpus, watchers, stopper, begin, stand).go()


def _finished(
    path: Path, config: TrainConfig, stand: Stand, watchers: list[Observer], begin: float
) -> Result:
    """Return what a finished run came to, from its files."""
    for watcher in watchers:
        watcher.note(f"finished  {path}: all {stand.progress.steps} steps are taken, nothing is left to do")
    stored = report.read_evaluation(RunDirectory(path).evaluation)
    return Result(
        run=path,
        config=config,
        model=load(path, backend=config.backend).model,
        evaluation=Evaluation.from_dict(stored),
        validation_is_train=stored.get("validation_is_train") is True,
        best_step=stand.progress.best_step,
        schedule=schedule_of(stand.progress, config),
        seconds=time.perf_counter() - begin,
        sample=report.first_sample(RunDirectory(path).samples),
    )


class _Run:
    """The pieces of one run, put together in `go`."""

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        model_config: ModelConfig,
        corpus: Corpus,
        observers: list[Observer],
        stopper: Stopper,
        begin: float,
        stand: Stand | None = None,
    ) -> None:
        self.path, self.config, self.model_config = path, config, model_config
        self.place = RunDirectory(path)
        self.corpus, self.stopper, self.begin, self.stand = corpus, stopper, begin, stand
        self.model = LanguageModel(
            model_config, seed=config.seed, backend=config.backend, tokens=corpus.tokens
        )
        self.stored = self._write_config()  # first: it marks the directory as a run's
        start = -1 if stand is None else stand.progress.step
        self.metrics = MetricsFile(self.place.metrics, until=start)
        self.observers = [self.metrics, *observers]
        if config.tensorboard:
            self.observers.append(tensorboard.TensorBoardLog(self.place.tensorboard))

    def go(self) -> Result:
        """Calibrate, train, report."""
        for note in notes(self.config, self.corpus, self.model, self.stand.progress if self.stand else None):
            self._note(note)
        loop = self._loop()
        with contextlib.ExitStack() as ends:
            for observer in self.observers:
                ends.callback(observer.end)
                observer.begin(self.config, loop.schedule, self.model)
            loop.run()
        best = load(self.saver.finish(), backend=self.config.backend).model
        return self._report(best, self.saver.best_step, loop.schedule)

    def validate(self) -> float:
        """Return nats per token of the validation part, or of its beginning when it is long."""
        nats, count = self.model.evaluate(_validation(self.corpus), carry=self.corpus.shape == "stream")
        return nats / count

    def _loop(self) -> Loop:
        """Put the loop together: new, or as its checkpoint left it."""
        feed = Feed(_batches(self.config, self.corpus))
        optimizer = make_optimizer(
            self.model, lr=_known(self.config.learning_rate), weight_decay=self.config.weight_decay
        )
        if self.stand is None:
            schedule = _schedule(self.config, self.begin, self.model, feed, self.validate)
        else:
            schedule = schedule_of(self.stand.progress, self.config)
        self.saver = Saver(
            run=self.path,
            config=self.stored,
            model=self.model,
            optimizer=optimizer,
            corpus=self.corpus,
            schedule=schedule,
            ids_sha256=data.identity(self.place.data),
            keep=self.config.keep,
        )
        loop = Loop(
            model=self.model,
            optimizer=optimizer,
            feed=feed,
            config=self.config,
            schedule=schedule,
            observers=self.observers,
            validate=self.validate,
            save=self.saver.save,
            stopper=self.stopper,
        )
        if self.stand is not None:
            self.saver.best_step = self.stand.progress.best_step
            take_up(self.stand, loop, self.model, optimizer)
        return loop

    def _report(self, best: LanguageModel, best_step: int, schedule: Schedule) -> Result:
        held = (
            ", nothing held out: validation is the training text" if self.corpus.validation_is_train else ""
        )
        name = f"{self.corpus.name}: {describe(self.model_config)}{held}"
        with self.stopper.deferring():  # a signal in the middle of a drawing would be lost in its callbacks
            found = report.evaluate(best, self.corpus)
            self.stopper.stop_if_asked(IN_REPORT)
            report.draw_loss(self.metrics.rows, self.place.loss_picture, best_step=best_step, title=name)
            self.stopper.stop_if_asked(IN_REPORT)
            report.draw_gates(best, self.corpus, self.place.gates_picture)
            report.draw_telemetry(self.metrics.telemetries, self.place.telemetry_picture, title=name)
            self.stopper.stop_if_asked(IN_REPORT)
            sample = report.write_samples(best, self.corpus, self.place.samples, seed=self.config.seed)
            self.stopper.stop_if_asked(IN_REPORT)
        report.write_evaluation(found, self.corpus, self.place.evaluation)  # last: now the run is finished
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
        training = to_json(replace(self.config, resume=False))
        stored = {"model": to_json(self.model_config), "data": training.pop("data"), "training": training}
        write_text(self.place.config, json.dumps(stored, indent=2) + "\n")
        return stored

    def _note(self, text: str) -> None:
        for observer in self.observers:
            observer.note(text)


def _check_install(config: TrainConfig) -> None:
    """Refuse, before a corpus is read, what this install lacks, and a backend that cannot train here."""
    figures.require()
    if config.tensorboard:
        tensorboard.require()
    if config.backend != "native":
        return
    if config.dtype == "bfloat16":
        raise ConfigError(expected("dtype", "float32 with the native backend", "bfloat16"))
    if not kernels.available():
        got = f"native: {kernels.why_not()}"
        raise BackendError(expected("backend", "one that this install has (auto, reference, torch)", got))


@contextlib.contextmanager
def _own_random_state(seed: int, threads: int | None) -> Iterator[None]:
    """Seed torch's generator and set its threads for the run; give both back afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


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
        start=config.start,
        forget_bias=config.forget_bias,
    )
