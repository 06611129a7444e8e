"""One run, in each of its processes: the pieces, put together; the steps; the report."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, files, tasks
from unrolled.errors import CheckpointError, ConfigError, counted, expected
from unrolled.spec import RunDirectory, from_json
from unrolled.tasks import Dataset, State, Task, from_stored, load
from unrolled.train import report
from unrolled.train.finite import advice_for
from unrolled.train.fit import Feed, Schedule, Stepper, make_optimizer
from unrolled.train.loop import Loop
from unrolled.train.observers import MetricsFile, Observer, TensorBoardLog
from unrolled.train.pace import Pace
from unrolled.train.plan import Fresh, Resumed, ResumePoint, resumed_schedule
from unrolled.train.processes import Processes
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
)
from unrolled.train.result import Result
from unrolled.train.saving import (
    Saver,
    restore_moments,
    restore_random,
    rows_of_states,
    state_of,
    stored_config,
)
from unrolled.train.signals import Stopper

__all__ = ["TrainingRun", "own_random_state"]

IN_REPORT = "stopped in the report, which a resume writes again"


class TrainingRun:
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
            return resumed_schedule(point, config)
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
