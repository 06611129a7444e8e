"""Step 3 of the numerics ladder: finite differences; and the transforms of torch.func."""

from __future__ import annotations

import pytest
import torch
from ops_cases import BACKENDS, PAIRS, VARIANTS, assert_equal, call, evaluate, make
from torch.autograd import forward_ad

from unrolled.errors import BackendError

# torch's own: its forward-mode rules script themselves when first used.
torch_scripts_itself = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

ROWS = {
    "full": {},
    "ragged": {
        "lengths": torch.tensor([3, 2]),
        "resets": torch.tensor([[False, True], [True, False], [False, True]]),
    },
}


def as_function(variant, case, **options):
    names = list(case)
    return (lambda *leaves: call(variant, dict(zip(names, leaves, strict=True)), **options)), tuple(
        case.values()
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("variant", "backend"), PAIRS)
def test_gradients_equal_finite_differences(variant, backend, rows, reverse):
    case = make(variant, T=3, B=2, H=2, I=2)
    function, leaves = as_function(variant, case, backend=backend, reverse=reverse, **ROWS[rows])
    assert torch.autograd.gradcheck(function, leaves, fast_mode=backend == "torch" and reverse)


@pytest.mark.parametrize("variant", VARIANTS)
def test_second_gradients_of_the_reference_equal_finite_differences(variant):
    case = make(variant, T=3, B=2, H=2, I=2)
    function, leaves = as_function(variant, case, backend="reference", **ROWS["ragged"])
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_second_gradients_of_the_torch_backend_equal_the_references_in_float32(variant):
    case = make(variant, T=4, B=2, H=3, dtype=torch.float32)

    def second(backend):
        y, *_ = call(variant, case, backend=backend)
        (gradient,) = torch.autograd.grad(y.square().sum(), case["x"], create_graph=True)
        leaves = [case["x"], case["weight_ih"], case["weight_hh"]]
        return dict(enumerate(torch.autograd.grad(gradient.square().sum(), leaves)))

    assert_equal(second("torch"), second("reference"))


@torch_scripts_itself
@pytest.mark.parametrize("trajectories", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_jacrev_and_jacfwd_agree_on_auto(variant, trajectories):
    case = make(variant, T=3, B=2, H=2, dtype=torch.float32)

    def run(x):
        out = call(variant, case | {"x": x}, trajectories=trajectories, **ROWS["ragged"])
        return out[-1][0] if trajectories else out[0]

    backward, forward = torch.func.jacrev(run)(case["x"]), torch.func.jacfwd(run)(case["x"])
    assert backward.shape == (*run(case["x"]).shape, *case["x"].shape)
    assert backward.any()
    torch.testing.assert_close(backward, forward)


@pytest.mark.parametrize("variant", VARIANTS)
def test_vmap_over_networks_equals_one_after_the_other(variant):
    case = make(variant, T=3, B=2, H=2)
    scales = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)

    def run(scale):
        return call(variant, case | {"weight_hh": case["weight_hh"] * scale}, **ROWS["ragged"])[0]

    torch.testing.assert_close(torch.vmap(run)(scales), torch.stack([run(scale) for scale in scales]))


def test_vmap_on_the_torch_backend_is_refused_in_words():
    case = make("lstm", T=3, B=2, H=2)
    message = (
        "backend: expected one that can run this call, "
        "got 'torch': its kernels have no batching rule for torch.vmap"
    )
    with pytest.raises(BackendError) as caught:
        torch.vmap(lambda x: call("lstm", case | {"x": x}, backend="torch")[0])(case["x"][None])
    assert str(caught.value) == message


@torch_scripts_itself
def test_forward_mode_takes_the_reference_on_auto():
    case = {name: leaf.detach() for name, leaf in make("lstm", T=3, B=2, H=2, dtype=torch.float32).items()}
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(case["x"], torch.ones_like(case["x"]))
        y, *_ = call("lstm", case | {"x": dual})
        tangent = forward_ad.unpack_dual(y).tangent
    _, want = torch.func.jvp(
        lambda x: call("lstm", case | {"x": x})[0], (case["x"],), (torch.ones_like(case["x"]),)
    )
    torch.testing.assert_close(tangent, want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_wants_a_gradient_gets_one(backend):
    case = make("lstm", T=3, B=2, H=2)
    alone = {name: leaf.detach() for name, leaf in case.items()} | {"c_0": case["c_0"]}
    y, *_ = call("lstm", alone, backend=backend, **ROWS["ragged"])
    (gradient,) = torch.autograd.grad(y.square().sum(), case["c_0"])
    assert gradient[0].any()  # row 0 starts from c_0
    assert not gradient[1].any()  # row 1 is reset at step 0
    want = evaluate("lstm", case, backend=backend, **ROWS["ragged"])["gradient of c_0"]
    assert not want[1].any()
