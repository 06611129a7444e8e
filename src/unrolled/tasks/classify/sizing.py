"""Sizes that follow from the samples: their number, their lengths, and what a step holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from unrolled.errors import ConfigError, expected
from unrolled.spec import POOLINGS, TrainConfig, tensors
from unrolled.tasks.classify.dataset import Sequences

__all__ = ["SIZES", "bytes_needed", "neighbours", "resolve"]

DEFAULT_MINUTES = 1.0
FEW, DEFAULT_EPOCHS = 1000, 100  # series, below which so many passes are enough, and better than a minute
FLOATS_PER_UNIT = 24  # that a step of a unit keeps for the backward pass
COPIES = 5  # of the weights: themselves, gradients, two moments, the best
NARROW = 8  # channels, up to which each step is shown its neighbours
REACH = 2


class Sizes(NamedTuple):
    """What is chosen where nobody says."""

    hidden_size: int
    num_layers: int
    dropout: float
    batch_size: int
    learning_rate: float


SIZES = tuple(Sizes._fields)


def sizes(dataset: Sequences) -> Sizes:
    """Return sizes by rule; measured on the sets of bench/RESULTS.md.

    | inputs | training samples | hidden x layers | dropout | batch | lr |
    | --- | --- | --- | --- | --- | --- |
    | texts | any | 128 x 1 | 0.3 | 32 | 3e-3 |
    | series | under 1,000 | 96 x 1 | 0.5 | 8 | 3e-3 |
    | series | under 20,000 | 64 x 2 | 0.2 | 64 | 4e-3 |
    | series | more | 128 x 1 | 0.1 | 64 | 3e-3 |
    """
    number = len(dataset.part("train"))
    if dataset.tokens is not None:
        return Sizes(128, 1, 0.3, 32, 3e-3)
    if number < FEW:
        return Sizes(96, 1, 0.5, 8, 3e-3)
    if number < 20_000:
        return Sizes(64, 2, 0.2, 64, 4e-3)
    return Sizes(128, 1, 0.1, 64, 3e-3)


def neighbours(dataset: Sequences) -> int:
    """Return how many steps on each side the network is shown beside each: 2 where channels are few."""
    return REACH if 0 < len(dataset.channels) <= NARROW else 0


def resolve(config: TrainConfig, dataset: Sequences) -> TrainConfig:
    """Return the config with every size known; what the user set stays.

    Raises:
        ConfigError: a setting that has no effect here.
    """
    for name in ("tie_weights", "bptt_steps"):
        if getattr(config, name):
            raise ConfigError(expected(name, "a language model", "whole sequences with one answer each"))
    if dataset.schema.per_step and dataset.data.pooling != POOLINGS[0]:
        want = f"{POOLINGS[0]}, the default, as an answer at each step pools nothing"
        raise ConfigError(expected("pooling", want, dataset.data.pooling))
    if config.embedding_size is not None and dataset.tokens is None:
        raise ConfigError(expected("embedding_size", "texts", "series of numbers"))
    chosen = {**sizes(dataset)._asdict(), "dtype": "float32"}  # bfloat16 is slower: docs/decisions/0024
    missing: dict[str, Any] = {k: v for k, v in chosen.items() if getattr(config, k) in (None, "auto")}
    if config.minutes is None and config.epochs is None and config.steps is None:
        few = dataset.tokens is None and len(dataset.part("train")) < FEW
        missing |= {"epochs": DEFAULT_EPOCHS} if few else {"minutes": DEFAULT_MINUTES}
    if dataset.tokens is not None and config.embedding_size is None:
        missing["embedding_size"] = min(64, max(8, 2 * math.ceil(math.sqrt(dataset.tokens.size)) * 2))
    return replace(config, **missing)


def bytes_needed(model: Any, *, rows: int, steps: int, stored: int) -> int:
    """Return about how many bytes a run holds at its peak: samples twice, weights, a step's activations."""
    weights = sum(math.prod(shape) for _, shape in tensors(model).values())
    a_step: int = FLOATS_PER_UNIT * model.num_layers * model.directions * model.hidden_size + 3 * model.seen
    return 4 * (COPIES * weights + rows * steps * a_step) + 2 * stored
