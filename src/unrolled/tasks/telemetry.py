"""Telemetry: what can be said of the gradient and the gates in the middle of training, at little cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import ConfigError, expected
from unrolled.nn import LayerRun, Recurrent, run_stack, validate_layer
from unrolled.ops import StepJacobian, gradients_by_lag, linearise
from unrolled.spec import CLOSED, OPEN, Cell, cell_of_mode

__all__ = ["Telemetry", "recurrent_stack", "take_telemetry"]

ROWS = 8  # of the batch, the longest ones: enough for a mean


@dataclass(frozen=True)
class Telemetry:
    """One moment of training.

    Attributes:
        lags: 0, 1, 2, 4, 8, … steps back.
        grad_norm: "recurrent.l0 h" → at each lag the mean over rows of ‖∂L_t/∂h_{t−lag}‖, in units of the
            loss per unit of the state, where L_t is the loss at the last step that all of its rows reach.
            Of a stack that reads both ways: of the top layer's way from first to last step alone.
        closed, open: "recurrent.l0 f" → share of units and steps at which the gate is below 0.1, above 0.9;
            for an RNN "recurrent.l0 h" → share at which h is below −0.9, above 0.9.
    """

    lags: tuple[int, ...]
    grad_norm: dict[str, tuple[float, ...]]
    closed: dict[str, float]
    open: dict[str, float]


def take_telemetry(network: Any, batch: Batch, state: Any) -> Telemetry:
    """Run a few rows of a batch once more, and carry the gradient of their last loss back; see `Telemetry`.

    In evaluation mode, so without dropout; parameters, gradients, mode and random state stay as they are.

    Args:
        network: a `SequenceModel` with one recurrent stack of `unrolled.nn`.
        batch, state: as its `loss` takes them.
    Raises:
        ConfigError: it has no such stack, or several.
    """
    name, layer = recurrent_stack(network)
    rows, steps = _longest(batch)
    whole = replace(batch, lengths=None)  # every row has all of the steps
    if steps == 0:
        return Telemetry((), {}, {}, {})
    states = _rows_of(state, rows)
    cell, _ = cell_of_mode(layer.mode)
    with _evaluating(network):
        y, runs = _run(network, layer, whole.part(0, steps, rows), states)
        seed = _seed(network, layer, y[-1:], whole.part(steps - 1, 1, rows), states)
        if layer.bidirectional:
            followed, seed = runs[-2:-1], seed[..., : seed.shape[-1] // 2]
        else:
            followed = runs
        with torch.no_grad():
            layers = {each.name: linearise(each.call, each.output.trajectory) for each in followed}
            lags, norms = _norms(name, cell, layers, seed, len(y))
            closed, opened = _gates(name, cell, {each.name: each.output.trajectory for each in runs})
    return Telemetry(lags, norms, closed, opened)


def recurrent_stack(network: Any) -> tuple[str, Any]:
    """Return the name and module of a network's one recurrent stack. Raises ConfigError: none, or several."""
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, Recurrent)]
    if len(found) != 1:
        want = "a network with one recurrent stack of unrolled.nn"
        raise ConfigError(expected("telemetry", want, f"{len(found)} of them in {type(network).__name__}"))
    return found[0]


@contextmanager
def _evaluating(network: Any) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _longest(batch: Batch) -> tuple[Tensor, int]:
    """Return the numbers of the longest rows, the first of equally long ones, and the steps that all have."""
    steps, count = batch.inputs.shape[:2]
    lengths = torch.full((count,), steps) if batch.lengths is None else batch.lengths
    rows = lengths.argsort(descending=True, stable=True)[:ROWS].sort().values
    return rows, int(lengths[rows].min()) if count else 0


def _rows_of(state: Any, rows: Tensor) -> Any:
    if isinstance(state, Tensor):
        return state[:, rows].contiguous()
    return tuple(part[:, rows].contiguous() for part in state)


class _Reached(Exception):  # noqa: N818 (no error)
    """The network has called its stack."""


@torch.no_grad()
def _run(network: Any, layer: Any, batch: Batch, state: Any) -> tuple[Tensor, list[LayerRun]]:
    """Return the stack's output [T, B, D·H], and its layers as they ran, in each direction."""
    calls: list[tuple[Any, Any]] = []

    def reached(_: Any, args: Any, kwargs: Any) -> None:
        calls.append((args, kwargs))
        raise _Reached

    handle = layer.register_forward_pre_hook(reached, with_kwargs=True)
    try:
        network.loss(batch, state)
    except _Reached:
        pass
    finally:
        handle.remove()
    (args, kwargs), *_ = calls
    input, hx = (*args, kwargs.get("hx"))[:2]
    given = validate_layer(layer, input, hx, kwargs.get("lengths"), kwargs.get("resets"))
    run = run_stack(layer, given, trajectories=True)
    return run.y, run.layers


def _seed(network: Any, layer: Any, y: Tensor, batch: Batch, state: Any) -> Tensor:
    """Return the gradient [1, B, H] of each row's loss at the last step by the stack's output."""
    with torch.enable_grad():
        leaf = y.detach().requires_grad_()
        output = leaf.transpose(0, 1) if layer.batch_first else leaf
        handle = layer.register_forward_hook(lambda _, __, given: (output, given[1]))
        try:
            total, _, _ = network.loss(batch, state)
        finally:
            handle.remove()
        (seed,) = torch.autograd.grad(total, leaf)
    return seed


def _norms(
    stack_name: str, cell: Cell, layers: dict[str, StepJacobian], seed: Tensor, steps: int
) -> tuple[tuple[int, ...], dict[str, tuple[float, ...]]]:
    wanted = (0, *(2**n for n in range(steps.bit_length()) if 2**n < steps))
    names = [[f"{stack_name}.{each} {part}" for part in cell.states] for each in layers]
    found: dict[str, list[Tensor]] = {name: [] for level in names for name in level}
    for lag in gradients_by_lag(list(layers.values()), seed, torch.tensor([steps - 1]), wanted[-1]):
        if lag.k in wanted:
            for level, parts in zip(names, lag.states, strict=True):
                for name, part in zip(level, parts, strict=True):
                    found[name].append(part.norm(dim=-1).mean())
    return wanted, {name: tuple(torch.stack(values).tolist()) for name, values in found.items()}


def _gates(stack_name: str, cell: Cell, traces: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    closed, opened = {}, {}
    for each, trace in traces.items():
        for gate in cell.sigmoid or ("h",):
            value, name = getattr(trace, gate), f"{stack_name}.{each} {gate}"
            low = CLOSED if cell.sigmoid else -OPEN
            closed[name] = float((value < low).float().mean())
            opened[name] = float((value > OPEN).float().mean())
    return closed, opened
