"""What PyTorch's launcher tells a process of its place among several, by the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from unrolled.errors import ConfigError, expected

__all__ = ["Launch"]

LARGEST = 65536  # processes of one run


@dataclass(frozen=True)
class Launch:
    """The place of a process in a run: `Launch.found()` reads RANK, WORLD_SIZE and LOCAL_WORLD_SIZE.

    `torchrun` sets them; where RANK or WORLD_SIZE is missing, the process is alone.
    """

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1  # processes on this host

    @classmethod
    def found(cls, environment: Mapping[str, str] | None = None) -> Launch:
        """Return the place that an environment names, by default this process's.

        Raises:
            ConfigError: a variable is no whole number, or RANK lies outside of the world.
        """
        given = os.environ if environment is None else environment
        if "RANK" not in given or "WORLD_SIZE" not in given:
            return cls()
        size = _number("WORLD_SIZE", given["WORLD_SIZE"], 1, LARGEST)
        rank = _number("RANK", given["RANK"], 0, size - 1)
        local = _number("LOCAL_WORLD_SIZE", given.get("LOCAL_WORLD_SIZE", "1"), 1, size)
        return cls(rank, size, local)

    @property
    def alone(self) -> bool:
        """Whether this is the only process of its run."""
        return self.world_size == 1


def _number(name: str, text: str, least: int, most: int) -> int:
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if not least <= value <= most:
        raise ConfigError(expected(name, f"a whole number from {least} to {most}", repr(text)))
    return value
