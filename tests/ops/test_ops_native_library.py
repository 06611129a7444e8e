"""The registered ops: torch's own checks of them, torch.compile and torch.export of a call."""

# ruff: noqa: N803  # T, B, I and H are the axes' names in the design

from __future__ import annotations

import pytest
import torch
from ops_cases import call, make, needs_kernels, ragged
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from unrolled.errors import ShapeError

pytestmark = needs_kernels

VARIANTS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
CASES = {
    "full": {},
    "one bias": {"biases": "hh"},
    "no bias": {"biases": "none"},
    "ragged": {"rows": True},
    "reverse": {"rows": True, "reverse": True},
    "trajectories": {"trajectories": True},
    "no steps": {"T": 0},
    "no rows": {"B": 0},
    "float32": {"dtype": torch.float32, "rows": True},
    "frozen": {"frozen": ("weight_ih", "h_0")},
}
# One cell in the ways that differ most, and two in the one with the most in it; the rest in the long run.
QUICK = {("lstm", case) for case in ("full", "trajectories", "no steps")} | {
    ("rnn_tanh", "reverse"),
    ("gru", "reverse"),
}
CHECKED = [
    pytest.param(variant, case, marks=() if (variant, case) in QUICK else pytest.mark.slow)
    for variant in VARIANTS
    for case in CASES
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def arguments(variant, *, T=4, B=3, H=5, dtype=torch.float64, biases="both", frozen=(), **options):
    """What `unrolled::layer` is called with."""
    case = make(variant, T=T, B=B, H=H, dtype=dtype, biases=biases)
    for name in frozen:
        case[name].requires_grad_(False)
    rows = ragged(T, B) if options.pop("rows", False) else {}
    names = ("x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    flags = (options.get("reverse", False), True, options.get("trajectories", False))
    return (variant, *map(case.get, names), rows.get("lengths"), rows.get("resets"), *flags)


@pytest.fixture
def zeros_for_empties(monkeypatch):
    """Let memory that the engine has no need to write, in kept, not differ between two runs."""
    monkeypatch.setattr(torch.Tensor, "new_empty", torch.Tensor.new_zeros)


@pytest.mark.usefixtures("zeros_for_empties")
@pytest.mark.parametrize(("variant", "case"), CHECKED)
def test_opcheck_finds_nothing_wrong_with_the_layer(variant, case):
    torch.library.opcheck(torch.ops.unrolled.layer, arguments(variant, **CASES[case]))


@pytest.mark.parametrize(("variant", "case"), CHECKED)
def test_opcheck_finds_nothing_wrong_with_the_backward_pass(variant, case):
    given = arguments(variant, **CASES[case])
    given = [value.detach() if isinstance(value, torch.Tensor) else value for value in given]
    y, h_n, c_n, kept, _ = torch.ops.unrolled.layer(*given)
    dc_n = torch.ones_like(c_n) if variant == "lstm" else None
    grads = (torch.ones_like(y), torch.ones_like(h_n), dc_n)
    for wanted in ([True] * 7, [False, True] * 3 + [False]):
        operands = (*given[:11], y, kept, *grads, wanted)
        torch.library.opcheck(torch.ops.unrolled.layer_backward, operands)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_layer_that_kept_nothing_gets_its_gradients_from_the_reference(variant):
    found = []
    for keep in (False, True):
        given = list(arguments(variant, rows=True))
        given[-2] = keep
        y, h_n, *_ = torch.ops.unrolled.layer(*given)
        leaves = [value for value in given if isinstance(value, torch.Tensor) and value.requires_grad]
        found.append(torch.autograd.grad(y.square().sum() + h_n.sum(), leaves))
    torch.testing.assert_close(*found)


def test_a_layer_of_fake_tensors_computes_nothing_and_says_what_sizes_come():
    with FakeTensorMode() as mode:
        case = {name: mode.from_tensor(leaf.detach()) for name, leaf in make("lstm", T=4, B=3, H=5).items()}
        y, h_n, c_n = call("lstm", case, backend="native")
    assert [list(value.shape) for value in (y, h_n, c_n)] == [[4, 3, 5], [3, 5], [3, 5]]
    assert type(y) is not torch.Tensor


def recorded():
    """A compiler that runs what it is given and remembers which ops that was."""
    seen = {"forward": [], "backward": []}

    def record(kind):
        def compiler(graph, _examples):
            seen[kind] += [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
            return make_boxed_func(graph.forward)

        return compiler

    return seen, aot_autograd(fw_compiler=record("forward"), bw_compiler=record("backward"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_compiled_call_is_one_op_forward_and_one_backward(variant, reverse):
    case, rows = make(variant, T=6, B=4, H=5), ragged(6, 4)
    seen, compiler = recorded()
    compiled = torch.compile(call, fullgraph=True, backend=compiler)
    got = compiled(variant, case, reverse=reverse, **rows)
    want = call(variant, case, reverse=reverse, **rows)
    leaves = list(case.values())
    assert all(map(torch.equal, got, want))
    losses = [sum(value.square().sum() for value in outputs) for outputs in (got, want)]
    gradients = [torch.autograd.grad(loss, leaves) for loss in losses]
    torch.testing.assert_close(*gradients)
    for kind, op in (("forward", "unrolled.layer.default"), ("backward", "unrolled.layer_backward.default")):
        assert seen[kind].count(op) == 1
        assert not [name for name in seen[kind] if "mm" in name or "sigmoid" in name]


@pytest.mark.parametrize("variant", VARIANTS)
def test_y_may_be_written_in_place_in_a_compiled_call_too(variant):
    case = make(variant, T=4, B=3, H=5)

    def written(case):
        y, *states = call(variant, case)
        return y.mul_(2).square().sum() + states[0].sum()

    leaves = list(case.values())
    want = torch.autograd.grad(written(case), leaves)
    got = torch.autograd.grad(torch.compile(written, fullgraph=True, backend="aot_eager")(case), leaves)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("variant", VARIANTS)
def test_torch_counts_two_flops_per_weight_and_valid_step_and_three_times_that_in_training(variant):
    case, rows = make(variant, T=6, B=4, H=5), ragged(6, 4)
    per_step = 2 * (case["weight_ih"].numel() + case["weight_hh"].numel())

    def counted(*, backward=False, **options):
        with FlopCounterMode(display=False) as counter:
            y, *_ = call(variant, case, backend="native", **options)
            if backward:
                y.sum().backward()
        return counter.get_total_flops()

    assert counted() == per_step * 6 * 4
    forward = per_step * int(rows["lengths"].sum())
    assert counted(**rows) == forward
    assert counted(**rows, backward=True) == 3 * forward
    case["x"] = case["x"].detach()
    assert counted(**rows, backward=True) == 3 * forward - 2 * case["weight_ih"].numel() * int(
        rows["lengths"].sum()
    )


def test_flops_of_fake_tensors_are_those_of_full_rows():
    with FakeTensorMode() as mode, FlopCounterMode(display=False) as counter:
        given = [
            mode.from_tensor(value.detach()) if isinstance(value, torch.Tensor) else value
            for value in arguments("gru", T=6, B=4, H=5, rows=True)
        ]
        torch.ops.unrolled.layer(*given)
    assert counter.get_total_flops() == 2 * (15 * 3 + 15 * 5) * 24


def test_one_compilation_serves_every_number_of_steps_and_rows():
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend=counter)
    for steps, rows in ((11, 13), (7, 2), (9, 4)):
        case = make("gru", T=steps, B=rows, H=5)
        torch.testing.assert_close(compiled("gru", case), call("gru", case))
    assert counter.frame_count == 1


def test_lengths_are_checked_in_a_compiled_call_too():
    case = make("gru", T=4, B=3, H=5)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    compiled("gru", case, lengths=torch.tensor([4, 0, 2]))
    with pytest.raises(ShapeError, match=r"^lengths: expected 0 to 4, got 5$"):
        compiled("gru", case, lengths=torch.tensor([4, 5, 2]))


@pytest.mark.parametrize("kind", ["value", "gradient"])
def test_a_compiled_trajectory_equals_the_plain_one(kind):
    case = make("lstm", T=4, B=3, H=5)

    def forget(x):
        return call("lstm", case | {"x": x}, trajectories=True)[-1].f.sum()

    got, want = torch.compile(forget, fullgraph=True, backend="aot_eager")(case["x"]), forget(case["x"])
    if kind == "gradient":
        got, want = (torch.autograd.grad(each, case["x"])[0] for each in (got, want))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("transform", ["grad", "vmap", "jacrev"])
def test_a_compiled_transform_takes_the_reference_as_an_eager_one_does(transform):
    case = {name: leaf.detach() for name, leaf in make("lstm", T=3, B=2, H=2).items()}

    def function(x):
        y, *_ = call("lstm", case | {"x": x})
        return y.square().sum() if transform == "grad" else y

    x = case["x"][None] if transform == "vmap" else case["x"]

    def transformed(x):
        return getattr(torch.func, transform)(function)(x)

    compiled = torch.compile(transformed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), transformed(x))


def test_under_autocast_a_compiled_call_takes_torch_in_bfloat16():
    case = {name: leaf.detach() for name, leaf in make("lstm", T=3, B=2, H=2, dtype=torch.float32).items()}

    def function(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return call("lstm", case | {"x": x})[0]

    got = torch.compile(function, fullgraph=True, backend="aot_eager")(case["x"])
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, function(case["x"]), rtol=2e-2, atol=2e-2)
