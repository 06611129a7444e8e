"""Which sizes a language model takes when nobody says, from the corpus's size and the time budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from unrolled.data import Corpus
from unrolled.errors import ConfigError, expected
from unrolled.spec import CELLS, ModelConfig, TrainConfig, tensors

__all__ = ["Sizes", "bytes_needed", "resolve", "rows_and_steps", "sizes"]

DEFAULT_MINUTES = 3.0
COPIES = 8  # of the weights: themselves, gradients, two moments; and the same again while calibrating
FLOATS_PER_UNIT = 12  # of a step of a layer: gates, states and their gradients
IDS = 16  # bytes of a step's input and target
FEW_STEPS = 3_000  # in which a high rate is worth more than what it leaves behind
READ_A_MINUTE = 4_500_000  # tokens, by the network of the fourth row on two cores
MEMORISED = 3_000  # tokens; a smaller corpus is memorised


@dataclass(frozen=True)
class Sizes:
    """What the rule chooses."""

    hidden_size: int
    num_layers: int
    dropout: float
    batch_size: int
    bptt_steps: int
    learning_rate: float


def sizes(tokens: int, minutes: float, cell: str = "lstm", passes: float | None = None) -> Sizes:
    """Choose sizes for a training part of so many tokens and a budget of so many minutes.

    Args:
        passes: over the training part, where they are known; default what fits into the minutes on two cores.

    Measured on parts of tiny Shakespeare with two cores (bench/RESULTS.md, "The sizing rule"; the rates and
    dropout of the third and fourth row: docs/decisions/0032):

    | tokens | minutes | hidden x layers | dropout | batch x window | rate |
    | --- | --- | --- | --- | --- | --- |
    | under 3,000 | any | 128 x 1 | 0 | 10 x 32 | 5e-3 |
    | under 500,000 | any | 256 x 2 | 0.3 | 16 x 64 | 3e-3 |
    | more | under 10 | 256 x 2 | 0.1; LSTM, 5 passes: 0.2 | 16 x 64 | 3e-3; LSTM, under 3,000 steps: 6e-3 |
    | more | 10 or more | 512 x 2 | 0.3 | 16 x 64 | 2e-3 |
    """
    if tokens < MEMORISED:
        return Sizes(128, 1, 0.0, 10, 32, 5e-3)
    if tokens < 500_000:
        return Sizes(256, 2, 0.3, 16, 64, 3e-3)
    if minutes < 10:
        passes = minutes * READ_A_MINUTE / tokens if passes is None else passes
        if cell != "lstm":
            return Sizes(256, 2, 0.1, 16, 64, 3e-3)
        few = passes * tokens < FEW_STEPS * 16 * 64
        return Sizes(256, 2, 0.1 if passes < 5 else 0.2, 16, 64, 6e-3 if few else 3e-3)
    return Sizes(512, 2, 0.3, 16, 64, 2e-3)


def resolve(config: TrainConfig, corpus: Corpus) -> TrainConfig:
    """Return the config with every size known; what the user set stays.

    Without --minutes, --epochs or --steps the budget is 3 minutes; 40 epochs for a corpus of under 50,000
    tokens, which is past where its validation turns; 400 steps for one of under 3,000, which is enough to
    memorise it.
    """
    _check_shape(config, corpus)
    tokens = corpus.train.num_targets
    budget: dict[str, Any] = {"minutes": config.minutes, "epochs": config.epochs, "steps": config.steps}
    if all(value is None for value in budget.values()):
        budget |= _default_budget(tokens)
    minutes = config.minutes if config.minutes is not None else DEFAULT_MINUTES
    chosen = sizes(tokens, minutes, config.cell, _passes(config, tokens))
    fallback = {
        name: getattr(chosen, name) for name in Sizes.__dataclass_fields__ if getattr(config, name) is None
    }
    if corpus.shape == "lines":
        fallback["bptt_steps"] = None  # a line is one window
    if config.tie_weights and config.hidden_size is None and config.embedding_size is not None:
        fallback["hidden_size"] = config.embedding_size
    data = replace(config.data, shape=corpus.shape, tokens=corpus.tokens_setting)
    return replace(config, data=data, **budget, **fallback)


def _passes(config: TrainConfig, tokens: int) -> float | None:
    """Return how often a run by epochs or steps reads the training part; None of one by minutes."""
    if config.epochs is not None:
        return float(config.epochs)
    if config.steps is None or tokens < 1:
        return None
    return config.steps * (config.batch_size or 16) * (config.bptt_steps or 64) / tokens


def _default_budget(tokens: int) -> dict[str, Any]:
    if tokens < MEMORISED:
        return {"steps": 400}
    return {"epochs": 40} if tokens < 50_000 else {"minutes": DEFAULT_MINUTES}


def _check_shape(config: TrainConfig, corpus: Corpus) -> None:
    """Refuse what was asked for and would have no effect on a corpus of this shape."""
    if corpus.shape == "lines" and config.bptt_steps is not None:
        raise ConfigError(expected("bptt_steps", "a stream", "lines, each of which is a window"))
    if corpus.validation_is_train and config.data.validation_share is not None:
        raise ConfigError(
            expected("validation_share", "a corpus that a part can be held out of", corpus.name)
        )


def bytes_needed(model: ModelConfig, *, rows: int, steps: int, recompute: int | None = None) -> int:
    """Return about how many bytes a run holds at its peak: `rows` rows of `steps` steps at a time.

    Args:
        recompute: steps whose activations are held at once; beside them, a state for each so many steps.
    """
    weights = sum(math.prod(shape) for _, shape in tensors(model).values())
    of_unit = FLOATS_PER_UNIT * (2 if CELLS[model.cell].norm else 1)  # products before they are normalised
    a_step = of_unit * model.num_layers * model.hidden_size + 3 * model.vocab_size
    held = min(steps, recompute or steps)
    states = len(CELLS[model.cell].states) * model.num_layers * model.hidden_size * (steps // held)
    return 4 * (COPIES * weights + rows * (held * a_step + states)) + IDS * rows * steps


def rows_and_steps(config: TrainConfig, corpus: Corpus) -> tuple[int, int]:
    """Return rows and steps of the largest batch: a stream's window, or a batch of the longest lines."""
    split, asked = corpus.train, config.batch_size or 1
    if corpus.shape == "lines":
        return min(asked, len(split.starts)), split.longest
    rows = max(1, min(asked, split.num_targets // 2))
    return rows, min(config.bptt_steps or 1, split.num_targets // rows)
