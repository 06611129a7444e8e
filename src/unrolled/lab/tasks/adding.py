"""The adding problem: two marked numbers, far apart, and their sum at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import mse_loss

from unrolled.lab.tasks.task import Examples, Score
from unrolled.spec.fields import check, setting

__all__ = ["Adding"]


@dataclass(frozen=True)
class Adding:
    """Add the two numbers that are marked.

    inputs [T, B, 2]: channel 0 holds U(0, 1) values, channel 1 is 1 at two steps and 0 elsewhere; the first
    mark lies in steps 0 … T // 2 − 1, the second in T // 2 … T − 1, both uniformly. targets [B]: the sum of
    the two marked values. Score: mean squared error. Solved: at most 0.001. Control: always answering 1, the
    sum's mean, has the sum's variance, 1/6.

    Source: Hochreiter & Schmidhuber 1997, as in Arjovsky et al. 2016 (the marks' places) and Bai et al. 2018.
    """

    steps: int = setting(200, "T, the length of a sequence", minimum=2)

    name: ClassVar[str] = "adding"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    answers: ClassVar[Literal["end"]] = "end"
    score_name: ClassVar[Score] = "mse"
    solved_at: ClassVar[float] = 1e-3
    control: ClassVar[float] = 1 / 6

    def __post_init__(self) -> None:
        check(self)

    def draw(self, rows: int, generator: Generator) -> Examples:
        """Return fresh examples."""
        half = self.steps // 2
        values = torch.rand(self.steps, rows, generator=generator)
        first = torch.randint(half, (1, rows), generator=generator)
        second = torch.randint(half, self.steps, (1, rows), generator=generator)
        marks = torch.zeros(self.steps, rows).scatter_(0, torch.cat([first, second]), 1.0)
        return Examples(torch.stack([values, marks], dim=-1), (values * marks).sum(0))

    held_out = draw
    final = draw

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error: outputs [B, 1], targets [B]."""
        return mse_loss(outputs[:, 0], targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the mean squared error, summed in double precision."""
        return mse_loss(outputs[:, 0].double(), targets.double()).item()

    def trivial(self, examples: Examples) -> Tensor:
        """Answer 1."""
        return torch.ones(len(examples.targets), 1)
