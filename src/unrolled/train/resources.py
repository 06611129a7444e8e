"""What a run may take: memory, threads, and how many steps fit into its time."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from unrolled.errors import ConfigError, expected
from unrolled.files import cpu_limit, memory_limit
from unrolled.spec import TrainConfig
from unrolled.tasks import Dataset, Task
from unrolled.train.fit import Feed, Stepper, make_optimizer

__all__ = [
    "CHECKS",
    "FEW_STEPS",
    "check_memory",
    "faster_threads",
    "most_threads",
    "seconds_a_step",
    "steps_within",
    "threads_by_rule",
    "time_to_train",
]

GIB = 2**30
FEW_STEPS = 20  # of which a budget of minutes warns
SMALL_STEP = 5e8  # multiply-adds of a step's forward pass; more threads than one pay above it
FASTER = 0.95  # of the time on one thread: what all of them must stay below
LEAST_SHARE = 0.5  # of a time budget that training gets, whatever reading the data took
CHECKS = 10  # validations and checkpoints a run
CHECKED_SHARE = 0.15  # of the budget that validations may take, where nobody says how many
FEWEST_CHECKS = 2
WARM_STEPS = 3
LEAST_STEPS = 5
SHARE = 0.03  # of the budget that the calibration itself may take
MOST_SECONDS = 5.0
RESERVE = 0.97  # for checkpoints, and for a machine that slows down


def check_memory(task: Task, config: TrainConfig, dataset: Dataset) -> None:
    """Raise ConfigError when weights and one step's activations do not fit into the memory that there is."""
    model = task.model_config(config, dataset)
    have, need = memory_limit(), task.bytes_needed(model, config, dataset)
    if have is not None and need is not None and need > have:
        got = f"about {need / GIB:,.0f} GiB for {task.describe(model)}, batch {config.batch_size}"
        raise ConfigError(expected("sizes", f"a run within {have / GIB:.0f} GiB of memory", got))


def most_threads() -> int:
    """Return how many threads torch would take, and no more than a container's quota gives."""
    return min(torch.get_num_threads(), max(1, int(cpu_limit())))


def threads_by_rule(stepper: Stepper) -> int:
    """Return how many threads a run takes where nobody says: one for a small network, else all there are.

    A step of little work waits longer for its threads than it works, and far longer where other programs want
    the processors too.
    """
    weights = sum(p.numel() for p in stepper.network.parameters())
    batch, _ = Feed(stepper.feed.batches).next()
    steps, rows = batch.inputs.shape[:2]
    return most_threads() if weights * steps * rows > SMALL_STEP else 1


def faster_threads(stepper: Stepper, choices: Sequence[int], *, seconds: float) -> int:
    """Return the choice that takes a step fastest, timed; the first one, unless another is clearly faster.

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
    fastest = min(times, key=lambda threads: times[threads])
    return fastest if times[fastest] < FASTER * times[choices[0]] else choices[0]


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


def steps_within(
    seconds: float,
    stepper: Stepper,
    validate: Callable[[], float],
    *,
    save_every: int | None,
    checks: int,
) -> tuple[int, int]:
    """Return how many steps fit into `seconds`, with validations and the report, and how many of these.

    Neither the network, the feed nor torch's random state changes.

    Args:
        seconds: what is left of the budget.
        stepper: of the run.
        validate: is timed once. The report is reckoned as two of them.
        save_every: steps between validations; None: `checks` of them, fewer where the time is short.
        checks: validations in a run that has the time for them.
    """
    begin = time.perf_counter()
    validate()
    check_s = time.perf_counter() - begin
    with torch.random.fork_rng(devices=[]):
        step_s = seconds_a_step(stepper, budget=min(MOST_SECONDS, SHARE * seconds))
    left = RESERVE * (seconds - (time.perf_counter() - begin)) - 3 * check_s
    if save_every is not None:
        steps = max(1, int(left / (step_s + check_s / save_every)))
        return steps, -(-steps // save_every)
    checks = max(FEWEST_CHECKS, min(checks, int(CHECKED_SHARE * seconds / check_s)))
    return max(1, int((left - checks * check_s) / step_s)), checks


def seconds_a_step(stepper: Stepper, *, budget: float) -> float:
    """Return how long a step takes, timed for so many seconds; a copy of the network is trained."""
    network = copy.deepcopy(stepper.network)
    network.train()
    trial = replace(
        stepper,
        network=network,
        optimizer=make_optimizer(network, lr=1e-6, weight_decay=0.0),
        feed=Feed(stepper.feed.batches),
        learning_rate=lambda _: 1e-6,
        before=None,
        state=None,
    )
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < WARM_STEPS + LEAST_STEPS or time.perf_counter() - begin < budget:
        start = time.perf_counter()
        trial.step(len(taken) + 1)
        taken.append(time.perf_counter() - start)
    return statistics.fmean(taken[WARM_STEPS:])  # slow ones included: the run will meet them too
