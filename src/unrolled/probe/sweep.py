"""What reaches each state, from each loss: by the sweeps of `unrolled.ops`, or by a graph of nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unrolled.ops import States, StepJacobian, backward_step
from unrolled.ops import gradients_by_lag as sweep
from unrolled.probe.running import Passed, Run

__all__ = ["Norms", "Progress", "Split", "by_nodes", "is_local", "split_by_sweep", "sweep"]

Progress = Callable[[int, int], None]  # (done, of how many)
Norms = dict[tuple[str, str], Tensor]  # (layer, state) → [lags + 1, n, B]
Split = dict[tuple[str, str], tuple[Tensor, Tensor]]  # (layer, state) → injected, carried, [T, B] each


def split_by_sweep(
    names: Sequence[Sequence[tuple[str, str]]], layers: Sequence[StepJacobian], seeds: Tensor
) -> Split:
    """Return the norms of what the summed loss injects at each step, and of what comes from later ones.

    Args:
        names: per layer, the keys of its states.
        layers: of one stack, the lowest first.
        seeds: [T, B, P] the summed loss's gradient by the stack's output.
    """
    steps, rows = seeds.shape[:2]
    parts: dict[tuple[str, str], tuple[list[Tensor], list[Tensor]]] = {
        key: ([], []) for keys in names for key in keys
    }
    carried: list[States] = [
        tuple(seeds.new_zeros(1, rows, size) for size in layer.sizes) for layer in layers
    ]
    for t in reversed(range(steps)):
        later = list(carried)
        states, _ = backward_step(layers, carried, seeds[t : t + 1], torch.tensor([t]), inputs=False)
        for keys, whole, onward in zip(names, states, later, strict=True):
            for key, total, part in zip(keys, whole, onward, strict=True):
                parts[key][0].append((total - part)[0].norm(dim=-1))
                parts[key][1].append(part[0].norm(dim=-1))
    return {key: (torch.stack(a[::-1]), torch.stack(b[::-1])) for key, (a, b) in parts.items()}


def is_local(losses: Tensor, passed: Passed, at: Tensor) -> bool:
    """Whether a loss depends on the module's output at its own step alone; looks at three losses."""
    y = passed.y
    finals = torch.autograd.grad(losses.sum(), passed.finals, retain_graph=True, allow_unused=True)
    if any(pull is not None for pull in finals):
        return False
    for t in {int(at[0]), int(at[len(at) // 2]), int(at[-1])}:
        (pull,) = torch.autograd.grad(losses[t].sum(), y, retain_graph=True, allow_unused=True)
        if pull is not None and bool(pull[torch.arange(len(y)) != t].any()):
            return False
    return True


def by_nodes(
    run: Run, losses: Tensor, at: Tensor, lags: int, progress: Progress | None = None
) -> tuple[Norms, Split]:
    """Return what `sweep` and `split_by_sweep` measure by differentiating a graph of nodes, a loss at a time.

    Args:
        run: of `running.nodes`. losses: [T, B]. at: [n]. lags: how far back.
    """
    keys = [(layer.name, state) for layer in run.layers for state in layer.states]
    found: dict[tuple[str, str], list[Tensor]] = {key: [] for key in keys}
    for done, t in enumerate(at.tolist()):
        spans = [layer.states[state][t - lags : t + 1] for layer in run.layers for state in layer.states]
        gradients = iter(_norms(losses[t].sum(), [node for span in spans for node in span]))
        for key in keys:
            back = [next(gradients) for _ in range(lags + 1)]
            found[key].append(torch.stack(back[::-1]))
        if progress is not None:
            progress(done + 1, len(at))
    return {key: torch.stack(parts, dim=1) for key, parts in found.items()}, _split_nodes(run, losses)


def _norms(loss: Tensor, nodes: list[Tensor]) -> list[Tensor]:
    gradients = torch.autograd.grad(loss, nodes, retain_graph=True, allow_unused=True)
    return [
        node.new_zeros(len(node)) if gradient is None else gradient.norm(dim=-1)
        for node, gradient in zip(nodes, gradients, strict=True)
    ]


def _split_nodes(run: Run, losses: Tensor) -> Split:
    found: Split = {}
    for layer in run.layers:
        for state, nodes in layer.states.items():
            both = nodes + layer.carried[state]
            gradients = torch.autograd.grad(losses.sum(), both, retain_graph=True, allow_unused=True)
            whole, onward = (
                torch.stack([n.detach() * 0 if g is None else g for n, g in zip(ns, gs, strict=True)])
                for ns, gs in (
                    (nodes, gradients[: len(nodes)]),
                    (layer.carried[state], gradients[len(nodes) :]),
                )
            )
            found[layer.name, state] = ((whole - onward).norm(dim=-1), onward.norm(dim=-1))
    return found
