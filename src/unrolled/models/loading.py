"""From files to a network, and back: the only place where checkpoint bytes become torch tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unrolled import checkpoint, tokens
from unrolled.errors import CheckpointError
from unrolled.models.language import LanguageModel
from unrolled.spec import ModelConfig, from_json, tensors

__all__ = ["Loaded", "from_stored", "load", "model_tensors", "to_stored"]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16,
          "float16": torch.float16, "int64": torch.int64, "int32": torch.int32, "uint8": torch.uint8,
          "bool": torch.bool}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Loaded:
    """A trained network with what belongs to it."""

    model: LanguageModel  # in evaluation mode
    tokens: tokens.Tokens
    config: Mapping[str, object]  # the stored config.json: model, data, training
    path: Path  # the directory that was read
    step: int | None  # optimizer steps behind the weights, where known


def load(path: str | Path, *, backend: str = "auto") -> Loaded:
    """Load a trained network from a run, a checkpoint or a model directory, verifying every file.

    Args:
        path: a run (its `model/` is taken, else BEST, else LATEST), or one such directory.
        backend: of the recurrent layers; see `unrolled.explain`.
    Returns:
        The model in evaluation mode, its tokens and its config.
    Raises:
        RunError: there is nothing to load. CheckpointError: a file is torn, altered or does not fit.
    """
    where = checkpoint.locate(Path(path))
    contents = checkpoint.read(where)
    config = from_json(ModelConfig, contents.config["model"], where="config.json model")
    with torch.random.fork_rng(devices=[]):  # torch's own start, soon overwritten, must not draw from it
        model = LanguageModel(config, seed=None, backend=backend)
    stored = {name: from_stored(tensor) for name, tensor in contents.model.items()}
    model.load_state_dict(stored, strict=not config.tie_weights)
    model.eval()
    vocabulary = tokens.from_json(contents.tokens)
    if vocabulary.size != config.vocab_size:
        raise CheckpointError(f"tokens.json: expected {config.vocab_size} symbols, got {vocabulary.size}")
    return Loaded(model, vocabulary, contents.config, where, contents.step)


def model_tensors(model: LanguageModel) -> dict[str, checkpoint.Tensor]:
    """Return the tensors that `model.safetensors` holds, by `spec.tensors`."""
    state = model.state_dict()
    return {name: to_stored(state[name]) for name in tensors(model.config)}


def to_stored(tensor: Tensor) -> checkpoint.Tensor:
    """Copy a torch tensor out as (dtype name, shape, bytes)."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return checkpoint.Tensor(
        NAMES[tensor.dtype], tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()
    )


def from_stored(stored: checkpoint.Tensor) -> Tensor:
    """Return (dtype name, shape, bytes) as a torch tensor; it shares the memory of a bytearray."""
    if len(stored.data) == 0:
        return torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
    data = stored.data if isinstance(stored.data, bytearray) else bytearray(stored.data)
    return torch.frombuffer(data, dtype=DTYPES[stored.dtype]).reshape(stored.shape)
