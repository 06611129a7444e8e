"""Problems that need memory, each after its definition, with the score that needs none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from unrolled.data import IGNORED, Batch

__all__ = ["Adding", "Copying", "Majority", "Problem", "Recall", "forward_ceiling"]

SYMBOLS = 8
BLANK, DELIMITER = 8, 9


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be learnt: seeded examples, a loss, a score, and when it counts as solved.

    Everything random is drawn from the generator that is passed in. A batch has inputs [T, B, I] float32,
    and targets [B] where the answer is given at the end, [T, B] where at every step.

    Attributes:
        name: one word.
        input_size, output_size: I, the channels of an input; O, the numbers that an answer consists of.
        answers: outputs are [B, O] after the end, or [T, B, O] at each step.
        score_name: what `score` returns; of an accuracy more is better, of the others less.
        solved_at: the score from which on it counts as solved.
        control: the score of the best predictor that remembers nothing, in expectation.
    """

    name: ClassVar[str]
    input_size: ClassVar[int]
    output_size: ClassVar[int]
    answers: ClassVar[Literal["end", "each"]] = "end"
    score_name: ClassVar[Literal["mse", "nats_per_step", "accuracy"]] = "accuracy"

    @property
    def solved_at(self) -> float:
        raise NotImplementedError

    @property
    def control(self) -> float:
        raise NotImplementedError

    def draw(self, rows: int, generator: Generator) -> Batch:
        """Return examples to train on."""
        raise NotImplementedError

    def held_out(self, rows: int, generator: Generator) -> Batch:
        """Return examples to follow training on and to decide by; from a file, all of that part."""
        return self.draw(rows, generator)

    def final(self, rows: int, generator: Generator) -> Batch:
        """Return examples for one last score, on which nothing was decided."""
        return self.draw(rows, generator)

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the summed loss, which training makes small, and how many answers it covers."""
        if self.score_name == "mse":
            return F.mse_loss(outputs[:, 0], targets, reduction="sum"), len(targets)
        asked = int((targets != IGNORED).sum())
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="sum"), asked

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the score of answers, summed in double precision."""
        if self.score_name == "accuracy":
            asked = targets != IGNORED
            return (outputs.argmax(-1) == targets)[asked].double().mean().item()
        total, count = self.loss(outputs.double(), targets.double() if self.score_name == "mse" else targets)
        return total.item() / count

    def solved_by(self, score: float) -> bool:
        """Say whether a score solves the problem; NaN never does."""
        return score >= self.solved_at if self.score_name == "accuracy" else score <= self.solved_at


@dataclass(frozen=True, eq=False)
class Adding(Problem):
    """Add the two numbers that are marked.

    inputs [T, B, 2]: channel 0 holds U(0, 1) values, channel 1 is 1 at two steps and 0 elsewhere; the first
    mark lies in steps 0 … T // 2 − 1, the second in T // 2 … T − 1, both uniformly. targets [B]: the sum of
    the two marked values. Score: mean squared error. Solved: at most 0.001. Control: always answering 1, the
    sum's mean, has the sum's variance, 1/6.

    Source: Hochreiter & Schmidhuber 1997, as in Arjovsky et al. 2016 (the marks' places) and Bai et al. 2018.
    """

    steps: int = 200  # T

    name, input_size, output_size, score_name = "adding", 2, 1, "mse"
    solved_at, control = 1e-3, 1 / 6

    def draw(self, rows: int, generator: Generator) -> Batch:
        half = self.steps // 2
        values = torch.rand(self.steps, rows, generator=generator)
        first = torch.randint(half, (1, rows), generator=generator)
        second = torch.randint(half, self.steps, (1, rows), generator=generator)
        marks = torch.zeros(self.steps, rows).scatter_(0, torch.cat([first, second]), 1.0)
        return Batch(torch.stack([values, marks], dim=-1), (values * marks).sum(0))


@dataclass(frozen=True, eq=False)
class Copying(Problem):
    """Say W symbols again after `lag` steps.

    inputs [lag + 2 W, B, 10], one-hot: W symbols drawn from 0 … 7, blanks (8) for lag − 1 steps, the
    delimiter (9), W blanks. targets [lag + 2 W, B]: blanks for lag + W steps, then the W symbols; outputs
    are logits over the symbols and the blank. Score: nats per step, over all steps. Control: a blank for
    lag + W steps, then each symbol with 1/8: W ln 8 / (lag + 2 W). Solved: at most a tenth of it.

    Source: Arjovsky et al. 2016, after Hochreiter & Schmidhuber 1997.
    """

    lag: int = 100
    word: int = 10  # W

    name, input_size, output_size = "copying", SYMBOLS + 2, SYMBOLS + 1
    answers, score_name = "each", "nats_per_step"

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

    def draw(self, rows: int, generator: Generator) -> Batch:
        word = torch.randint(SYMBOLS, (self.word, rows), generator=generator)
        read = torch.full((self.steps, rows), BLANK)
        read[: self.word] = word
        read[-self.word - 1] = DELIMITER
        targets = torch.full((self.steps, rows), BLANK)
        targets[-self.word :] = word
        return Batch(F.one_hot(read, self.input_size).float(), targets)


@dataclass(frozen=True, eq=False)
class Recall(Problem):
    """Name the marked symbol.

    inputs [T, B, 9]: channels 0 … 7 hold a symbol of 8, one-hot, drawn anew at every step; channel 8 is 1 at
    one step, uniform in the first `within` (default: a tenth of T), and 0 elsewhere. targets [B]: the symbol
    of that step; outputs are logits over the 8. Score: accuracy. Solved: at least 0.99. Control: any constant
    answer, 1/8.

    Source: ours; the latch problem of Bengio, Simard & Frasconi 1994 (a class shown early, noise after it)
    with the adding problem's mark, so that what to keep must be picked from noise of its own kind.
    """

    steps: int = 200  # T
    within: int | None = None

    name, input_size, output_size = "recall", SYMBOLS + 1, SYMBOLS
    solved_at, control = 0.99, 1 / SYMBOLS

    def draw(self, rows: int, generator: Generator) -> Batch:
        symbols = torch.randint(SYMBOLS, (self.steps, rows), generator=generator)
        place = torch.randint(self.within or self.steps // 10, (1, rows), generator=generator)
        inputs = torch.zeros(self.steps, rows, self.input_size)
        inputs[..., :SYMBOLS] = F.one_hot(symbols, SYMBOLS)
        inputs[..., SYMBOLS].scatter_(0, place, 1.0)
        return Batch(inputs, symbols.gather(0, place)[0])


@dataclass(frozen=True, eq=False)
class Majority(Problem):
    """Say what most of the signs around each step are.

    inputs [T, B, 1]: random signs. targets [T, B]: at step t + delay, whether most of the signs from
    t − reach to t + reach are positive; where there are not so many, nothing is asked. Score: accuracy.
    Solved: at least 0.99. Control: a coin.

    Source: ours, for what a network that reads forward cannot know.
    """

    steps: int = 30  # T
    reach: int = 2
    delay: int = 0

    name, input_size, output_size, answers = "majority", 1, 2, "each"
    solved_at, control = 0.99, 1 / 2

    def draw(self, rows: int, generator: Generator) -> Batch:
        bits = torch.randint(2, (self.steps, rows), generator=generator)
        most = (bits.unfold(0, 2 * self.reach + 1, 1).sum(-1) > self.reach).long()  # of t = reach, …
        first = self.reach + self.delay
        asked = min(len(most), self.steps - first)
        targets = torch.full((self.steps, rows), IGNORED)
        targets[first : first + asked] = most[:asked]
        return Batch((2.0 * bits - 1.0)[..., None], targets)


def forward_ceiling(reach: int) -> float:
    """Return how often the best guess of a majority is right where nothing after t is known."""
    right = 0.0
    for ones in range(reach + 2):  # among the signs up to t
        more = range(max(reach + 1 - ones, 0), reach + 1)  # among the `reach` to come, for a majority
        share = sum(math.comb(reach, k) for k in more) / 2**reach
        right += math.comb(reach + 1, ones) / 2 ** (reach + 1) * max(share, 1 - share)
    return right
