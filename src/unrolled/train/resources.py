"""What a run may take: memory, threads, and how many steps fit into its time."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from unrolled.data import Batch, Batches
from unrolled.errors import ConfigError, counted, expected
from unrolled.files import cpu_limit, load_average, memory_limit
from unrolled.spec import Launch, TrainConfig
from unrolled.tasks import Dataset, Task
from unrolled.train.fit import FLAGS, Stepper, make_optimizer
from unrolled.train.processes import Processes

__all__ = [
    "CHECKS",
    "FEW_STEPS",
    "Plan",
    "check_memory",
    "faster_threads",
    "most_threads",
    "seconds_a_step",
    "seconds_by_threads",
    "steps_within",
    "threads_by_rule",
    "time_to_train",
    "within_memory",
]

GIB = 2**30
FEW_STEPS = 20  # of which a budget of minutes warns
SMALL_STEP = 5e8  # multiply-adds of a step's forward pass; more threads than one pay above it
FASTER = 0.95  # of the time on one thread: what all of them must stay below
LEAST_SHARE = 0.5  # of a time budget that training gets, whatever reading the data took
CHECKS = 10  # validations and checkpoints a run
CHECKED_SHARE = 0.15  # of the budget that validations may take, where nobody says how many
MOST_CHECKED = 0.25  # of it that they and the one of step 0 may take at all: they are made shorter instead
REPORT_SHARE = 0.25  # of it that is set aside for the report, which scores everything
LONGEST_SEGMENT = 2**19  # steps
ROOM = 0.8  # of the memory that there is, for a run that is cut to fit
FEWEST_CHECKS = 2
WARM_STEPS = 3
LEAST_STEPS = 5
PATIENCE = 3.0  # times what timing steps should take, after which fewer of them will do
SHARE = 0.03  # of the budget that the calibration itself may take
MOST_SECONDS = 5.0
RESERVE = 0.97  # for checkpoints, and for a machine that slows down


def within_memory(
    task: Task, config: TrainConfig, dataset: Dataset, processes: Processes | None = None
) -> tuple[TrainConfig, str | None]:
    """Return the config, with `recompute` where a whole window does not fit into memory, and a note of it.

    Args:
        processes: of which those on this host share its memory, and read their rows of a batch.
    Raises:
        ConfigError: it does not fit in segments either.
    """
    here = config if processes is None else _on_this_host(config, processes)
    have, need = memory_limit(), _need(task, here, dataset)
    if have is None or need is None or need <= have:
        return config, None
    size = LONGEST_SEGMENT if task.sums_over_steps and config.recompute is None else 0
    while size:
        cut = replace(config, recompute=size)
        if (_need(task, replace(here, recompute=size), dataset) or 0) <= ROOM * have:
            whole = f"{need / GIB:,.1f} GiB, and there are {have / GIB:,.1f}"
            return (
                cut,
                f"memory    a whole window would take {whole}: {counted(size, 'step')} are kept at a time",
            )
        size //= 2
    check_memory(task, here, dataset)
    return config, None


def _on_this_host(config: TrainConfig, processes: Processes) -> TrainConfig:
    """Return the config with the rows of a batch that are read on this host."""
    if processes.alone or config.batch_size is None:
        return config
    share = -(-config.batch_size * processes.local_world_size // processes.world_size)
    return replace(config, batch_size=share)


def _need(task: Task, config: TrainConfig, dataset: Dataset) -> int | None:
    return task.bytes_needed(task.model_config(config, dataset), config, dataset)


def check_memory(task: Task, config: TrainConfig, dataset: Dataset) -> None:
    """Raise ConfigError when weights and one step's activations do not fit into the memory that there is."""
    model = task.model_config(config, dataset)
    have, need = memory_limit(), task.bytes_needed(model, config, dataset)
    if have is not None and need is not None and need > have:
        got = f"about {need / GIB:,.0f} GiB for {task.describe(model)}, batch {config.batch_size}"
        raise ConfigError(expected("sizes", f"a run within {have / GIB:.0f} GiB of memory", got))


def most_threads() -> int:
    """Return how many threads torch would take, and no more than a container's quota gives.

    Of several processes on this host each has its share of the processors.
    """
    share = int(cpu_limit()) // Launch.found().local_world_size
    return min(torch.get_num_threads(), max(1, share))


def threads_by_rule(stepper: Stepper) -> tuple[int, str]:
    """Return how many threads a run takes where nobody says, and why: one for a small network, else all.

    A step of little work waits longer for its threads than it works, and far longer where other programs want
    the processors too.
    """
    weights = sum(p.numel() for p in stepper.network.parameters())
    batch, _ = stepper.feed.anew().next()
    steps, rows = batch.inputs.shape[:2]
    if weights * steps * rows > SMALL_STEP:
        return most_threads(), f"as many as may be used: a load of {load_average():.1f} on the machine"
    return 1, "a step of this network would wait for others longer than it works"


def seconds_by_threads(stepper: Stepper, choices: Sequence[int], *, seconds: float) -> dict[int, float]:
    """Return how long a step takes on each number of threads, timed.

    Neither the network, the feed, torch's threads nor its random state changes.

    Args:
        choices: numbers of threads. seconds: that the timing may take, all together.
    """
    before, times = torch.get_num_threads(), {}
    try:
        with torch.random.fork_rng(devices=[]):
            for threads in choices:
                torch.set_num_threads(threads)
                times[threads] = seconds_a_step(stepper, budget=seconds / len(choices))
    finally:
        torch.set_num_threads(before)
    return times


def faster_threads(times: Mapping[int, float]) -> tuple[int, str]:
    """Return the number of threads to take, by seconds a step, and why: the first, or one clearly faster."""
    first, fastest = next(iter(times)), min(times, key=lambda threads: times[threads])
    chosen = fastest if times[fastest] < FASTER * times[first] else first
    each = ", ".join(f"{1000 * second:.3g} ms on {threads}" for threads, second in times.items())
    return chosen, f"a step takes {each}, timed at a load of {load_average():.1f} on the machine"


def time_to_train(minutes: float, spent: float) -> tuple[float, str | None]:
    """Return the seconds that are left of a budget, and a warning where reading the data took most of it.

    Training gets half of the budget at least: a run of one step would be worth nothing.
    """
    budget = 60 * minutes
    least = LEAST_SHARE * budget
    if budget - spent >= least:
        return budget - spent, None
    took, lasts = spent / 60, (spent + least) / 60
    return least, (
        f"reading the data took {took:.2g} of the {minutes:g} minutes: training gets {least / 60:.2g} "
        f"all the same, and the run takes about {lasts:.2g}"
    )


class Plan(NamedTuple):
    """What fits into a budget of time."""

    steps: int
    checks: int  # validations after that of step 0
    batches: int | None  # that one of them scores; None: all
    step_s: float
    check_s: float
    train_s: float  # from now to the last step's end, with every validation but the last

    def of_first(self, processes: Processes) -> Plan:
        """Return the plan of rank 0, which is in step with the slowest process."""
        batches = -1 if self.batches is None else self.batches
        numbers = self.steps, self.checks, batches, self.step_s, self.check_s, self.train_s
        steps, checks, batches_, *seconds = processes.of_first(*numbers)
        return Plan(int(steps), int(checks), None if batches_ < 0 else int(batches_), *seconds)


def steps_within(
    seconds: float,
    stepper: Stepper,
    validation: Batches,
    *,
    save_every: int | None,
    checks: int,
) -> Plan:
    """Return how many steps fit into `seconds`, with validations and the report, and how many of these.

    Where the time is short, validations are fewer; then they score fewer batches, so that most of the time is
    for training. Neither the network, the feed nor torch's random state changes.

    Args:
        seconds: what is left of the budget.
        stepper: of the run.
        validation: its batches; some are timed. The report is reckoned as two validations.
        save_every: steps between validations; None: `checks` of them, fewer where the time is short.
        checks: validations in a run that has the time for them.
    """
    begin, timing = time.perf_counter(), min(MOST_SECONDS, SHARE * seconds)
    check_s = stepper.processes.most(seconds_a_check(stepper, validation, budget=timing))
    with torch.random.fork_rng(devices=[]):
        step_s = seconds_a_step(stepper, budget=timing)
    left = RESERVE * (seconds - (time.perf_counter() - begin)) - min(2 * check_s, REPORT_SHARE * seconds)
    if save_every is not None:
        steps = max(1, int((left - check_s) / (step_s + check_s / save_every)))
        return Plan(steps, -(-steps // save_every), None, step_s, check_s, left - check_s)
    checks = max(FEWEST_CHECKS, min(checks, int(CHECKED_SHARE * seconds / check_s)))
    share, batches = MOST_CHECKED * seconds / ((checks + 1) * check_s), None
    if share < 1:
        whole = validation.len_of(0)
        batches = max(1, int(share * whole))
        check_s *= batches / whole
    steps = max(1, int((left - (1 + checks) * check_s) / step_s))
    return Plan(steps, checks, batches, step_s, check_s, left - check_s)


def seconds_a_check(stepper: Stepper, validation: Batches, *, budget: float) -> float:
    """Return about how long a validation takes, by its first batches: as many as come in `budget` seconds."""
    scored, begin = 0, time.perf_counter()

    def some() -> Iterator[Batch]:
        nonlocal scored
        for batch in stepper.processes.rows_of(validation):
            scored += 1
            yield batch
            if time.perf_counter() - begin > budget:
                return

    stepper.network.evaluate(some(), carry=validation.carries_state)
    return (time.perf_counter() - begin) * validation.len_of(0) / max(1, scored)


def seconds_a_step(stepper: Stepper, *, budget: float) -> float:
    """Return how long a step takes, timed for so many seconds; a copy of the network is trained."""
    network = copy.deepcopy(stepper.network)
    network.train()
    trial = replace(
        stepper,
        network=network,
        optimizer=make_optimizer(network, lr=1e-6, weight_decay=0.0),
        feed=stepper.feed.anew(),
        learning_rate=lambda _: 1e-6,
        before=None,
        state=None,
        flags=lambda: (0.0,) * FLAGS,
    )
    taken: list[float] = []
    begin = time.perf_counter()
    processes = stepper.processes
    while processes.of_first(_goes_on(len(taken), time.perf_counter() - begin, budget))[0]:
        start = time.perf_counter()
        trial.step(len(taken) + 1)
        taken.append(time.perf_counter() - start)
    return statistics.fmean(
        taken[min(WARM_STEPS, len(taken) - 1) :]
    )  # slow ones included: the run will meet them too


def _goes_on(taken: int, spent: float, budget: float) -> bool:
    """Whether another step is timed: some always, fewer where even these take far longer than they should."""
    if taken < 2:
        return True
    return spent < (PATIENCE * budget if taken < WARM_STEPS + LEAST_STEPS else budget)
