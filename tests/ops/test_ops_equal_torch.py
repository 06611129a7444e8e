"""Steps 1 and 2 of the numerics ladder: reference = torch.nn, every backend = reference, gradients too."""

# ruff: noqa: N803, N806  # T, B, I and H are the axes' names in the design

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import PAIRS, VARIANTS, assert_equal, call, evaluate, make, outputs_and_gradients, ragged, twin

from unrolled.ops import packed
from unrolled.ops.validate import validate

SIZES = [(0, 7, 7), (0, 0, 1), (1, 0, 7), (1, 17, 67), (63, 0, 1), (63, 1, 7), (63, 7, 1), (63, 17, 67)]
BIASES = ("both", "ih", "hh", "none")
KERNELS = [pair for pair in PAIRS if "reference" not in getattr(pair, "values", pair)]


@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize(("T", "B", "H"), [(1, 1, 4), (6, 3, 4), (63, 7, 7)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_reference_equals_torch_nn_in_float64(variant, T, B, H, biases):
    case = make(variant, T=T, B=B, H=H, biases=biases)
    module = twin(variant, case)
    hx = case["h_0"][None] if "c_0" not in case else (case["h_0"][None], case["c_0"][None])
    y, state = module(case["x"], hx)
    states = state if isinstance(state, tuple) else (state,)
    # Gradients of the weights lie on the module's own parameters.
    leaves = {name: getattr(module, f"{name}_l0", leaf) for name, leaf in case.items() if leaf is not None}
    want = outputs_and_gradients((y, *(state[0] for state in states)), leaves)
    assert_equal(evaluate(variant, case, backend="reference"), want)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_rows", ["full", "ragged"])
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
@pytest.mark.parametrize(("variant", "backend"), KERNELS)
def test_every_backend_equals_reference_at_odd_sizes(variant, backend, T, B, H, with_rows, reverse):
    case = make(variant, T=T, B=B, H=H)
    options = ragged(T, B) if with_rows == "ragged" else {}
    got = evaluate(variant, case, backend=backend, reverse=reverse, **options)
    assert_equal(got, evaluate(variant, case, backend="reference", reverse=reverse, **options))


@st.composite
def drawn_calls(draw):
    variant = draw(st.sampled_from(VARIANTS))
    T, B = draw(st.integers(0, 8)), draw(st.integers(0, 5))
    case = make(
        variant,
        T=T,
        B=B,
        H=draw(st.integers(1, 5)),
        I=draw(st.integers(1, 4)),
        biases=draw(st.sampled_from(BIASES)),
        seed=draw(st.integers(0, 99)),
    )
    options = {"reverse": draw(st.booleans())}
    if draw(st.booleans()):
        lengths = draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
        options["lengths"] = torch.tensor(lengths, dtype=torch.int64)
    if draw(st.booleans()):
        flags = draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))
        options["resets"] = torch.tensor(flags, dtype=torch.bool).reshape(T, B)
    return variant, case, options


@settings(max_examples=120, deadline=None, derandomize=True)
@given(drawn_calls())
def test_torch_backend_equals_reference_on_drawn_calls(drawn):
    variant, case, options = drawn
    got = evaluate(variant, case, backend="torch", **options)
    assert_equal(got, evaluate(variant, case, backend="reference", **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("with_rows", ["full", "ragged"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_torch_backend_equals_reference_in_lower_precision(variant, with_rows, dtype):
    case = make(variant, T=9, B=5, H=7, dtype=dtype)
    options = ragged(9, 5) if with_rows == "ragged" else {}
    got = evaluate(variant, case, backend="torch", **options)
    assert all(value.dtype == dtype for value in got.values())
    assert_equal(got, evaluate(variant, case, backend="reference", **options))


def strided(tensor):
    """The same values at every second place of a larger storage, from an odd offset, axes swapped."""
    wide = torch.full([2 * size + 1 for size in reversed(tensor.shape)], float("nan"), dtype=tensor.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in tensor.shape)].permute(*reversed(range(tensor.dim())))
    view.copy_(tensor)
    return view


@pytest.mark.parametrize("with_rows", ["full", "ragged"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("variant", "backend"), PAIRS)
def test_strides_and_offsets_change_nothing(variant, dtype, with_rows, backend):
    case = make(variant, T=6, B=4, H=5, dtype=dtype)
    odd = {name: strided(leaf.detach()).requires_grad_() for name, leaf in case.items()}
    assert not odd["x"].is_contiguous()
    options = ragged(6, 4) if with_rows == "ragged" else {}
    if options:
        options = {"lengths": options["lengths"], "resets": options["resets"].T.contiguous().T}
    got = evaluate(variant, odd, backend=backend, **options)
    assert_equal(got, evaluate(variant, case, backend=backend, **options))


@pytest.mark.parametrize(("variant", "backend"), PAIRS)
def test_an_expanded_state_is_read_as_it_is(variant, backend):
    case = make(variant, T=4, B=3, H=5)
    states = [name for name in ("h_0", "c_0") if name in case]
    expanded = case | {name: case[name][:1].expand(3, -1) for name in states}
    copied = case | {name: case[name][:1].repeat(3, 1) for name in states}
    got, want = call(variant, expanded, backend=backend), call(variant, copied, backend=backend)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("empty", ["no steps", "no rows", "no length"])
@pytest.mark.parametrize(("variant", "backend"), PAIRS)
def test_with_nothing_to_compute_the_state_stays_and_gradients_are_zero(variant, empty, backend):
    T, B = {"no steps": (0, 3), "no rows": (4, 0), "no length": (4, 3)}[empty]
    case = make(variant, T=T, B=B, H=5)
    lengths = torch.zeros(B, dtype=torch.int64) if empty == "no length" else None
    y, *states = call(variant, case, backend=backend, lengths=lengths)
    assert y.shape == (T, B, case["h_0"].shape[1])
    assert not y.any()
    for name, state in zip(("h_0", "c_0"), states, strict=False):
        assert torch.equal(state, case[name])
        assert state is not case[name]
    weights = [leaf for name, leaf in case.items() if name not in ("h_0", "c_0")]
    for gradient in torch.autograd.grad(y.sum(), weights):
        assert not gradient.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_flow_on_the_torch_backend_without_any_training_mode(variant):
    case = make(variant, T=3, B=2, H=4, dtype=torch.float32)
    frozen = {name: leaf.detach() for name, leaf in case.items()} | {"x": case["x"]}
    y, *_ = call(variant, frozen, backend="torch")
    assert torch.autograd.grad(y.sum(), case["x"])[0].any()
    with torch.no_grad():
        assert not call(variant, case, backend="torch")[0].requires_grad


def test_the_kernel_is_told_to_train_exactly_where_a_gradient_is_wanted():
    case = make("gru", T=3, B=2, H=4)
    told = []

    def spy(x, h_0, _flat, _biases, _layers, _dropout, train, *_):
        told.append(train)
        return x.new_zeros(3, 2, 4), h_0

    def prepare(x, h_0, **weights):
        return validate(
            "gru", x, (h_0,), **weights, lengths=None, resets=None, reverse=False, trajectories=False
        )

    packed.run(prepare(**case), spy)
    packed.run(prepare(**{name: leaf.detach() for name, leaf in case.items()}), spy)
    with torch.no_grad():
        packed.run(prepare(**case), spy)
    assert told == [True, False, False]
