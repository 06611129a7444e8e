"""From minutes to steps: time a few steps on a throw-away copy of the network."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from unrolled.train.fit import Feed, Stepper, make_optimizer

__all__ = ["CHECKS", "steps_within"]

CHECKS = 10  # validations and checkpoints a run
CHECKED_SHARE = 0.15  # of the budget that validations may take, where nobody says how many
FEWEST_CHECKS = 2
WARM_STEPS = 3
LEAST_STEPS = 5
SHARE = 0.03  # of the budget that the calibration itself may take
MOST_SECONDS = 5.0
RESERVE = 0.97  # for checkpoints, and for a machine that slows down


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
        step_s = _seconds_a_step(stepper, budget=min(MOST_SECONDS, SHARE * seconds))
    left = RESERVE * (seconds - (time.perf_counter() - begin)) - 3 * check_s
    if save_every is not None:
        steps = max(1, int(left / (step_s + check_s / save_every)))
        return steps, -(-steps // save_every)
    checks = max(FEWEST_CHECKS, min(checks, int(CHECKED_SHARE * seconds / check_s)))
    return max(1, int((left - checks * check_s) / step_s)), checks


def _seconds_a_step(stepper: Stepper, *, budget: float) -> float:
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
