"""Memory map against finite differences and plain automatic differentiation."""

import json
import math

import numpy as np
import pytest
import torch
from probe_cases import F64, Attention, TwoModules, forced_lstm, language_model, noise, tokens, twin

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError, ShapeError
from unrolled.tokens import CharTokens


def plain_map(model, ids, targets):
    """One backward pass for each prediction, through the whole model."""
    embedded = model.embedding(ids).detach().requires_grad_()
    logits = model.readout(model.recurrent(embedded)[0])
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    rows = [
        torch.autograd.grad(loss, embedded, retain_graph=True)[0].norm(dim=-1)[:, 0] for loss in losses[:, 0]
    ]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_map_is_what_plain_backward_passes_give(cell):
    model, batch = language_model(cell), tokens(12, 3)
    found = probe.memory_map(model, batch, row=2)
    want = plain_map(model, batch.inputs[:, 2:], batch.targets[:, 2:])
    np.testing.assert_allclose(found.norms, want, rtol=1e-4, atol=1e-8)
    assert not np.triu(found.norms, 1).any()


def test_finite_differences_agree():
    torch.manual_seed(0)
    layer, x, eps = torch.nn.GRU(3, 4, dtype=F64), noise(6, 1, 3), 1e-6
    found = probe.memory_map(layer, x).norms
    pull = probe.losses.projection(4)
    for s in range(6):
        columns = []
        for unit in torch.eye(3, dtype=F64):
            up, down = x.clone(), x.clone()
            up[s, 0] += eps * unit
            down[s, 0] -= eps * unit
            columns.append((layer(up)[0] - layer(down)[0])[:, 0] @ pull / (2 * eps))
        np.testing.assert_allclose(found[:, s], torch.stack(columns).norm(dim=0).detach(), atol=1e-7)


def test_a_forced_forget_gate_is_the_ratio_of_neighbours():
    layer = forced_lstm(0.8)
    with torch.no_grad():
        layer.weight_ih_l0[:5] = 0  # the input gate, and the output gate, stand still: only g sees x
        layer.weight_ih_l0[15:] = 0
    found = probe.memory_map(layer, torch.zeros(20, 1, 3, dtype=F64)).norms
    np.testing.assert_allclose(found[10, :10] / found[10, 1:11], 0.8)


@pytest.mark.parametrize("model", [
    TwoModules(torch.nn.GRU(3, 4, batch_first=True, dtype=F64), torch.nn.LSTM(4, 4, batch_first=True, dtype=F64)),
    Attention(torch.nn.GRU(3, 4, dtype=F64)),
])  # fmt: skip
def test_models_of_other_shapes_are_mapped_too(model):
    x = noise(1, 8, 3) if isinstance(model, TwoModules) else noise(8, 1, 3)
    found = probe.memory_map(model, x).norms
    given = x.clone().requires_grad_()
    y = model.eval()(given)
    y = (y[0] if isinstance(y, tuple) else y).reshape(8, 4) @ probe.losses.projection(4)
    want = [torch.autograd.grad(loss, given, retain_graph=True)[0].reshape(8, 3).norm(dim=-1) for loss in y]
    np.testing.assert_allclose(found, torch.stack(want), atol=1e-12)


def test_resets_cut_the_map():
    model, plain = language_model(), tokens(10, 1)
    resets = torch.zeros(10, 1, dtype=torch.bool)
    resets[6] = True
    found = probe.memory_map(model, Batch(plain.inputs, plain.targets, torch.tensor([9]), resets)).norms
    assert found.shape == (9, 9)
    assert not found[6:, :6].any()
    assert (found[np.tril_indices(6)] > 0).all()


def test_the_map_of_a_short_row_is_that_of_the_row_alone():
    model, plain = language_model(), tokens(10, 2)
    padded = Batch(plain.inputs, plain.targets, torch.tensor([10, 6]))
    found = probe.memory_map(model, padded, row=1).norms
    alone = probe.memory_map(model, Batch(plain.inputs[:6, 1:], plain.targets[:6, 1:])).norms
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-8)


def test_ours_and_torchs_layers_agree():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(3, 16, 2)
    x = noise(20, 1, 3).float()
    first, second = (probe.memory_map(each, x).norms for each in (layer, twin(layer)))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)


def test_the_reach_is_the_mean_lag():
    norms = np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(probe.MemoryMap(norms, None, "").reach, [0, 0.5, 0])


def test_the_result_is_json_and_a_picture_with_the_models_own_texts(tmp_path):
    model, batch = language_model(), tokens(9, 1)
    assert probe.memory_map(model, batch).tokens is None
    model.tokens = CharTokens.build(["abc de\n"])
    found = probe.memory_map(model, batch)
    assert "".join(found.tokens) == model.tokens.decode(batch.inputs[:, 0].tolist())
    json.dumps(found.to_dict(), allow_nan=False)
    found.plot(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert math.isfinite(found.reach.max())


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"row": 2}, ConfigError, r"row: expected 0 to 1, got 2"),
        ({"tokens": "abc"}, ShapeError, r"tokens: expected 9, a text per step, got 3"),
    ],
)
def test_bad_input_is_one_clear_line(options, error, match):
    with pytest.raises(error, match=match):
        probe.memory_map(language_model(), tokens(9, 2), **options)
