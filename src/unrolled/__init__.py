"""Recurrent networks (RNN, LSTM, GRU) on PyTorch: fast, visible, streamable.

Importing this loads no torch; it loads when something that needs it is touched.

    unrolled.nn         layers and cells: torch.nn's constructors, ragged lengths, resets
    unrolled.ops        rnn(), lstm(), gru() as functions
    unrolled.accelerate swap the torch.nn recurrent layers of any model, in place
    unrolled.to_torch   and back, for ONNX, quantisation and other tools
    unrolled.explain    which path a call takes, and why
    unrolled.train      train.run(TrainConfig(...)): a text in, a run directory out
    unrolled.load       a trained network from its files
    unrolled.sample     sample.sample(loaded, prompt): its text, streamed
    unrolled.evaluate_text  its score on a text
    unrolled.probe      what a recurrent network remembers, and how its gradient fares
    unrolled.lab        lab.run(LabConfig(...)): a lecture on recurrent networks, answered by measurement
    unrolled.doctor     doctor.report(): what this machine has
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unrolled.errors import MissingExtraError, UnrolledError
from unrolled.spec import DataConfig, LabConfig, ModelConfig, TrainConfig

if TYPE_CHECKING:
    from unrolled import (
        checkpoint,
        data,
        doctor,
        draw,
        figures,
        lab,
        nn,
        ops,
        probe,
        sample,
        tasks,
        tokens,
        train,
    )
    from unrolled.nn import accelerate, explain, to_torch
    from unrolled.tasks import evaluate_text, load

__all__ = [
    "DataConfig",
    "LabConfig",
    "ModelConfig",
    "TrainConfig",
    "UnrolledError",
    "__version__",
    "accelerate",
    "checkpoint",
    "data",
    "doctor",
    "draw",
    "evaluate_text",
    "explain",
    "figures",
    "lab",
    "load",
    "models",
    "nn",
    "ops",
    "probe",
    "sample",
    "tasks",
    "to_torch",
    "tokens",
    "train",
]

_ROOMS = (
    "checkpoint",
    "data",
    "doctor",
    "draw",
    "figures",
    "lab",
    "models",
    "nn",
    "ops",
    "probe",
    "sample",
    "tasks",
    "tokens",
    "train",
)
_NAMES = {
    "accelerate": ("unrolled.nn", "accelerate"),
    "evaluate_text": ("unrolled.tasks", "evaluate_text"),
    "explain": ("unrolled.nn", "explain"),
    "load": ("unrolled.tasks", "load"),
    "to_torch": ("unrolled.nn", "to_torch"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("unrolled")
    try:
        if name in _NAMES:
            module, attribute = _NAMES[name]
            return getattr(importlib.import_module(module), attribute)
        if name in _ROOMS:
            return importlib.import_module(f"unrolled.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "unrolled":
            raise
        raise MissingExtraError(
            f"unrolled.{name}: needs {error.name}, which is not installed; pip install 'unrolled[train]'"
        ) from error
    raise AttributeError(f"module 'unrolled' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
