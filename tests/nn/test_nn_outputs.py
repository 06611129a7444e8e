"""What torch.nn allows with a layer's outputs, ours allow: writing over them, in every form of the input."""

from __future__ import annotations

import pytest
import torch
from nn_cases import KINDS, pair, state_for
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

FORMS = ("batched", "unbatched", "packed")
OPTIONS = [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}]
WRITES = {
    "add_": lambda t: t.add_(1),
    "mul_": lambda t: t.mul_(2),
    "relu_": lambda t: t.relu_(),
    "zero_": lambda t: t.zero_(),
    "detach_": lambda t: t.detach_(),
    "one step": lambda t: t[0].fill_(3),
    "masked_fill_": lambda t: t.masked_fill_(t > 0, 0),
}


def outputs(layer, form, with_state):
    """Run a layer; return its leaves and its outputs, as flat tensors."""
    torch.manual_seed(0)
    rows, steps = 3, 5
    shape = (rows, steps, 2) if layer.batch_first else (steps, rows, 2)
    x = torch.randn(*(shape if form != "unbatched" else (steps, 2)), dtype=torch.float64).requires_grad_()
    given = x
    if form == "packed":
        given = pack_padded_sequence(x, [2, 5, 3], batch_first=layer.batch_first, enforce_sorted=False)
    hx = state_for(layer, None if form == "unbatched" else rows) if with_state else None
    y, state = layer(given, hx)
    y = y.data if isinstance(y, PackedSequence) else y
    return [x, *layer.parameters()], [y, *(state if isinstance(state, tuple) else (state,))]


def attempt(layer, form, with_state, which, write):
    """Write over one output, go backward from all; return the gradients, None where torch refuses."""
    leaves, found = outputs(layer, form, with_state)
    try:
        write(found[which])
        loss = sum((n + 1) * each.square().sum() for n, each in enumerate(found))
        return torch.autograd.grad(loss, leaves, allow_unused=True)
    except RuntimeError:
        return None


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_may_be_written_over_wherever_torch_allows_it(kind, options, form, with_state):
    theirs, ours = pair(kind, 2, 4, **options)
    allowed = 0
    for name, write in WRITES.items():
        for which in range(3 if kind == "LSTM" else 2):
            want = attempt(theirs, form, with_state, which, write)
            if want is None:
                continue
            allowed += 1
            got = attempt(ours, form, with_state, which, write)
            assert got is not None, (name, which)
            torch.testing.assert_close(got, want, msg=lambda text, at=(name, which): f"{at}: {text}")
    assert allowed


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_views_only_where_torchs_are(kind, options, form, grad):
    layers = pair(kind, 2, 4, **options)
    with torch.set_grad_enabled(grad):
        theirs, ours = (outputs(layer, form, False)[1] for layer in layers)
    for want, got in zip(theirs, ours, strict=True):
        assert got.shape == want.shape
        assert not got._is_view() or want._is_view()
