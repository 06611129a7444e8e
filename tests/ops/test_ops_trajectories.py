"""Trajectories: the gates and states are the ones that made y, and gradients flow through them."""

from __future__ import annotations

import pytest
import torch
from ops_cases import (
    PAIRS,
    VARIANTS,
    assert_equal,
    call,
    evaluate,
    make,
    needs_kernels,
    outputs_and_gradients,
    ragged,
)

from unrolled.errors import BackendError

T, B, H = 7, 4, 4
RECORDING = [pair for pair in PAIRS if "torch" not in getattr(pair, "values", pair)]
ON_BOTH = pytest.mark.parametrize("backend", ["reference", pytest.param("native", marks=needs_kernels)])


def before(states, first, resets):
    """The state that each step started from, where every row is full."""
    shifted = torch.cat([first[None], states[:-1]])
    return shifted.masked_fill(resets[..., None], 0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("variant", "backend"), RECORDING)
def test_asking_for_trajectories_changes_no_result(variant, backend, reverse):
    case, rows = make(variant, T=T, B=B, H=H), ragged(T, B)
    *outputs, trace = call(variant, case, backend=backend, trajectories=True, reverse=reverse, **rows)
    assert torch.equal(trace.h, outputs[0])
    want = evaluate(variant, case, backend="reference", reverse=reverse, **rows)
    assert_equal(outputs_and_gradients(tuple(outputs), case), want)
    past = torch.arange(T)[:, None] >= rows["lengths"]
    assert all(not values[past].any() for values in trace)
    plain = call(variant, case, backend=backend, reverse=reverse, **rows)
    assert all(map(torch.equal, plain, outputs))  # bit for bit


@needs_kernels
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "lstm_projected"])
def test_native_trajectories_and_their_gradients_equal_the_references(variant, dtype, reverse):
    case, rows = make(variant, T=T, B=B, H=19, dtype=dtype), ragged(T, B)

    def everything(backend):
        *outputs, trace = call(variant, case, backend=backend, trajectories=True, reverse=reverse, **rows)
        named = {f"trace of {name}": values.detach() for name, values in trace._asdict().items()}
        return named | outputs_and_gradients((*outputs, *trace), case)

    assert_equal(everything("native"), everything("reference"))


@ON_BOTH
def test_lstm_trajectory_obeys_the_cells_equations(backend):
    case, resets = make("lstm", T=T, B=B, H=H), ragged(T, B)["resets"]
    y, _, c_n, trace = call("lstm", case, backend=backend, trajectories=True, resets=resets)
    assert trace._fields == ("i", "f", "g", "o", "c", "h")
    torch.testing.assert_close(trace.c, trace.f * before(trace.c, case["c_0"], resets) + trace.i * trace.g)
    torch.testing.assert_close(y, trace.o * trace.c.tanh())
    torch.testing.assert_close(c_n, trace.c[-1])
    h = before(trace.h, case["h_0"], resets)
    forget = (case["x"] @ case["weight_ih"][H : 2 * H].T + case["bias_ih"][H : 2 * H]) + (
        h @ case["weight_hh"][H : 2 * H].T + case["bias_hh"][H : 2 * H]
    )
    torch.testing.assert_close(trace.f, forget.sigmoid())


@ON_BOTH
def test_gru_trajectory_obeys_the_cells_equations(backend):
    case, resets = make("gru", T=T, B=B, H=H), ragged(T, B)["resets"]
    y, _, trace = call("gru", case, backend=backend, trajectories=True, resets=resets)
    assert trace._fields == ("r", "z", "n", "h")
    h = before(trace.h, case["h_0"], resets)
    torch.testing.assert_close(y, (1 - trace.z) * trace.n + trace.z * h)
    hidden = h @ case["weight_hh"][2 * H :].T + case["bias_hh"][2 * H :]
    n = case["x"] @ case["weight_ih"][2 * H :].T + case["bias_ih"][2 * H :] + trace.r * hidden
    torch.testing.assert_close(trace.n, n.tanh())


@ON_BOTH
@pytest.mark.parametrize("variant", ["rnn_tanh", "rnn_relu"])
def test_rnn_trajectory_obeys_the_cells_equations(variant, backend):
    case = make(variant, T=T, B=B, H=H)
    y, _, trace = call(variant, case, backend=backend, trajectories=True)
    assert trace._fields == ("a", "h")
    torch.testing.assert_close(y, trace.a.tanh() if variant == "rnn_tanh" else trace.a.relu())


@pytest.mark.parametrize(("variant", "backend"), RECORDING)
def test_every_part_of_a_trajectory_has_a_gradient_to_the_weights(variant, backend):
    case = make(variant, T=T, B=B, H=H)
    *_, trace = call(variant, case, backend=backend, trajectories=True)
    for values in trace:
        (gradient,) = torch.autograd.grad(values.sum(), case["weight_ih"], retain_graph=True)
        assert gradient.any()


@pytest.mark.parametrize(("variant", "backend"), RECORDING)
def test_a_trajectory_of_no_steps_is_empty(variant, backend):
    *_, trace = call(variant, make(variant, T=0, B=B, H=H), backend=backend, trajectories=True)
    assert all(values.shape[:2] == (0, B) for values in trace)


def test_the_torch_backend_refuses_trajectories_in_words():
    message = (
        "backend: expected one that can run this call, "
        "got 'torch': its kernels do not hand out gates, so no trajectories"
    )
    with pytest.raises(BackendError) as caught:
        call("gru", make("gru", T=2, B=1, H=2), trajectories=True, backend="torch")
    assert str(caught.value) == message
