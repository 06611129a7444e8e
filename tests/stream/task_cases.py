"""Small causal classifiers and regressors with random weights, as checkpoints: for streams and for torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unrolled import checkpoint, spec, tokens
from unrolled.data import Scaler
from unrolled.schema import SequenceSchema

TEXTS = ["Fay and Ben sing,", "and dance."]


def samples(
    lengths: Sequence[int], channels: int, *, seed: int = 0, missing: float = 0.0
) -> list[np.ndarray]:
    """Series of these lengths, some of their values missing."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(3, 5, size=(steps, channels)).astype(np.float32) for steps in lengths]
    for each in found:
        each[rng.random(each.shape) < missing] = np.nan
    return found


def contents(
    schema: SequenceSchema,
    vocabulary: tokens.Tokens | None = None,
    *,
    path: Path = Path("model"),
    scale: float = 0.4,
    seed: int = 0,
    **sizes: object,
) -> checkpoint.Contents:
    """A causal network for what a schema gives."""
    numbers = 0 if schema.scaler is None else len(schema.scaler.outputs)
    kind = spec.ClassifyModel if schema.classes else spec.RegressModel
    settings = {
        "input_size": numbers,
        "vocab_size": 0 if vocabulary is None else vocabulary.size,
        "embedding_size": 0 if vocabulary is None else 3,
        "outputs": len(schema.classes) or 1,
        "hidden_size": 6,
        "causal": True,
        "pooling": "last",
        **sizes,
    }
    config = kind(**settings)
    rng, weights = np.random.default_rng(seed), {}
    for name, (dtype, shape) in spec.tensors(config).items():
        data = rng.normal(scale=scale, size=shape).astype(np.float32)
        weights[name] = checkpoint.Tensor(dtype, shape, data.tobytes())
    stored = {
        "task": spec.kind_of(config).name, "model": spec.to_json(config), "data": {}, "training": {},
        "schema": schema.to_json(),
    }  # fmt: skip
    described = None if vocabulary is None else vocabulary.to_json()
    return checkpoint.Contents(stored, weights, described, None, None, path)


def schema_of(
    series: Sequence[np.ndarray], *, classes: int = 3, times: object = None, missing: str = "mask"
) -> SequenceSchema:
    """The schema of a classifier, or of a regressor (0 classes), fitted on some series."""
    scaler = Scaler.fit(series, times=times, missing=missing)
    names = tuple(f"class {n}" for n in range(classes))
    return SequenceSchema(names, mean=(7.0,), scale=(2.5,), scaler=scaler, temperature=1.7)


def text_schema(classes: int = 3) -> tuple[SequenceSchema, tokens.Tokens]:
    names = tuple(f"class {n}" for n in range(classes))
    return SequenceSchema(names, temperature=0.6), tokens.build("char", TEXTS)
