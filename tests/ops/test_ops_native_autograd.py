"""The native backend in autograd: first and second gradients, batched ones, frozen parts, torch.func."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
import torch
from ops_cases import assert_equal, call, evaluate, make, needs_kernels, outputs_and_gradients, ragged
from torch.autograd import forward_ad

from unrolled import kernels, ops
from unrolled.errors import BackendError

pytestmark = needs_kernels

VARIANTS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
TRANSFORMED = "inside a torch.func transform or forward-mode differentiation, where auto takes the reference"

# torch's own: its forward-mode rules script themselves when first used.
torch_scripts_itself = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
each_cell = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture
def no_native_backward(monkeypatch):
    """Fail where the engine's backward pass is called."""
    monkeypatch.setattr(kernels, "backward", lambda *_: pytest.fail("the engine's backward pass ran"))


def gradients(variant, case, wanted, backend, **options):
    y, *states = call(variant, case, backend=backend, **options)
    loss = y.square().sum() + sum(state.sin().sum() for state in states)
    return dict(zip(wanted, torch.autograd.grad(loss, [case[name] for name in wanted]), strict=True))


@each_cell
def test_second_gradients_equal_finite_differences(variant):
    case, rows = make(variant, T=4, B=3, H=2, I=2), ragged(4, 3)
    names = list(case)

    def function(*leaves):
        return call(variant, dict(zip(names, leaves, strict=True)), backend="native", **rows)

    assert torch.autograd.gradgradcheck(function, tuple(case.values()), fast_mode=True)


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_second_gradients_equal_the_references(variant, reverse):
    case, rows = make(variant, T=5, B=3, H=4), ragged(5, 3)
    leaves = list(case.values())

    def second(backend):
        y, *states = call(variant, case, backend=backend, reverse=reverse, **rows)
        loss = y.square().sum() + sum(state.sin().sum() for state in states)
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum(gradient.square().sum() for gradient in first)
        return dict(enumerate((*first, *torch.autograd.grad(penalty, leaves))))

    detached = {
        backend: {n: g.detach() for n, g in second(backend).items()} for backend in ("native", "reference")
    }
    assert_equal(detached["native"], detached["reference"])


def test_second_gradients_within_autocast_are_those_of_the_call_outside():
    """What ran in float32 is differentiated in float32, wherever its gradient is taken."""
    case = make("gru", T=5, B=3, H=4, dtype=torch.float32)
    y, _ = call("gru", case, backend="native")
    found = []
    for narrow in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            found.append(torch.autograd.grad(y.square().sum(), list(case.values()), create_graph=True))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_an_argument_made_from_another_gets_its_own_second_gradient():
    """A gradient must stop at the op's own argument, not flow on to what that was made from, twice."""
    case = make("gru", T=4, B=3, H=2)

    def second(backend):
        made = case | {
            "weight_hh": case["bias_ih"][:, None] * case["h_0"].sum(0),
            "bias_hh": case["bias_ih"] * 2,
        }
        y, _ = call("gru", made, backend=backend)
        first = torch.autograd.grad(y.square().sum(), [case["bias_ih"], case["h_0"]], create_graph=True)
        return [
            *first,
            *torch.autograd.grad(sum(g.square().sum() for g in first), [case["bias_ih"], case["x"]]),
        ]

    torch.testing.assert_close(second("native"), second("reference"))


@pytest.mark.usefixtures("no_native_backward")
def test_a_gradient_to_be_differentiated_again_is_the_references():
    case = make("gru", T=4, B=3, H=2)
    y, _ = call("gru", case, backend="native")
    (gradient,) = torch.autograd.grad(y.sum(), case["x"], create_graph=True)
    assert gradient.requires_grad


@each_cell
def test_batched_gradients_equal_one_after_the_other(variant):
    case, rows = make(variant, T=4, B=3, H=2), ragged(4, 3)
    y, *_ = call(variant, case, backend="native", **rows)
    grads = torch.randn(5, *y.shape, dtype=y.dtype)
    leaves = [case["x"], case["weight_hh"]]
    got = torch.autograd.grad(y, leaves, grads, is_grads_batched=True, retain_graph=True)
    alone = [torch.autograd.grad(y, leaves, grad, retain_graph=True) for grad in grads]
    torch.testing.assert_close(got, tuple(torch.stack(each) for each in zip(*alone, strict=True)))


def test_a_vectorized_jacobian_equals_the_plain_one():
    case = make("lstm", T=3, B=2, H=2)

    def function(x):
        return call("lstm", case | {"x": x}, backend="native")[0]

    x = case["x"].detach()
    jacobian = torch.autograd.functional.jacobian
    torch.testing.assert_close(jacobian(function, x, vectorize=True), jacobian(function, x))


@each_cell
def test_a_retained_graph_gives_the_same_bits_twice(variant):
    case, rows = make(variant, T=9, B=5, H=19, dtype=torch.float32), ragged(9, 5)
    y, *_ = call(variant, case, backend="native", **rows)
    leaves = list(case.values())
    first = torch.autograd.grad(y.square().sum(), leaves, retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)
    assert all(map(torch.equal, first, second))


@pytest.mark.skipif(len(kernels.isas()) < 2, reason="this machine runs one instruction set")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_cell
def test_an_instruction_set_changed_between_the_passes_changes_no_gradient(variant, dtype, monkeypatch):
    case, rows = make(variant, T=9, B=5, H=19, dtype=dtype), ragged(9, 5)
    for first, second in itertools.permutations(kernels.isas(), 2):
        found = []
        for later in (first, second):
            monkeypatch.setenv("UNROLLED_ISA", first)
            outputs = call(variant, case, backend="native", **rows)
            monkeypatch.setenv("UNROLLED_ISA", later)
            found.append(outputs_and_gradients(outputs, case))
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0]), (first, second)


@each_cell
def test_every_single_wanted_gradient_is_the_one_of_all(variant):
    case, rows = make(variant, T=6, B=4, H=5), ragged(6, 4)
    want = gradients(variant, case, list(case), "native", **rows)
    for name in case:
        frozen = {other: leaf.detach() for other, leaf in case.items()} | {name: case[name]}
        torch.testing.assert_close(gradients(variant, frozen, [name], "native", **rows)[name], want[name])


@each_cell
def test_a_gradient_that_comes_one_way_only_equals_the_references(variant):
    case, rows = make(variant, T=6, B=4, H=5), ragged(6, 4)
    for way in range(3 if variant == "lstm" else 2):
        found = {}
        for backend in ("native", "reference"):
            output = call(variant, case, backend=backend, **rows)[way]
            found[backend] = torch.autograd.grad(
                output.square().sum(), [case["x"], case["weight_ih"], case["h_0"]]
            )
        torch.testing.assert_close(found["native"], found["reference"])


@pytest.mark.usefixtures("no_native_backward")
def test_a_trajectorys_gradient_is_the_references():
    case = make("lstm", T=4, B=3, H=2)
    *_, trace = call("lstm", case, backend="native", trajectories=True)
    assert torch.autograd.grad(trace.f.sum(), case["weight_hh"])[0].any()


def test_a_trajectory_that_is_only_looked_at_leaves_the_backward_pass_to_the_engine(monkeypatch):
    ran, engine = [], kernels.backward
    monkeypatch.setattr(kernels, "backward", lambda *arguments: ran.append(engine(*arguments)))
    case = make("lstm", T=4, B=3, H=2)
    y, *_, trace = call("lstm", case, backend="native", trajectories=True)
    assert not trace.f.detach().isnan().any()
    y.sum().backward()
    assert len(ran) == 1


def test_without_grad_mode_no_graph_is_made_and_with_it_the_graph_dies_with_the_outputs():
    case = make("lstm", T=4, B=3, H=2)
    with torch.no_grad():
        assert not call("lstm", case, backend="native")[0].requires_grad
    with torch.inference_mode():
        assert call("lstm", case, backend="native")[0].is_inference()
    case["x"] = case["x"].detach()
    held = weakref.ref(case["x"])
    gc.disable()  # a cycle would keep it until the collector comes
    try:
        outputs = call("lstm", case, backend="native")
        outputs[0].sum().backward()
        del case, outputs
        assert held() is None
    finally:
        gc.enable()


def test_a_saved_argument_that_was_changed_in_place_is_noticed():
    case = make("gru", T=4, B=3, H=2)
    y, _ = call("gru", case, backend="native")
    with torch.no_grad():
        case["weight_hh"].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


IN_PLACE = {
    "add": lambda y: y.add_(1),
    "relu": lambda y: torch.nn.functional.relu(y, inplace=True),
    "dropout": lambda y: torch.nn.functional.dropout(y, 0.5, inplace=True),
    "a view": lambda y: y.transpose(0, 1)[1:].mul_(2)._base,
    "detach": lambda y: y.detach_().requires_grad_(),
}


@pytest.mark.parametrize("write", IN_PLACE)
@each_cell
def test_y_may_be_written_in_place(variant, write, monkeypatch):
    ran, engine = [], kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *arguments: ran.append(engine(*arguments)))
    case, rows = make(variant, T=6, B=4, H=5), ragged(6, 4)
    found = []
    for copied in (True, False):
        ran.clear()
        y, *states = call(variant, case, backend="native", reverse=True, **rows)
        written = y.clone() if copied else y
        torch.manual_seed(0)
        IN_PLACE[write](written)
        grad = torch.ones_like(y), *(torch.ones_like(state) for state in states)
        found.append(
            torch.autograd.grad((written.square(), *states), list(case.values()), grad, allow_unused=True)
        )
        assert len(ran) == (
            1 if copied or write == "detach" else 2
        )  # what was written over is computed again
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_y_written_in_place_under_a_changed_instruction_set_is_computed_again_on_its_own(monkeypatch):
    case = make("gru", T=6, B=4, H=5, dtype=torch.float32)
    found = []
    for later in (kernels.isas()[0], kernels.isas()[-1]):
        monkeypatch.setenv("UNROLLED_ISA", kernels.isas()[0])
        y, _ = call("gru", case, backend="native")
        y.mul_(2)
        monkeypatch.setenv("UNROLLED_ISA", later)
        found.append(torch.autograd.grad(y.sum(), list(case.values())))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_y_written_in_place_within_a_checkpoint_gives_the_same_gradients(reentrant):
    case = make("lstm", T=4, B=3, H=2)

    def run(x, write):
        y, h, _ = call("lstm", case | {"x": x}, backend="native")
        return (y.add_(1) if write else y + 1).square().sum() + h.sum()

    want = torch.autograd.grad(run(case["x"], write=False), [case["x"], case["weight_hh"]])
    torch.utils.checkpoint.checkpoint(run, case["x"], True, use_reentrant=reentrant).backward()
    torch.testing.assert_close((case["x"].grad, case["weight_hh"].grad), want)


def test_an_unwritten_y_is_held_once():
    """The graph holds y's own memory: what watches over it has none."""
    case = make("lstm", T=4, B=3, H=2)
    y, *_ = call("lstm", case, backend="native")
    ctx = y.grad_fn
    held = [tensor for tensor in ctx.saved_tensors if tensor is not None]
    assert y.data_ptr() in [tensor.data_ptr() for tensor in held]
    assert ctx.version.untyped_storage().nbytes() == 0


def test_checkpointing_recomputes_to_the_same_gradients():
    case = make("gru", T=4, B=3, H=2)
    want = gradients("gru", case, ["x", "weight_hh"], "native")
    run = torch.utils.checkpoint.checkpoint
    for reentrant in (False, True):
        y, h = run(
            lambda x, w: call("gru", case | {"x": x, "weight_hh": w}, backend="native"),
            case["x"],
            case["weight_hh"],
            use_reentrant=reentrant,
        )
        y, h = y.square().sum(), h.sin().sum()
        (y + h).backward()
        got = {name: case[name].grad for name in want}
        torch.testing.assert_close(got, want)
        for name in want:
            case[name].grad = None


def test_a_negated_view_and_a_zero_tensor_are_read_as_values():
    case = make("gru", T=4, B=3, H=2)
    x = case["x"].detach()
    for negated in (torch._neg_view(-x), torch.complex(x, -x).conj().imag):  # in place, and copied anyway
        assert negated.is_neg()
        torch.testing.assert_close(
            call("gru", case | {"x": negated}, backend="native"),
            call("gru", case | {"x": x}, backend="native"),
        )
    y, _ = call("gru", case, backend="native")
    (gradient,) = torch.autograd.grad(y, case["x"], torch._efficientzerotensor(y.shape, dtype=y.dtype))
    assert not gradient.any()


@each_cell
def test_autocasts_off_switch_and_float64_run_natively(variant):
    case = make(variant, T=4, B=3, H=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = evaluate(variant, case, backend="native")
    assert_equal(got, evaluate(variant, case, backend="reference"))


@torch_scripts_itself
@pytest.mark.parametrize("transform", ["grad", "jacrev", "jacfwd"])
def test_a_transform_of_torch_func_is_refused_by_name_in_words(transform):
    case = make("gru", T=3, B=2, H=2)
    x = case["x"].detach()
    function = getattr(torch.func, transform)
    with pytest.raises(BackendError) as caught:
        function(lambda x: call("gru", case | {"x": x}, backend="native")[0].sum())(x)
    want = f"backend: expected one that can run this call, got 'native': {TRANSFORMED}"
    assert str(caught.value) == want


MAPPED = {
    "x": ("x",),
    "states": ("h_0", "c_0", "resets"),
    "everything but weights": ("x", "h_0", "c_0", "resets"),
    "a weight": ("weight_hh",),
    "weights and rows": ("x", "weight_ih", "weight_hh", "bias_hh", "weight_hr"),
}


@pytest.mark.parametrize("variant", [*VARIANTS, "lstm_projected"])
@pytest.mark.parametrize("mapped", MAPPED)
@pytest.mark.parametrize("axis", [0, 1])
def test_vmap_runs_natively_and_gives_the_bits_of_a_loop(variant, mapped, axis):
    case = make(variant, T=4, B=3, H=5)
    case["resets"] = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)) < 0.4
    names = [name for name in MAPPED[mapped] if name in case]
    members = [
        [case[name].roll(n, 0) if name == "resets" else (case[name] * (n + 1)).detach() for name in names]
        for n in range(3)
    ]
    stacked = [torch.stack(each, axis) for each in zip(*members, strict=True)]
    leaves = [each.requires_grad_() for each in stacked if each.is_floating_point()]
    leaves += [tensor for name, tensor in case.items() if name not in names and tensor.is_floating_point()]

    def run(*given):
        return tuple(call(variant, case | dict(zip(names, given, strict=True)), backend="native"))

    got = torch.vmap(run, in_dims=axis)(*stacked)
    looped = [run(*member) for member in zip(*(each.unbind(axis) for each in stacked), strict=True)]
    want = [torch.stack(each) for each in zip(*looped, strict=True)]
    gradients = []
    for outputs in (got, want):
        loss = sum((n + 1) * output.square().sum() for n, output in enumerate(outputs))
        gradients.append(torch.autograd.grad(loss, leaves))
    for ours, theirs in zip(got, want, strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(*gradients)


def test_vmap_within_vmap_and_within_a_gradient():
    case = {name: leaf.detach() for name, leaf in make("gru", T=3, B=2, H=4).items()}
    x = torch.randn(2, 3, *case["x"].shape, dtype=torch.float64)

    def run(x, backend="native"):
        return call("gru", case | {"x": x}, backend=backend)[0]

    got = torch.vmap(torch.vmap(run))(x)
    assert torch.equal(got, torch.stack([torch.stack([run(one) for one in each]) for each in x]))

    def loss(x, backend="auto"):
        return torch.vmap(lambda one: run(one, backend))(x).square().sum()

    torch.testing.assert_close(
        torch.func.grad(loss)(x[0]), torch.func.grad(lambda x: loss(x, "reference"))(x[0])
    )
    with pytest.raises(BackendError, match=r"torch\.func"):
        torch.func.grad(lambda x: loss(x, "native"))(x[0])


def test_what_is_not_wrapped_runs_natively_inside_a_transform():
    case = make("gru", T=3, B=2, H=2)
    plain = {name: leaf.detach() for name, leaf in case.items()}
    y, _ = call("gru", plain, backend="reference")
    scales = torch.arange(3, dtype=torch.float64)
    got = torch.vmap(lambda scale: scale * call("gru", plain, backend="native")[0])(scales)
    torch.testing.assert_close(got, scales[:, None, None, None] * y)


@torch_scripts_itself
def test_forward_mode_is_refused_by_name_in_words():
    case = make("gru", T=3, B=2, H=2)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(case["x"].detach(), torch.ones_like(case["x"]))
        with pytest.raises(BackendError) as caught:
            call("gru", case | {"x": dual}, backend="native")
        assert ops.explain("gru", **(case | {"x": dual})).backend == "reference"
        call("gru", case, backend="native")  # nothing dual in it
    assert str(caught.value).endswith(TRANSFORMED)
