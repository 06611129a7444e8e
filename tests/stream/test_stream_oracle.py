"""int8 against numpy: float32 scales and rounding, dot products of whole numbers. bfloat16 against numpy, nearly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from stream_cases import MODES, inputs, layer_tensors, on, token_model

from unrolled import kernels, stream
from unrolled.spec import Steps
from unrolled.stream.weights import Weight

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

F = np.float32
TINY = np.finfo(F).tiny
Floats = np.ndarray


def flushed(x: Floats) -> Floats:
    """What lies below the smallest normal number counts as zero."""
    x = np.asarray(x, F)
    return np.where(np.abs(x) < TINY, np.copysign(F(0), x), x)


def times(a: Floats, b: Floats) -> Floats:
    with np.errstate(under="ignore", over="ignore"):
        return flushed(flushed(a) * flushed(b))


def fused(a: Floats, b: Floats, c: Floats, isa: str) -> Floats:
    """a · b + c, rounded once where the instruction set can: the product is exact in float64."""
    if isa == "baseline":
        return flushed(times(a, b) + c)
    return flushed((a.astype(np.float64) * b + c).astype(F))


def activated(which: int, isa: str) -> Callable[[Floats], Floats]:
    """The engine's own sigmoid (1) or tanh (2)."""

    def call(x: Floats) -> Floats:
        x = np.ascontiguousarray(x, F)
        y = np.empty_like(x)
        kernels._engine.activate(
            type=0, isa=kernels.ISAS.index(isa), which=which, x=x.ctypes.data, y=y.ctypes.data, n=x.size
        )
        return flushed(y)

    return call


def quantised_rows(matrix: Floats) -> tuple[Floats, Floats]:
    """Each row as whole numbers of its largest absolute value over 127."""
    scales = (np.abs(matrix).max(axis=1) / F(127)).astype(F)
    safe = np.where(scales > 0, scales, F(1))
    whole = np.rint(np.divide(matrix, safe[:, None], dtype=F)).clip(-127, 127)
    return np.where(scales[:, None] > 0, whole, 0).astype(np.int64), scales


def quantised(x: Floats) -> tuple[Floats, Floats]:
    """Activations: the same of a vector, by its inverse; nothing where that would be no number."""
    x = flushed(x)
    most = np.abs(x).max()
    if not most >= F(2.0**-120):
        return np.zeros(len(x), np.int64), F(0)
    inverse = F(127) / most
    return np.rint(times(x, inverse)).astype(np.int64), F(most / F(127))


class Int8:
    """`add(pre, x)` is pre plus the product with x."""

    def __init__(self, matrix: Floats) -> None:
        self.whole, self.scales = quantised_rows(matrix)

    def add(self, pre: Floats, x: Floats) -> Floats:
        whole, scale = quantised(x)
        exact = (self.whole @ whole).astype(F)
        return flushed(pre + times(exact, times(self.scales, scale)))


def step(
    mode: str, w: dict[str, Int8], b: dict[str, Floats], x: Floats, h: Floats, c: Floats, isa: str, layer: int
):
    """One layer: (h, c) after x."""
    sigmoid, tanh, size = activated(1, isa), activated(2, isa), len(c)
    ih, hh = (w[f"weight_{part}_l{layer}"] for part in ("ih", "hh"))
    bias_ih, bias_hh = b[f"bias_ih_l{layer}"], b[f"bias_hh_l{layer}"]
    if mode == "GRU":
        n_h = np.where(np.arange(3 * size) < 2 * size, bias_ih + bias_hh, bias_hh)
        of_x = ih.add(np.where(np.arange(3 * size) < 2 * size, bias_ih + bias_hh, bias_ih), x)
        of_h = hh.add(np.where(np.arange(3 * size) < 2 * size, of_x, n_h), h)
        r, z = sigmoid(of_h[:size]), sigmoid(of_h[size : 2 * size])
        n = tanh(fused(r, of_h[2 * size :], of_x[2 * size :], isa))
        return fused(z, h, fused(-z, n, n, isa), isa), c
    pre = hh.add(ih.add(bias_ih + bias_hh, x), h)
    if mode != "LSTM":
        return (np.maximum(pre, F(0)) if mode == "RNN_RELU" else tanh(pre)), c
    i, f, g, o = (
        sigmoid(pre[:size]),
        sigmoid(pre[size : 2 * size]),
        tanh(pre[2 * size : 3 * size]),
        sigmoid(pre[3 * size :]),
    )
    c = fused(f, c, times(i, g), isa)
    h = times(o, tanh(c))
    hr = w.get(f"weight_hr_l{layer}")
    return (h if hr is None else hr.add(np.zeros(len(hr.scales), F), h)), c


def oracle(mode: str, tensors: dict[str, Floats], x: Floats, isa: str, kind: type = Int8) -> Floats:
    """All outputs of layers for x [T, I], from zero."""
    w = {name: kind(value) for name, value in tensors.items() if value.ndim == 2}
    layers = sum(name.startswith("weight_ih") for name in tensors)
    width, hidden = (
        tensors["weight_hh_l0"].shape[1],
        tensors["weight_ih_l0"].shape[0] // {"LSTM": 4, "GRU": 3}.get(mode, 1),
    )
    states = [(np.zeros(width, F), np.zeros(hidden, F)) for _ in range(layers)]
    out = []
    for row in x:
        for layer in range(layers):
            states[layer] = step(mode, w, tensors, row, *states[layer], isa, layer)
            row = states[layer][0]
        out.append(row)
    return np.stack(out)


def odd_inputs(size: int, seed: int) -> Floats:
    """Of every magnitude, some rows all zero, some with one number that dwarfs the rest."""
    rng = np.random.default_rng(seed)
    x = inputs(14, size, seed)
    x[0] = 0
    x[2] *= F(1e-30)
    x[4] *= F(1e-38)  # mostly subnormal
    x[5] = F(1e-45)
    x[6] *= F(1e-36)
    x[8] *= F(1e4)
    x[9, rng.integers(size)] = 1e6
    x[10] = F(2.0**-120)
    x[12] = -0.0
    return x


@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 7, 2), (16, 16, 1), (67, 33, 2), (33, 67, 1)])
@pytest.mark.parametrize("mode", MODES)
def test_int8_is_its_oracle(mode: str, sizes: tuple[int, int, int], isa: str):
    for seed, proj in enumerate((0, 0, 5)):
        if proj and (mode != "LSTM" or sizes[1] <= proj):
            continue
        tensors = layer_tensors(mode, *sizes, seed=seed, proj_size=proj)
        tensors["weight_ih_l0"][0] = 0  # a row of zeros has the scale 0
        tensors["weight_hh_l0"][-1] *= F(1e-38)  # one with a subnormal scale
        with on(isa):
            model = stream.Recurrent.from_tensors(mode, tensors, weights="int8")
        x = odd_inputs(sizes[0], seed)
        assert np.array_equal(model.open().run(x), oracle(mode, tensors, x, isa)), f"seed {seed}"


@pytest.mark.parametrize("isa", kernels.isas())
def test_an_int8_read_out_is_exact(isa: str):
    with on(isa):
        model, tensors = token_model("LSTM", 41, 13, 37, weights="int8")
    session, head = model.open(), Int8(tensors["head"])
    for token in range(41):
        logits = session.step(token)
        assert np.array_equal(logits, head.add(tensors["head_bias"], session.state["h"][-1]))


def test_the_largest_sum_of_int8_products_does_not_wrap():
    """Every product 127 · 127, in the widest row that there is: with unsigned bytes the sum passes 2^31 - 2^23."""
    width = 2**16
    for isa in kernels.isas():
        for sign in (1, -1):
            tensors = layer_tensors("RNN_RELU", width, 1)
            tensors["weight_ih_l0"][:] = 1
            tensors["bias_ih_l0"][:] = tensors["bias_hh_l0"][:] = 0
            with on(isa):
                model = stream.Recurrent.from_tensors("RNN_RELU", tensors, weights="int8")
            y = model.open().step(np.full(width, sign, F))
            assert y[0] == pytest.approx(max(sign, 0) * width, rel=1e-6), isa


class Bfloat16:
    def __init__(self, matrix: Floats) -> None:
        self.matrix = rounded(matrix)

    def add(self, pre: Floats, x: Floats) -> Floats:
        return (pre + self.matrix.astype(np.float64) @ rounded(x)).astype(F)


def rounded(x: Floats) -> Floats:
    """To the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, F).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(F)


@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH"])
def test_bfloat16_is_near_its_oracle(mode: str, isa: str):
    """Sums in another order may round a state to the neighbouring bfloat16, which the next step multiplies with."""
    for sizes in [(1, 1, 1), (3, 7, 2), (67, 33, 1)]:
        tensors = layer_tensors(mode, *sizes)
        with on(isa):
            model = stream.Recurrent.from_tensors(mode, tensors, weights="bfloat16")
        x = odd_inputs(sizes[0], 1)
        x[8:10] = inputs(2, sizes[0], 3)
        got, want = model.open().run(x), oracle(mode, tensors, x, isa, Bfloat16)
        assert np.abs(got[0] - want[0]).max() < 1e-6
        assert np.abs(got - want).max() < 2e-3


def test_the_smallest_int8_weight_of_a_stranger_counts_as_what_it_is():
    """-128, which `convert` never makes, and a negative scale: the same sums on every instruction set."""
    rng = np.random.default_rng(0)
    whole = {
        name: np.full(shape, -128, np.int8)
        for name, shape in (("weight_ih_l0", (4, 9)), ("weight_hh_l0", (4, 4)))
    }
    scales = {name: rng.choice([-1, 1], len(value)).astype(F) / 128 for name, value in whole.items()}
    tensors = {name: Weight(whole[name], scales[name]) for name in whole}
    x = inputs(6, 9)
    for isa in kernels.isas():
        with on(isa):
            model = stream.Recurrent(tensors, Steps("rnn", "relu", 1, ""), "int8")
        h = np.zeros(4, F)
        for row in x:
            pre = np.zeros(4, F)
            for name, given in (("weight_ih_l0", row), ("weight_hh_l0", h)):
                q, scale = quantised(given)
                pre = flushed(
                    pre + times((whole[name].astype(np.int64) @ q).astype(F), times(scales[name], scale))
                )
            h = np.maximum(pre, F(0))
        assert np.array_equal(model.open().run(x)[-1], h), isa
