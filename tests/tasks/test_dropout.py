"""The model's dropout against its definition."""

import pytest
import torch

from unrolled.tasks.language.dropout import LEVELS, Dropout


def dropped(p, shape=(64, 16, 256), seed=0):
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(shape))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_and_the_scale_are_as_stated(p):
    y = dropped(p)
    share = (y == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / y.numel()) ** 0.5
    kept = y[y != 0]
    assert torch.all(kept == kept[0])
    assert kept[0].item() == pytest.approx(LEVELS / (LEVELS - round(p * LEVELS)), rel=1e-6)


def test_every_value_is_drawn_alone():
    y = (dropped(0.5) == 0).double().flatten()
    centred = y - y.mean()
    for lag in (1, 2, 3, 4, 8):
        assert abs((centred[lag:] * centred[:-lag]).mean().item()) < 5 * 0.25 / y.numel() ** 0.5


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
    assert torch.all(layer(torch.ones(4, 4)) == want)
    if want:
        assert torch.equal(torch.get_rng_state(), before)


def test_odd_sizes_and_other_types():
    assert Dropout(0.5)(torch.ones(3, 5)).shape == (3, 5)
    assert Dropout(0.5)(torch.ones(0, 5)).shape == (0, 5)
    assert Dropout(0.5)(torch.ones(5, 3).t()).shape == (3, 5)
    assert Dropout(0.5)(torch.ones(7, dtype=torch.bfloat16)).dtype == torch.bfloat16
