"""Networks that solve tasks: determinism, censoring, and the door."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.lab.network import Network, NetworkSettings
from unrolled.lab.recipes import RECIPES, recipe_for
from unrolled.lab.solving import FitSettings, Solved, solve, solve_and_keep
from unrolled.lab.tasks import Adding, Copying, Recall, Task

EASY = Recall(10)  # the mark lies at step 0
SMALL = NetworkSettings("lstm", hidden_size=16)
FAST = FitSettings(batch_size=32, learning_rate=2e-2, evaluate_every=20)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def timeless(result: Solved) -> Solved:
    return dataclasses.replace(result, seconds=0.0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_cell_solves_a_short_recall_and_stops_there(cell: str):
    result = solve(EASY, NetworkSettings(cell, hidden_size=16), FAST, seed=0, steps=2000)
    assert result.solved
    assert result.steps == result.curve[-1][0] < 2000
    assert result.curve[-1][1] >= 0.99 > max([0.0, *(score for _, score in result.curve[:-1])])
    assert result.final is not None
    assert result.final > 0.95
    assert not result.diverged


def test_adding_is_learnt_over_few_steps():
    result = solve(Adding(6), NetworkSettings(hidden_size=16), FAST, seed=0, steps=300, stop=False)
    assert result.final is not None
    assert result.final < Adding.control / 10


def test_copying_over_a_short_lag_beats_its_control():
    task = Copying(1)
    result = solve(task, NetworkSettings("gru", hidden_size=48), FAST, seed=0, steps=300, stop=False)
    assert result.final is not None
    assert result.final < 0.95 * task.control


def test_without_stop_the_run_goes_on_and_the_step_of_the_solution_stays():
    stopped = solve(EASY, SMALL, FAST, seed=0, steps=400)
    whole = solve(EASY, SMALL, FAST, seed=0, steps=400, stop=False)
    assert stopped.solved
    assert whole.steps == stopped.steps
    assert [step for step, _ in whole.curve] == list(range(20, 401, 20))
    assert whole.curve[: len(stopped.curve)] == stopped.curve


def test_the_network_that_is_kept_is_the_one_that_solved_the_task():
    result, network = solve_and_keep(EASY, SMALL, FAST, seed=0, steps=400)
    assert timeless(result) == timeless(solve(EASY, SMALL, FAST, seed=0, steps=400))
    inputs, targets = EASY.draw(1000, torch.Generator().manual_seed(7))
    assert EASY.score(network(inputs).detach(), targets) == pytest.approx(result.final, abs=0.02)


def test_a_run_that_ends_unsolved_is_censored_at_its_cap():
    result = solve(EASY, SMALL, FAST, seed=0, steps=25)
    assert not result.solved
    assert result.steps == 25
    assert [step for step, _ in result.curve] == [20, 25]


def test_a_cap_in_seconds_ends_a_run_with_a_score():
    result = solve(EASY, SMALL, FAST, seed=0, steps=10**6, seconds=1e-9)
    assert (result.solved, result.steps, len(result.curve)) == (False, 1, 1)
    assert result.final is not None


def test_a_seed_repeats_everything_but_the_seconds_and_another_does_not():
    network = NetworkSettings("gru", hidden_size=8, num_layers=2, dropout=0.3, bidirectional=True, pool="max")
    once, again, other = (solve(EASY, network, FAST, seed=seed, steps=40) for seed in (1, 1, 2))
    assert timeless(once) == timeless(again)
    assert once.curve != other.curve


def test_scores_in_between_do_not_change_the_training():
    rare = dataclasses.replace(FAST, evaluate_every=60)
    runs = [solve(EASY, SMALL, fit, seed=0, steps=60, stop=False) for fit in (FAST, rare)]
    assert runs[0].final == runs[1].final


def test_the_random_state_of_torch_is_left_as_it_was():
    before = torch.get_rng_state()
    solve(EASY, SMALL, FAST, seed=5, steps=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cosine_ends_where_a_constant_rate_does_not():
    runs = [
        solve(EASY, SMALL, dataclasses.replace(FAST, schedule=kind), seed=0, steps=30, stop=False)
        for kind in ("constant", "cosine")
    ]
    assert runs[0].final != runs[1].final


class Broken(Recall):
    """A task whose loss stops being a number at a step."""

    calls = 0

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return super().loss(outputs, targets) * (math.nan if self.calls > 30 else 1.0)


def test_a_run_whose_loss_is_not_finite_ends_there_censored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Broken, "calls", 0)
    result = solve(Broken(10), SMALL, FAST, seed=0, steps=100, stop=False)
    assert result.diverged
    assert (result.steps, result.final, len(result.curve)) == (30, None, 1)


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({"seed": -1, "steps": 1}, "seed: expected a whole number, at least 0, got -1"),
        ({"seed": 0, "steps": 0}, "steps: expected a whole number, at least 1, got 0"),
        ({"seed": 0, "steps": 1.5}, "steps: expected a whole number, at least 1, got 1.5"),
        ({"seed": 0, "steps": 1, "seconds": 0}, "seconds: expected more than 0, got 0"),
        ({"seed": 0, "steps": 1, "seconds": math.nan}, "seconds: expected more than 0, got nan"),
    ],
)
def test_a_cap_out_of_range_is_one_line(caps: dict[str, int], said: str):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        solve(EASY, SMALL, FAST, **caps)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "elman"}, "cell: expected one of lstm, gru, rnn, got 'elman'"),
        ({"frames": 4}, "frames: expected an odd number, got 4"),
        ({"dropout": 0.5}, "dropout: expected 0 where there is one layer, got 0.5"),
        ({"cell": "rnn", "chrono_steps": 9}, "chrono_steps: expected a gated cell (lstm, gru), got rnn"),
        ({"pool": "mean"}, "pool: expected one of last, max, got 'mean'"),
        ({"hidden_size": 0}, "hidden_size: expected at least 1, got 0"),
    ],
)
def test_settings_of_a_network_are_checked(settings: dict[str, object], said: str):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        NetworkSettings(**settings)


def built(task: Task, **settings: object) -> Network:
    return Network(task, NetworkSettings(hidden_size=6, **settings), torch.Generator().manual_seed(0))


def test_frames_show_each_step_its_neighbours_and_repeat_the_edges():
    network, inputs = built(Adding(4), frames=3), torch.rand(4, 2, 2)
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


def test_the_parameters_are_counted():
    result = solve(EASY, NetworkSettings("lstm", hidden_size=16), FAST, seed=0, steps=1)
    assert result.parameters == 4 * 16 * (9 + 16 + 2) + 8 * (16 + 1)


def test_every_task_has_a_recipe_and_its_gates_start_for_the_tasks_length():
    assert set(RECIPES) == {"adding", "copying", "recall", "mnist1d"}
    assert recipe_for(Adding(600)).network.chrono_steps == 600
    assert recipe_for(Copying(100)).network.chrono_steps == 120


def test_a_task_without_a_recipe_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Broken, "name", "broken")
    with pytest.raises(
        ConfigError, match=r"^task: expected one of adding, copying, recall, mnist1d, got 'broken'$"
    ):
        recipe_for(Broken(10))


@pytest.mark.slow
def test_the_recipe_solves_the_adding_problem_at_two_hundred_steps():
    task = Adding(200)
    recipe = recipe_for(task)
    assert solve(task, recipe.network, recipe.fit, seed=0, steps=recipe.steps).solved
