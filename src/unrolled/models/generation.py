"""Drawing a continuation, one symbol at a time, with the state carried explicitly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unrolled.draw import draw
from unrolled.models.protocol import State

__all__ = ["Stepper", "generate"]


class Stepper(Protocol):
    """A model that advances one step at a time: ids [B] → logits [B, V] and the state after."""

    def initial_state(self, batch_size: int) -> State: ...
    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]: ...


def generate(
    model: Stepper,
    prompt: Sequence[int],
    *,
    length: int,
    generator: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    banned: Sequence[int] = (),
    restart_at: int | None = None,
) -> Iterator[int]:
    """Yield `length` ids that follow `prompt`.

    Args:
        model: gives one step's logits.
        prompt: at least one id; it warms the state from zero.
        length: how many ids to draw.
        generator: the source of randomness.
        temperature, top_k, top_p: see `unrolled.draw`.
        banned: ids that are never drawn (<unk>).
        restart_at: after this id the state is set to zero: sequences of a line corpus are independent.
    """
    state = model.initial_state(1)
    for token in prompt:
        if token == restart_at:
            state = model.initial_state(1)
        logits, state = model.step(torch.tensor([token]), state)
    for drawn in range(length):
        scores = logits[0].numpy().astype(np.float64)
        scores[list(banned)] = -np.inf
        token = draw(scores, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        yield token
        if drawn + 1 == length:
            return
        if token == restart_at:
            state = model.initial_state(1)
        logits, state = model.step(torch.tensor([token]), state)
