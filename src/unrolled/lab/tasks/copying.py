"""The copy memory task: ten symbols, a long silence, and the ten symbols again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from unrolled.lab.tasks.task import Examples, Score, choice_nats
from unrolled.spec.fields import check, setting

__all__ = ["Copying"]

SYMBOLS, WORD = 8, 10  # so many symbols, and so many of them to remember
BLANK, DELIMITER = 8, 9
SURE = 100.0  # a logit whose softmax is 1 in float32 beside zeros


@dataclass(frozen=True)
class Copying:
    """Say ten symbols again after `lag` steps.

    inputs [lag + 20, B, 10], one-hot: ten symbols drawn from 0 … 7, blanks (8) for lag − 1 steps, the
    delimiter (9), ten blanks. targets [lag + 20, B]: blanks for lag + 10 steps, then the ten symbols; outputs
    are logits over the symbols and the blank. Score: nats per step, over all steps. Control: a blank for
    lag + 10 steps, then each symbol with 1/8: 10 ln 8 / (lag + 20). Solved: at most a tenth of it.

    Source: Arjovsky et al. 2016, after Hochreiter & Schmidhuber 1997.
    """

    lag: int = setting(100, "blank steps between the symbols and their repetition", minimum=1)

    name: ClassVar[str] = "copying"
    input_size: ClassVar[int] = SYMBOLS + 2
    output_size: ClassVar[int] = SYMBOLS + 1
    answers: ClassVar[Literal["each"]] = "each"
    score_name: ClassVar[Score] = "nats_per_step"

    def __post_init__(self) -> None:
        check(self)

    @property
    def steps(self) -> int:
        """lag + 20."""
        return self.lag + 2 * WORD

    @property
    def control(self) -> float:
        """10 ln 8 / (lag + 20) nats per step."""
        return WORD * math.log(SYMBOLS) / self.steps

    @property
    def solved_at(self) -> float:
        """A tenth of the control."""
        return self.control / 10

    def draw(self, rows: int, generator: Generator) -> Examples:
        """Return fresh examples."""
        word = torch.randint(SYMBOLS, (WORD, rows), generator=generator)
        read = torch.full((self.steps, rows), BLANK)
        read[:WORD] = word
        read[-WORD - 1] = DELIMITER
        targets = torch.full((self.steps, rows), BLANK)
        targets[-WORD:] = word
        return Examples(one_hot(read, self.input_size).float(), targets)

    held_out = draw
    final = draw

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return nats per step: outputs [T, B, 9], targets [T, B]."""
        return choice_nats(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return nats per step, summed in double precision."""
        return choice_nats(outputs.double(), targets).item()

    def trivial(self, examples: Examples) -> Tensor:
        """Answer blanks, then every symbol alike."""
        outputs = torch.zeros(*examples.targets.shape, self.output_size)
        outputs[:-WORD, :, BLANK] = SURE
        outputs[-WORD:, :, BLANK] = -SURE
        return outputs
