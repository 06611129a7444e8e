"""Which part of a corpus is held out for validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FEWEST_LINES", "choose_lines", "training_characters"]

FEWEST_LINES = 10  # with fewer, none is held out


def choose_lines(lines: int, share: float, generator: np.random.Generator) -> npt.NDArray[np.bool_] | None:
    """Choose a random share of the lines, at least one: [lines], true where one is held out.

    None when there are fewer than ten lines.
    """
    if lines < FEWEST_LINES:
        return None
    chosen = np.zeros(lines, bool)  # one byte per line; Generator.choice would take eight
    chosen[: min(max(1, round(lines * share)), lines - 1)] = True
    generator.shuffle(chosen)
    return chosen


def training_characters(characters: int, share: float) -> int:
    """Return how many of a stream's characters, the newlines between documents included, are for training.

    int(N · (1 − share)); the cut is at the first place from there on that splits no token.
    """
    return int(characters * (1 - share))
