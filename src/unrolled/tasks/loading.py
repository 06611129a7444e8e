"""From files to a network, and back: the only place where checkpoint bytes become torch tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled import checkpoint
from unrolled.errors import CheckpointError, expected
from unrolled.spec import kind_of_stored, tensors
from unrolled.tasks.protocol import named

__all__ = ["Loaded", "assemble", "check_finite", "from_stored", "is_finite", "load", "model_tensors",
           "to_stored"]  # fmt: skip

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16,
          "float16": torch.float16, "int64": torch.int64, "int32": torch.int32, "uint8": torch.uint8,
          "bool": torch.bool}  # fmt: skip
WEIGHTS = "model.safetensors"  # what messages call the file that they lie in
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Loaded:
    """A trained network with what belongs to it."""

    model: Any  # in evaluation mode: a LanguageModel, or another task's network
    tokens: Any  # its vocabulary, an unrolled.tokens.Tokens; None where the task has none
    config: Mapping[str, Any]  # the stored config.json: task, model, data, training
    path: Path  # the directory that was read
    step: int | None  # optimizer steps behind the weights, where known


def load(path: str | Path, *, backend: str = "auto") -> Loaded:
    """Load a trained network from a run, a checkpoint or a model directory, verifying every file.

    Whatever the files hold, nothing of them is executed, and the memory taken is at most their size + 64 MiB.

    Args:
        path: a run (its `model/` is taken, else BEST, else LATEST), or one such directory, or what
            `LanguageModel.save_pretrained` wrote.
        backend: of the recurrent layers; see `unrolled.explain`.
    Returns:
        The model in evaluation mode, its tokens and its config.
    Raises:
        RunError: there is nothing to load. CheckpointError: a file is torn, altered or does not fit, or a
            weight is not finite. TokenError: the tokens are no vocabulary.
    """
    return assemble(checkpoint.read_run(path), backend=backend)


def assemble(contents: checkpoint.Contents, *, backend: str = "auto") -> Loaded:
    """Build the network that was read, around the very memory that its weights were read into.

    Raises:
        CheckpointError, TokenError: as `load`. ConfigError: its task is not registered.
    """
    dtype = checkpoint.weights_dtype(contents.config)
    if dtype != "float32":
        got = f"{dtype}, which unrolled.stream runs"
        raise CheckpointError(expected(f"{contents.path}", "float32 weights", got))
    task = named(kind_of_stored(contents.config).name)
    stored = {name: from_stored(tensor) for name, tensor in contents.model.items()}
    check_finite(stored)
    model, vocabulary = task.around(contents, stored, backend=backend)
    model.eval()
    assert contents.path is not None  # by `checkpoint.read`
    return Loaded(model, vocabulary, contents.config, contents.path, contents.step)


def model_tensors(model: Any) -> dict[str, checkpoint.Tensor]:
    """Return the tensors that `model.safetensors` holds, by `spec.tensors`. Raises as `to_stored`."""
    state = model.state_dict()
    return {name: to_stored(state[name], f"{WEIGHTS} {name}") for name in tensors(model.config)}


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError: a weight is NaN or infinite; it names the first such tensor."""
    for name, tensor in weights.items():
        if not is_finite(tensor):
            raise CheckpointError(expected(f"{WEIGHTS} {name}", "finite weights", "NaN or infinity"))


def to_stored(tensor: Tensor, where: str = "tensor") -> checkpoint.Tensor:
    """Copy a torch tensor out as (dtype name, shape, bytes).

    Args:
        where: what the message calls it.
    Raises:
        CheckpointError: its dtype is none that a checkpoint holds, such as float8.
    """
    if tensor.dtype not in NAMES:
        got = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(expected(where, "one of the dtypes " + ", ".join(DTYPES), got))
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return checkpoint.Tensor(
        NAMES[tensor.dtype], tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()
    )


def from_stored(stored: checkpoint.Tensor) -> Tensor:
    """Return (dtype name, shape, bytes) as a torch tensor; it shares memory that can be written."""
    if len(stored.data) == 0:
        return torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
    view = memoryview(stored.data)
    data = bytearray(view) if view.readonly else view
    return torch.frombuffer(data, dtype=DTYPES[stored.dtype]).reshape(stored.shape)


def is_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite; takes no memory for an answer per element."""
    return not tensor.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(tensor.detach()))).all())
