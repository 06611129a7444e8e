"""Training calls of few steps go to torch.nn's own call: the same numbers, said by `explain`, and nothing else does."""

from __future__ import annotations

import pytest
import torch
from nn_cases import KINDS, flat, needs_kernels, pair, state_for

from unrolled import nn
from unrolled.errors import ShapeError
from unrolled.nn import few_steps

pytestmark = [
    needs_kernels,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"),
]


@pytest.fixture
def torch_calls(monkeypatch):
    """Whether a call that was asked about went to torch, call by call."""
    answers, run = [], few_steps.run_layer

    def spy(*arguments):
        done = run(*arguments)
        answers.append(done is not None)
        return done

    monkeypatch.setattr(few_steps, "run_layer", spy)
    return answers


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, once
def test_a_training_step_has_torchs_bits_and_gradients(kind, with_state, rows, batch_first, torch_calls):
    options = {"proj_size": 3} if kind == "LSTM" else {}
    theirs, ours = pair(kind, 2, 4, 2, dropout=0.5, bidirectional=True, batch_first=batch_first, **options)
    shape = (1, 2) if rows is None else (rows, 1, 2) if batch_first else (1, rows, 2)
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    hx = state_for(ours, rows) if with_state else None
    results = []
    for layer in (theirs, ours):
        torch.manual_seed(0)
        found = flat(layer.train(with_state)(x, hx))  # in evaluation mode gradients are wanted too
        loss = sum((n + 1) * each.square().sum() for n, each in enumerate(found))
        results.append([*found, *torch.autograd.grad(loss, [x, *layer.parameters()])])
    assert torch_calls == [True]
    for want, got in zip(*results, strict=True):
        assert torch.equal(got, want)
        assert got.stride() == want.stride()
        assert got._is_view() == want._is_view()
    calls = nn.explain(ours, x, hx).calls
    assert list(calls) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert {call.backend for call in calls.values()} == {"torch"}
    assert "backend='native'" in calls["l0"].reason


def test_everything_else_runs_where_it_ran(torch_calls):
    layer, x = nn.RNN(2, 4), torch.randn(1, 3, 2)
    with torch.no_grad():
        layer(x)
    layer(x, lengths=[1, 1, 0])
    layer(x, resets=torch.zeros(1, 3))
    layer(torch.randn(3, 3, 2))
    nn.RNN(2, 4, backend="native")(x)
    nn.RNN(2, 4, recompute=1)(x)
    nn.RNN(2, 4, zoneout=0.5)(x)
    nn.RNN(2, 4, input_dropout=0.5)(x)
    nn.RNN(2, 4, recurrent_dropout=0.5)(x)
    nn.RNN(2, 4, reverse=True)(x)
    stack = nn.RNN(2, 4, 2, dropout=0.5)
    stack.between_layers = torch.nn.Identity()
    stack(x)
    nn.RNN(256, 512)(torch.randn(1, 128, 256))
    nn.GRU(2, 4)(x)
    nn.GRU(256, 256)(torch.randn(1, 4, 256))
    nn.LSTM(2, 4)(x)
    nn.LSTM(256, 256)(torch.randn(1, 1, 256))
    nn.LSTM(2, 4, dtype=torch.float64)(torch.randn(2, 3, 2, dtype=torch.float64))
    with torch.autocast("cpu"):
        layer(x)
    layer.bfloat16()(x.bfloat16())
    torch.func.vmap(lambda one: nn.RNN(2, 4)(one)[0], randomness="same")(x[None])
    torch.nn.utils.parametrizations.weight_norm(nn.RNN(2, 4), "weight_hh_l0")(x)
    nn.RNN(2, 4).requires_grad_(requires_grad=False)(x)
    assert not any(torch_calls)
    assert nn.explain(nn.RNN(2, 4).requires_grad_(requires_grad=False), x).calls["l0"].backend == "native"
    nn.RNN(2, 4).requires_grad_(requires_grad=False)(x.requires_grad_())
    assert torch_calls[-1]
    torch.jit.trace(nn.RNN(2, 4), (x.detach(),))


@pytest.mark.parametrize(
    ("layer", "steps", "rows"),
    [
        (nn.RNN(2, 4), 2, 64),
        (nn.RNN(256, 512), 2, 1),
        (nn.GRU(64, 256), 1, 1),
        (nn.LSTM(64, 128, proj_size=64), 1, 1),
        (nn.LSTM(2, 4, batch_first=True, dtype=torch.float64), 1, 64),
        (nn.GRU(256, 512, batch_first=True, dtype=torch.float64), 3, 1),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_calls_that_torch_runs_faster_go_to_torch(layer, steps, rows, torch_calls):
    shape = (rows, steps) if layer.batch_first else (steps, rows)
    x = torch.randn(*shape, layer.input_size, dtype=layer.weight_ih_l0.dtype)
    layer(x)
    layer(torch.cat([x, x, x, x], dim=int(layer.batch_first)))
    assert torch_calls == [True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_in_our_words(kind):
    layer = getattr(nn, kind)(2, 4)
    one = torch.zeros(1, 2, 4)
    with pytest.raises(ShapeError, match=r"^h_0: expected \[1, 3, 4\], got \[1, 2, 4\]$"):
        layer(torch.randn(1, 3, 2), (one, one) if kind == "LSTM" else one)
    with pytest.raises(ShapeError, match=r"^input: expected"):
        layer(torch.randn(1, 3, 5))
