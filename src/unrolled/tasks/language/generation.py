"""Drawing a continuation, one symbol at a time, with the state carried explicitly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import draw
from unrolled.tasks.protocol import State
from unrolled.tokens import Tokens

__all__ = ["Stepper", "continuation", "generate"]


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
    state: State = None

    def step(token: int) -> npt.NDArray[np.floating]:
        nonlocal state
        logits, state = model.step(torch.tensor([token]), state)
        return np.asarray(logits[0].numpy())

    def restart() -> None:
        nonlocal state
        state = model.initial_state(1)

    return draw.continuation(
        step,
        restart,
        prompt,
        length=length,
        generator=generator,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        banned=banned,
        restart_at=restart_at,
    )


def continuation(
    model: Stepper,
    tokens: Tokens,
    prompt: Sequence[int] = (),
    *,
    lines: bool,
    length: int,
    generator: np.random.Generator,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[int]:
    """Yield ids that continue a document or a line of the model's vocabulary; <unk> is never drawn.

    Args:
        prompt: ids after the boundary that starts every document and line; may be empty.
        lines: the model's corpus was lines, so each one starts from the zero state.
    """
    return generate(
        model,
        [tokens.boundary, *prompt],
        length=length,
        generator=generator,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        banned=() if tokens.unknown is None else (tokens.unknown,),
        restart_at=tokens.boundary if lines else None,
    )
