"""Train a network on a task until it is solved, or until a cap."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from unrolled.errors import ConfigError, expected
from unrolled.lab.network import Network, NetworkSettings
from unrolled.lab.tasks import Examples, Task, solved_by
from unrolled.spec.fields import check, setting
from unrolled.train import Schedule

__all__ = ["FitSettings", "Solved", "solve", "solve_and_keep"]

EVALUATED_ROWS, FINAL_ROWS = 512, 2048  # of tasks that draw examples at will
ROWS_AT_ONCE = 128  # of an evaluation, so that long sequences need no more memory than training
BETAS = (0.9, 0.99)  # the second moment follows as fast as a task's loss falls
STREAMS = {"weights": 0, "training": 1, "held-out": 2, "final": 3}  # generators of one seed


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained: Adam (Kingma & Ba 2015), clipped by the gradient's norm."""

    batch_size: int = setting(64, "sequences a step", minimum=1)
    learning_rate: float = setting(3e-3, "the largest", above=0.0)
    schedule: str = setting(
        "constant",
        "constant, so that a solution's step does not depend on the cap; or a warm-up and a cosine to zero",
        choices=("constant", "cosine"),
    )
    clip_norm: float = setting(1.0, "largest norm of a gradient", above=0.0)
    evaluate_every: int = setting(100, "steps between scores on held-out examples", minimum=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Solved:
    """What became of a run."""

    solved: bool  # a score on held-out examples met the task's threshold; false: censored at the cap
    steps: int  # to the first such score; all that were trained where there was none
    seconds: float  # likewise, from the call on, evaluations included
    curve: tuple[tuple[int, float], ...]  # (step, score on held-out examples)
    final: float | None  # score on the task's final examples after the last step; None where diverged
    parameters: int
    diverged: bool  # a gradient or score was not finite, and the run ended there


def solve(
    task: Task,
    network: NetworkSettings,
    fit: FitSettings,
    *,
    seed: int,
    steps: int,
    seconds: float | None = None,
    stop: bool = True,
) -> Solved:
    """Train from scratch and say when the task was solved.

    For a seed and a thread count everything but the seconds repeats bit for bit, unless `seconds` cut the
    run. torch's own random state is left as it was.

    Args:
        task: what is to be learnt.
        network, fit: what is trained, and how.
        seed: of the starting values, the examples, and dropout; 0 or more.
        steps: cap in optimiser steps.
        seconds: cap in time, looked at after every step.
        stop: end at the first held-out score that solves the task; otherwise at the cap.
    Raises:
        ConfigError: a seed or a cap is out of range.
    """
    return solve_and_keep(task, network, fit, seed=seed, steps=steps, seconds=seconds, stop=stop)[0]


def solve_and_keep(
    task: Task,
    network: NetworkSettings,
    fit: FitSettings,
    *,
    seed: int,
    steps: int,
    seconds: float | None = None,
    stop: bool = True,
) -> tuple[Solved, Network]:
    """Do what `solve` does, and return the network too, as it was trained."""
    _check_caps(seed, steps, seconds)
    begin = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from torch's own generator
        run = _Run(task, network, fit, seed, steps)
        curve: list[tuple[int, float]] = []
        first, step = None, 0
        while step < steps and run.step(step):
            step += 1
            late = seconds is not None and time.perf_counter() - begin >= seconds
            if late or step == steps or step % fit.evaluate_every == 0:
                score = run.held_out()
                if run.diverged:
                    break
                curve.append((step, score))
                if first is None and solved_by(task, score):
                    first = (step, time.perf_counter() - begin)
            if late or (stop and first is not None):
                break
        reached = first or (step, time.perf_counter() - begin)
        final = None if run.diverged else run.final()
    solved = Solved(first is not None, *reached, tuple(curve), final, run.parameters, run.diverged)
    return solved, run.network


class _Run:
    """A network under training, and the examples of its seed."""

    def __init__(self, task: Task, network: NetworkSettings, fit: FitSettings, seed: int, steps: int) -> None:
        self._task, self._fit = task, fit
        self.network = Network(task, network, _generator(seed, "weights"))
        self._examples = _generator(seed, "training")
        self._unseen = _generator(seed, "held-out")
        self._last = _generator(seed, "final")
        self._weights = list(self.network.parameters())
        self._adam = torch.optim.Adam(self._weights, lr=fit.learning_rate, betas=BETAS, fused=True)
        self._schedule = Schedule(steps=steps, save_every=steps, peak=fit.learning_rate)
        self.diverged = False

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(weight.numel() for weight in self._weights)

    def step(self, step: int) -> bool:
        """Train on one batch; false, with the weights as they were, where it gave no finite gradient."""
        if self._fit.schedule == "cosine":
            for group in self._adam.param_groups:
                group["lr"] = self._schedule.learning_rate(step)
        inputs, targets = self._task.draw(self._fit.batch_size, self._examples)
        self._adam.zero_grad()
        self._task.loss(self.network(inputs), targets).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self._fit.clip_norm)
        self.diverged = not math.isfinite(norm.item())
        if not self.diverged:
            self._adam.step()
        return not self.diverged

    def held_out(self) -> float:
        """Return the score on held-out examples, fresh ones each time where the task draws them."""
        score = self._score(self._task.held_out(EVALUATED_ROWS, self._unseen))
        self.diverged = not math.isfinite(score)
        return score

    def final(self) -> float:
        """Return the score on the task's final examples."""
        return self._score(self._task.final(FINAL_ROWS, self._last))

    @torch.no_grad()
    def _score(self, examples: Examples) -> float:
        self.network.eval()
        parts = [self.network(part) for part in torch.split(examples.inputs, ROWS_AT_ONCE, dim=1)]
        self.network.train()
        return self._task.score(torch.cat(parts, dim=-2), examples.targets)


def _generator(seed: int, stream: str) -> Generator:
    """Return one of a seed's generators; they are independent of each other."""
    mixed = np.random.SeedSequence([seed, STREAMS[stream]]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))


def _check_caps(seed: int, steps: int, seconds: float | None) -> None:
    for name, value, least in (("seed", seed, 0), ("steps", steps, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(expected(name, f"a whole number, at least {least}", repr(value)))
    if seconds is not None and not seconds > 0:
        raise ConfigError(expected("seconds", "more than 0", seconds))
