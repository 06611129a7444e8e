"""The loss along a long run, and the norms of training gradients, against the model's own loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from probe_cases import language_model, noise, tokens

from unrolled import probe
from unrolled.data import Batch
from unrolled.errors import DtypeError, ShapeError
from unrolled.probe.long_run import WINDOW
from unrolled.tasks import LanguageModel, State, detach


def part_of(batch: Batch, begin: int, end: int, row: slice = slice(None)) -> Batch:
    return Batch(batch.inputs[begin:end, row], batch.targets[begin:end, row])


@torch.no_grad()
def mean_loss(model: LanguageModel, batch: Batch, state: State | None = None) -> tuple[float, State]:
    nats, count, after = model.loss(
        batch, model.initial_state(batch.inputs.shape[1]) if state is None else state
    )
    return float(nats) / count, after


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_parts_loss_is_the_models_own_with_the_state_carried(cell: str):
    model, batch = language_model(cell).eval(), tokens(260, 3)
    found = probe.long_run(model, batch)
    assert found.ends == (32, 65, 130, 260)
    state: State | None = None
    for begin, end, loss in zip((0, *found.ends), found.ends, found.loss, strict=False):
        want, state = mean_loss(model, part_of(batch, begin, end), state)
        assert loss == pytest.approx(want, rel=1e-5)


def test_the_end_of_each_row_is_scored_with_the_carried_state_and_with_a_fresh_one():
    model, batch = language_model().eval(), tokens(400, 3)
    found = probe.long_run(model, batch)
    for row in range(3):
        mine = slice(row, row + 1)
        _, state = mean_loss(model, part_of(batch, 0, 400 - 3 * WINDOW, mine))
        carried, _ = mean_loss(model, part_of(batch, 400 - 3 * WINDOW, 400, mine), state)
        fresh = [mean_loss(model, part_of(batch, b, b + WINDOW, mine))[0] for b in (208, 272, 336)]
        assert found.carried[row] == pytest.approx(carried, rel=1e-5)
        assert found.fresh[row] == pytest.approx(np.mean(fresh), rel=1e-5)


def test_a_short_row_is_taken_whole():
    found = probe.long_run(language_model(), tokens(64, 2))
    assert found.ends == (32, 64)
    assert found.carried.shape == found.fresh.shape == (2,)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (tokens(63, 2), ShapeError, "batch: expected at least 64 steps, got 63"),
        (Batch(*(tokens(80, 2).inputs,) * 2, torch.tensor([80, 3])), ShapeError, "got a batch with lengths"),
        (Batch(*(tokens(80, 2).inputs,) * 2, None, torch.ones(80, 2).bool()), ShapeError, "with resets"),
        (noise(80, 2, 3), DtypeError, "batch: expected a Batch, got Tensor"),
    ],
    ids=["short", "lengths", "resets", "tensor"],
)
def test_what_is_no_long_text_is_one_line(batch: object, error: type, message: str):
    with pytest.raises(error) as caught:
        probe.long_run(language_model(), batch)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_bare_layer_has_no_long_run_and_no_update_norms():
    layer = torch.nn.LSTM(3, 4)
    for measure, want in (
        (probe.long_run, "a LanguageModel"),
        (probe.update_norms, "a network of a task, with initial_state and loss"),
    ):
        with pytest.raises(DtypeError, match=f"model: expected {want}, got LSTM"):
            measure(layer, tokens(80, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("tied", [False, True])
def test_the_norms_are_those_of_training_steps_with_the_state_carried(tied: bool):
    model, batch = language_model(embedding_size=6, tie_weights=tied), tokens(70, 3)
    found = probe.update_norms(model, batch, window=16)
    model.eval()
    state, want = model.initial_state(3), []
    for begin in range(0, 64, 16):
        nats, count, state = model.loss(part_of(batch, begin, begin + 16), detach(state))
        model.zero_grad()
        (nats / count).backward()  # type: ignore[no-untyped-call]
        squares = [float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None]
        want.append(sum(squares) ** 0.5)
    np.testing.assert_allclose(found.norms, want, rtol=1e-5)
    assert found.median == pytest.approx(np.median(want))
    assert found.ninetieth == pytest.approx(np.quantile(want, 0.9))
    assert found.largest == pytest.approx(max(want))
    assert found.spread == pytest.approx(max(want) / np.median(want))


def test_rows_that_end_early_count_no_further():
    batch, lengths = tokens(40, 3), torch.tensor([40, 8, 12])
    found = probe.update_norms(language_model(), Batch(batch.inputs, batch.targets, lengths), window=16)
    assert found.norms.shape == (2,)
    alone = Batch(batch.inputs[16:32, :1], batch.targets[16:32, :1])
    model = language_model().eval()
    _, _, state = model.loss(Batch(batch.inputs[:16, :1], batch.targets[:16, :1]), model.initial_state(1))
    nats, count, _ = model.loss(alone, detach(state))
    (nats / count).backward()  # type: ignore[no-untyped-call]
    squares = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None)
    assert found.norms[1] == pytest.approx(squares**0.5, rel=1e-5)


def test_measuring_leaves_no_gradient_behind():
    model = language_model()
    probe.update_norms(model, tokens(64, 2), window=16)
    probe.long_run(model, tokens(64, 2))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert model.training


def test_one_row_that_has_run_away_is_counted_beside_healthy_ones():
    found = probe.long_run(language_model(), tokens(128, 4))
    carried = found.fresh.copy()
    carried[2] *= 1.2
    assert dataclasses.replace(found, carried=carried).lost == 1
    assert dataclasses.replace(found, carried=found.fresh).lost == 0


@pytest.mark.parametrize(
    ("carried", "fresh", "lost"),
    [(2.05, 2.0, 0), (0.015, 0.01, 0), (2.3, 2.0, 1), (0.025, 0.01, 1)],
    ids=["above the floor, below a tenth", "above a tenth, below the floor", "both", "both, of a small loss"],
)  # fmt: skip
def test_a_row_has_run_away_where_it_is_worse_by_a_tenth_and_by_the_floor(carried, fresh, lost):
    nothing = np.zeros(1)
    run = probe.LongRun((64,), nothing, nothing, nothing, np.array([carried]), np.array([fresh]), 1)
    assert run.lost == lost
