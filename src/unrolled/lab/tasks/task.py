"""What a task is: seeded examples, a loss, a score, and when it counts as solved."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

__all__ = ["Examples", "Score", "Task", "accuracy", "choice_nats", "solved_by"]

Score = Literal["mse", "nats_per_step", "accuracy"]


class Examples(NamedTuple):
    """A batch of sequences and what is to be answered."""

    inputs: Tensor  # [T, B, I] float32
    targets: Tensor  # [B] where the answer is given at the end, [T, B] where at every step


class Task(Protocol):
    """A frozen object; everything random is drawn from the generator that is passed in."""

    @property
    def name(self) -> str:
        """One word."""
        ...

    @property
    def steps(self) -> int:
        """T, the length of the sequences."""
        ...

    @property
    def input_size(self) -> int:
        """I, the channels of an input."""
        ...

    @property
    def output_size(self) -> int:
        """O, the numbers that an answer consists of."""
        ...

    @property
    def answers(self) -> Literal["end", "each"]:
        """Where the network answers: outputs are [B, O] after the end, or [T, B, O] at each step."""
        ...

    @property
    def score_name(self) -> Score:
        """What `score` returns; of an accuracy more is better, of the others less."""
        ...

    @property
    def solved_at(self) -> float:
        """The score from which on the task counts as solved."""
        ...

    @property
    def control(self) -> float:
        """The score of the trivial predictor, in expectation."""
        ...

    def draw(self, rows: int, generator: Generator) -> Examples:
        """Return examples to train on."""
        ...

    def held_out(self, rows: int, generator: Generator) -> Examples:
        """Return examples to follow training with and to decide by; a file's part comes whole."""
        ...

    def final(self, rows: int, generator: Generator) -> Examples:
        """Return examples for one last score, on which nothing was decided."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what training makes small, a scalar."""
        ...

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the score of answers."""
        ...

    def trivial(self, examples: Examples) -> Tensor:
        """Return the outputs of the best predictor that remembers nothing."""
        ...


def solved_by(task: Task, score: float) -> bool:
    """Say whether a score solves a task; NaN never does."""
    return score >= task.solved_at if task.score_name == "accuracy" else score <= task.solved_at


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of rows whose largest output is the target's: outputs [B, O], targets [B]."""
    return (outputs.argmax(-1) == targets).double().mean().item()


def choice_nats(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [..., O] with classes [...], a scalar."""
    return cross_entropy(outputs.flatten(0, -2), targets.flatten())
