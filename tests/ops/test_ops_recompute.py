"""Backward passes that run their forward pass again: the same results and gradients, in less memory."""

# T, B and H are the axes' names in the design

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from ops_cases import BACKENDS, PAIRS, TOLERANCES, VARIANTS, call, evaluate, make, needs_kernels, ragged

from unrolled import nn, ops
from unrolled.errors import ConfigError

T = 12
SEGMENTS = [1, 4, 5, 11, 100]  # of T steps
# A row of every length, each with a reset at every step or at every second one: of every row that ends where a
# segment ends, there are some with a reset at that place, and some without.
ROWS = {
    "full": {},
    "ragged": {
        "lengths": torch.arange(T + 1).repeat(2),
        "resets": (torch.arange(T)[:, None] + torch.arange(2).repeat_interleave(T + 1)) % 2 == 0,
    },
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("variant", "backend"), PAIRS)
def test_results_and_gradients_are_those_of_the_whole(variant, backend, rows, reverse):
    case = make(variant, T=T, B=2 * (T + 1), H=6)
    options = {"backend": backend, "reverse": reverse} | ROWS[rows]
    want = evaluate(variant, case, **options)
    for recompute in SEGMENTS:
        got = evaluate(variant, case, recompute=recompute, **options)
        for name, value in want.items():
            torch.testing.assert_close(
                got[name], value, rtol=1e-10, atol=1e-12, msg=lambda m, n=name, k=recompute: f"{n}, {k}: {m}"
            )


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_narrow_weights_are_summed_over_segments_in_float32(backend):
    """The bias of a relu unit that is never closed: a sum of ones, which bfloat16 counts to 256 alone."""
    steps = 600
    none, bias = torch.zeros(1, 1).bfloat16(), torch.ones(1).bfloat16().requires_grad_()
    y, _ = ops.rnn(
        torch.zeros(steps, 1, 1).bfloat16(), none, none, none, bias,
        nonlinearity="relu", recompute=1, backend=backend,
    )  # fmt: skip
    assert float(torch.autograd.grad(y.sum(), bias)[0]) == steps


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_on_the_native_backend_the_results_have_the_bits_of_the_whole(variant, reverse, dtype):
    case, rows = make(variant, T=23, B=7, H=19, dtype=dtype), ragged(23, 7)
    want = call(variant, case, backend="native", reverse=reverse, **rows)
    got = call(variant, case, backend="native", reverse=reverse, recompute=6, **rows)
    assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))
    rtol, atol = TOLERANCES[dtype]
    gradients = [
        evaluate(variant, case, backend="native", reverse=reverse, recompute=k, **rows) for k in (None, 6)
    ]
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=rtol, atol=atol)


@pytest.mark.parametrize("wanted", ["x", "h_0", "weight_hh", "bias_ih"])
@pytest.mark.parametrize("of", ["y", "h_n", "c_n"])
def test_one_gradient_of_one_output(of, wanted):
    """Where a gradient is not wanted, or not given, nothing is missing from the others."""
    case = {n: t.detach().requires_grad_(n == wanted) for n, t in make("lstm", T=9, B=3, H=4).items()}
    outputs = {
        k: dict(zip(("y", "h_n", "c_n"), call("lstm", case, recompute=k), strict=True)) for k in (None, 4)
    }
    want, got = (torch.autograd.grad(outputs[k][of].sum(), case[wanted])[0] for k in (None, 4))
    torch.testing.assert_close(got, want)


def test_gradcheck_and_no_second_derivative():
    case = make("gru", T=5, B=2, H=3)
    names = list(case)
    assert torch.autograd.gradcheck(
        lambda *tensors: call("gru", dict(zip(names, tensors, strict=True)), recompute=2), list(case.values())
    )
    for loss in (torch.sum, lambda y: y.square().sum()):  # of the first, the gradient sent in is a constant
        y, _ = call("gru", case, recompute=2)
        with pytest.raises(
            ConfigError, match=r"^recompute: expected None where gradients are diff.*, got 2$"
        ):
            torch.autograd.grad(loss(y), case["x"], create_graph=True)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_transforms_take_the_whole_call():
    case = {name: leaf.detach() for name, leaf in make("gru", T=6, B=2, H=3).items()}

    def loss(x, recompute=2):
        return call("gru", case | {"x": x}, recompute=recompute)[0].square().sum()

    x, tangent = case["x"], torch.ones_like(case["x"])
    torch.testing.assert_close(torch.func.grad(loss)(x), torch.func.grad(lambda x: loss(x, None))(x))
    got, want = (torch.func.jvp(lambda x, k=k: loss(x, k), (x,), (tangent,)) for k in (2, None))
    torch.testing.assert_close(got, want)
    weights = case | {"weight_ih": case["weight_ih"].requires_grad_()}
    rows = torch.stack([x, 2 * x])
    got = torch.vmap(lambda x: call("gru", weights | {"x": x}, recompute=2)[0])(rows)
    torch.testing.assert_close(got[1], call("gru", weights | {"x": 2 * x})[0])


def test_batched_gradients_are_those_of_the_whole():
    case = make("lstm", T=7, B=2, H=3)
    jacobians = []
    for recompute in (None, 3):
        y, *_ = call("lstm", case, recompute=recompute)
        basis = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape)
        wanted = [case["x"], case["weight_hh"], case["h_0"]]
        jacobians.append(torch.autograd.grad(y, wanted, basis, is_grads_batched=True))
    for got, want in zip(*jacobians, strict=True):
        torch.testing.assert_close(got, want)


def test_an_exported_layer_takes_any_number_of_steps():
    layer = nn.GRU(5, 8, recompute=64)
    steps = torch.export.Dim("steps", min=2, max=500)
    program = torch.export.export(layer, (torch.randn(7, 3, 5),), dynamic_shapes=({0: steps},))
    x = torch.randn(100, 3, 5)
    torch.testing.assert_close(program.module()(x)[0], layer(x)[0])


def test_meta_tensors_and_a_detached_output_do_as_without():
    layer, x = nn.GRU(2, 3, recompute=2, batch_first=True), torch.randn(1, 5, 2)
    y = layer(x)[0]
    assert y.detach_().shape == (1, 5, 3)
    meta = nn.GRU(2, 3, recompute=2, device="meta")
    x = torch.randn(5, 1, 2, device="meta", requires_grad=True)
    meta(x)[0].sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("bad", [0, -1, "x"])
def test_what_is_set_later_is_refused_when_it_is_used(bad):
    layer = nn.LSTM(2, 3)
    layer.recompute = bad
    with pytest.raises(ConfigError, match=r"^recompute: expected a number of steps"):
        layer(torch.randn(4, 1, 2))


@pytest.mark.parametrize("bad", [0, -1, True, 2.0, "8"])
def test_what_is_no_number_of_steps_is_refused(bad):
    for refused in (
        lambda: call("gru", make("gru", T=5, B=2, H=3), recompute=bad),
        lambda: nn.LSTM(2, 3, recompute=bad),
    ):
        with pytest.raises(ConfigError) as caught:
            refused()
        assert str(caught.value) == f"recompute: expected a number of steps from 1 on, or None, got {bad!r}"


def test_a_trajectory_is_refused_by_the_op_and_kept_by_the_layer():
    with pytest.raises(ConfigError, match="recompute: expected None with trajectories"):
        call("gru", make("gru", T=5, B=2, H=3), recompute=2, trajectories=True)
    layer, x = nn.GRU(2, 3, recompute=2), torch.randn(5, 1, 2)
    assert layer.trajectories(x)[2][0].h.shape == (5, 1, 3)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_keeps_its_results(kind):
    plain = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True, recompute=3)
    layer.load_state_dict(plain.state_dict())
    x, lengths = torch.randn(2, 10, 3), torch.tensor([10, 4])
    resets = torch.rand(2, 10) < 0.3
    outputs = []
    for each in (plain, layer):
        leaf = x.clone().requires_grad_()
        y, _ = each(leaf, lengths=lengths, resets=resets)
        y.square().sum().backward()
        outputs.append([y, leaf.grad, *(p.grad for p in each.parameters())])
    for got, want in zip(outputs[1], outputs[0], strict=True):
        torch.testing.assert_close(got, want)
    assert repr(layer).endswith(", recompute=3)")
    assert "every 3 steps a state is kept" in str(nn.explain(layer, x))


def test_a_layer_that_an_older_version_pickled_has_none():
    layer = nn.GRU(2, 3)
    del vars(layer)["recompute"]
    assert layer.recompute is None
    assert layer(torch.randn(4, 1, 2))[0].shape == (4, 1, 3)


@needs_kernels
@pytest.mark.slow
def test_memory_grows_with_x_and_y_alone():
    """One row of 100,000 steps: at most 1.2 times what x, y and their gradients take, and 64 MB."""
    program = """
        import resource, torch
        from unrolled import nn
        T, H = 100_000, 64
        layer = nn.LSTM(H, H, recompute=500)
        x = torch.zeros(T, 1, H, requires_grad=True)
        layer(x[:1000])[0].sum().backward()  # what libraries take once
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        y, _ = layer(x)
        y.backward(torch.ones_like(y))
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * T * H * 4))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1.2 + 64e6 / (4 * 100_000 * 64 * 4)
