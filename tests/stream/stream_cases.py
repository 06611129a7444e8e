"""Small networks for the streams' tests: random weights from a seed, as torch lays them out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from unrolled import stream
from unrolled.spec import Steps
from unrolled.stream.weights import Weight, convert

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
MODES = tuple(GATES)

Floats = np.ndarray


def layer_tensors(
    mode: str,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    proj_size: int = 0,
    bias: bool = True,
    seed: int = 0,
) -> dict[str, Floats]:
    """A `state_dict` of torch's layers as numpy arrays."""
    rng = np.random.default_rng(seed)
    rows, width = GATES[mode] * hidden_size, proj_size or hidden_size
    most = hidden_size**-0.5
    made = {}
    for layer in range(num_layers):
        shapes = {"weight_ih": (rows, width if layer else input_size), "weight_hh": (rows, width)}
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if proj_size:
            shapes["weight_hr"] = (proj_size, hidden_size)
        for name, shape in shapes.items():
            made[f"{name}_l{layer}"] = rng.uniform(-most, most, shape).astype(np.float32)
    return made


def recurrent(mode: str, *sizes: int, weights: str = "float32", **options: object) -> stream.Recurrent:
    """Layers alone, of sizes (I, H, layers)."""
    return stream.Recurrent.from_tensors(mode, layer_tensors(mode, *sizes, **options), weights=weights)


def token_model(
    mode: str,
    vocabulary: int,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    head: bool = True,
    tied: bool = False,
    weights: str = "float32",
    seed: int = 0,
) -> tuple[stream.Model, dict[str, Floats]]:
    """A network that takes ids, without or with a read-out, and its float32 tensors."""
    rng = np.random.default_rng(seed + 1)
    tensors = layer_tensors(mode, input_size, hidden_size, num_layers, seed=seed)
    tensors["embedding"] = rng.normal(size=(vocabulary, input_size)).astype(np.float32)
    if head and not tied:
        tensors["head"] = rng.normal(size=(vocabulary, hidden_size)).astype(np.float32) / 8
    if head:
        tensors["head_bias"] = rng.normal(size=vocabulary).astype(np.float32)
    cell, _, nonlinearity = mode.lower().partition("_")
    steps = Steps(
        cell, nonlinearity or "tanh", num_layers, "", "embedding",
        None if not head else "embedding" if tied else "head", "head_bias" if head else None,
    )  # fmt: skip
    matrices = steps.matrices(tensors)
    found = {name: convert(w, weights) if name in matrices else Weight(w) for name, w in tensors.items()}
    return stream.Model(found, steps, weights), tensors


@contextlib.contextmanager
def on(isa: str) -> Iterator[None]:
    """Use an instruction set for what is packed and run here."""
    before = os.environ.get("UNROLLED_ISA")
    os.environ["UNROLLED_ISA"] = isa
    try:
        yield
    finally:
        os.environ.pop("UNROLLED_ISA")
        if before is not None:
            os.environ["UNROLLED_ISA"] = before


def same_state(a: dict[str, Floats], b: dict[str, Floats]) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def inputs(steps: int, size: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(steps, size)).astype(np.float32)


def advance(session: stream.Session, x: Floats, cuts: Sequence[int]) -> Floats:
    """All outputs of x, cut into calls: a 1 is a `step`, a larger number a `run`; the rest is one `run`."""
    parts, at = [np.empty((0, session.model.output_size), np.float32)], 0
    for cut in cuts:
        taken = x[at : at + cut]
        if len(taken) == 0:
            break
        one = taken[0] if x.ndim > 1 else int(taken[0])
        parts.append(session.step(one)[None] if cut == 1 else session.run(taken))
        at += len(taken)
    return np.concatenate([*parts, session.run(x[at:])])
