"""`unrolled train`: data → sizes → network → loop → report, into one run directory."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from unrolled import figures, kernels, tasks
from unrolled.errors import BackendError, ConfigError, expected, older_arguments
from unrolled.spec import TrainConfig, kind_of, naming_flag, to_json
from unrolled.train import report
from unrolled.train.fit import choose_dtype
from unrolled.train.following import followed
from unrolled.train.joining import joined
from unrolled.train.observers import Observer, require_tensorboard
from unrolled.train.plan import Finished, Fresh, Resumed, dataset_of, plan
from unrolled.train.processes import Processes
from unrolled.train.progress import ProgressBar
from unrolled.train.resources import within_memory
from unrolled.train.result import Result, finished_result
from unrolled.train.rundir import held, remove_left_lock, settle, staging, witness
from unrolled.train.saving import check_stored
from unrolled.train.signals import HowToGoOn, Stopper, listening
from unrolled.train.training_run import TrainingRun, own_random_state

__all__ = ["resolve", "run"]


def run(
    config: TrainConfig,
    observers: Sequence[Observer] | None = None,
    *,
    asked: Collection[str] | None = None,
    pictures: bool = True,
) -> Result:
    """Train a network as `config` says into a run directory; or go on with one (`resume=True`).

    The task follows from the class of `config.data`: a `DataConfig` trains a language model. Ctrl-C and
    SIGTERM end a run after the step that they come in, which is saved; a second one at once.

    Started by `torchrun`, it trains together with the other processes that were started with it: each reads
    its rows of every batch, and rank 0 alone writes the run directory. Every process returns the same.

    Args:
        config: see `unrolled.spec.TrainConfig`; what is None is chosen by the task.
        observers: who watches; default a progress bar on standard error. Of several processes that of rank 0.
        asked: names of the settings that a resumed run is held to; see `plan`.
        pictures: whether to write pictures, and what else the task reports, beside the evaluation.
    Returns:
        The best network by validation, its evaluation, and where everything lies.
    Raises:
        DataError, ConfigError, RunError, BackendError, CheckpointError: before anything is changed.
        NonFiniteError: training diverged; the last checkpoint is kept.
        ProcessError: another process is missing, ends or does not answer.
        KeyboardInterrupt: stopped by a signal; the text says how to go on.
    """
    begin = time.perf_counter()
    _check_install(config)
    settings = to_json(config)
    about = {"task": kind_of(config.data).name, **settings.pop("data"), **settings}
    about["asked"] = None if asked is None else sorted(asked)
    with joined(about, timeout_s=config.timeout_s) as processes:
        if not processes.first:
            return followed(processes, begin, pictures)
        watchers: list[Observer] = [ProgressBar()] if observers is None else list(observers)
        return _led(config, watchers, asked, processes, begin, pictures)


def _led(
    config: TrainConfig,
    watchers: list[Observer],
    asked: Collection[str] | None,
    processes: Processes,
    begin: float,
    pictures: bool,
) -> Result:
    """Do a run as the process that writes its directory."""
    found = plan(config, asked=asked)
    if isinstance(found, Finished):  # nothing is written, not even a lock
        remove_left_lock(found.path)
        _tell_finished(found, processes)
        return finished_result(found, watchers, begin)
    source = tasks.of(config.data).source(config.data)
    task_flag = naming_flag(config.data)
    with listening() as stopper, HowToGoOn(found.path, source, task_flag) as how, held(found.path):
        found = plan(config, asked=asked)  # anew: now nobody else is at work there
        _check_install(found.config)
        if isinstance(found, Finished):
            _tell_finished(found, processes)
            return finished_result(found, watchers, begin)
        with own_random_state(found.config.seed, found.config.threads):
            how.owns = isinstance(found, Resumed)
            this = _prepared(found, watchers, stopper, begin, processes)
            how.owns = True
            if not processes.alone:
                with witness(found.path) as name:
                    processes.tell({**this.to_tell, "witness": name})
                    processes.agree()
            return this.go(pictures=pictures)


def _tell_finished(found: Finished, processes: Processes) -> None:
    progress = found.point.progress
    processes.tell({"run": str(found.path), "finished": [progress.step, progress.ids_sha256]})
    processes.agree()


@older_arguments("train.resolve", corpus="dataset")
def resolve(config: TrainConfig, dataset: Any) -> TrainConfig:
    """Return the config with every size known; what the user set stays.

    Args:
        dataset: as the task of `config.data` prepares it: a `unrolled.data.Corpus` of a `DataConfig`.
    """
    task = tasks.of(config.data)
    if config.recompute is not None and not task.sums_over_steps:
        raise ConfigError(
            expected("recompute", "a language model", f"a network of the task {task.kind.name}")
        )
    config = task.resolve(config, dataset)
    return replace(config, dtype=choose_dtype(config.dtype, has_kernels=report.has_kernels(config)))


def _prepared(
    found: Fresh | Resumed,
    watchers: list[Observer],
    stopper: Stopper,
    begin: float,
    processes: Processes,
) -> TrainingRun:
    """Make the data, or open them again, and settle every size; what is refused here changes nothing."""
    config, task = found.config, tasks.of(found.config.data)
    if isinstance(found, Resumed):
        return TrainingRun(
            found, dataset_of(found.path, config, found.point), watchers, stopper, begin, processes
        )
    with staging(found.path) as temporary:
        dataset = task.prepare(config.data, temporary, seed=config.seed)
        config, note = within_memory(task, resolve(config, dataset), dataset, processes)
        this = TrainingRun(replace(found, config=config), dataset, watchers, stopper, begin, processes)
        this.remarks += [] if note is None else [note]
        check_stored(this.stored)
        settle(temporary, found.path, overwrite=found.overwrite)  # nothing can be refused any more
    return this


def _check_install(config: TrainConfig) -> None:
    """Refuse, before a corpus is read, what this install lacks, and a backend that cannot train here."""
    figures.require()
    if config.tensorboard:
        require_tensorboard()
    if config.backend in ("native", "torch") and not report.has_kernels(config, config.backend):
        what = report.without_kernels(config) or f"the {config.cell}"
        want = f"auto or reference beside {what}, for which it has no kernel"
        raise BackendError(expected("backend", want, config.backend))
    if config.backend == "native" and not kernels.available():
        got = f"native: {kernels.why_not()}"
        raise BackendError(expected("backend", "one that this install has (auto, reference, torch)", got))
