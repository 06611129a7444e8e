"""From a checkpoint's contents to a packed model, and to a checkpoint with smaller weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import checkpoint
from unrolled.errors import CheckpointError, ConfigError, expected
from unrolled.schema import ForecastSchema, Reading, SequenceReading, SequenceSchema, SeriesReading
from unrolled.spec import CELLS, Steps, from_json, kind_of_stored
from unrolled.spec import tensors as declared
from unrolled.stream.health import known_of
from unrolled.stream.model import Model
from unrolled.stream.tasks import TaskModel
from unrolled.stream.weights import Weight, check_weights, convert
from unrolled.tokens import from_json as tokens_from_json

__all__ = ["assemble", "converted", "load"]

DTYPES = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
ANSWERING = ("classify", "regress", "forecast")  # tasks with a schema


def load(path: str | Path, *, weights: str | None = None) -> Model:
    """Load a trained network for streaming from a run, a checkpoint or a model directory; no torch.

    Whatever the files hold, nothing of them is executed, and the memory taken is bounded by their size.

    Args:
        path: a run (its `model/` is taken, else BEST, else LATEST), or one such directory, or one that
            `unrolled quantize` wrote.
        weights: "float32", "bfloat16" or "int8"; default as stored.
    Returns:
        The model; `open` makes a stream of it. Of a classifier or a regressor it is a `TaskModel`.
    Raises:
        RunError: there is nothing to load. CheckpointError: a file is torn, altered or does not fit, or a
        weight is not finite. ConfigError: no such type of weights, or weights that are stored as another
        type than float32 are asked for in one. BackendError: this install has no compiled kernels.
    """
    if weights is not None:
        check_weights(weights)
    return assemble(checkpoint.read(checkpoint.locate(Path(path))), weights)


def assemble(contents: checkpoint.Contents, weights: str | None = None) -> Model:
    """Return the model of a checkpoint's contents. Raises as `load`."""
    stored = checkpoint.weights_dtype(contents.config)
    if stored != "float32" and weights not in (None, stored):
        raise ConfigError(expected("weights", f"{stored}, as they are stored", weights))
    weights = weights or stored
    kind = kind_of_stored(contents.config)
    architecture: Any = from_json(kind.model, contents.config["model"], where="model")
    if kind.steps is None:
        raise ConfigError(expected("run", "a task whose network runs step by step", kind.name))
    steps = kind.streamed(architecture)
    found = _stored(contents, steps, weights)
    tokens = None if contents.tokens is None else tokens_from_json(contents.tokens)
    model: Model
    if kind.name in ANSWERING:
        reading = _reading(contents, kind.name, architecture)
        model = TaskModel(found, steps, weights, reading, tokens)
    else:
        model = Model(found, steps, weights)
    model.tokens, model.config, model.path = tokens, contents.config, contents.path
    names = [f"{state}_l{layer}" for state in CELLS[steps.cell].states for layer in range(steps.num_layers)]
    model.known_states = known_of(contents.config, names, contents.path)
    return model


def _reading(contents: checkpoint.Contents, task: str, architecture: Any) -> Reading:
    """Return what a task reads of a raw step. Raises CheckpointError: the schema is none."""
    stored = contents.config.get("schema")
    if task == "forecast":
        schema = ForecastSchema.from_json(stored)
        return SeriesReading(schema, outputs=architecture.outputs, normalise=architecture.normalise)
    return SequenceReading(SequenceSchema.from_json(stored))


def converted(contents: checkpoint.Contents, weights: str, section: Mapping[str, Any]) -> checkpoint.Contents:
    """Return a float32 checkpoint's contents with its matrices in another type, for `checkpoint.write_into`.

    Args:
        weights: "bfloat16" or "int8". section: of config.json, "weights"; its "dtype" is `weights`.
    """
    kind = kind_of_stored(contents.config)
    architecture: Any = from_json(kind.model, contents.config["model"], where="model")
    model = {}
    for name, (dtype, shape) in declared(architecture, weights).items():
        if dtype == "float32" and not name.endswith(".scale"):
            model[name] = contents.model[name]
        elif not name.endswith(".scale"):
            made = convert(np.frombuffer(contents.model[name].data, np.float32).reshape(shape), weights)
            model[name] = checkpoint.Tensor(dtype, shape, made.data.tobytes())
            if made.scales is not None:
                model[f"{name}.scale"] = checkpoint.Tensor("float32", shape[:1], made.scales.tobytes())
    config = {**contents.config, "weights": dict(section)}
    return checkpoint.Contents(config, model, contents.tokens, step=contents.step)


def _stored(contents: checkpoint.Contents, steps: Steps, weights: str) -> dict[str, Weight]:
    """Return a checkpoint's tensors in the types in which they run."""
    arrays = {
        name: np.frombuffer(tensor.data, DTYPES[tensor.dtype]).reshape(tensor.shape)
        for name, tensor in contents.model.items()
    }
    for name, array in arrays.items():
        finite = (array & 0x7F80 != 0x7F80).all() if array.dtype == np.uint16 else np.isfinite(array).all()
        if not finite:
            raise CheckpointError(expected(f"model.safetensors {name}", "finite weights", "NaN or infinity"))
    matrices = steps.matrices(arrays)
    found = {}
    for name, array in arrays.items():
        if name.endswith(".scale"):
            continue
        if name not in matrices:
            found[name] = Weight(array)
        elif array.dtype != np.float32:
            found[name] = Weight(array, arrays.get(f"{name}.scale"))
        else:
            found[name] = convert(array, weights)
    return found
