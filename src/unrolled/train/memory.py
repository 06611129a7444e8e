"""Whether a run fits into the memory here, asked before anything is allocated."""

from __future__ import annotations

import math

from unrolled.data import Corpus
from unrolled.errors import ConfigError, expected
from unrolled.files import memory_limit
from unrolled.spec import ModelConfig, TrainConfig, tensors

__all__ = ["bytes_needed", "check_memory"]

COPIES = 8  # of the weights: themselves, gradients, two moments; and the same again while calibrating
FLOATS_A_UNIT = 12  # of a step of a layer: gates, states and their gradients
GIB = 2**30


def check_memory(model: ModelConfig, config: TrainConfig, corpus: Corpus) -> None:
    """Raise ConfigError when weights and one step's activations do not fit into the memory that there is."""
    have = memory_limit()
    rows, steps = _batch(config, corpus)
    need = bytes_needed(model, rows=rows, steps=steps)
    if have is not None and need > have:
        got = f"{need / GIB:,.0f} GiB for {model.num_layers} x {model.hidden_size}, batch {rows} x {steps}"
        raise ConfigError(expected("sizes", f"a run within {have / GIB:.0f} GiB of memory", f"about {got}"))


def bytes_needed(model: ModelConfig, *, rows: int, steps: int) -> int:
    """Return about how many bytes a run holds at its peak: `rows` rows of `steps` steps at a time."""
    weights = sum(math.prod(shape) for _, shape in tensors(model).values())
    a_step = FLOATS_A_UNIT * model.num_layers * model.hidden_size + 3 * model.vocab_size
    return 4 * (COPIES * weights + rows * steps * a_step)


def _batch(config: TrainConfig, corpus: Corpus) -> tuple[int, int]:
    """Return rows and steps of the largest batch: a stream's window, or a batch of the longest lines."""
    split, asked = corpus.train, config.batch_size or 1
    if corpus.shape == "lines":
        return min(asked, len(split.starts)), split.longest
    rows = max(1, min(asked, split.num_targets // 2))
    return rows, min(config.bptt_steps or 1, split.num_targets // rows)
