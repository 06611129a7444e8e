"""`unrolled train`: data → sizes → network → loop → report, into one run directory."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, figures, files, kernels, tasks
from unrolled.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    DataError,
    RunError,
    counted,
    expected,
    older_arguments,
)
from unrolled.spec import RunDirectory, TrainConfig, from_json, kind_of, naming_flag, to_json
from unrolled.tasks import Dataset, State, Task, from_stored, load
from unrolled.train import report
from unrolled.train.finite import advice_for
from unrolled.train.fit import Feed, Schedule, Stepper, choose_dtype, make_optimizer
from unrolled.train.joining import joined
from unrolled.train.loop import Loop
from unrolled.train.observers import MetricsFile, Observer, TensorBoardLog, require_tensorboard
from unrolled.train.pace import Pace
from unrolled.train.plan import (
    Finished,
    Fresh,
    Plan,
    Resumed,
    ResumePoint,
    config_in,
    dataset_of,
    find,
    plan,
)
from unrolled.train.processes import Processes
from unrolled.train.progress import ProgressBar
from unrolled.train.resources import (
    CHECKS,
    FEW_STEPS,
    MOST_SECONDS,
    SHARE,
    faster_threads,
    most_threads,
    seconds_by_threads,
    steps_within,
    threads_by_rule,
    time_to_train,
    within_memory,
)
from unrolled.train.rundir import held, remove_left_lock, settle, staging, witness
from unrolled.train.saving import (
    Saver,
    check_stored,
    restore_moments,
    restore_random,
    rows_of_states,
    state_of,
    stored_config,
)
from unrolled.train.signals import HowToGoOn, Stopper, listening

__all__ = ["Result", "own_random_state", "resolve", "run"]

IN_REPORT = "stopped in the report, which a resume writes again"


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    run: Path
    config: TrainConfig  # every size resolved
    model: Any  # the best network, in evaluation mode: a LanguageModel, or another task's
    evaluation: Any  # of the held-out part: `unrolled.tasks.Evaluation`, or another task's
    validation_is_train: bool  # nothing was held out
    best_step: int
    schedule: Schedule
    seconds: float  # of everything: reading, calibration, training, report
    sample: str  # of what the network writes; empty where its task writes nothing

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: where the run is, and how well the network does."""
        return {
            "run": str(self.run),
            "best_step": self.best_step,
            "steps": self.schedule.steps,
            "seconds": self.seconds,
            "evaluation": self.evaluation.to_dict(),
        }


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
            return _followed(processes, begin, pictures)
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
        return _finished(found, watchers, begin)
    source = tasks.of(config.data).source(config.data)
    task_flag = naming_flag(config.data)
    with listening() as stopper, HowToGoOn(found.path, source, task_flag) as how, held(found.path):
        found = plan(config, asked=asked)  # anew: now nobody else is at work there
        _check_install(found.config)
        if isinstance(found, Finished):
            _tell_finished(found, processes)
            return _finished(found, watchers, begin)
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


def _followed(processes: Processes, begin: float, pictures: bool) -> Result:
    """Do a run as one of the other processes: with the settings and from the files of rank 0."""
    with listening() as stopper:
        told = processes.hear("it reads the source")
        path = Path(told["run"])
        found, problem = None, ""
        try:
            found = _seen(path, told)
        except (DataError, CheckpointError, RunError) as error:
            problem = f"{error}, on rank {processes.rank}"
        processes.agree(problem)
        assert found is not None  # else there was a problem
        doing, dataset = found
        if isinstance(doing, Finished):
            return _finished(doing, [], begin)
        with own_random_state(doing.config.seed, doing.config.threads):
            this = _Run(doing, dataset, [], stopper, begin, processes)
            this.free_threads = told["free_threads"]
            return this.go(pictures=pictures)


def _seen(path: Path, told: Mapping[str, Any]) -> tuple[Plan, Any]:
    """Return what rank 0 is about to do, and with which data, from the files that it has written.

    Raises:
        DataError, CheckpointError, RunError: they are not here.
    """
    if "finished" in told:
        point = find(path)
        if point is None or [point.progress.step, point.progress.ids_sha256] != told["finished"]:
            raise _not_shared(path)
        return Finished(path, point.config, point), None
    if not (path / told["witness"]).exists():
        raise _not_shared(path)
    config = config_in(told["config"], where="the config of rank 0")
    found: Fresh | Resumed = Fresh(path, config, overwrite=False)
    if told["point"] is not None:
        point = find(path)
        if point is None or point.progress.step != told["point"]:
            raise _not_shared(path)
        found = Resumed(path, config, point, lengthened=told["lengthened"])
    task = tasks.of(config.data)
    dataset = task.reopen(config.data, RunDirectory(path).data, seed=config.seed, tokens=told["tokens"])
    if dataset.identity != told["identity"]:
        raise _not_shared(path)
    return found, dataset


def _not_shared(path: Path) -> RunError:
    want = f"{path} on a file system that all processes share"
    return RunError(expected("run", want, "a directory without the files of rank 0"))


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
) -> _Run:
    """Make the data, or open them again, and settle every size; what is refused here changes nothing."""
    config, task = found.config, tasks.of(found.config.data)
    if isinstance(found, Resumed):
        return _Run(found, dataset_of(found.path, config, found.point), watchers, stopper, begin, processes)
    with staging(found.path) as temporary:
        dataset = task.prepare(config.data, temporary, seed=config.seed)
        config, note = within_memory(task, resolve(config, dataset), dataset, processes)
        this = _Run(replace(found, config=config), dataset, watchers, stopper, begin, processes)
        this.remarks += [] if note is None else [note]
        check_stored(this.stored)
        settle(temporary, found.path, overwrite=found.overwrite)  # nothing can be refused any more
    return this


def _finished(found: Finished, watchers: list[Observer], begin: float) -> Result:
    """Return what a finished run came to, from its files."""
    progress, task = found.point.progress, tasks.of(found.config.data)
    for watcher in watchers:
        steps = counted(progress.steps, "step")
        watcher.note(f"finished  {found.path}: {steps} taken, nothing is left to do")
    stored = report.read_evaluation(RunDirectory(found.path).evaluation)
    return Result(
        run=found.path,
        config=found.config,
        model=load(found.path, backend=found.config.backend).model,
        evaluation=task.evaluation_of(stored),
        validation_is_train=stored.get("validation_is_train") is True,
        best_step=progress.best_step,
        schedule=_saving_as_asked(found.point.schedule, found.config),
        seconds=time.perf_counter() - begin,
        sample=task.sample(found.path),
    )


class _Run:
    """The pieces of one run, put together in `go`."""

    def __init__(
        self,
        found: Fresh | Resumed,
        dataset: Dataset,
        observers: list[Observer],
        stopper: Stopper,
        begin: float,
        processes: Processes,
    ) -> None:
        self.place, self.config, self.dataset = RunDirectory(found.path), found.config, dataset
        self.stopper, self.begin, self.processes = stopper, begin, processes
        self.remarks: list[str] = []  # on what was decided, before there is anybody to tell
        self.pace: Pace | None = None
        self.point = found.point if isinstance(found, Resumed) else None
        self.check_batches = None if self.point is None else self.point.progress.check_batches
        self.lengthened = isinstance(found, Resumed) and found.lengthened
        self.task: Task = tasks.of(self.config.data)
        if self.point is None:
            sizes = self.task.model_config(self.config, dataset)
        else:
            sizes = from_json(
                self.task.kind.model, self.point.contents.config["model"], where="config.json model"
            )
        config = self.config
        self.model = self.task.network(sizes, seed=config.seed, backend=config.backend, dataset=dataset)
        rate, decay = _known(config.learning_rate), config.weight_decay
        batches = self.task.batches(config, dataset)
        if batches.rows < processes.world_size:
            want = f"a row for each of {counted(processes.world_size, 'process', 'processes')}"
            raise ConfigError(expected("batch_size", want, counted(batches.rows, "row")))
        self.stepper = Stepper(
            self.model,
            make_optimizer(self.model, lr=rate, weight_decay=decay),
            Feed(batches, rank=processes.rank, world_size=processes.world_size),
            lambda _: rate,
            clip_norm=config.clip_norm,
            dtype=config.dtype,
            advice=advice_for(config),
            recompute=config.recompute,
            processes=processes,
            seed=config.seed,
        )
        self.title = f"{dataset.name}: {self.task.describe(sizes)}" + (
            ", nothing held out: validation is the training data" if dataset.validation_is_train else ""
        )
        if config.telemetry_every:
            tasks.recurrent_stack(self.model)  # is refused before anything is written
        chosen, self.why_threads = (config.threads, "") if config.threads else threads_by_rule(self.stepper)
        self._take_threads(chosen)
        self.free_threads = config.threads is None
        self.observers: list[Observer] = []
        if not processes.first:
            return
        until = -1 if self.point is None else self.point.progress.step
        self.metrics = MetricsFile(self.place.metrics, until=until, unit=self.task.kind.loss)
        self.observers = [self.metrics, *observers]
        if config.tensorboard:
            self.observers.append(TensorBoardLog(self.place.tensorboard))

    @property
    def to_tell(self) -> dict[str, Any]:
        """What the other processes need, to do the same."""
        tokens = self.dataset.tokens
        return {
            "run": str(self.place.path),
            "config": {name: self.stored[name] for name in ("task", "data", "training")},
            "point": None if self.point is None else self.point.progress.step,
            "lengthened": self.lengthened,
            "tokens": None if tokens is None else tokens.to_json(),
            "identity": self.dataset.identity,
            "free_threads": self.free_threads,
        }

    @property
    def stored(self) -> dict[str, object]:
        """What config.json holds."""
        return stored_config(self.task, self.config, self.model.config, self.dataset)

    def go(self, *, pictures: bool = True) -> Result:
        """Calibrate, train, report."""
        if self.point is None:  # killed while steps are timed, it starts again with these settings
            self._write_config()
        self._note(*self.task.notes(self.config, self.dataset, self.model))
        self._note(*report.slow_notes(self.config), *self.remarks)
        self.processes.spread(self.model.parameters())  # processors that differ start with other last bits
        loop = self._loop()  # nothing can be refused after it, or changes on the disk of a resumed run before
        self._rewind()
        self._write_config()
        self._note(*report.notes(self.config, loop.schedule, self.point, self.why_threads))
        self._note(*report.processes_notes(self.processes, self.point))
        with contextlib.ExitStack() as ends:
            for observer in self.observers:
                ends.callback(observer.end)
                observer.begin(self.config, loop.schedule, self.model)
            loop.run()
            self._note(*report.closing_notes(loop.schedule, self.saver.best_step))
        best = load(self.saver.finish(), backend=self.config.backend).model
        return self._result(best, self._report(best, pictures), loop.schedule)

    def validate(self) -> float:
        """Return the mean loss of the validation part, or of its beginning when it or the time is short."""
        batches = self.task.validation(self.dataset)
        scored = self.processes.rows_of(batches, self.check_batches)
        carry, summed = batches.carries_state, self.processes.summed
        return self.task.validate(self.model, scored, carry=carry, summed=summed)

    def _loop(self) -> Loop:
        """Put the loop together: new, or as its checkpoint left it."""
        stepper = self.stepper
        schedule = self._schedule()
        stepper.learning_rate = schedule.learning_rate
        self.saver = Saver(
            run=self.place.path,
            config=self.stored,
            model=self.model,
            optimizer=stepper.optimizer,
            dataset=self.dataset,
            schedule=schedule,
            keep=self.config.keep,
            check_batches=self.check_batches,
            processes=self.processes,
        )
        loop = Loop(
            stepper=stepper,
            config=self.config,
            schedule=schedule,
            observers=self.observers,
            validate=self.validate,
            save=self.saver.save,
            unit=self.task.kind.loss,
            stopper=self.stopper,
            pace=self.pace,
            follow=self._follow,
            choose_threads=self._choose_threads,
        )
        if self.point is not None:
            self.saver.best_step = self.point.progress.best_step
            _restore(self.point, loop, self.processes)
        return loop

    def _rewind(self) -> None:
        """Bring the directory of a resumed run back to its resume point."""
        if self.point is None or not self.processes.first:
            return
        checkpoint.mark(self.place.path, "BEST", self.saver.best_step)  # a kill may have come before it
        checkpoint.rewind(self.place.path, self.point.progress.step)
        if self.lengthened:  # the report is of fewer steps: until there is a new one the run is not finished
            self.place.evaluation.unlink(missing_ok=True)

    def _schedule(self) -> Schedule:
        """Fix the number of steps and of those between checkpoints."""
        config, point = self.config, self.point
        if point is not None and not self.lengthened:
            return _saving_as_asked(point.schedule, config)
        taken = 0 if point is None else point.progress.step
        batches, checks = self.stepper.feed.batches, CHECKS
        if config.epochs is not None:
            steps = sum(batches.len_of(epoch) for epoch in range(config.epochs))
        elif config.steps is not None:
            steps = config.steps
        else:
            steps, checks = self._steps_in_time(_known(config.minutes), taken)
        if steps <= taken:
            name, want = "steps" if config.epochs is None else "epochs", f"more than {counted(taken, 'step')}"
            raise ConfigError(expected(name, f"{want}, which the run has taken", counted(steps, "step")))
        every = config.save_every if config.save_every is not None else max(1, -(-steps // checks))
        start = None if point is None else taken
        return Schedule(steps, every, _known(config.learning_rate), start=start)

    def _steps_in_time(self, minutes: float, taken: int) -> tuple[int, int]:
        """Return the steps of the whole schedule, with those that fit into the time left, and validations."""
        (spent,) = self.processes.of_first(time.perf_counter() - self.begin)
        seconds, warning = time_to_train(minutes, spent)
        if warning is not None:
            self._note(f"warning   {warning}")
        end = time.perf_counter() + seconds
        self._choose_threads(share=SHARE)
        found = steps_within(
            end - time.perf_counter(),
            self.stepper,
            self.task.validation(self.dataset),
            save_every=self.config.save_every,
            checks=CHECKS,
        ).of_first(self.processes)
        if found.steps < FEW_STEPS:
            what = f"in {counted(minutes, 'minute')} this network takes {counted(found.steps, 'step')}"
            self._note(f"warning   {what}: a smaller one, or more time, would learn more")
        self.check_batches = found.batches
        if found.batches is not None:
            self._note(
                f"note      a validation scores {counted(found.batches, 'batch', 'batches')}: time is short"
            )
        until = time.perf_counter() + found.train_s
        self.pace = Pace(until, found.step_s, found.check_s, taken + found.steps)
        return taken + found.steps, found.checks

    def _choose_threads(self, share: float = SHARE / 3) -> None:
        """Take one thread or all, by timing a step on each, where nobody said how many.

        Args:
            share: of the minutes, that it may take.
        """
        every, minutes = int(-self.processes.most(-most_threads())), self.config.minutes
        if not self.free_threads or every == 1 or minutes is None:
            return
        before, timing = torch.get_num_threads(), min(MOST_SECONDS, share * 60 * minutes)
        times = seconds_by_threads(self.stepper, (1, every), seconds=timing)
        times = dict(zip(times, self.processes.of_first(*times.values()), strict=True))
        chosen, self.why_threads = faster_threads(times)
        self._take_threads(chosen)
        if self.pace is not None and chosen != before:
            self._note(f"threads   {chosen} from here on, not {before}: {self.why_threads}")

    def _follow(self, schedule: Schedule) -> None:
        """Let the checkpoints to come hold a schedule that changed."""
        self.saver.schedule = schedule

    def _take_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.config = replace(self.config, threads=threads)

    def _report(self, best: Any, pictures: bool) -> Any:
        """Score the best network and write the report; returns the evaluation."""
        place, processes = self.place, self.processes
        with self.stopper.deferring():  # a signal in the middle of a drawing would be lost in its callbacks
            if processes.alone:
                found: Any = self.task.evaluate(best, self.dataset)
            else:
                found = self.task.evaluate_together(best, self.dataset, processes)
            for _ in self._drawn(best) if pictures and processes.first else ():
                self.stopper.stop_if_asked(IN_REPORT)
        if not processes.first:
            self.stopper.stop_if_asked(IN_REPORT)
            processes.hear("it scores the network and writes the report")
            return self.task.evaluation_of(report.read_evaluation(place.evaluation))
        report.write_evaluation(
            found, place.evaluation, validation_is_train=self.dataset.validation_is_train
        )  # last: it marks the end
        processes.tell(None)
        return found

    def _result(self, best: Any, evaluation: Any, schedule: Schedule) -> Result:
        return Result(
            run=self.place.path,
            config=self.config,
            model=best,
            evaluation=evaluation,
            validation_is_train=self.dataset.validation_is_train,
            best_step=self.saver.best_step,
            schedule=schedule,
            seconds=time.perf_counter() - self.begin,
            sample=self.task.sample(self.place.path),
        )

    def _drawn(self, best: Any) -> Iterator[Path | None]:
        """Write what the run reports beside its evaluation, piece by piece."""
        kind, place, best_step = self.task.kind, self.place, self.saver.best_step
        yield None
        report.draw_loss(
            self.metrics.rows, place.picture("loss.png"), kind=kind, best_step=best_step, title=self.title
        )
        yield place.picture("loss.png")
        report.draw_telemetry(
            self.metrics.telemetries, place.picture("telemetry.png"), kind=kind, title=self.title
        )
        yield from self.task.report(best, self.dataset, place.path, seed=self.config.seed)

    def _write_config(self) -> None:
        if self.processes.first:
            files.replace(self.place.config, json.dumps(self.stored, indent=2) + "\n")

    def _note(self, *lines: str) -> None:
        for line in lines:
            for observer in self.observers:
                observer.note(line)


def _restore(point: ResumePoint, loop: Loop, processes: Processes) -> None:
    """Put everything that changes while a run goes on back to where a checkpoint says it was.

    Raises:
        CheckpointError: the checkpoint is not of this run's data, network or optimizer.
    """
    progress, stored, model = point.progress, point.contents.optimizer or {}, loop.model
    weights = {name: from_stored(tensor) for name, tensor in point.contents.model.items()}
    tied = set(model.state_dict()) - set(weights)  # stored once, under another name
    model.load_state_dict(weights, strict=not tied)
    restore_moments(model, loop.stepper.optimizer, stored)
    feed = loop.feed
    if progress.batch > feed.batches.len_of(progress.epoch):
        want = f"at most {feed.batches.len_of(progress.epoch)}, the batches of epoch {progress.epoch}"
        raise CheckpointError(expected(f"{point.path / 'progress.json'} batch", want, progress.batch))
    feed.epoch, feed.index = progress.epoch, progress.batch
    names = tasks.of(point.config.data).kind.states(model.config)  # type: ignore[attr-defined]
    loop.stepper.state = _own_rows(state_of(stored, names), model, processes)
    loop.best, loop.since = progress.best, progress.since
    restore_random(progress.torch_random_state, point.path / "progress.json torch_random_state")


def _own_rows(state: State | None, model: Any, processes: Processes) -> State | None:
    """Return this process's rows of a state: dealt anew, whatever number of processes it was saved by."""
    if state is None or processes.alone:
        return state
    parts, axes = state if isinstance(state, tuple) else (state,), rows_of_states(model.config)
    own = tuple(processes.mine(part, axis) for part, axis in zip(parts, axes, strict=True))
    return own if isinstance(state, tuple) else own[0]


def _saving_as_asked(schedule: Schedule, config: TrainConfig) -> Schedule:
    """Return a resumed run's schedule, with the checkpoints as often as is asked for now."""
    every = config.save_every if config.save_every is not None else schedule.save_every
    return replace(schedule, save_every=every)


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


@contextlib.contextmanager
def own_random_state(seed: int, threads: int | None) -> Iterator[None]:
    """Seed torch's generator and set its threads for what is run within; give both back afterwards."""
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
