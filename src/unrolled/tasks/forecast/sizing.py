"""Sizes that follow from the series: how many windows there are, and how long."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from unrolled.errors import ConfigError, expected
from unrolled.spec import ForecastModel, TrainConfig, tensors
from unrolled.tasks.forecast.dataset import Forecasts

__all__ = ["BPTT_STEPS", "SIZES", "bytes_needed", "resolve"]

DEFAULT_MINUTES = 1.0  # where a pass is more than the following
WINDOWS_READ = 600_000  # in training: many more are learnt by heart, while the rate is still high
STEPS_READ = 1_500_000  # the same where a state is carried
MOST_EPOCHS = 100  # or what makes the following
LEAST_STEPS = 1000  # of the optimizer
BPTT_STEPS = 96  # of the form that carries its state, where neither season nor window say more
FLOATS_PER_UNIT = 24  # that a step of a unit keeps for the backward pass
COPIES = 5  # of the weights: themselves, gradients, two moments, the best
ROWS = 16  # read side by side with a carried state


class Sizes(NamedTuple):
    """What is chosen where nobody says."""

    hidden_size: int
    num_layers: int
    dropout: float
    batch_size: int
    learning_rate: float


SIZES = (*Sizes._fields, "bptt_steps")


def sizes(dataset: Forecasts) -> Sizes:
    """Return sizes by rule; measured on ETTh1 (bench/RESULTS.md).

    | form | windows to train on | hidden x layers | dropout | batch | lr |
    | --- | --- | --- | --- | --- | --- |
    | segments | under 5,000 | 64 x 1 | 0.2 | 32 | 1e-3 |
    | segments | more | 128 x 1 | 0.2 | 256 | 1e-3 |
    | steps | any | 128 x 1 | 0.2 | 16 | 1e-3 |
    """
    if dataset.data.causal:
        return Sizes(128, 1, 0.2, ROWS, 1e-3)
    if len(dataset.part("train").windows.series) < 5000:
        return Sizes(64, 1, 0.2, 32, 1e-3)
    return Sizes(128, 1, 0.2, 256, 1e-3)


def resolve(config: TrainConfig, dataset: Forecasts) -> TrainConfig:
    """Return the config with every size known; what the user set stays.

    Raises:
        ConfigError: a setting that has no effect here.
    """
    if config.tie_weights:
        raise ConfigError(expected("tie_weights", "a language model", "forecasts"))
    if config.embedding_size is not None:
        raise ConfigError(expected("embedding_size", "texts", "series of numbers"))
    if config.bptt_steps is not None and not dataset.data.causal:
        raise ConfigError(expected("bptt_steps", "none without `causal`", config.bptt_steps))
    chosen: dict[str, Any] = {**sizes(dataset)._asdict(), "dtype": "float32"}
    if dataset.data.causal:
        chosen["bptt_steps"] = max(BPTT_STEPS, dataset.window)
    missing = {k: v for k, v in chosen.items() if getattr(config, k) in (None, "auto")}
    if config.minutes is None and config.epochs is None and config.steps is None:
        if dataset.data.causal:
            read, a_pass = STEPS_READ, int(dataset.stored.borders[:, 0].sum())
        else:
            read, a_pass = WINDOWS_READ, len(dataset.part("train").windows.series)
        if a_pass > read:
            missing["minutes"] = DEFAULT_MINUTES
        else:
            rows = missing.get("batch_size") or config.batch_size or 1
            steps = missing.get("bptt_steps") or config.bptt_steps or 1
            a_step = rows * steps if dataset.data.causal else rows
            least = -(-LEAST_STEPS // -(-a_pass // a_step))
            missing["epochs"] = max(least, min(MOST_EPOCHS, -(-read // a_pass)))
    return replace(config, **missing)


def bytes_needed(model: ForecastModel, *, rows: int, bptt_steps: int, stored: int) -> int:
    """Return about how many bytes a run holds at its peak: series, weights, a step's activations."""
    weights = sum(math.prod(shape) for _, shape in tensors(model).values())
    units = FLOATS_PER_UNIT * model.num_layers * model.hidden_size
    if model.causal:
        a_row = bptt_steps * (units + 3 * model.seen + 4 * model.horizon * model.outputs)
    else:
        steps = model.window // model.segment + model.pieces
        a_row = steps * (units + 2 * model.hidden_size) + 3 * model.window * model.input_size
        a_row += 4 * model.horizon * model.outputs
    return 4 * (COPIES * weights + rows * a_row) + 3 * stored
