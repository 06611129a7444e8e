"""The experiments that there are, in the order of the lecture."""

from __future__ import annotations

from unrolled.errors import ConfigError, expected
from unrolled.lab import gradients, memory, remedies, sentences, speed
from unrolled.lab.cells import Experiment

__all__ = ["EXPERIMENTS", "chosen"]

EXPERIMENTS: tuple[Experiment, ...] = (sentences, memory, speed, remedies, gradients)


def chosen(name: str) -> tuple[Experiment, ...]:
    """Return the experiments that a name of the command line stands for. Raises ConfigError: none yet."""
    found = tuple(e for e in EXPERIMENTS if name in ("all", e.NAME))
    if not found:
        known = ", ".join(e.NAME for e in EXPERIMENTS)
        raise ConfigError(expected("experiment", f"one of {known}, all", repr(name)))
    return found
