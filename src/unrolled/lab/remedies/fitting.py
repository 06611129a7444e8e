"""A network trained on a task, until it is solved or its steps are done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.lab.remedies.network import Network, build
from unrolled.lab.remedies.tasks import NOT_ASKED, Task, drawing, sizes

__all__ = ["RISEN", "fit", "work"]

RISEN = 1.1  # a loss that ends at more than this many times its start diverged; less is chance
HELD_OUT_ROWS, HELD_OUT_SEED = 256, 2**31  # no run's own seed
OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Do one cell: a network, trained once."""
    network = build(settings, *sizes(settings), seed=settings["seed"])
    return fit(network, drawing(settings), settings)


def fit(network: Network, task: Task, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train on fresh rows at each step, and look at held-out ones every few.

    Args:
        network, task: that fit each other.
        settings: seed (of the rows), rows, cap (steps), look_every, optimizer, learning_rate, clip (a norm,
            or None), goal (the held-out accuracy that ends it; None: it goes on to the cap).
    Returns:
        solved_at (None: not within the cap), accuracy and final_nats of the held-out rows, diverged (the loss
        is not finite, or ends more than a tenth above its start), largest_norm of the gradient before
        clipping, and the curve of held-out nats; what is not finite is None.
    """
    generator = torch.Generator().manual_seed(settings["seed"])
    held_out = task(HELD_OUT_ROWS, torch.Generator().manual_seed(HELD_OUT_SEED))
    optimizer = OPTIMIZERS[settings["optimizer"]](network.parameters(), lr=settings["learning_rate"])
    start, accuracy = _look(network, held_out)
    curve: dict[str, list[Any]] = {"x": [0], "y": [_finite(start)]}
    nats = start
    largest, solved_at = 0.0, None
    for step in range(1, settings["cap"] + 1):
        norm = _step(network, task(settings["rows"], generator), optimizer, settings["clip"])
        largest = max(largest, norm) if math.isfinite(norm) else math.inf
        if step % settings["look_every"] == 0 or step == settings["cap"]:
            nats, accuracy = _look(network, held_out)
            curve["x"].append(step)
            curve["y"].append(_finite(nats))
            if settings["goal"] is not None and accuracy >= settings["goal"]:
                solved_at = step
                break
        if not math.isfinite(largest):
            nats = math.inf  # the weights are gone with the gradient
            break
    return {
        "solved_at": solved_at,
        "accuracy": accuracy,
        "final_nats": _finite(nats),
        "diverged": not math.isfinite(nats) or nats > RISEN * start,
        "largest_norm": _finite(largest),
        "curve": curve,
    }


def _step(
    network: Network, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer, clip: float | None
) -> float:
    """Do one optimizer step and return the gradient's norm before clipping."""
    loss = _nats(network(batch[0]), batch[1])
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), math.inf if clip is None else clip)
    optimizer.step()
    return float(norm) if bool(torch.isfinite(loss.detach())) else math.inf


@torch.no_grad()
def _look(network: Network, batch: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return nats and accuracy over the steps that are asked for."""
    logits = network(batch[0])
    asked = batch[1] != NOT_ASKED
    right = (logits.argmax(-1) == batch[1])[asked]
    return float(_nats(logits, batch[1])), float(right.double().mean())


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NOT_ASKED)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
