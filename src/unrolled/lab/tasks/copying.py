"""The copy memory task: some symbols, a long silence, and the symbols again."""

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

SYMBOLS = 8
BLANK, DELIMITER = 8, 9
SURE = 100.0  # a logit whose softmax is 1 in float32 beside zeros


@dataclass(frozen=True)
class Copying:
    """Say W symbols again after `lag` steps.

    inputs [lag + 2 W, B, 10], one-hot: W symbols drawn from 0 … 7, blanks (8) for lag − 1 steps, the
    delimiter (9), W blanks. targets [lag + 2 W, B]: blanks for lag + W steps, then the W symbols; outputs
    are logits over the symbols and the blank. Score: nats per step, over all steps. Control: a blank for
    lag + W steps, then each symbol with 1/8: W ln 8 / (lag + 2 W). Solved: at most a tenth of it.

    Source: Arjovsky et al. 2016, after Hochreiter & Schmidhuber 1997.
    """

    lag: int = setting(100, "blank steps between the symbols and their repetition", minimum=1)
    word: int = setting(10, "W, the symbols to remember; 10 in the source", minimum=1)

    name: ClassVar[str] = "copying"
    input_size: ClassVar[int] = SYMBOLS + 2
    output_size: ClassVar[int] = SYMBOLS + 1
    answers: ClassVar[Literal["each"]] = "each"
    score_name: ClassVar[Score] = "nats_per_step"

    def __post_init__(self) -> None:
        check(self)

    @property
    def steps(self) -> int:
        """lag + 2 W."""
        return self.lag + 2 * self.word

    @property
    def control(self) -> float:
        """W ln 8 / (lag + 2 W) nats per step."""
        return self.word * math.log(SYMBOLS) / self.steps

    @property
    def solved_at(self) -> float:
        """A tenth of the control."""
        return self.control / 10

    def draw(self, rows: int, generator: Generator) -> Examples:
        """Return fresh examples."""
        word = torch.randint(SYMBOLS, (self.word, rows), generator=generator)
        read = torch.full((self.steps, rows), BLANK)
        read[: self.word] = word
        read[-self.word - 1] = DELIMITER
        targets = torch.full((self.steps, rows), BLANK)
        targets[-self.word :] = word
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
        outputs[: -self.word, :, BLANK] = SURE
        outputs[-self.word :, :, BLANK] = -SURE
        return outputs
