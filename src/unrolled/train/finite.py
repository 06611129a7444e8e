"""Which tensor went wrong first, when a loss or a gradient stops being a number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import NonFiniteError
from unrolled.models import SequenceModel, State
from unrolled.train.precision import autocast

__all__ = ["check_gradient", "check_loss", "check_validation"]

ADVICE = "the last checkpoint is kept; a smaller --lr or --clip may help"


def check_loss(
    model: SequenceModel, batch: Batch, state: State, loss: float, *, step: int, dtype: str
) -> None:
    """Raise NonFiniteError when `loss` is NaN or infinite, naming the first such tensor on its way."""
    if math.isfinite(loss):
        return
    culprit = _first_parameter(model) or _first_output(model, batch, state, dtype) or "the loss itself"
    raise NonFiniteError(
        f"loss at step {step}: expected a finite number, got {loss}; first in {culprit}; {ADVICE}"
    )


def check_gradient(model: SequenceModel, norm: float, *, step: int) -> None:
    """Raise NonFiniteError when a gradient's norm is not finite, naming the tensor nearest the loss."""
    if math.isfinite(norm):
        return
    broken = [n for n, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    culprit = (
        f"the gradient of {broken[-1]}" if broken else "the norm: every gradient is finite, their sum is not"
    )
    raise NonFiniteError(
        f"gradient norm at step {step}: expected a finite number, got {norm}; first in {culprit}; {ADVICE}"
    )


def check_validation(model: SequenceModel, value: float, *, step: int) -> None:
    """Raise NonFiniteError when a validation is not finite: such weights are not worth a checkpoint."""
    if math.isfinite(value):
        return
    culprit = _first_parameter(model) or "the logits: every parameter is finite"
    raise NonFiniteError(
        f"validation at step {step}: expected a finite number, got {value}; first in {culprit}; {ADVICE}"
    )


def _first_parameter(model: SequenceModel) -> str | None:
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return f"the parameter {name}"
    return None


def _first_output(model: SequenceModel, batch: Batch, state: State, dtype: str) -> str | None:
    """Run the batch again and watch every module's output."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if not found and isinstance(tensor, Tensor) and not _finite(tensor):
                found.append(name)

        return hook

    handles = [m.register_forward_hook(watch(name)) for name, m in model.named_modules() if name]
    try:
        with torch.no_grad(), autocast(dtype):
            model.loss(batch, state)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of {found[0]}" if found else None


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
