"""The model's dropout against its definition."""

import pytest
import torch

from unrolled.data import Batch
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.tasks.language.dropout import Dropout


def dropped(p, shape=(7, 64, 1024), seed=0):
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(shape))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_and_the_scale_are_as_stated(p):
    y = dropped(p)
    share = (y[0] == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / y[0].numel()) ** 0.5
    kept = y[y != 0]
    assert torch.all(kept == kept[0])
    assert kept[0].item() == pytest.approx(1 / (1 - p), rel=1e-6)


def test_every_unit_of_a_row_is_drawn_alone_and_once_for_all_steps():
    y = dropped(0.5)
    assert torch.equal(y, y[:1].expand_as(y))
    flat = (y[0] == 0).double().flatten()
    centred = flat - flat.mean()
    for lag in (1, 2, 3, 4, 8, 1024):
        assert abs((centred[lag:] * centred[:-lag]).mean().item()) < 5 * 0.25 / flat.numel() ** 0.5


def test_a_seed_repeats_it_and_another_does_not():
    assert torch.equal(dropped(0.3, seed=1), dropped(0.3, seed=1))
    assert not torch.equal(dropped(0.3, seed=1), dropped(0.3, seed=2))


def test_the_gradient_passes_where_the_value_did():
    x = torch.ones(3, 5, 7).requires_grad_()
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize(
    ("layer", "want"), [(Dropout(0.5).eval(), 1.0), (Dropout(0.0), 1.0), (Dropout(1.0), 0.0)]
)
def test_nothing_is_drawn_where_nothing_can_differ(layer, want):
    before = torch.get_rng_state()
    assert torch.all(layer(torch.ones(4, 4, 2)) == want)
    if want:
        assert torch.equal(torch.get_rng_state(), before)


def test_odd_sizes_and_other_types():
    assert Dropout(0.5)(torch.ones(0, 3, 5)).shape == (0, 3, 5)
    assert Dropout(0.5)(torch.ones(5, 3, 2).transpose(0, 1)).shape == (3, 5, 2)
    assert Dropout(0.5)(torch.ones(7, 2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_network_drops_what_each_layer_gives_and_nothing_before_the_first(layers, monkeypatch):
    network = LanguageModel(ModelConfig(9, 4, 4, num_layers=layers, dropout=0.5))
    seen = []
    monkeypatch.setattr(Dropout, "forward", lambda self, x: seen.append((self.training, x.shape)) or x)
    ids = torch.randint(9, (6, 3))
    network.loss(Batch(ids, ids), network.initial_state(3))
    assert seen == [(True, (6, 3, 4))] * layers
    network.eval()
    network.loss(Batch(ids, ids), network.initial_state(3))
    assert not any(training for training, _ in seen[layers:])
