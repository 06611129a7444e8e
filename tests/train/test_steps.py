"""A training step: what it clips, and what it says of itself."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.data import Split, StreamBatches
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.train import Observer, Row, fit, run


def stream() -> StreamBatches:
    ids = np.random.default_rng(0).integers(0, 5, 801).astype(np.uint8)
    return StreamBatches(Split(ids, np.zeros(1, np.int64), 800), batch_size=4, bptt_steps=20, seed=0)


def norm_of(tensors: list[torch.Tensor]) -> float:
    return float(sum(tensor.double().square().sum() for tensor in tensors) ** 0.5)


@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
@pytest.mark.parametrize("clip", [None, 1e9, 0.01])
def test_a_step_moves_by_the_clipped_gradient_and_reports_the_norm_before(backend: str, clip: float | None):
    network = LanguageModel(ModelConfig(5, 6, 8), seed=0, backend=backend)
    before = copy.deepcopy(network)
    batch = next(iter(stream().epoch(0)))
    nats, count, _ = before.loss(batch, before.initial_state(4))
    gradients = list(torch.autograd.grad(nats / count, list(before.parameters())))
    whole = norm_of(gradients)
    assert whole > 0.02
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    (record,) = fit(network, stream(), steps=1, learning_rate=1.0, clip_norm=clip, optimizer=optimizer)
    assert record.grad_norm == pytest.approx(whole, rel=1e-5)
    moved = [a.detach() - b.detach() for a, b in zip(before.parameters(), network.parameters(), strict=True)]
    assert norm_of(moved) == pytest.approx(min(whole, clip or whole), rel=1e-3)
    for step, gradient in zip(moved, gradients, strict=True):  # in the gradient's direction
        torch.testing.assert_close(step * (whole / norm_of(moved)), gradient, atol=1e-5, rtol=1e-2)


class Rows(Observer):
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def row(self, row: Row) -> None:
        self.rows.append(row)


def test_tokens_per_second_count_targets_and_not_steps(small: Any, monkeypatch: pytest.MonkeyPatch):
    """Steps of half a second by the trainer's clock."""
    stepper = sys.modules["unrolled.train.fit"].Stepper
    seen, real = Rows(), stepper.step

    def timed(self: Any, number: int) -> Any:
        return replace(real(self, number), seconds=0.5)

    monkeypatch.setattr(stepper, "step", timed)
    run(small(steps=4, batch_size=4, bptt_steps=16), observers=[seen])
    rates = [row.tokens_per_s for row in seen.rows if row.tokens_per_s is not None]
    assert rates
    assert rates == pytest.approx([4 * 16 / 0.5] * len(rates))


def test_the_loss_of_a_row_is_the_mean_over_the_targets_of_its_steps(
    small: Any, monkeypatch: pytest.MonkeyPatch
):
    stepper = sys.modules["unrolled.train.fit"].Stepper
    seen, taken, real = Rows(), [], stepper.step

    def noted(self: Any, number: int) -> Any:
        taken.append(real(self, number))
        return taken[-1]

    monkeypatch.setattr(stepper, "step", noted)
    run(small(shape="lines", steps=6, batch_size=3), observers=[seen])
    rows = [row for row in seen.rows if row.step]
    assert len({record.tokens for record in taken}) > 1
    for before, row in zip([0, *(row.step for row in rows)], rows, strict=False):
        losses, weights = zip(*((r.loss, r.tokens) for r in taken[before : row.step]), strict=True)
        assert row.train_loss == pytest.approx(np.average(losses, weights=weights), rel=1e-6)
