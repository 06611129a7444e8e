"""A step directory that was not written by this package: with json and the safetensors library, by the format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from unrolled import checkpoint
from unrolled.errors import CheckpointError

ARCHITECTURE = {"vocab_size": 3, "embedding_size": 2, "hidden_size": 2, "cell": "rnn"}
SHAPES = {
    "embedding.weight": (3, 2), "recurrent.weight_ih_l0": (2, 2), "recurrent.weight_hh_l0": (2, 2),
    "recurrent.bias_ih_l0": (2,), "recurrent.bias_hh_l0": (2,), "readout.weight": (3, 2),
    "readout.bias": (3,),
}  # fmt: skip
FILES = ("config.json", "model.safetensors", "tokens.json", "optimizer.safetensors", "progress.json")
STEP = "step-00000005"


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the tensors of the small network."""
    numbers = np.random.default_rng(seed)
    return {name: numbers.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def seal(directory: Path, **changes: object) -> Path:
    """Write a manifest that fits the files as they are."""
    files = {name: {"size": (directory / name).stat().st_size,
                    "sha256": hashlib.sha256((directory / name).read_bytes()).hexdigest()}
             for name in FILES if (directory / name).is_file()}  # fmt: skip
    fields = {
        "format": "unrolled checkpoint",
        "version": 1,
        "kind": "step",
        "step": 5,
        "files": files,
    } | changes

    def text() -> bytes:
        return json.dumps(fields, sort_keys=True, indent=2).encode() + b"\n"

    fields["sha256"] = hashlib.sha256(text()).hexdigest()
    (directory / "manifest.json").write_bytes(text())
    return directory


def write_stranger(directory: Path) -> Path:
    """Write a step directory as others would by the format."""
    directory.mkdir()
    values = weights()
    moments = {
        f"{moment}.{name}": value for name, value in values.items() for moment in ("exp_avg", "exp_avg_sq")
    }
    steps = {f"step.{name}": np.array(5, dtype=np.float32) for name in values}
    (directory / "config.json").write_text(json.dumps({"model": ARCHITECTURE}))
    (directory / "model.safetensors").write_bytes(save(values))
    (directory / "optimizer.safetensors").write_bytes(save(moments | steps))
    (directory / "tokens.json").write_text(json.dumps({"kind": "char", "symbols": "abc"}))
    (directory / "progress.json").write_text(json.dumps({"step": 5, "rate": 0.25}))
    return seal(directory)


def refused(directory: Path, match: str = "expected") -> str:
    """Hold that a directory is refused in one printable line, and return the line."""
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.read(directory)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    return message
