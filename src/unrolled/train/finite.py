"""Which tensor went wrong first, when a loss or a gradient stops being a number, and what may help."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import NonFiniteError
from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, State
from unrolled.train.precision import autocast

__all__ = ["check_gradient", "check_loss", "check_validation", "check_weights"]

LAYER = re.compile(r"_l(\d+)(_reverse)?$")  # at the end of a recurrent parameter's name


def check_loss(
    model: SequenceModel, batch: Batch, state: State, loss: float, *, step: int, config: TrainConfig
) -> None:
    """Raise NonFiniteError when `loss` is NaN or infinite, naming the first such tensor on its way."""
    if math.isfinite(loss):
        return
    culprit = _first_parameter(model) or _first_output(model, batch, state, config.dtype) or "the loss itself"
    raise _error("loss", step, loss, culprit, config)


def check_gradient(model: SequenceModel, norm: float, *, step: int, config: TrainConfig) -> None:
    """Raise NonFiniteError when a gradient's norm is not finite, naming the tensor nearest the loss."""
    if math.isfinite(norm):
        return
    broken = [n for n, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    culprit = (
        f"the gradient of {_with_layer(broken[-1])}"
        if broken
        else "the norm: every gradient is finite, their sum is not"
    )
    raise _error("gradient norm", step, norm, culprit, config)


def check_validation(model: SequenceModel, value: float, *, step: int, config: TrainConfig) -> None:
    """Raise NonFiniteError when a validation is not finite: such weights are not worth a checkpoint."""
    if math.isfinite(value):
        return
    culprit = _first_parameter(model) or "the logits: every parameter is finite"
    raise _error("validation", step, value, culprit, config)


def check_weights(model: SequenceModel, *, step: int, config: TrainConfig) -> None:
    """Raise NonFiniteError when a parameter is not finite: such weights are not worth a checkpoint."""
    culprit = _first_parameter(model)
    if culprit is not None:
        raise _error("weights", step, math.nan, culprit, config)


def _error(what: str, step: int, got: float, culprit: str, config: TrainConfig) -> NonFiniteError:
    return NonFiniteError(
        f"{what} at step {step}: expected a finite number, got {got}; first in {culprit}; "
        f"the last checkpoint is kept; what may help in a new run: {_advice(config)}"
    )


def _advice(config: TrainConfig) -> str:
    """Return flags that make a step tamer, the likeliest first."""
    flags = ["--dtype float32"] if config.dtype == "bfloat16" else []
    if config.cell == "rnn" and config.nonlinearity == "relu":
        flags.append("--nonlinearity tanh")
    if config.learning_rate is not None:
        flags.append(f"--lr {config.learning_rate / 3:.1g}")
    return ", ".join([*flags, f"--clip {config.clip_norm / 4:.1g}"])


def _with_layer(name: str) -> str:
    """Return a parameter's name, with the number of its layer where it is one of a stack."""
    found = LAYER.search(name)
    return f"{name} (layer {int(found[1]) + 1})" if found else name


def _first_parameter(model: SequenceModel) -> str | None:
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return f"the parameter {_with_layer(name)}"
    return None


def _first_output(model: SequenceModel, batch: Batch, state: State, dtype: str) -> str | None:
    """Run the batch again and watch every module's output."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: Any, named: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if not found and isinstance(tensor, Tensor) and not _finite(tensor):
                found.append(f"the output of {name}{_layer_of(module, inputs, named)}")

        return hook

    handles = [
        m.register_forward_hook(watch(name), with_kwargs=True) for name, m in model.named_modules() if name
    ]
    try:
        with torch.no_grad(), autocast(dtype):
            model.loss(batch, state)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _layer_of(module: Any, inputs: Any, named: Any) -> str:
    """Return which layer of a recurrent stack was the first to give a number that is not finite."""
    if not hasattr(module, "trajectories"):
        return ""
    layers = module.trajectories(*inputs, **named, backend="auto")[2]
    broken = [k for k, each in enumerate(layers, start=1) if not all(_finite(part) for part in each)]
    return f" (layer {broken[0]} of {len(layers)})" if broken else ""


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
