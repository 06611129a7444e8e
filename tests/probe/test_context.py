"""Context curve: the loss of a window, target by target, against plain runs."""

import json

import numpy as np
import pytest
import torch
from probe_cases import F64, Last, delay_line, language_model, noise, tokens

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import ConfigError, ShapeError


def test_every_point_is_the_loss_of_plain_runs_from_the_zero_state():
    model, batch = language_model(), tokens(12, 3)
    found = probe.context_curve(model, batch, steps=5)
    with torch.no_grad():
        for n in range(1, 6):
            losses = [
                torch.nn.functional.cross_entropy(
                    model(batch.inputs[t - n + 1 : t + 1])[0][-1], batch.targets[t]
                )
                for t in range(4, 12)
            ]
            assert found.loss[n - 1] == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)
    assert found.samples == 8 * 3


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_delay_line_needs_one_step_more_than_its_delay(steps):
    x = noise(40, 5, 2).abs()
    late = torch.cat([torch.zeros(steps, 5, 2, dtype=F64), x[:-steps]])
    found = probe.context_curve(Last(delay_line(steps, 2), 2), x, steps=16, targets=late)
    assert found.needed == steps + 1
    assert found.loss[steps:].max() < 1e-12 < found.loss[:steps].min()
    assert found.gain_interval[0] > 0


def test_a_loss_and_axes_of_the_callers_own():
    torch.manual_seed(0)
    layer = torch.nn.GRU(3, 4, batch_first=True, dtype=F64)
    x, want = noise(3, 12, 3), torch.randint(4, (3, 12))

    def nats(output, targets):
        return torch.nn.functional.cross_entropy(output.transpose(1, 2), targets, reduction="none")

    found = probe.context_curve(layer, x, steps=12, targets=want, loss=nats)
    assert found.loss[11] == pytest.approx(nats(layer(x)[0], want)[:, -1].mean().item())


def test_windows_with_resets_or_padding_are_left_out():
    model, plain = language_model(), tokens(12, 2)
    resets = torch.zeros(12, 2, dtype=torch.bool)
    resets[6, 0] = True
    batch = Batch(plain.inputs, plain.targets, torch.tensor([12, 8]), resets)
    assert probe.context_curve(model, batch, steps=5).samples == (2 + 2) + 4


def test_independent_random_tokens_give_no_gain():
    """A network that predicts what is best for them, the same for every context."""
    model = language_model()
    with torch.no_grad():
        model.readout.weight.mul_(1e-4)
    found = probe.context_curve(model, tokens(60, 8), steps=20)
    assert found.needed == 1
    assert abs(found.gain) < 1e-3


def test_the_result_is_json_and_a_picture(tmp_path):
    told = []
    found = probe.context_curve(language_model(), tokens(20, 1), steps=8, progress=lambda *a: told.append(a))
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["low"] == [None] * 8
    found.plot(tmp_path / "context.png")
    assert (tmp_path / "context.png").read_bytes().startswith(b"\x89PNG")
    assert told[-1] == (20, 20)


@pytest.mark.parametrize(
    ("model", "batch", "options", "error", "match"),
    [
        (language_model(), tokens(9, 2), {"steps": 10}, ShapeError, r"steps: expected at most 9, as the batch has, got 10"),
        (language_model(), tokens(9, 2).inputs, {"steps": 5}, ConfigError, r"targets: expected a Batch, or targets"),
        (torch.nn.GRU(3, 4), torch.zeros(9, 2, 3), {"steps": 5, "targets": torch.zeros(8, 2, 4)}, ShapeError, r"targets: expected \[9, 2, …\]"),
        (torch.nn.GRU(3, 4), torch.zeros(9, 2, 3), {"steps": 5, "targets": torch.zeros(9, 2, 4), "loss": lambda y, _: y}, ShapeError, r"loss: expected \[5, 18\]"),
        (torch.nn.GRU(3, 4, bidirectional=True), torch.zeros(9, 2, 3), {}, ConfigError, r"run forward"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(model, batch, options, error, match):
    with pytest.raises(error, match=match) as caught:
        probe.context_curve(model, batch, **options)
    assert "\n" not in str(caught.value)


def test_the_curve_of_several_rows_has_an_interval_around_it():
    found = probe.context_curve(language_model(), tokens(30, 6), steps=8)
    assert (found.low < found.loss).all()
    assert (found.loss < found.high).all()
    assert np.isfinite(found.gain_interval).all()


@pytest.mark.slow
def test_the_interval_holds_what_context_is_worth_in_95_of_100_draws():
    """Without it a delay line gives 0 for inputs whose mean square is 1."""
    model, hits = Last(delay_line(3), 1), 0
    for seed in range(200):
        x = noise(40, 12, 1, seed=seed).abs()
        late = torch.cat([torch.zeros(3, 12, 1, dtype=F64), x[:-3]])
        low, high = probe.context_curve(model, x, steps=8, targets=late).gain_interval
        hits += bool(low <= 1 <= high)
    assert 180 <= hits <= 198, hits
