"""Cases for the numerics ladder: what an op is called with, what it gives, and how near is equal."""

# ruff: noqa: E741, N803  # T, B, I and H are the axes' names in the design

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled import kernels, ops

# dtype → (rtol, atol): the one table. Sums of up to 63 steps and 67 products reach the loosest of them.
TOLERANCES = {
    torch.float64: (1e-9, 1e-10),
    torch.float32: (1e-4, 1e-4),
    torch.bfloat16: (5e-2, 1e-1),
    torch.float16: (1e-2, 2e-2),
}

VARIANTS = ("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru")
needs_kernels = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))
BACKENDS = ("reference", "torch", pytest.param("native", marks=needs_kernels))
PAIRS = [(variant, backend) for variant in VARIANTS for backend in ("reference", "torch")]
PAIRS += [pytest.param(variant, "native", marks=needs_kernels) for variant in VARIANTS]
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "lstm_projected": 4, "gru": 3}

Case = dict[str, Tensor | None]


def make(
    variant: str,
    *,
    T: int,
    B: int,
    H: int,
    I: int = 3,
    biases: str = "both",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Case:
    """Draw every tensor argument; each is a leaf that wants a gradient. Drawn small, as layers are."""
    generator = torch.Generator().manual_seed(seed)
    gates, projected = GATES[variant], (H // 2 or 2) if variant == "lstm_projected" else H

    def draw(*shape: int, scale: float = 1 / H**0.5) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.to(dtype).requires_grad_()

    case: Case = {"x": draw(T, B, I, scale=1.0), "h_0": draw(B, projected)}
    if variant.startswith("lstm"):
        case["c_0"] = draw(B, H)
    case["weight_ih"], case["weight_hh"] = draw(gates * H, I), draw(gates * H, projected)
    case["bias_ih"] = draw(gates * H) if biases in ("both", "ih") else None
    case["bias_hh"] = draw(gates * H) if biases in ("both", "hh") else None
    if variant == "lstm_projected":
        case["weight_hr"] = draw(projected, H)
    return case


def ragged(T: int, B: int, seed: int = 0) -> dict[str, Tensor]:
    """Draw unequal lengths, the empty and the full row among them, and resets, some past the length."""
    generator = torch.Generator().manual_seed(seed + 1000)
    lengths = torch.randint(0, T + 1, (B,), generator=generator)
    if B > 1:
        lengths[0], lengths[B // 2] = T, 0
    return {"lengths": lengths, "resets": torch.rand(T, B, generator=generator) < 0.25}


def call(variant: str, case: Case, **options: Any) -> tuple[Any, ...]:
    """Call the op; return y, the states and, where asked for, the trajectory as one flat tuple."""
    named = dict(case)
    if variant.startswith("lstm"):
        state = (named.pop("h_0"), named.pop("c_0"))
        y, (h, c), *rest = ops.lstm(state=state, **named, **options)
        return (y, h, c, *rest)
    if variant == "gru":
        return ops.gru(**named, **options)
    return ops.rnn(**named, nonlinearity=variant.removeprefix("rnn_"), **options)


def evaluate(variant: str, case: Case, **options: Any) -> dict[str, Tensor]:
    """Return every output and, for a fixed random weighting of all of them, every gradient."""
    y, *states = call(variant, case, **options)
    return outputs_and_gradients((y, *states), case)


def outputs_and_gradients(outputs: tuple[Tensor, ...], case: Case) -> dict[str, Tensor]:
    named = dict(zip(("y", "h_n", "c_n"), outputs, strict=False))
    generator = torch.Generator().manual_seed(7)
    loss = torch.zeros((), dtype=torch.float64)
    for output in outputs:
        weight = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        loss = loss + (output.double() * weight).sum()
    leaves = {name: leaf for name, leaf in case.items() if leaf is not None}
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        named[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return {name: value.detach() for name, value in named.items()}


def assert_equal(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Assert that both hold the same names, and values as near as the table of tolerances says."""
    assert got.keys() == want.keys()
    for name, value in want.items():
        rtol, atol = TOLERANCES[got[name].dtype]
        named = partial("{}: {}".format, name)
        torch.testing.assert_close(got[name], value, rtol=rtol, atol=atol, msg=named)


def load(case: Case, module: torch.nn.RNNBase, suffix: str = "l0") -> None:
    """Put the case's weights into a layer of torch.nn."""
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
            if case.get(name) is not None:
                getattr(module, f"{name}_{suffix}").copy_(case[name])


def twin(variant: str, case: Case) -> torch.nn.RNNBase:
    """Return the layer of torch.nn with the case's weights. A missing bias is a zero one."""
    gates = GATES[variant]
    width, hidden = case["x"].shape[2], case["weight_ih"].shape[0] // gates
    options: dict[str, Any] = {"dtype": case["x"].dtype}
    if variant.startswith("rnn"):
        module: torch.nn.RNNBase = torch.nn.RNN(width, hidden, nonlinearity=variant[4:], **options)
    elif variant == "gru":
        module = torch.nn.GRU(width, hidden, **options)
    else:
        projected = case["h_0"].shape[1] if "weight_hr" in case else 0
        module = torch.nn.LSTM(width, hidden, proj_size=projected, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    load(case, module)
    return module
