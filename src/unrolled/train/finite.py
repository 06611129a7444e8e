"""Which tensor went wrong first, when a loss or a gradient stops being a number, and what may help."""

from __future__ import annotations

import contextlib
import math
import re
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import NonFiniteError
from unrolled.nn import Recurrent
from unrolled.spec import TrainConfig
from unrolled.tasks import SequenceModel, State, is_finite

__all__ = ["advice_for", "autocast", "check_gradient", "check_loss", "check_validation", "check_weights"]

LAYER = re.compile(r"_l(\d+)(_reverse)?$")  # at the end of a recurrent parameter's name


def check_loss(
    model: SequenceModel, batch: Batch, state: State, loss: float, *, where: str, dtype: str, advice: str
) -> None:
    """Raise NonFiniteError when `loss` is NaN or infinite, naming the first such tensor on its way.

    Args:
        where: "step 7". dtype: that the step runs in. advice: what may help, "" for nothing.
    """
    if math.isfinite(loss):
        return
    culprit = _first_parameter(model) or _first_output(model, batch, state, dtype) or "the loss itself"
    raise _error(f"loss at {where}", loss, culprit, advice)


def check_gradient(model: SequenceModel, norm: float, *, where: str, advice: str) -> None:
    """Raise NonFiniteError when a gradient's norm is not finite, naming the tensor nearest the loss."""
    if math.isfinite(norm):
        return
    broken = [n for n, p in model.named_parameters() if p.grad is not None and not is_finite(p.grad)]
    culprit = (
        f"the gradient of {_with_layer(broken[-1])}"
        if broken
        else "the norm: every gradient is finite, their sum is not"
    )
    raise _error(f"gradient norm at {where}", norm, culprit, advice)


def check_validation(model: SequenceModel, value: float, *, where: str, advice: str) -> None:
    """Raise NonFiniteError when a validation is not finite: such weights are not worth a checkpoint."""
    if math.isfinite(value):
        return
    culprit = _first_parameter(model) or "the network's outputs: every parameter is finite"
    raise _error(f"validation at {where}", value, culprit, advice)


def check_weights(model: SequenceModel, *, where: str, advice: str) -> None:
    """Raise NonFiniteError when a parameter is not finite: such weights are not worth a checkpoint."""
    culprit = _first_parameter(model)
    if culprit is not None:
        raise _error(f"weights at {where}", math.nan, culprit, advice)


def advice_for(config: TrainConfig) -> str:
    """Return the end of a run's messages: the last checkpoint, and flags that make a step tamer."""
    flags = ["--dtype float32"] if config.dtype == "bfloat16" else []
    if config.nonlinearity == "relu":
        flags.append("--nonlinearity tanh")
    if config.learning_rate is not None:
        flags.append(f"--lr {config.learning_rate / 3:.1g}")
    flags.append(f"--clip {config.clip_norm / 4:.1g}")
    return f"; the last checkpoint is kept; what may help in a new run: {', '.join(flags)}"


def _error(what: str, got: float, culprit: str, advice: str) -> NonFiniteError:
    return NonFiniteError(f"{what}: expected a finite number, got {got}; first in {culprit}{advice}")


def _with_layer(name: str) -> str:
    """Return a parameter's name, with the number of its layer where it is one of a stack."""
    found = LAYER.search(name)
    return f"{name} (layer {int(found[1]) + 1})" if found else name


def _first_parameter(model: SequenceModel) -> str | None:
    for name, parameter in model.named_parameters():
        if not is_finite(parameter):
            return f"the parameter {_with_layer(name)}"
    return None


def _first_output(model: SequenceModel, batch: Batch, state: State, dtype: str) -> str | None:
    """Run the batch again and watch every module's output."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: Any, named: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if not found and isinstance(tensor, Tensor) and not is_finite(tensor):
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
    if not isinstance(module, Recurrent):
        return ""
    layers = module.trajectories(*inputs, **named, backend="auto")[2]
    broken = [k for k, each in enumerate(layers, start=1) if not all(is_finite(part) for part in each)]
    return f" (layer {broken[0]} of {len(layers)})" if broken else ""


def autocast(dtype: str) -> AbstractContextManager[Any]:
    """Return the context in which a training step of that dtype runs; weights stay float32."""
    if dtype == "bfloat16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()
