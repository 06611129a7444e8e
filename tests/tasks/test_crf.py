"""The conditional random field against enumeration of every path, finite differences, and its laws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.errors import DataError, ShapeError
from unrolled.tasks.tag.crf import best_paths, log_partition, marginals, negative_log_likelihood

LENGTHS = torch.tensor([3, 1, 4, 2])


def drawn(
    count: int = 3, *, seed: int = 0, scale: float = 1.0, barred: bool = False
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    emissions = scale * torch.randn(4, 4, count, generator=generator, dtype=torch.float64)
    transitions = torch.randn(count + 2, count + 2, generator=generator, dtype=torch.float64)
    if barred:
        transitions[0, 1] = transitions[2, 2] = transitions[count, 2] = transitions[0, count + 1] = -torch.inf
    return emissions, transitions


def enumerated(emissions: Tensor, transitions: Tensor, row: int) -> dict[tuple[int, ...], float]:
    """Return the score of every path of a row."""
    count, length = emissions.shape[2], int(LENGTHS[row])
    found = {}
    for path in itertools.product(range(count), repeat=length):
        whole = (count, *path, count + 1)
        moves = sum(float(transitions[a, b]) for a, b in itertools.pairwise(whole))
        found[path] = moves + sum(float(emissions[t, row, tag]) for t, tag in enumerate(path))
    return found


@pytest.mark.parametrize("scale", [1.0, 2000.0])  # the second underflows where it is not in logarithms
@pytest.mark.parametrize("barred", [False, True])
def test_every_figure_is_that_of_enumeration(scale: float, barred: bool) -> None:
    emissions, transitions = drawn(scale=scale, barred=barred)
    total = log_partition(emissions, transitions, LENGTHS)
    chances, paths = marginals(emissions, transitions, LENGTHS), best_paths(emissions, transitions, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        scores = enumerated(emissions, transitions, row)
        values = np.array(list(scores.values()))
        assert float(total[row]) == pytest.approx(np.logaddexp.reduce(values), rel=1e-12)
        assert tuple(paths[:length, row]) == max(scores, key=lambda path: scores[path])
        wanted = np.zeros((length, 3))
        for path, score in scores.items():
            wanted[range(length), path] += np.exp(score - float(total[row]))
        np.testing.assert_allclose(chances[:length, row], wanted, atol=1e-12)
        assert not chances[length:, row].any()
        assert not paths[length:, row].any()


@pytest.mark.parametrize("scale", [1.0, 2000.0])
def test_the_likelihood_is_the_path_among_all(scale: float) -> None:
    emissions, transitions = drawn(scale=scale)
    tags = torch.tensor([[0, 2, 1, 1], [1, 0, 2, 0], [2, 0, 0, 0], [0, 0, 1, 0]])
    nats = negative_log_likelihood(emissions, transitions, tags, LENGTHS)
    total = log_partition(emissions, transitions, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        score = enumerated(emissions, transitions, row)[tuple(tags[:length, row].tolist())]
        assert float(nats[row]) == pytest.approx(float(total[row]) - score, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("in_logs", [False, True])
def test_gradients_are_those_of_finite_differences(in_logs: bool) -> None:
    emissions, transitions = drawn(scale=1.0)
    if in_logs:  # one row that underflows takes all to logarithms
        emissions[0, 3, 0] += 3000.0
        transitions[0, :3] = -2000.0
        transitions[0, 4] = 0.0
    tags = torch.tensor([[0, 2, 1, 1], [1, 0, 2, 0], [2, 0, 0, 0], [0, 0, 1, 0]])
    inputs = emissions.requires_grad_(), transitions.requires_grad_()
    assert torch.autograd.gradcheck(lambda e, t: log_partition(e, t, LENGTHS), inputs, atol=1e-5, rtol=1e-4)
    assert torch.autograd.gradcheck(
        lambda e, t: negative_log_likelihood(e, t, tags, LENGTHS), inputs, atol=1e-5, rtol=1e-4
    )


def test_barred_transitions_have_no_gradient_and_no_path() -> None:
    emissions, transitions = drawn(barred=True)
    transitions.requires_grad_()
    log_partition(emissions, transitions, LENGTHS).sum().backward()
    grad: Any = transitions.grad
    assert torch.isfinite(grad).all()
    assert not grad[torch.isinf(transitions.detach())].any()
    assert float(grad[:, 4].sum()) == pytest.approx(4) == pytest.approx(float(grad[3].sum()))
    barred = torch.full_like(transitions.detach(), -torch.inf)
    with pytest.raises(DataError, match="at least one path"):
        best_paths(emissions, barred, LENGTHS)


@pytest.mark.parametrize("scale", [1.0, 2000.0])
def test_rows_cut_for_memory_give_the_same(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them() -> list[Any]:
        emissions, transitions = (each.requires_grad_() for each in drawn(scale=scale))
        log_partition(emissions, transitions, LENGTHS).sum().backward()
        given = emissions.detach(), transitions.detach(), LENGTHS
        return [best_paths(*given), marginals(*given), emissions.grad.numpy(), transitions.grad.numpy()]

    whole = all_of_them()
    monkeypatch.setattr("unrolled.tasks.tag.crf.MOST_NUMBERS", 9)
    for one, other in zip(whole, all_of_them(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_rows_do_not_see_one_another_and_their_order_does_not_matter() -> None:
    emissions, transitions = drawn(5, seed=3)
    order = torch.tensor([2, 0, 3, 1])
    whole, chances = (
        log_partition(emissions, transitions, LENGTHS),
        marginals(emissions, transitions, LENGTHS),
    )
    torch.testing.assert_close(log_partition(emissions[:, order], transitions, LENGTHS[order]), whole[order])
    poisoned = emissions.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        poisoned[length:, row] = torch.nan
        alone = emissions[:length, row : row + 1]
        single = LENGTHS[row : row + 1]
        torch.testing.assert_close(log_partition(alone, transitions, single), whole[row : row + 1])
        np.testing.assert_allclose(
            marginals(alone, transitions, single)[:, 0], chances[:length, row], atol=1e-12
        )
        paths = best_paths(alone, transitions, single)
        np.testing.assert_array_equal(paths[:, 0], best_paths(emissions, transitions, LENGTHS)[:length, row])
    torch.testing.assert_close(log_partition(poisoned, transitions, LENGTHS), whole)
    np.testing.assert_array_equal(
        best_paths(poisoned, transitions, LENGTHS), best_paths(emissions, transitions, LENGTHS)
    )


def test_axes_that_disagree_are_refused() -> None:
    emissions, transitions = drawn()
    with pytest.raises(ShapeError, match="transitions: expected"):
        log_partition(emissions, transitions[1:], LENGTHS)
    with pytest.raises(ShapeError, match="lengths: expected"):
        log_partition(emissions, transitions, LENGTHS + 1)
    with pytest.raises(ShapeError, match="tags: expected"):
        negative_log_likelihood(emissions, transitions, torch.zeros(3, 3, dtype=torch.int64), LENGTHS)
