"""What the lab runs: which experiments, how thoroughly, and where the results go."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.errors import ConfigError, expected
from unrolled.spec.fields import check, setting

__all__ = ["LabConfig"]


@dataclass(frozen=True)
class LabConfig:
    """What `unrolled lab` does; `lab.run(LabConfig("sentences", quick=True))`."""

    experiment: str = setting(
        "all",
        "sentences, memory, speed, remedies, gradients or all",
        flag="EXPERIMENT",
        choices=("sentences", "memory", "speed", "remedies", "gradients", "all"),
    )
    quick: bool = setting(
        False, "small networks and few steps: an overview of everything in minutes", flag="--quick"
    )
    long: bool = setting(False, "also the longest sequences", flag="--long")
    seeds: int = setting(
        5,
        "train everything this many times, with seeds 0, 1, and so on",
        flag="--seeds",
        minimum=1,
        maximum=1000,
    )
    workers: int = setting(
        1,
        "processes that train side by side, one thread each; trials that are timed run alone",
        flag="--workers",
        minimum=1,
        maximum=256,
    )
    out: str = setting(
        "lab",
        "directory for report.md, results.json and the pictures; finished trials found there are kept, so "
        "that an interrupted run continues",
        flag="--out",
        metavar="DIR",
    )
    mnist1d: str | None = setting(
        None, "file with the MNIST-1D data, for the experiment memory", flag="--mnist1d", metavar="FILE"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.quick and self.long:
            raise ConfigError(expected("long", "no quick beside it", "both"))
        if not self.out:
            raise ConfigError(expected("out", "a directory or a new path", "an empty text"))
