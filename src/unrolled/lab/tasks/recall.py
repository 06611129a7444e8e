"""Marked recall: one symbol of a long noise is marked early, and named at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from unrolled.lab.tasks.task import Examples, Score, accuracy, choice_nats
from unrolled.spec.fields import check, setting

__all__ = ["Recall"]

SYMBOLS = 8


@dataclass(frozen=True)
class Recall:
    """Name the marked symbol.

    inputs [T, B, 9]: channels 0 … 7 hold a symbol of 8, one-hot, drawn anew at every step; channel 8 is 1 at
    one step, uniform in the first tenth (steps 0 … T // 10 − 1), and 0 elsewhere. targets [B]: the symbol
    of that step; outputs are logits over the 8. Score: accuracy. Solved: at least 0.99. Control: any constant
    answer, 1/8.

    Source: ours; the latch problem of Bengio, Simard & Frasconi 1994 (a class shown early, noise after it)
    with the adding problem's mark, so that what to keep must be picked from noise of its own kind.
    """

    steps: int = setting(200, "T, the length of a sequence", minimum=10)

    name: ClassVar[str] = "recall"
    input_size: ClassVar[int] = SYMBOLS + 1
    output_size: ClassVar[int] = SYMBOLS
    answers: ClassVar[Literal["end"]] = "end"
    score_name: ClassVar[Score] = "accuracy"
    solved_at: ClassVar[float] = 0.99
    control: ClassVar[float] = 1 / SYMBOLS

    def __post_init__(self) -> None:
        check(self)

    def draw(self, rows: int, generator: Generator) -> Examples:
        """Return fresh examples."""
        symbols = torch.randint(SYMBOLS, (self.steps, rows), generator=generator)
        place = torch.randint(self.steps // 10, (1, rows), generator=generator)
        inputs = torch.zeros(self.steps, rows, self.input_size)
        inputs[..., :SYMBOLS] = one_hot(symbols, SYMBOLS)
        inputs[..., SYMBOLS].scatter_(0, place, 1.0)
        return Examples(inputs, symbols.gather(0, place)[0])

    held_out = draw
    final = draw

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return nats per answer: outputs [B, 8], targets [B]."""
        return choice_nats(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the share of right answers."""
        return accuracy(outputs, targets)

    def trivial(self, examples: Examples) -> Tensor:
        """Answer symbol 0."""
        return torch.eye(SYMBOLS)[:1].expand(len(examples.targets), SYMBOLS)
