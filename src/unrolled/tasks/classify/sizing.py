"""Sizes that follow from the samples: their number, their lengths, and what a step holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from unrolled.errors import ConfigError, expected
from unrolled.spec import POOLINGS, TrainConfig, tensors
from unrolled.tasks.classify.dataset import Sequences

__all__ = ["SIZES", "bytes_needed", "neighbours", "resolve", "symbol_dropout"]

DEFAULT_MINUTES = 1.0
FEW, DEFAULT_EPOCHS = 1000, 100  # series, below which so many passes are enough, and better than a minute
TEXT_EPOCHS, TEXT_STEPS = 20, 600  # passes over texts, and the steps that even a few of them are given
FEW_SYMBOLS = 250_000  # of the texts of training, up to which these passes take about a minute
FLOATS_PER_UNIT = 24  # that a step of a unit keeps for the backward pass
COPIES = 5  # of the weights: themselves, gradients, two moments, the best
NARROW = 8  # channels, up to which each step is shown its neighbours
REACH = 2
SYMBOL_DROPOUT = 0.1  # a text with one symbol in ten missing is mostly still of its class


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

    Of texts every tenth symbol is dropped beside it; see `symbol_dropout`.

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


def symbol_dropout(config: TrainConfig, dataset: Sequences) -> float:
    """Return the share of symbols that training leaves out; none where the user turned dropout off."""
    return SYMBOL_DROPOUT if dataset.tokens is not None and config.dropout else 0.0


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
    chosen = {**sizes(dataset)._asdict(), "dtype": "float32"}  # bfloat16 gains little: docs/decisions/0024
    missing: dict[str, Any] = {k: v for k, v in chosen.items() if getattr(config, k) in (None, "auto")}
    if config.minutes is None and config.epochs is None and config.steps is None:
        missing |= _default_budget(dataset, rows=config.batch_size or chosen["batch_size"])
    if dataset.tokens is not None and config.embedding_size is None:
        missing["embedding_size"] = min(64, max(8, 2 * math.ceil(math.sqrt(dataset.tokens.size)) * 2))
    return replace(config, **missing)


def _default_budget(dataset: Sequences, *, rows: int) -> dict[str, Any]:
    """Return how long is trained where nobody says.

    The validation loss of few texts rises again after some ten passes at a high learning rate, so it has to
    fall to zero early: docs/decisions/0024.

    | inputs | training samples | budget |
    | --- | --- | --- |
    | texts | up to 250,000 symbols | 20 passes; of few samples more, up to 100, for 600 steps |
    | series | under 1,000 | 100 passes |
    | both | more | 1 minute |
    """
    number = len(dataset.part("train"))
    if dataset.tokens is None:
        return {"epochs": DEFAULT_EPOCHS} if number < FEW else {"minutes": DEFAULT_MINUTES}
    if sum(map(len, dataset.inputs("train"))) > FEW_SYMBOLS:
        return {"minutes": DEFAULT_MINUTES}
    steps_a_pass = -(-number // rows)
    return {"epochs": min(DEFAULT_EPOCHS, max(TEXT_EPOCHS, -(-TEXT_STEPS // steps_a_pass)))}


def bytes_needed(model: Any, *, rows: int, steps: int, stored: int) -> int:
    """Return about how many bytes a run holds at its peak: samples twice, weights, a step's activations."""
    weights = sum(math.prod(shape) for _, shape in tensors(model).values())
    a_step: int = FLOATS_PER_UNIT * model.num_layers * model.directions * model.hidden_size + 3 * model.seen
    return 4 * (COPIES * weights + rows * steps * a_step) + 2 * stored
