"""Our cells are torch.nn's, with resets."""

from __future__ import annotations

import copy

import pytest
import torch

from unrolled import nn
from unrolled.errors import ConfigError

CELLS = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu", "bias": False}),
    ("LSTMCell", {}),
    ("GRUCell", {}),
]


def cells(kind, options):
    theirs = getattr(torch.nn, kind)(3, 5, **options)
    ours = getattr(nn, kind)(3, 5, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def state(kind, *rows):
    return (torch.randn(*rows, 5), torch.randn(*rows, 5)) if kind == "LSTMCell" else torch.randn(*rows, 5)


@pytest.mark.parametrize("rows", [(4,), (0,), ()])
@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_a_cell_gives_torchs_results(kind, options, rows):
    theirs, ours = cells(kind, options)
    assert isinstance(ours, getattr(torch.nn, kind))
    assert repr(ours) == repr(theirs)
    x, hx = torch.randn(*rows, 3), state(kind, *rows)
    torch.testing.assert_close(ours(x, hx), theirs(x, hx), rtol=0, atol=0)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(ours)(x, hx), theirs(x, hx), rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_a_reset_row_starts_from_zero(kind, options):
    theirs, ours = cells(kind, options)
    x, hx = torch.randn(3, 3), state(kind, 3)
    resets = torch.tensor([False, True, False])
    fresh, carried = theirs(x), theirs(x, hx)
    got = ours(x, hx, resets=resets)
    pairs = zip(got, fresh, carried, strict=True) if kind == "LSTMCell" else [(got, fresh, carried)]
    for values, at_reset, elsewhere in pairs:
        torch.testing.assert_close(values, torch.where(resets[:, None], at_reset, elsewhere))
    alone = ours(x[1], tuple(s[1] for s in hx) if kind == "LSTMCell" else hx[1], resets=torch.tensor(True))
    torch.testing.assert_close(alone, theirs(x[1]))


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_a_loop_over_the_cell_equals_the_layer(kind, options):
    torch.manual_seed(0)
    _, cell = cells(kind, options)
    layer = getattr(nn, kind.removesuffix("Cell"))(3, 5, **options)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x, resets = torch.randn(7, 4, 3), torch.rand(7, 4) < 0.3
    hx, outputs = None, []
    for t in range(7):
        hx = cell(x[t], hx, resets=resets[t])
        outputs.append(hx[0] if kind == "LSTMCell" else hx)
    torch.testing.assert_close(layer(x, resets=resets)[0], torch.stack(outputs))


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_a_cell_runs_within_autocast_and_takes_its_state_back(kind, options):
    _, ours = cells(kind, options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hx = ours(torch.randn(4, 3))
        hx = ours(torch.randn(4, 3).bfloat16(), hx)
        x = torch.randn(4, 3)
        reset = ours(x, hx, resets=torch.ones(4, dtype=torch.bool))
        torch.testing.assert_close(reset, ours(x))


@pytest.mark.parametrize(("cell", "layer"), [("RNNCell", "RNN"), ("LSTMCell", "LSTM"), ("GRUCell", "GRU")])
@pytest.mark.parametrize("bias", [True, False])
def test_a_cell_loads_the_state_dict_of_a_layer(cell, layer, bias):
    trained = torch.nn.ModuleDict({"net": getattr(torch.nn, layer)(3, 4, bias=bias)})
    one = torch.nn.ModuleDict({"net": getattr(nn, cell)(3, 4, bias=bias)})
    assert str(one.load_state_dict(trained.state_dict())) == "<All keys matched successfully>"
    x = torch.randn(1, 2, 3)
    y, _ = trained["net"](x)
    h = one["net"](x[0])
    torch.testing.assert_close(h[0] if layer == "LSTM" else h, y[0])
    assert list(one.state_dict()) == [f"net.{name}" for name in dict(one["net"].named_parameters())]


@pytest.mark.parametrize(
    ("options", "other"),
    [
        ({"num_layers": 2}, "weight_ih_l1"),
        ({"bidirectional": True}, "weight_ih_l0_reverse"),
        ({"proj_size": 2}, "weight_hr_l0"),
    ],
)
def test_a_cell_refuses_the_state_dict_of_a_larger_layer(options, other):
    want = "state_dict: expected the weights of one layer in one direction (weight_ih_l0, …)"
    with pytest.raises(ConfigError) as caught:
        nn.LSTMCell(3, 4).load_state_dict(torch.nn.LSTM(3, 4, **options).state_dict())
    assert str(caught.value) == f"{want}, got {other} beside them"
