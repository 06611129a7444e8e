"""`explain` for a layer: a line per layer and direction."""

from __future__ import annotations

import pytest
import torch
from nn_cases import needs_kernels
from torch.nn.utils.rnn import pack_sequence

from unrolled import nn, ops
from unrolled.errors import DtypeError, ShapeError

DIRECT = "full rows without resets inside go to torch's kernel in one direct call"
PACKED = "rows cut into segments at lengths and resets go to torch's kernel as one packed batch"


def test_every_layer_and_direction_is_explained():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    got = nn.explain(layer, torch.randn(5, 2, 3))
    assert list(got.calls) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert all(isinstance(call, ops.Explanation) for call in got.calls.values())
    lines = str(got).splitlines()
    assert lines[0] == "LSTM(3, 4, proj_size=2, num_layers=2, bidirectional=True)"
    assert lines[1].startswith("  l0: lstm runs on ")
    assert len(lines) == 5


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_reason_follows_the_input(kind):
    layer = getattr(nn, kind)(3, 4, num_layers=2, dtype=torch.float16)  # so that torch's kernels are taken
    x = torch.randn(5, 2, 3).half()
    assert {call.reason for call in nn.explain(layer, x).calls.values()} == {DIRECT}
    assert {call.reason for call in nn.explain(layer, x, lengths=[5, 2]).calls.values()} == {PACKED}
    rows = pack_sequence([x[:4, 0], x[:2, 1]])
    assert {call.reason for call in nn.explain(layer, rows).calls.values()} == {PACKED}
    layer.backend = "reference"
    assert {call.backend for call in nn.explain(layer, x).calls.values()} == {"reference"}


@needs_kernels
def test_a_padded_and_a_packed_batch_take_the_same_native_path():
    layer, x = nn.GRU(3, 4, num_layers=2), torch.randn(5, 2, 3)
    padded = nn.explain(layer, x, lengths=[5, 2])
    assert {call.backend for call in padded.calls.values()} == {"native"}
    assert all(call.reason.endswith(", lengths inside)") for call in padded.calls.values())
    packed = nn.explain(layer, pack_sequence([x[:, 0], x[:2, 1]]))
    assert {call.backend for call in packed.calls.values()} == {"native"}
    assert all(call.reason.endswith(", packed rows inside)") for call in packed.calls.values())


def test_explain_runs_nothing_and_checks_what_the_call_would_check():
    layer = nn.GRU(3, 4)
    with pytest.raises(ShapeError) as shape:
        nn.explain(layer, torch.randn(5, 2, 4))
    assert str(shape.value) == "input: expected [T, B, 3] or [T, 3], got [5, 2, 4]"
    with pytest.raises(DtypeError) as caught:
        nn.explain(torch.nn.GRU(3, 4), torch.randn(5, 2, 3))
    assert (
        str(caught.value) == "layer: expected an unrolled.nn RNN, LSTM or GRU, got torch.nn.modules.rnn.GRU"
    )
