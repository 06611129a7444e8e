"""One start: measured, then trained at every learning rate with clipping and without, and measured again."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from unrolled.data import Batch, StreamBatches
from unrolled.lab.gradients.flow import FOLD, flow
from unrolled.lab.gradients.starts import build
from unrolled.lab.gradients.text import Text, text
from unrolled.tasks import LanguageModel, detach

__all__ = ["pace", "paces", "work"]

TAIL = 10  # the end of a run is its last tenth
POINTS = 50  # of the curve


def work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Do one cell."""
    lags = settings["lags"]
    material = text(settings["characters"], 2 * lags)
    start = build(settings, material.tokens.size)
    trained = {}
    for name, (learning_rate, clip) in paces(settings).items():
        model = copy.deepcopy(start)
        found = _train(model, material, settings, learning_rate, clip)
        trained[name] = {**found, "flow": flow(model, material.measured, lags)}
    return {"start": flow(start, material.measured, lags), "trained": trained}


def paces(settings: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Return name → learning rate and the norm that gradients are clipped to."""
    return {
        pace(rate, clipped): (rate, settings["clip"] if clipped else None)
        for rate in settings["learning_rates"]
        for clipped in (True, False)
    }


def pace(learning_rate: float, clipped: bool) -> str:
    """Return the name of a way to train."""
    return f"{learning_rate:g} {'clipped' if clipped else 'free'}"


def _train(
    model: LanguageModel,
    material: Text,
    settings: Mapping[str, Any],
    learning_rate: float,
    clip: float | None,
) -> dict[str, Any]:
    """Train by SGD until the steps are done or the loss is not finite.

    A run diverges if that happens, or if its loss ends above the one that it began with; its gradient
    explodes if the norm passes a hundred times the one that others are clipped to.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    state = model.initial_state(settings["rows"])
    losses: list[float] = []
    largest = 0.0
    for batch in _batches(material, settings):
        nats, count, state = model.loss(batch, state)
        state = detach(state)
        loss = nats / count
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
        largest = max(largest, float(norm)) if math.isfinite(largest) else largest
        if not math.isfinite(float(norm)):
            largest = math.inf
        optimizer.step()
    return _outcome(losses, largest, settings["clip"])


def _outcome(losses: list[float], largest: float, clip: float) -> dict[str, Any]:
    tail = losses[-max(len(losses) // TAIL, 1) :]
    end = sum(tail) / len(tail)
    finite = math.isfinite(end)
    every = max(len(losses) // POINTS, 1)
    curve = [(n + 1, value) for n, value in enumerate(losses) if n % every == 0 and math.isfinite(value)]
    return {
        "start_nats_per_char": losses[0] if math.isfinite(losses[0]) else None,
        "end_nats_per_char": end if finite else None,
        "diverged": not finite or end > losses[0],
        "exploded": largest > FOLD * clip,
        "largest_norm": largest if math.isfinite(largest) else None,
        "curve": {"step": [n for n, _ in curve], "nats_per_char": [value for _, value in curve]},
    }


def _batches(material: Text, settings: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the windows of as many epochs as the steps take; the state is carried through all of them."""
    stream = StreamBatches(
        material.train,
        batch_size=settings["rows"],
        bptt_steps=settings["bptt_steps"],
        seed=settings["seed"],
    )
    left = settings["steps"]
    epoch = 0
    while left > 0:
        for batch in stream.epoch(epoch):
            yield batch
            left -= 1
            if left == 0:
                return
        epoch += 1
