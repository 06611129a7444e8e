"""Drawing a continuation."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import torch

from unrolled.tasks import continuation, generate


class Counter:
    """A stand-in whose state counts its steps and whose likeliest next id is (input + 1) mod 5."""

    def __init__(self) -> None:
        self.states: list[int] = []

    def initial_state(self, batch_size: int) -> torch.Tensor:
        return torch.zeros(1, batch_size, 1)

    def step(self, inputs: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.states.append(int(state.sum()))
        logits = torch.zeros(len(inputs), 5)
        logits[torch.arange(len(inputs)), (inputs + 1) % 5] = 9.0
        return logits, state + 1


def drawn(model: Counter, prompt: list[int], **settings: object) -> list[int]:
    generator = np.random.default_rng(0)
    return list(generate(model, prompt, generator=generator, temperature=0.0, **settings))  # type: ignore[arg-type]


def test_the_likeliest_symbols_follow_the_prompt():
    assert drawn(Counter(), [0, 1], length=4) == [2, 3, 4, 0]


def test_the_prompt_warms_the_state_and_every_symbol_takes_one_step():
    model = Counter()
    drawn(model, [0, 1, 2], length=3)
    assert model.states == [0, 1, 2, 3, 4]


def test_a_line_starts_from_the_zero_state():
    model = Counter()
    drawn(model, [4], length=7, restart_at=4)
    assert model.states == [0, 1, 2, 3, 4, 0, 1]
    tokens: Any = types.SimpleNamespace(boundary=4, unknown=None)
    for lines, states in ((True, [0, 1, 2, 3, 4, 0, 1]), (False, [0, 1, 2, 3, 4, 5, 6])):
        model = Counter()
        generator = np.random.default_rng(0)
        list(continuation(model, tokens, lines=lines, length=7, generator=generator, temperature=0.0))
        assert model.states == states


def test_a_banned_symbol_is_never_drawn():
    assert 2 not in drawn(Counter(), [1], length=8, banned=[2])
