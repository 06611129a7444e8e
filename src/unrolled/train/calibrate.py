"""From minutes to steps: time a few steps on a throw-away copy of the model."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch

from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, State
from unrolled.train.loop import Feed, take_step
from unrolled.train.optim import make_optimizer

__all__ = ["steps_within"]

CHECKED_SHARE = 0.15  # of the budget that validations may take, where nobody says how many
FEWEST_CHECKS = 2
WARM_STEPS = 3
LEAST_STEPS = 5
SHARE = 0.03  # of the budget that the calibration itself may take
MOST_SECONDS = 5.0
RESERVE = 0.97  # for checkpoints, and for a machine that slows down


def steps_within(
    seconds: float,
    model: SequenceModel,
    feed: Feed,
    validate: Callable[[], float],
    *,
    config: TrainConfig,
    checks: int,
) -> tuple[int, int]:
    """Return how many steps fit into `seconds`, with validations and the report, and how many of these.

    Neither the model, the feed nor torch's random state changes.

    Args:
        seconds: what is left of the budget.
        validate: is timed once. The report is reckoned as two of them.
        checks: validations in a run that has the time for them; `config.save_every` says otherwise.
    """
    begin = time.perf_counter()
    validate()
    check_s = time.perf_counter() - begin
    with torch.random.fork_rng(devices=[]):
        step_s = _seconds_a_step(model, feed, config=config, budget=min(MOST_SECONDS, SHARE * seconds))
    left = RESERVE * (seconds - (time.perf_counter() - begin)) - 3 * check_s
    if config.save_every is not None:
        steps = max(1, int(left / (step_s + check_s / config.save_every)))
        return steps, -(-steps // config.save_every)
    checks = max(FEWEST_CHECKS, min(checks, int(CHECKED_SHARE * seconds / check_s)))
    return max(1, int((left - checks * check_s) / step_s)), checks


def _seconds_a_step(model: SequenceModel, feed: Feed, *, config: TrainConfig, budget: float) -> float:
    trial = copy.deepcopy(model)
    trial.train()
    optimizer = make_optimizer(trial, lr=1e-6, weight_decay=0.0)
    own = Feed(feed.batches)
    state: State | None = None
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < WARM_STEPS + LEAST_STEPS or time.perf_counter() - begin < budget:
        start = time.perf_counter()
        batch, fresh = own.next()
        if fresh or state is None:
            state = trial.initial_state(batch.inputs.shape[1])
        _, _, _, state = take_step(trial, optimizer, batch, state, config=config, step=len(taken))
        taken.append(time.perf_counter() - start)
    return statistics.fmean(taken[WARM_STEPS:])  # slow ones included: the run will meet them too
