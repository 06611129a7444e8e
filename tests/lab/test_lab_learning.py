"""Networks that solve problems: determinism, censoring, and what an answer is read from."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unrolled.data import Batch
from unrolled.lab import learning
from unrolled.lab.learning import Learnt, Network, NetworkSettings, learn
from unrolled.lab.problems import Adding, Copying, Problem, Recall

EASY = Recall(10)  # the mark lies at step 0
SMALL: dict[str, Any] = {"cell": "lstm", "hidden_size": 16}
FAST: dict[str, Any] = {"batch_size": 32, "learning_rate": 2e-2, "evaluate_every": 20}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(problem: Problem = EASY, *, seed: int = 0, cap: int = 400, **change: Any) -> Learnt:
    return learn(problem, {**SMALL, **FAST, "seed": seed, "cap": cap, **change})


def timeless(found: Learnt) -> dict[str, Any]:
    """Return everything but the seconds and the network."""
    left = {one.name: getattr(found, one.name) for one in dataclasses.fields(found)}
    return {name: value for name, value in left.items() if name not in ("seconds", "network")}


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_cell_solves_a_short_recall_and_stops_there(cell: str):
    result = run(cell=cell, cap=2000)
    steps, scores, losses = zip(*result.curve, strict=True)
    assert result.solved
    assert result.solved_at == result.steps == steps[-1] < 2000
    assert scores[-1] >= 0.99 > max(scores[:-1])
    assert losses[0] == pytest.approx(math.log(8), abs=0.3)
    assert result.final is not None
    assert result.final > 0.95
    assert not result.diverged


def test_adding_is_learnt_over_few_steps():
    result = run(Adding(6), cap=300, stop=False)
    assert result.final is not None
    assert result.final < Adding.control / 10


def test_copying_over_a_short_lag_beats_its_control():
    task = Copying(1)
    result = run(task, cell="gru", hidden_size=48, cap=300, stop=False)
    assert result.final is not None
    assert result.final < 0.95 * task.control


def test_without_stop_the_run_goes_on_and_the_step_of_the_solution_stays():
    stopped, whole = run(), run(stop=False)
    assert stopped.solved
    assert whole.steps == stopped.steps
    assert [step for step, *_ in whole.curve] == list(range(0, 401, 20))
    assert whole.curve[: len(stopped.curve)] == stopped.curve


def test_the_network_that_is_kept_is_the_one_that_solved_the_problem():
    result = run()
    batch = EASY.draw(1000, torch.Generator().manual_seed(7))
    assert EASY.score(result.network(batch.inputs).detach(), batch.targets) == pytest.approx(
        result.final, abs=0.02
    )


def test_a_run_that_ends_unsolved_is_censored_at_its_cap():
    result = run(cap=25)
    assert (result.solved, result.solved_at, result.steps) == (False, None, 25)
    assert [step for step, *_ in result.curve] == [0, 20, 25]


def test_a_seed_repeats_everything_but_the_seconds_and_another_does_not():
    network = {"cell": "gru", "hidden_size": 8, "num_layers": 2, "dropout": 0.3, "bidirectional": True}
    once, again, other = (run(seed=seed, cap=40, pool="max", **network) for seed in (1, 1, 2))
    assert timeless(once) == timeless(again)
    assert once.curve != other.curve


def test_another_start_sees_the_same_examples():
    first, second = (learn(EASY, {**SMALL, **FAST, "seed": 0, "cap": 1}, start_seed=n) for n in (0, 1))
    assert timeless(first) == timeless(run(cap=1))
    assert first.curve[0] != second.curve[0]


def test_scores_in_between_do_not_change_the_training():
    runs = [run(cap=60, stop=False, evaluate_every=every) for every in (20, 60)]
    assert runs[0].final == runs[1].final


class Noted(Recall):
    """Keeps what it draws, by what that is for."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        object.__setattr__(self, "seen", {"training": set(), "held out": set(), "final": set()})

    def note(self, use: str, rows: int, generator: torch.Generator) -> Batch:
        batch = super().draw(rows, generator)
        self.seen[use] |= {batch.inputs[:, row].numpy().tobytes() for row in range(rows)}
        return batch

    def draw(self, rows: int, generator: torch.Generator) -> Batch:
        return self.note("training", rows, generator)

    def held_out(self, rows: int, generator: torch.Generator) -> Batch:
        return self.note("held out", rows, generator)

    def final(self, rows: int, generator: torch.Generator) -> Batch:
        return self.note("final", rows, generator)


def test_no_score_is_of_examples_that_were_trained_on(monkeypatch: pytest.MonkeyPatch):
    for name in (
        "EVALUATED_ROWS",
        "FINAL_ROWS",
    ):  # as many as a batch has: one generator draws the same of them
        monkeypatch.setattr(learning, name, FAST["batch_size"])
    problem = Noted(20)
    run(problem, cap=40, stop=False)
    assert [len(rows) for rows in problem.seen.values()] == [40 * 32, 3 * 32, 32]
    assert len(set.union(*problem.seen.values())) == 44 * 32


def test_the_largest_norm_is_that_of_any_step(monkeypatch: pytest.MonkeyPatch):
    norms = [1.0, 5.0, 2.0]
    records = [SimpleNamespace(step=n, grad_norm=norm) for n, norm in enumerate(norms, 1)]
    monkeypatch.setattr(learning, "fit", lambda *_, **__: iter(records))
    assert run(cap=3, stop=False).largest_norm == 5


def test_the_random_state_of_torch_is_left_as_it_was():
    before = torch.get_rng_state()
    run(seed=5, cap=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [{"cosine": True}, {"optimizer": "sgd"}, {"clip_norm": 0}])
def test_how_a_network_is_trained_changes_what_it_comes_to(change: dict[str, Any]):
    assert run(cap=30, stop=False).final != run(cap=30, stop=False, **change, learning_rate=0.5).final


def test_plain_sgd_takes_the_learning_rate_that_it_is_given():
    start, small, large = (run(cap=1, optimizer="sgd", learning_rate=rate) for rate in (1e-12, 0.1, 0.2))
    moved = [
        [
            b.detach() - a.detach()
            for a, b in zip(start.network.parameters(), n.network.parameters(), strict=True)
        ]
        for n in (small, large)
    ]
    for one, two in zip(*moved, strict=True):
        torch.testing.assert_close(2 * one, two, rtol=1e-3, atol=1e-6)


class Broken(Recall):
    """A problem whose loss stops being a number at a step."""

    calls = 0

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, int]:
        type(self).calls += torch.is_grad_enabled()
        total, count = super().loss(outputs, targets)
        return total * (math.nan if self.calls > 30 else 1.0), count


def test_a_run_whose_loss_is_not_finite_ends_there_censored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Broken, "calls", 0)
    result = run(Broken(10), cap=100, stop=False)
    assert result.diverged
    assert (result.steps, result.final, result.largest_norm, len(result.curve)) == (30, None, math.inf, 2)


def built(task: Problem, **settings: object) -> Network:
    return Network(task, NetworkSettings(hidden_size=6, **settings), torch.Generator().manual_seed(0))


def test_each_step_is_shown_its_neighbours_and_repeat_the_edges():
    network, inputs = built(Adding(4), neighbours=1), torch.rand(4, 2, 2)
    seen: list[torch.Tensor] = []
    network.stack.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(inputs)
    for step, (left, right) in enumerate([(0, 1), (0, 2), (1, 3), (2, 3)]):
        assert torch.equal(seen[0][step], torch.cat([inputs[left], inputs[step], inputs[right]], dim=-1))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_answer_at_the_end_is_read_from_what_both_directions_end_with(cell: str, layers: int):
    network = built(Recall(10), cell=cell, num_layers=layers, bidirectional=True)
    inputs = Recall(10).draw(3, torch.Generator().manual_seed(0)).inputs
    y, _ = network.stack(inputs)
    ends = torch.cat([y[-1, :, :6], y[0, :, 6:]], dim=-1)
    torch.testing.assert_close(network(inputs), network.readout(ends))


def test_a_pooled_answer_is_read_from_the_largest_outputs():
    network, inputs = built(Recall(10), pool="max"), torch.rand(10, 3, 9)
    y, _ = network.stack(inputs)
    torch.testing.assert_close(network(inputs), network.readout(y.max(dim=0).values))


def test_an_answer_at_each_step_is_read_from_each_output():
    network, inputs = built(Copying(5)), torch.rand(25, 3, 10)
    assert network(inputs).shape == (25, 3, 9)
    torch.testing.assert_close(network(inputs)[7], network.readout(network.stack(inputs)[0][7]))


@pytest.mark.parametrize("kind", ["stacked", "convolved"])
def test_a_front_makes_one_step_of_several_and_reads_nothing_after_it(kind: str):
    network = built(Copying(5), front=kind, frames=5)
    inputs = torch.rand(25, 3, 10)
    outputs = network(inputs)
    assert outputs.shape == (5, 3, 9)
    inputs[15:] = 0
    torch.testing.assert_close(network(inputs)[:3], outputs[:3])
    assert not torch.equal(network(inputs)[3], outputs[3])


def test_only_a_bidirectional_network_sees_what_comes_later():
    for both in (False, True):
        network, inputs = built(Copying(5), bidirectional=both), torch.rand(25, 1, 10)
        before = network(inputs)
        inputs[20:] = 0
        assert torch.equal(before[:20], network(inputs)[:20]) is not both


def test_torchs_own_start_is_that_of_torch():
    network = built(Recall(10), start="torch")
    twin = torch.nn.LSTM(9, 6)
    torch.manual_seed(0)
    twin.reset_parameters()
    for name, value in twin.named_parameters():
        assert torch.equal(network.stack.get_parameter(name), value)


def test_evaluation_carries_the_state_where_it_is_asked_to():
    network, batch = built(Copying(5)), Copying(5).draw(4, torch.Generator().manual_seed(0))
    halves = [Batch(batch.inputs[part], batch.targets[part]) for part in (slice(0, 10), slice(10, None))]
    whole = network.evaluate([batch], carry=False)
    assert network.evaluate(halves, carry=True) == pytest.approx(whole, rel=1e-5)
    assert network.evaluate(halves, carry=False) != pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_a_chrono_start_and_a_cosine_solve_the_adding_problem_at_two_hundred_steps():
    recipe = {
        "hidden_size": 64,
        "batch_size": 64,
        "learning_rate": 1e-2,
        "evaluate_every": 100,
        "cosine": True,
    }
    assert run(Adding(200), cap=2000, chrono_steps=200, **recipe).solved
