"""Recurrent networks (RNN, LSTM, GRU) on PyTorch: fast, visible, streamable.

Importing this loads no torch; it loads when something that needs it is touched.

    unrolled.nn             layers and cells: torch.nn's constructors, ragged lengths, resets
    unrolled.ops            rnn(), lstm(), gru() as functions
    unrolled.accelerate     swap the torch.nn recurrent layers of any model, in place
    unrolled.accelerated    with it: whatever is built inside is swapped from the start
    unrolled.acceleration_report   what was swapped, what was not, and why
    unrolled.to_torch       and back
    unrolled.explain        which path a call takes, and why
    unrolled.train          train.run(TrainConfig(...)): a text in, a run directory out
    unrolled.load           a trained network from its files
    unrolled.stream         stream.load(run).open().step(token): one step in microseconds, without torch
    unrolled.sample         sample.sample(loaded, prompt): its text, streamed
    unrolled.predict        predict.predict(run, "new.csv"): a trained network's answers for new samples
    unrolled.quantize       quantize.quantize(run, weights="int8"): smaller weights, and what they cost
    unrolled.export         export.export(run, to="onnx", out="run.onnx"): a network for where Python is not
    unrolled.evaluate_text  its score on a text
    unrolled.tasks          the language model, and the protocol for a task of your own
    unrolled.probe          what a recurrent network remembers, and how its gradient fares
    unrolled.adapters       our layers in Lightning, sb3-contrib, TorchRL and opacus
    unrolled.lab            lab.run(LabConfig(...)): a lecture on recurrent networks, answered by measurement
    unrolled.sweep          sweep.run(config, axes, SweepConfig(...)): a run for each of many settings
    unrolled.doctor         doctor.report(): what this machine has

Rooms that these are built on, documented and found here too: `checkpoint`, `data`, `draw`, `figures`, `spec`
and `tokens`; `models` is the old name of `tasks`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unrolled.errors import MissingExtraError, UnrolledError
from unrolled.spec import DataConfig, LabConfig, ModelConfig, SweepConfig, TrainConfig, provide_trainer

if TYPE_CHECKING:
    from unrolled import doctor, lab, nn, ops, probe, sample, sweep, tasks, train
    from unrolled.nn import accelerate, accelerated, acceleration_report, explain, to_torch
    from unrolled.tasks import evaluate_text, load

__all__ = [
    "DataConfig",
    "LabConfig",
    "ModelConfig",
    "SweepConfig",
    "TrainConfig",
    "UnrolledError",
    "__version__",
    "accelerate",
    "accelerated",
    "acceleration_report",
    "doctor",
    "evaluate_text",
    "explain",
    "lab",
    "load",
    "nn",
    "ops",
    "probe",
    "sample",
    "sweep",
    "tasks",
    "to_torch",
    "train",
]

_ROOMS = {"doctor", "lab", "nn", "ops", "probe", "quantize", "sample", "sweep", "tasks", "train"}
_ROOMS |= {
    "adapters",
    "predict",
    "checkpoint",
    "data",
    "draw",
    "export",
    "figures",
    "models",
    "spec",
    "stream",
    "tokens",
}
_NAMES = {
    "accelerate": "unrolled.nn",
    "accelerated": "unrolled.nn",
    "acceleration_report": "unrolled.nn",
    "evaluate_text": "unrolled.tasks",
    "explain": "unrolled.nn",
    "load": "unrolled.tasks",
    "to_torch": "unrolled.nn",
}


provide_trainer(lambda: importlib.import_module("unrolled.train"))  # late, as it loads torch


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("unrolled")
    try:
        if name in _NAMES:
            return getattr(importlib.import_module(_NAMES[name]), name)
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
