"""Telemetry: what can be said of the gradient and the gates in the middle of training, at little cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.data import Batch
from unrolled.nn import run_stack, validate_layer
from unrolled.ops import StepJacobian, gradients_by_lag, linearise
from unrolled.spec import CELLS, CLOSED, OPEN

if TYPE_CHECKING:
    from unrolled.tasks.language import LanguageModel
    from unrolled.tasks.protocol import State

__all__ = ["Telemetry", "take_telemetry"]

ROWS = 8  # of the batch, the longest ones: enough for a mean
GATES = {"lstm": ("i", "f", "o"), "gru": ("r", "z"), "rnn": ()}  # between 0 and 1


@dataclass(frozen=True)
class Telemetry:
    """One moment of training.

    Attributes:
        lags: 0, 1, 2, 4, 8, … steps back.
        grad_norm: "recurrent.l0 h" → at each lag the mean over rows of ‖∂L_t/∂h_{t−lag}‖, in nats per unit
            of the state, where L_t is the loss at the last step that every one of its rows reaches.
        closed, open: "recurrent.l0 f" → share of units and steps at which the gate is below 0.1, above 0.9;
            for an RNN "recurrent.l0 h" → share at which h is below −0.9, above 0.9.
    """

    lags: tuple[int, ...]
    grad_norm: dict[str, tuple[float, ...]]
    closed: dict[str, float]
    open: dict[str, float]


def take_telemetry(model: LanguageModel, batch: Batch, state: State) -> Telemetry:
    """Run a few rows of a batch once more, and pull the gradient of their last loss back; see `Telemetry`."""
    rows, steps = _longest(batch)
    if steps == 0:
        return Telemetry((), {}, {}, {})
    resets = None if batch.resets is None else batch.resets[:steps, rows]
    states = tuple(part[:, rows].contiguous() for part in ((state,) if isinstance(state, Tensor) else state))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            y, layers, traces = _run(model, batch.inputs[:steps, rows], states, resets)
        seed = _seed(model, y[-1], batch.targets[steps - 1, rows])
        with torch.no_grad():
            lags, norms = _norms(model, layers, seed, steps)
            closed, opened = _gates(model, traces)
    finally:
        for module, mode in modes:
            module.training = mode
    return Telemetry(lags, norms, closed, opened)


def _longest(batch: Batch) -> tuple[Tensor, int]:
    """Return the numbers of the longest rows, the first of equally long ones, and the steps that all have."""
    steps, count = batch.inputs.shape
    lengths = torch.full((count,), steps) if batch.lengths is None else batch.lengths
    rows = lengths.argsort(descending=True, stable=True)[:ROWS].sort().values
    return rows, int(lengths[rows].min()) if count else 0


def _run(
    model: LanguageModel, ids: Tensor, states: tuple[Tensor, ...], resets: Tensor | None
) -> tuple[Tensor, list[StepJacobian], list[Any]]:
    """Return the stack's output [T, B, H], its layers' Jacobians and trajectories."""
    hx = states[0] if len(states) == 1 else states
    given = validate_layer(model.recurrent, model.embedding(ids), hx, None, resets)
    run = run_stack(model.recurrent, given, trajectories=True)
    layers = [linearise(each.call, each.output.trajectory) for each in run.layers]
    return run.y, layers, [each.output.trajectory for each in run.layers]


def _seed(model: LanguageModel, y: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient [1, B, H] of each row's loss by the stack's output."""
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        nats = F.cross_entropy(model.readout(y).float(), targets, reduction="sum")
        (seed,) = torch.autograd.grad(nats, y)
    return seed[None]


def _norms(
    model: LanguageModel, layers: list[StepJacobian], seed: Tensor, steps: int
) -> tuple[tuple[int, ...], dict[str, tuple[float, ...]]]:
    wanted = (0, *(2**n for n in range(steps.bit_length()) if 2**n < steps))
    names = [
        [f"recurrent.l{n} {part}" for part in CELLS[model.config.cell].states] for n in range(len(layers))
    ]
    found: dict[str, list[Tensor]] = {name: [] for level in names for name in level}
    for lag in gradients_by_lag(layers, seed, torch.tensor([steps - 1]), wanted[-1]):
        if lag.k in wanted:
            for level, parts in zip(names, lag.states, strict=True):
                for name, part in zip(level, parts, strict=True):
                    found[name].append(part.norm(dim=-1).mean())
    return wanted, {name: tuple(torch.stack(values).tolist()) for name, values in found.items()}


def _gates(model: LanguageModel, traces: list[Any]) -> tuple[dict[str, float], dict[str, float]]:
    closed, opened = {}, {}
    for level, trace in enumerate(traces):
        for gate in GATES[model.config.cell] or ("h",):
            value, name = getattr(trace, gate), f"recurrent.l{level} {gate}"
            low = -OPEN if gate == "h" else CLOSED
            closed[name] = float((value < low).float().mean())
            opened[name] = float((value > OPEN).float().mean())
    return closed, opened
