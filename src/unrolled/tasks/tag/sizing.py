"""Sizes that follow from the sentences: how many words they have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from unrolled.errors import ConfigError, expected
from unrolled.spec import TrainConfig, tensors
from unrolled.tasks.tag.dataset import TaggedSentences

__all__ = ["SIZES", "bytes_needed", "fixed_sizes", "resolve"]

DEFAULT_MINUTES, DEFAULT_EPOCHS = 3.0, 40
FEW_WORDS = 100_000  # up to which 40 passes take about as long
FLOATS_PER_UNIT = 24  # that a step of a unit keeps for the backward pass
FLOATS_PER_TAG = 24
COPIES = 5  # of the weights: themselves, gradients, two moments, the best


class Sizes(NamedTuple):
    """What is chosen where nobody says."""

    hidden_size: int
    num_layers: int
    embedding_size: int  # of a word
    dropout: float
    batch_size: int
    learning_rate: float


SIZES = tuple(Sizes._fields)


def sizes(dataset: TaggedSentences) -> Sizes:
    """Return sizes by rule; measured on CoNLL-2000 and parts of it.

    | training words | hidden x layers | word | dropout | batch | lr |
    | --- | --- | --- | --- | --- | --- |
    | under 20,000 | 96 x 1 | 64 | 0.5 | 8 | 3e-3 |
    | more | 160 x 1 | 100 | 0.5 | 32 | 3e-3 |
    """
    if dataset.part("train").tokens < 20_000:
        return Sizes(96, 1, 64, 0.5, 8, 3e-3)
    return Sizes(160, 1, 100, 0.5, 32, 3e-3)


def fixed_sizes(columns: int) -> dict[str, Any]:
    """Return the sizes of what is read of a word beside its embedding; the same for all data."""
    return {
        "character_size": 24,
        "character_hidden": 48,
        "affix_size": 16,
        "column_size": 32 if columns else 0,
        "word_dropout": 0.1,
    }


def resolve(config: TrainConfig, dataset: TaggedSentences) -> TrainConfig:
    """Return the config with every size known; what the user set stays.

    Raises:
        ConfigError: a setting that has no effect here.
    """
    for name in ("tie_weights", "bptt_steps"):
        if getattr(config, name):
            raise ConfigError(expected(name, "a language model", "sentences with a tag for each word"))
    chosen = {**sizes(dataset)._asdict(), "dtype": "float32"}  # bfloat16 gains little: docs/decisions/0024
    missing: dict[str, Any] = {k: v for k, v in chosen.items() if getattr(config, k) in (None, "auto")}
    if config.minutes is None and config.epochs is None and config.steps is None:
        few = dataset.part("train").tokens <= FEW_WORDS
        missing |= {"epochs": DEFAULT_EPOCHS} if few else {"minutes": DEFAULT_MINUTES}
    return replace(config, **missing)


def bytes_needed(model: Any, *, rows: int, steps: int, words: int) -> int:
    """Return about how many bytes a run holds at its peak: sentences, weights, a step's activations."""
    weights = sum(math.prod(shape) for _, shape in tensors(model).values())
    a_step: int = 2 * FLOATS_PER_UNIT * model.num_layers * model.hidden_size + 3 * model.seen
    a_step += FLOATS_PER_TAG * model.tags
    a_word = 3 * 24 * (model.character_size * 3 + model.character_hidden) + 3 * model.of_word
    found: int = 4 * (COPIES * weights + rows * steps * (a_step + a_word)) + 100 * words
    return found
