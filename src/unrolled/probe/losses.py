"""The scalar that is differentiated: a loss at each step of each row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.errors import ConfigError, NonFiniteError, ShapeError, expected
from unrolled.probe.running import Inputs, Run, output_of
from unrolled.probe.subject import Subject
from unrolled.tasks import LanguageModel

__all__ = ["Loss", "by_step", "projection", "step_losses"]

Loss = Callable[[Tensor], Tensor]  # the model's output → [T, B]


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
    elif isinstance(subject.model, LanguageModel) and inputs.targets is not None:
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
    """Return the fixed random vector [size] of length 1 that stands in for a loss."""
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
