"""The native backend equals the reference: every instruction set, shape, stride and thread count."""

# ruff: noqa: N806  # T, B, I and H are the axes' names in the design

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import assert_equal, call, evaluate, make, needs_kernels, ragged

from unrolled import kernels, ops
from unrolled.errors import BackendError, DtypeError, ShapeError

pytestmark = needs_kernels

VARIANTS = ("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru")
DTYPES = (torch.float32, torch.float64)


@pytest.fixture(params=kernels.isas())
def isa(request, monkeypatch):
    """Run with each instruction set that this build holds and this machine runs."""
    monkeypatch.setenv("UNROLLED_ISA", request.param)
    return request.param


@pytest.fixture
def poisoned():
    """Let what torch.empty returns start as NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.zeros(1).new_empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("isa", "poisoned")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_rows", ["full", "ragged"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_instruction_set_equals_the_reference_and_leaves_no_poison(variant, with_rows, reverse, dtype):
    for T, B, H in ((63, 7, 19), (5, 17, 67), (1, 1, 1)):
        case = make(variant, T=T, B=B, H=H, I=5, dtype=dtype)
        options = ragged(T, B) if with_rows == "ragged" else {}
        got = evaluate(variant, case, backend="native", reverse=reverse, **options)
        assert_equal(got, evaluate(variant, case, backend="reference", reverse=reverse, **options))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_rows", ["full", "ragged"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_is_near_the_reference_in_float64(variant, with_rows, reverse):
    """Against float64 on the same, already rounded numbers: what is left is the rounding of h and of gradients."""
    for T, B, H in ((63, 7, 19), (5, 17, 67), (1, 1, 1)):
        case = make(variant, T=T, B=B, H=H, I=5, dtype=torch.bfloat16)
        options = {"reverse": reverse} | (ragged(T, B) if with_rows == "ragged" else {})
        exact = {name: leaf.detach().double().requires_grad_() for name, leaf in case.items()}
        want = evaluate(variant, exact, backend="reference", **options)
        if variant == "rnn_relu":  # whose slope jumps where rounding decides
            got = dict(zip(("y", "h_n"), call(variant, case, backend="native", **options), strict=True))
            want = {name: want[name] for name in got}
        else:
            got = evaluate(variant, case, backend="native", **options)
        for name, value in want.items():
            assert got[name].dtype == torch.bfloat16
            assert largest(got[name].double() - value) <= 2**-6 * (1 + largest(value)), name


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize("variant", ["lstm", "lstm_projected", "gru"])
def test_an_infinite_input_reaches_no_gradient_that_it_does_not_reach_in_the_reference(variant, dtype):
    """It saturates gates, whose gradients are zero; what lies behind the last unit must not become NaN."""
    case = make(variant, T=4, B=1, H=5, dtype=dtype)
    with torch.no_grad():
        case["x"][1, 0, 0] = torch.inf
    got, want = (evaluate(variant, case, backend=backend) for backend in ("native", "reference"))
    for name, value in want.items():
        assert torch.equal(got[name].isnan(), value.isnan()), name


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "lstm_projected"])
def test_bfloat16_rounds_what_is_multiplied_and_nothing_else(variant):
    """Of one step from zero: float32's result on rounded inputs and weights, with biases that are not rounded."""
    case = {
        name: leaf.detach() for name, leaf in make(variant, T=1, B=5, H=37, I=21, dtype=torch.float32).items()
    }
    case |= {name: torch.zeros_like(case[name]) for name in ("h_0", "c_0") if name in case}
    rounded = {name: case[name].bfloat16().float() for name in ("x", "weight_ih", "weight_hh")}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, *states = call(variant, case, backend="native")
    _, *want = call(variant, case | rounded, backend="native")
    _, *unrounded = call(variant, case, backend="native")
    for state, expected, other in zip(states, want, unrounded, strict=True):
        assert state.dtype == torch.float32
        torch.testing.assert_close(state, expected, rtol=1e-5, atol=1e-6)
        assert largest(state - other) > 1e-4


@pytest.mark.usefixtures("isa")
def test_bfloat16_is_torchs_rounding_of_any_number():
    """One step of a relu network that is [identity; −identity], under autocast: what x is multiplied as."""
    width, generator = 35, torch.Generator().manual_seed(0)  # whole vectors, and a rest
    high = torch.randint(0x3000, 0x5000, (200, width), generator=generator)
    low = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])[
        torch.randint(6, (200, width), generator=generator)
    ]
    signs = torch.randint(2, (200, width), generator=generator) << 31
    x = (signs + (high << 16) + low).to(torch.int32).view(torch.float32)
    nan = torch.zeros(width, width).fill_diagonal_(torch.nan)
    nan.view(torch.int32).diagonal().fill_(0x7FFFFFFF)  # rounded as a number it would be zero
    weight = torch.cat([torch.eye(width), -torch.eye(width)])
    found = []
    for rows in (x, nan):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, h = ops.rnn(
                rows[None], torch.zeros(len(rows), 2 * width), weight, torch.zeros(2 * width, 2 * width),
                nonlinearity="relu", backend="native",
            )  # fmt: skip
        found.append(h)
    assert torch.equal(found[0][:, :width] - found[0][:, width:], x.bfloat16().float())
    assert found[1].isnan().all()


def spread(draw, tensor):
    """The same values with drawn strides over T and B, and sometimes over the last axis, at an odd offset."""
    times, rows = draw(st.sampled_from([(1, 1), (2, 1), (1, 3)]))
    last = draw(st.sampled_from([1, 1, 2]))
    swap = draw(st.booleans())
    T, B, width = tensor.shape
    T, B = (B, T) if swap else (T, B)
    wide = torch.full((T * times + 1, B * rows + 1, width * last + 1), float("nan"), dtype=tensor.dtype)
    view = wide[1::times, 1::rows, 1::last][:T, :B, :width]
    view = view.transpose(0, 1) if swap else view
    return view.copy_(tensor.detach()).requires_grad_()


@st.composite
def drawn_calls(draw, sizes):
    variant, dtype = draw(st.sampled_from(VARIANTS)), draw(st.sampled_from(DTYPES))
    T, B, H, I = (draw(sizes[axis]) for axis in "TBHI")  # noqa: E741
    biases = draw(st.sampled_from(("both", "ih", "hh", "none")))
    case = make(variant, T=T, B=B, H=H, I=I, biases=biases, dtype=dtype, seed=draw(st.integers(0, 99)))
    case["x"] = spread(draw, case["x"])
    options = {"reverse": draw(st.booleans())}
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        options["lengths"] = torch.randint(0, T + 1, (B,), generator=generator)
    if draw(st.booleans()):
        share = draw(st.sampled_from([0.05, 0.5, 1.0]))
        resets = torch.rand(B, T, generator=generator) < share
        options["resets"] = resets.T if draw(st.booleans()) else resets.T.contiguous()
    return variant, case, options, draw(st.sampled_from(kernels.isas())), draw(st.sampled_from([1, 2, 3]))


def evaluate_drawn(drawn):
    variant, case, options, isa, threads = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_ISA", isa)
        torch.set_num_threads(threads)
        got = evaluate(variant, case, backend="native", **options)
        torch.set_num_threads(1)
    return got, evaluate(variant, case, backend="reference", **options)


def assert_as_exact(got, want, exact):
    """Assert that got is about as near to float64's result as want is: sums of thousands have no fixed bound."""
    for name, value in exact.items():
        allowed = 4 * largest(want[name] - value) + 1e-5 * (1 + largest(value))
        assert largest(got[name] - value) <= allowed, name


def largest(values):
    return values.abs().max().item() if values.numel() else 0.0


SMALL = {
    "T": st.integers(0, 9),
    "B": st.integers(0, 9) | st.just(17),
    "H": st.integers(1, 20) | st.just(67),
    "I": st.integers(1, 20),
}
WIDE = {
    "T": st.integers(0, 70) | st.sampled_from([0, 1, 63]),
    "B": st.integers(0, 40) | st.sampled_from([0, 1, 7, 17]),
    "H": st.integers(1, 140) | st.sampled_from([1, 7, 67]),
    "I": st.integers(1, 140),
}


@settings(max_examples=200)
@given(drawn_calls(SMALL))
def test_native_equals_reference_on_drawn_calls(drawn):
    got, want = evaluate_drawn(drawn)
    assert_equal(got, want)


@pytest.mark.slow
@settings(max_examples=2500)
@given(drawn_calls(WIDE))
def test_native_equals_reference_on_thousands_of_drawn_calls(drawn):
    got, want = evaluate_drawn(drawn)
    variant, case, options, *_ = drawn
    if case["x"].dtype == torch.float64:
        return assert_equal(got, want)
    doubled = {
        n: leaf if leaf is None else leaf.detach().double().requires_grad_() for n, leaf in case.items()
    }
    return assert_as_exact(got, want, evaluate(variant, doubled, backend="reference", **options))


SEQUENCES = "handle threads reverse T B lengths resets x h_0 c_0 "
GRADIENTS = ("dx", "dh_0", "dc_0", "dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh", "dweight_hr")
ARGUMENTS = {
    "forward": (SEQUENCES + "y h_n c_n kept traces ids V batch_sizes").split(),
    "backward": [*(SEQUENCES + "y kept dy dh_n dc_n").split(), *GRADIENTS, "ids", "V", "batch_sizes"],
}


def spy(monkeypatch, name):
    """Record the arguments of every call of the engine."""
    seen, engine = [], getattr(kernels, name)

    def recorded(*arguments):
        seen.append(dict(zip(ARGUMENTS[name], arguments, strict=True)))
        engine(*arguments)

    monkeypatch.setattr(kernels, name, recorded)
    return seen


def test_x_and_dy_are_read_where_they_lie_whatever_their_strides_over_time_and_rows(monkeypatch):
    forward, backward = spy(monkeypatch, "forward"), spy(monkeypatch, "backward")
    case = make("gru", T=6, B=4, H=5)
    rows_first = case["x"].detach().transpose(0, 1).contiguous()
    every_second = torch.zeros(12, 4, 6, dtype=torch.float64)[::2, :, :3]
    one_row_for_all = torch.zeros(6, 1, 3, dtype=torch.float64).expand(6, 4, 3)
    for x in (rows_first.transpose(0, 1), every_second, one_row_for_all):
        y, _ = call("gru", case | {"x": x}, backend="native")
        assert forward[-1]["x"] == (x.data_ptr(), *x.stride()[:2])
        grad = torch.ones(4, 6, 5, dtype=torch.float64).transpose(0, 1)
        y.backward(grad)
        assert backward[-1]["dy"] == (grad.data_ptr(), 5, 30)
        assert backward[-1]["x"] == forward[-1]["x"]


def test_what_the_engine_cannot_read_in_place_is_copied():
    case = make("lstm", T=4, B=3, H=5, dtype=torch.float32)
    bytes_off_by_one = torch.empty(4 * case["x"].numel() + 1, dtype=torch.uint8).numpy().data
    off = torch.frombuffer(bytes_off_by_one, dtype=torch.float32, offset=1, count=case["x"].numel())
    off = off.view(4, 3, 3).copy_(case["x"].detach())
    assert off.data_ptr() % 4
    got = call("lstm", case | {"x": off}, backend="native")
    torch.testing.assert_close(got, call("lstm", case, backend="native"))


def test_without_gradients_nothing_is_kept_and_only_wanted_gradients_are_computed(monkeypatch):
    forward, backward = spy(monkeypatch, "forward"), spy(monkeypatch, "backward")
    case = make("lstm", T=6, B=4, H=5)
    frozen = {name: leaf.detach() for name, leaf in case.items()}
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            call("lstm", case, backend="native")
        assert forward[-1]["kept"] == 0
    call("lstm", frozen, backend="native")
    assert forward[-1]["kept"] == 0
    y, *_ = call("lstm", frozen | {"weight_hh": case["weight_hh"]}, backend="native")
    assert forward[-1]["kept"] != 0
    y.sum().backward()
    assert backward[-1]["dx"] == (0, 0, 0)
    assert [name for name in GRADIENTS[1:] if backward[-1][name]] == ["dweight_hh"]
    assert (backward[-1]["dh_n"], backward[-1]["dc_n"]) == (0, 0)  # no gradient came that way


def test_the_registered_ops_check_sizes_and_dtypes_themselves():
    layer = torch.ops.unrolled.layer
    x, h, w_ih, w_hh = torch.zeros(4, 2, 3), torch.zeros(2, 5), torch.zeros(15, 3), torch.zeros(15, 5)

    def refused(error, message, *tensors, lengths=None, resets=None):
        with pytest.raises(error) as caught:
            layer("gru", *tensors, None, None, lengths, resets, False, False, False)
        assert str(caught.value) == message

    refused(ShapeError, "h_0: expected [2, 5], got [3, 5]", x, torch.zeros(3, 5), None, w_ih, w_hh)
    refused(ShapeError, "weight_ih: expected [15, 3], got [15, 4]", x, h, None, torch.zeros(15, 4), w_hh)
    refused(DtypeError, "h_0: expected float32, got float64", x, h.double(), None, w_ih, w_hh)
    short = torch.zeros(1, dtype=torch.int64)
    refused(ShapeError, "lengths: expected [2], got [1]", x, h, None, w_ih, w_hh, lengths=short)
    far = torch.tensor([4, 5])
    refused(ShapeError, "lengths: expected 0 to 4, got 5", x, h, None, w_ih, w_hh, lengths=far)
    flags = torch.zeros(4, 2, dtype=torch.uint8)
    refused(DtypeError, "resets: expected bool, got uint8", x, h, None, w_ih, w_hh, resets=flags)
    refused(ShapeError, "x: expected 3 dimensions, got [4, 2]", x[..., 0], h, None, w_ih, w_hh)
    halves = [value.half() for value in (x, h, w_ih, w_hh)]
    message = "x: expected float32 or float64, got float16"
    refused(DtypeError, message, *halves[:2], None, *halves[2:])


def test_what_no_forward_pass_kept_is_refused():
    x, h, y = torch.zeros(4, 2, 3), torch.zeros(2, 5), torch.zeros(4, 2, 5)
    weights, size = (torch.zeros(15, 3), torch.zeros(15, 5)), kernels.kept_size("gru", 4, 2, 5)

    def refused(error, message, kept):
        with pytest.raises(error) as caught:
            torch.ops.unrolled.layer_backward(
                "gru", x, h, None, *weights, None, None, None, None, False,
                y, kept, None, None, None, [True] * 7,
            )  # fmt: skip
        assert str(caught.value) == message

    refused(ShapeError, f"kept: expected [{size}], got [{size - 1}]", torch.zeros(size - 1))
    message = "kept: expected what a forward pass kept in float32, got other numbers"
    for value in (0.0, 1.0, float("nan")):
        refused(DtypeError, message, torch.full((size,), value))


def test_an_instruction_set_that_cannot_run_is_refused(monkeypatch):
    monkeypatch.setenv("UNROLLED_ISA", "avx9000")
    with pytest.raises(BackendError, match=r"^UNROLLED_ISA: expected one that runs here: .*, got 'avx9000'$"):
        call("gru", make("gru", T=2, B=1, H=2))


def test_activations_are_exact_to_a_few_roundings_over_their_whole_range():
    """A layer without recurrence applies tanh and sigmoid to its input: against float64, far out and near 0.

    Within 3.5 and 3 units of the last place, as tests/native has it for every float.
    """
    x = torch.cat([torch.linspace(-20, 20, 8001), torch.logspace(-6, 0, 200), -torch.logspace(-6, 0, 200)])
    rows = x.view(-1, 1)[None]  # [1, B, 1]
    one, none = torch.ones(1, 1), torch.zeros(1, 1)
    y, _ = ops.rnn(rows, torch.zeros(len(x), 1), one, none, backend="native")
    torch.testing.assert_close(y[0, :, 0].double(), x.double().tanh(), atol=0, rtol=3.5 * 2**-23)
    # i = sigmoid(x), g = 1, f = 0, o = 1: c is sigmoid(x)
    weight = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    bias = torch.tensor([0.0, -100.0, 50.0, 50.0])
    _, (_, c) = ops.lstm(
        rows, (torch.zeros(len(x), 1),) * 2, weight, torch.zeros(4, 1), bias, torch.zeros(4), backend="native"
    )
    torch.testing.assert_close(c[:, 0].double(), x.double().sigmoid(), atol=0, rtol=3 * 2**-23)
