"""A network, and its training on a problem until that is solved, or until a cap."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from unrolled.data import Batch
from unrolled.errors import NonFiniteError
from unrolled.lab.experiment import Found
from unrolled.lab.problems import Problem
from unrolled.nn import init_recurrent, layer
from unrolled.spec import CELLS
from unrolled.tasks import State
from unrolled.train import Schedule, fit

__all__ = ["Front", "Learnt", "Network", "NetworkSettings", "Trainable", "learn", "start_weights"]

EVALUATED_ROWS, FINAL_ROWS = 512, 2048  # of problems that draw examples at will
ROWS_AT_ONCE = 128  # of an evaluation, so that long sequences need no more memory than training
STREAMS = {"weights": 0, "training": 1, "held-out": 2, "final": 3}  # generators of one seed
READOUT_REACH = 0.1  # of its uniform start: Zaremba et al. 2014


@dataclass(frozen=True)
class NetworkSettings:
    """Everything that a network's shape and starting values depend on, apart from the seed."""

    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0  # share of values dropped between layers
    neighbours: int = 0  # steps before and after each that it is shown beside
    front: str = "none"  # none | stacked | convolved: what makes one step of several
    frames: int = 1  # steps that become one
    pool: str = "last"  # last | max: what an answer at the end is read from
    start: str = "orthogonal"  # as `init_recurrent` takes it; torch: torch.nn's own values everywhere
    gain: float = 1.0  # that the recurrent weights are multiplied by at the start
    forget_bias: float = 1.0  # of an LSTM, at the start
    chrono_steps: int | None = None  # longest lag that the gates start for
    backend: str = "auto"

    @classmethod
    def of(cls, settings: Found) -> NetworkSettings:
        """Take the fields that are among the settings of a trial."""
        return cls(**{one.name: settings[one.name] for one in fields(cls) if one.name in settings})


@dataclass(frozen=True, eq=False)
class Learnt:
    """What became of a run."""

    network: Network  # as it was trained
    solved: bool  # a score on held-out examples met the problem's threshold; false: censored at the cap
    steps: int  # to the first such score; all that were trained where there was none
    seconds: float  # likewise, from the call on, evaluations included
    curve: tuple[tuple[int, float, float], ...]  # (step, score, loss) on held-out examples, from step 0 on
    final: float | None  # score on the problem's final examples after the last step; None where diverged
    largest_norm: float  # of the gradient before clipping
    diverged: bool  # a loss, gradient or score was not finite, and the run ended there

    @property
    def solved_at(self) -> int | None:
        """The step of the solution."""
        return self.steps if self.solved else None


class Front(nn.Module):
    """Makes one step of several: vectors [reach − frames + T, B, E] → [T / frames, B, size].

    Args:
        width: E. channels: of the convolution.
        kind: "stacked" puts `frames` vectors side by side; "convolved" is a convolution over twice as many,
            of stride `frames`, with a ReLU.
        generator: of the starting weights, after He et al. 2015.
    """

    def __init__(self, width: int, channels: int, *, kind: str, frames: int, generator: Generator):
        super().__init__()
        self.frames = frames
        self.reach = 2 * frames if kind == "convolved" else frames  # vectors that a step reads
        seen = width * self.reach
        self.convolution = nn.Linear(seen, channels) if kind == "convolved" else None
        self.size = seen if self.convolution is None else channels
        if self.convolution is not None:
            nn.init.kaiming_uniform_(self.convolution.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(self.convolution.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the steps."""
        x = vectors.unfold(0, self.reach, self.frames).flatten(2)  # [T / frames, B, E · reach]
        return x if self.convolution is None else F.relu(self.convolution(x))


class Trainable(nn.Module):
    """What `train.fit` needs of a network, except its own `initial_state` and `loss`."""

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return the summed loss and targets over batches, in evaluation mode."""
        self.eval()
        model: Any = self
        total, count, state = 0.0, 0, None
        for batch in batches:
            if state is None or not carry:
                state = model.initial_state(batch.inputs.shape[1])
            loss, n, state = model.loss(batch, state)
            total, count = total + loss.item(), count + n
        return total, count


class Network(Trainable):
    """A recurrent stack with a linear read-out, for a problem.

    An answer at the end is read from the states that the last layer ends with, of both directions, or
    (`pool="max"`) from the largest value that each unit's output took. An answer at each step is read from
    that step's output.
    """

    def __init__(self, problem: Problem, settings: NetworkSettings, generator: Generator) -> None:
        super().__init__()
        self.settings, self.problem = settings, problem
        width, hidden = problem.input_size * (2 * settings.neighbours + 1), settings.hidden_size
        self.front: Front | None = None
        if settings.front != "none":
            kind, frames = settings.front, settings.frames
            self.front = Front(width, hidden, kind=kind, frames=frames, generator=generator)
        self.stack = layer(
            settings.cell,
            width if self.front is None else self.front.size,
            hidden,
            settings.num_layers,
            dropout=settings.dropout,
            bidirectional=settings.bidirectional,
            backend=settings.backend,
        )
        self.directions = 2 if settings.bidirectional else 1
        self.readout = nn.Linear(hidden * self.directions, problem.output_size)
        start_weights(self.stack, settings, generator)
        nn.init.uniform_(self.readout.weight, -READOUT_REACH, READOUT_REACH, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows: one [L·D, B, H] per state of the cell."""
        shape = (self.settings.num_layers * self.directions, batch_size, self.settings.hidden_size)
        parts = tuple(self.readout.bias.new_zeros(shape) for _ in CELLS[self.settings.cell].states)
        return parts if len(parts) == 2 else parts[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs [B, O], or [T, B, O] where the problem asks at each step, for inputs [T, B, I]."""
        return self.run(inputs, self.initial_state(inputs.shape[1]))[0]

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs, and the state after."""
        steps = _beside(inputs, self.settings.neighbours)
        if self.front is not None:
            before = self.front.reach - self.front.frames
            steps = self.front(F.pad(steps, (0, 0, 0, 0, before, 0)))
        y, after = self.stack(steps, state)
        if self.problem.answers == "each":
            return self.readout(y), after
        if self.settings.pool == "max":
            return self.readout(y.amax(0)), after
        h_n: Tensor = after if isinstance(after, Tensor) else after[0]  # [L·D, B, H]
        return self.readout(torch.cat([*h_n[-self.directions :]], dim=-1)), after

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return the summed loss, the answers that it covers, and the state after."""
        outputs, after = self.run(batch.inputs, state)
        return *self.problem.loss(outputs, batch.targets), after

    @torch.no_grad()
    def look(self, batch: Batch) -> tuple[float, float]:
        """Return the score and the mean loss of examples, in evaluation mode."""
        self.eval()
        parts = [self(part) for part in torch.split(batch.inputs, ROWS_AT_ONCE, dim=1)]
        outputs = torch.cat(parts, dim=-2)
        total, count = self.problem.loss(outputs, batch.targets)
        return self.problem.score(outputs, batch.targets), total.item() / count


def start_weights(stack: Any, settings: Any, generator: Generator) -> None:
    """Fill a recurrent stack as `start`, `gain`, `forget_bias` and `chrono_steps` of settings say."""
    if settings.start == "torch":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            stack.reset_parameters()
        return
    how = {name: getattr(settings, name) for name in ("gain", "forget_bias", "chrono_steps")}
    init_recurrent(stack, init=settings.start, **how, generator=generator)


def learn(problem: Problem, settings: Found, *, start_seed: int | None = None) -> Learnt:
    """Train from scratch and say when the problem was solved.

    For a seed and a thread count everything but the seconds repeats bit for bit. torch's own random state is
    left as it was.

    Args:
        problem: what is to be learnt.
        settings: seed (of starting values, examples and dropout), cap (optimizer steps), batch_size,
            learning_rate, evaluate_every (steps between scores on held-out examples); and where they are not
            the default: clip_norm (1; 0 never clips), optimizer ("adam" or "sgd"), cosine (False: a
            constant rate, so that the step of a solution does not depend on the cap), stop (True: end at the
            first held-out score that solves the problem), and those of `NetworkSettings`.
        start_seed: of the starting values alone.
    """
    seed, steps, peak = settings["seed"], settings["cap"], settings["learning_rate"]
    begin = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from torch's own generator
        weights = _generator(seed if start_seed is None else start_seed, "weights")
        model = Network(problem, NetworkSettings.of(settings), weights)
        examples, unseen = _generator(seed, "training"), _generator(seed, "held-out")
        records = fit(
            model,
            (problem.draw(settings["batch_size"], examples) for _ in range(steps)),
            learning_rate=Schedule(steps, steps, peak).learning_rate if settings.get("cosine") else peak,
            clip_norm=settings.get("clip_norm", 1.0) or None,
            optimizer=torch.optim.SGD(model.parameters()) if settings.get("optimizer") == "sgd" else None,
        )
        curve = [(0, *model.look(problem.held_out(EVALUATED_ROWS, unseen)))]
        first, step, largest, diverged = None, 0, 0.0, False
        try:
            for record in records:
                step, largest = record.step, max(largest, record.grad_norm)
                if step == steps or step % settings["evaluate_every"] == 0:
                    score, loss = model.look(problem.held_out(EVALUATED_ROWS, unseen))
                    diverged = not math.isfinite(loss)
                    if diverged:
                        break
                    curve.append((step, score, loss))
                    if first is None and problem.solved_by(score):
                        first = (step, time.perf_counter() - begin)
                if first is not None and settings.get("stop", True):
                    break
        except NonFiniteError:
            diverged, largest = True, math.inf
        reached = first or (step, time.perf_counter() - begin)
        last = problem.final(FINAL_ROWS, _generator(seed, "final"))
        final = None if diverged else model.look(last)[0]
    return Learnt(model, first is not None, *reached, tuple(curve), final, largest, diverged)


def _beside(inputs: Tensor, neighbours: int) -> Tensor:
    """Return [T, B, (2 neighbours + 1) · I]: each step with the steps around it; the edges are repeated."""
    if neighbours == 0:
        return inputs
    steps = torch.arange(len(inputs))
    around = range(-neighbours, neighbours + 1)
    return torch.cat([inputs[(steps + k).clamp(0, len(inputs) - 1)] for k in around], dim=-1)


def _generator(seed: int, stream: str) -> Generator:
    """Return one of a seed's generators; they are independent of each other."""
    mixed = np.random.SeedSequence([seed, STREAMS[stream]]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))
