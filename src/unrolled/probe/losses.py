"""The losses that are differentiated, one at each step of each row, and their gradients by every state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.errors import ConfigError, NonFiniteError, ShapeError, expected
from unrolled.ops import States, StepJacobian, backward_step
from unrolled.probe.batch import Inputs
from unrolled.probe.recording import Passed, Run, output_of
from unrolled.probe.subject import Subject
from unrolled.tasks import LanguageModel

Loss = Callable[[Tensor], Tensor]  # the model's output → [T, B]
Progress = Callable[[int, int], None]  # (done, of how many)
Norms = dict[tuple[str, str], Tensor]  # (layer, state) → [lags + 1, n, B]


class Parts(NamedTuple):
    """The gradient of the summed loss with respect to one state of one layer.

    Attributes:
        injected, carried: [T, B] the norms of what is added at a step, and of what comes from later ones.
        units: [H] the magnitudes, summed over steps and rows.
    """

    injected: Tensor
    carried: Tensor
    units: Tensor


Split = dict[tuple[str, str], Parts]  # by (layer, state)


def gives_logits(model: object) -> TypeGuard[LanguageModel]:
    """Whether the output of a model is the logits of the symbol that follows: a language model's is."""
    return isinstance(model, LanguageModel)


def step_losses(subject: Subject, inputs: Inputs, run: Run, loss: Loss | None) -> Tensor:
    """Return the loss at every step, [T, B], with its graph.

    With `loss`, what it says. Otherwise for a `LanguageModel` on a `Batch` the cross-entropy of the target in
    nats; for any other model the product of the output at that step with one fixed random vector of length 1
    (`projection`), whose gradient is that vector, wherever the output lies.

    Raises:
        ShapeError: `loss` gave no [T, B]. ConfigError: there is no loss, and the output has no step and row
        axes; or no recurrent layer acts on it. NonFiniteError: a loss is NaN or infinite.
    """
    output = output_of(run.output)
    losses: Tensor
    if loss is not None:
        losses = _checked(loss(output), run)
    elif gives_logits(subject.model) and inputs.targets is not None:
        losses = F.cross_entropy(output.flatten(0, 1), inputs.targets.flatten(), reduction="none")
        losses = losses.view(run.steps, run.rows)
    else:
        values = by_step(subject, output, run.steps, run.rows)
        losses = values @ projection(values.shape[-1]).to(values)
    if not bool(torch.isfinite(losses.detach()).all()):
        raise NonFiniteError(expected("loss", "finite values", "NaN or infinity"))
    if not losses.requires_grad:
        raise ConfigError(expected("loss", "a function of the recurrent layers", "one that ignores them"))
    return losses


def projection(size: int) -> Tensor:
    """Return the fixed random vector [size] of length 1 that is used in the place of a loss."""
    vector = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return F.normalize(vector, dim=0)


def by_step(subject: Subject, output: Tensor, steps: int, rows: int) -> Tensor:
    """Return a model's output as [T, B, features].

    Raises:
        ConfigError: it has no step and row axes where the first recurrent layer has them.
    """
    want = [rows, steps] if subject.batch_first else [steps, rows]
    if output.dim() == 2 and rows == 1 and output.shape[0] == steps:
        return output[:, None]  # unbatched
    if output.dim() < 2 or list(output.shape[:2]) != want:
        axes = f"[{want[0]}, {want[1]}, …]"
        raise ConfigError(expected("model", f"an output {axes}, or loss=", list(output.shape)))
    return (output.transpose(0, 1) if subject.batch_first else output).reshape(steps, rows, -1)


def _checked(losses: object, run: Run) -> Tensor:
    want = [run.steps, run.rows]
    if not isinstance(losses, Tensor) or list(losses.shape) != want:
        got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ShapeError(expected("loss", f"a tensor {want} of losses by step and row", got))
    return losses


def split_by_sweep(
    names: Sequence[Sequence[tuple[str, str]]], layers: Sequence[StepJacobian], seeds: Tensor
) -> Split:
    """Return what the summed loss injects at each step, and what comes from later ones.

    Args:
        names: per layer, the keys of its states.
        layers: of one stack, the lowest first.
        seeds: [T, B, P] the summed loss's gradient with respect to the stack's output.
    """
    steps, rows = seeds.shape[:2]
    parts: dict[tuple[str, str], tuple[list[Tensor], list[Tensor]]] = {
        key: ([], []) for keys in names for key in keys
    }
    units = {
        key: seeds.new_zeros(size)
        for keys, layer in zip(names, layers, strict=True)
        for key, size in zip(keys, layer.sizes, strict=True)
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
                units[key] += total[0].abs().sum(dim=0)
    return {
        key: Parts(torch.stack(a[::-1]), torch.stack(b[::-1]), units[key]) for key, (a, b) in parts.items()
    }


def is_local(losses: Tensor, passed: Passed, at: Tensor) -> bool:
    """Whether a loss depends on the module's output at its own step alone; looks at three losses."""
    y = passed.y
    finals = torch.autograd.grad(losses.sum(), passed.finals, retain_graph=True, allow_unused=True)
    if any(gradient is not None for gradient in finals):
        return False
    for t in {int(at[0]), int(at[len(at) // 2]), int(at[-1])}:
        (gradient,) = torch.autograd.grad(losses[t].sum(), y, retain_graph=True, allow_unused=True)
        if gradient is not None and bool(gradient[torch.arange(len(y)) != t].any()):
            return False
    return True


def by_nodes(
    run: Run, losses: Tensor, at: Tensor, lags: int, progress: Progress | None = None
) -> tuple[Norms, Split]:
    """Return what `gradients_by_lag` and `split_by_sweep` measure, by differentiating a graph of nodes.

    Args:
        run: of `recording.nodes`. losses: [T, B]. at: [n]. lags: how far back.
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
            found[layer.name, state] = Parts(
                (whole - onward).norm(dim=-1), onward.norm(dim=-1), whole.abs().sum(dim=(0, 1))
            )
    return found
