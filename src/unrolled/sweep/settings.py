"""The settings of a trial: its config, its words on a command line, its directory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unrolled.errors import ConfigError
from unrolled.spec import TrainConfig, command_words, word_of

__all__ = ["run_of", "with_values", "words_of"]


def run_of(study: Path, number: int) -> Path:
    """Return the run directory of a trial."""
    return study / f"trial-{number:04d}"


def with_values(config: TrainConfig, values: Mapping[str, Any], asked: Collection[str]) -> TrainConfig:
    """Return the config of a trial.

    Args:
        asked: names of the settings of `config` that were chosen; the others may follow from one another.
    Raises:
        ConfigError: it is refused; the text tells the trial's settings.
    """
    of_data = {name: value for name, value in values.items() if hasattr(config.data, name)}
    others = {name: value for name, value in values.items() if name not in of_data}
    if "cell" in values and "norm" not in {*values, *asked}:
        others["norm"] = "none"  # that of `config` follows from its own cell
    try:
        return replace(config, data=replace(config.data, **of_data), **others)
    except ConfigError as error:
        given = ", ".join(f"`{name}` {word_of(value)}" for name, value in values.items())
        raise ConfigError(f"{error}, in a trial with {given}") from None


def words_of(config: TrainConfig, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that give some settings of a config of this task."""
    return [*command_words(type(config.data), values), *command_words(TrainConfig, values)]
