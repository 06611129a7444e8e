"""Memory: every arm gets the same offers, what results decide on, and a report whose words follow the numbers."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lab_numbers import computed, unbacked, without_timing

from unrolled import LabConfig, lab
from unrolled.errors import DataError
from unrolled.lab import learning, memory
from unrolled.lab.learning import Network, NetworkSettings
from unrolled.lab.memory import choose, further, problem_of, race, summary
from unrolled.lab.memory_report import claims, judged, verdict

LENGTHS = {"adding": [8, 12], "copying": [2], "recall": [10], "mnist1d": [40]}
TINY: dict[str, Any] = {
    name: {**memory.QUICK[name], "lengths": [lengths, []], "hidden_size": 6, "seconds": 0.0125}
    for name, lengths in LENGTHS.items()
}
TINY["ms"] = {n: {c: [1.0] * len(ls) for c in ("rnn", "gru", "lstm")} for n, ls in LENGTHS.items()}
TINY["kinds"] = memory.QUICK["kinds"]
NO = "the numbers do not bear it out"


def write_curves(path: Path, seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(500, 40)).astype(np.float32), draw.integers(0, 10, 500)
    np.savez(path, x=x, y=y, x_test=x[:60], y_test=y[:60])
    return path


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_curves(tmp_path_factory.mktemp("data") / "curves.npz")


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "QUICK", TINY)
        patch.setattr(memory, "INSIDE_ROWS", 128)
        patch.setitem(memory.SHARED, "evaluate_every", 5)
        patch.setitem(memory.SHARED, "tuning_seeds", [1000])
        patch.setattr(learning, "EVALUATED_ROWS", 32)
        patch.setattr(learning, "FINAL_ROWS", 64)
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, curves: Path) -> lab.Lab:
    out = str(tmp_path_factory.mktemp("lab"))
    return lab.run(LabConfig("memory", quick=True, seeds=2, out=out, mnist1d=str(curves)))


@pytest.fixture(scope="module")
def document(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(found.results.read_text())
    return stored


@pytest.fixture(scope="module")
def trials(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((found.out / "trials.json").read_text())["trials"]
    return stored


def made_up(solves: dict[str, Any], *, seeds: int = 5, config: LabConfig | None = None) -> list[lab.Done]:
    """Return a whole run without training: `solves` gives the steps of an arm at a length, None for never."""
    config = config or LabConfig("memory", seeds=seeds)
    done: dict[str, lab.Done] = {}
    while True:
        plan = memory.trials(config) + further(config, list(done.values()))
        fresh = [trial for trial in plan if trial.key not in done]
        if not fresh:
            return [done[trial.key] for trial in plan]
        for trial in fresh:
            done[trial.key] = lab.Done(trial.key, trial.settings, made_up_result(trial.settings, solves))


def made_up_result(settings: dict[str, Any], solves: dict[str, Any]) -> dict[str, Any]:
    steps = solves.get(
        f"{settings['task']} {settings['length']} {settings['kind']}", solves.get(settings["kind"])
    )
    if settings["part"] == "rates":
        return {"rate": 0.003, "order": [2 * (steps or settings["cap"]), 1.0], "runs": []}
    if settings["part"] == "inside":
        looks = {"recognise": RECOGNISED, "store": STORED, "preserve": PRESERVED, "extract": EXTRACTED}
        looks |= {"places": {"first": 20, "unmarked": 50, "second": 179}}
        return {"solved_at": 700, "final": 0.0009, "trained": looks, "untrained": looks}
    solved = None if steps is None else steps + settings["seed"]
    problem = memory.PROBLEMS[settings["task"]](settings["length"])
    accuracy = problem.score_name == "accuracy"
    good, bad = (1.0, 0.2) if accuracy else (0.0, 1.0)
    return {
        "solved_at": solved, "final": bad if solved is None else good, "diverged": False, "parameters": 4641,
        "curve": {"step": [0, 25], "score": [bad, good]}, "score_name": problem.score_name,
        "threshold": problem.solved_at, "control": problem.control, "timing": {"seconds": 1.0},
    }  # fmt: skip


MEANS = {name: {"marked": 0.9, "unmarked": 0.1} for name in ("written", "input_gate", "candidate")}
AROUND = {"around": {"offset": [0, 1], "written": [1, 0], "input_gate": [1, 0], "candidate": [1, 0]}}
RECOGNISED = {"means": MEANS, "ratio": 9.0, "gate_ratio": 9.0, "told_apart": 0.99, **AROUND}
STORED = {
    "follows": {"marked": 0.8, "unmarked": 0.1}, "ratio": 8.0, "readable": 0.97,
    "around": {"offset": [0, 1], "marked": [1, 0], "unmarked": [0, 0]},
}  # fmt: skip
PRESERVED = {
    "stored": 1.0, "kept": 0.96, "unmarked": -0.02, "trace_left": 0.7, "gap": 15, "forget_gate": 0.98,
    "units_that_keep": 4, "time_constant": {"longest": None, "median": 30.5},
    "along": {"step": [0, 1], "first": [0, 1], "second": [0, 1], "sum": [0, 1], "unmarked": [0, 0],
              "forget_gate": [1, 1]},
}  # fmt: skip
EXTRACTED = {
    "follows": {"first": 1.02, "second": 0.97, "unmarked": 0.01}, "ready_at_the_end": 0.99,
    "output_gate": {"last": 0.9, "between": 0.2}, "timed": 4.5, "mse": 0.001, "mse_mean_gate": 0.05,
    "along": {"step": [0, 1], "slope": [1, 0], "ready": [0, 1], "output_gate": [0, 1]},
}  # fmt: skip
CELLS_SOLVE = {"lstm-chrono": 400, "gru-chrono": 300, "lstm-torch": 800, "gru-torch": 600}


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_the_report_computes_no_number_itself(document: dict[str, Any]):
    summed = copy.deepcopy(document["sections"]["memory"]["summary"])
    assert computed(memory.EXPERIMENT, summed) == []


def test_a_quick_run_gives_the_same_for_a_seed_apart_from_the_clock(trials: dict[str, Any], tmp_path: Path):
    again = lab.run(LabConfig("memory", quick=True, seeds=1, out=str(tmp_path)))
    second = without_timing(json.loads((again.out / "trials.json").read_text())["trials"])
    first = without_timing(trials)
    assert second == {key: first[key] for key in second}
    assert {key.partition("/T=")[0] for key in second} >= {f"memory/{name}" for name in ("adding", "recall")}


def test_every_picture_is_drawn_and_shown(found: lab.Lab):
    tasks = ("adding", "adding-8", "copying-2", "recall-10", "mnist1d-40")
    words = ("recognise", "store", "preserve", "extract")
    names = {path.name for path in found.figures}
    assert names >= {f"memory-{name}.png" for name in tasks[1:] + words}
    report = found.report.read_text()
    for picture in found.figures:
        assert picture.stat().st_size > 10_000
        assert f"]({picture.name})" in report


def test_a_run_that_did_not_get_there_is_said_to_be_so_within_its_steps(found: lab.Lab):
    assert "not within 10 steps, 0 of 2" in found.report.read_text()


@pytest.mark.parametrize("quick", [False, True])
def test_every_arm_is_offered_the_same_rates_clipping_parameters_and_time(quick: bool):
    for trial in memory.trials(LabConfig(quick=quick)):
        settings = trial.settings
        plan = (memory.QUICK if quick else memory.FULL)[settings["task"]]
        assert settings["rates"] == memory.SHARED["rates"]
        assert len(settings["rates"]) >= 3
        assert (settings["clip_norm"], settings["threads"], settings["batch_size"]) == (
            1.0,
            1,
            plan["batch_size"],
        )
        whole = plan["seconds"] * memory.SHARED["tuning_share"]
        assert (
            0
            <= whole - settings["cap"] * settings["ms"] / 1000
            <= settings["evaluate_every"] * settings["ms"] / 1000
        )
        network = NetworkSettings(settings["cell"], settings["hidden_size"])
        lstm = NetworkSettings("lstm", plan["hidden_size"])
        counts = [
            sum(p.numel() for p in Network(problem_of(settings), one, torch.Generator()).parameters())
            for one in (network, lstm)
        ]
        assert counts[0] == pytest.approx(counts[1], rel=0.15 if quick else 0.03)


def test_every_cell_is_given_every_start_that_it_has():
    starts: dict[str, set[Any]] = {}
    for trial in memory.trials(LabConfig()):
        s = trial.settings
        starts.setdefault(s["cell"], set()).add((s["start"], s["chrono_steps"] == s["length"]))
    gated = {("torch", False), ("orthogonal", False), ("orthogonal", True)}
    assert starts == {"rnn": gated - {("orthogonal", True)}, "gru": gated, "lstm": gated}


def test_the_seeds_that_choose_are_none_of_those_that_count():
    done = made_up(CELLS_SOLVE)
    tuned = {seed for one in done if one.settings["part"] == "rates" for seed in one.settings["tuning_seeds"]}
    assert not tuned & {one.settings["seed"] for one in done if one.settings["part"] != "rates"}
    assert all(one.settings["learning_rate"] == 0.003 for one in done if one.settings["part"] == "race")


def test_an_arm_that_solved_nothing_is_not_tried_on_longer_ones_and_others_are():
    keys = {one.key for one in made_up(CELLS_SOLVE)}
    assert "memory/adding/T=200/lstm-chrono/seed=4" in keys
    assert "memory/adding/T=50/rnn-torch/seed=4" in keys
    assert not any("T=200/rnn" in key for key in keys)
    assert sum("inside" in key for key in keys) == 5
    longer = {one.key for one in made_up(CELLS_SOLVE, config=LabConfig("memory", seeds=5, long=True))}
    assert "memory/adding/T=750/lstm-chrono/seed=0" in longer


def test_a_result_changes_only_what_it_decides_on():
    config = LabConfig("memory", seeds=2)
    first = memory.trials(config)
    one = first[0]
    done = [lab.Done(one.key, one.settings, made_up_result(one.settings, CELLS_SOLVE))]
    assert [t.key for t in further(config, done)] == [one.key.replace("rate", f"seed={n}") for n in (0, 1)]
    assert further(config, []) == []


def test_the_rate_that_solves_soonest_is_chosen_and_the_others_are_given_twice_its_steps():
    (trial,) = [t for t in memory.trials(LabConfig()) if t.key == "memory/recall/T=50/gru-chrono/rate"]
    settings = {**trial.settings, "length": 10, "chrono_steps": 10, "cap": 600, "hidden_size": 16}
    settings |= {"rates": [0.02, 1e-5, 0.005], "tuning_seeds": [1000], "evaluate_every": 20}
    found = choose(settings)
    steps = {run["rate"]: run["steps"] for run in found["runs"]}
    assert found["rate"] == min(steps, key=lambda rate: steps[rate])
    assert steps[1e-5] == 2 * steps[0.02] < 600
    assert choose(settings) == found


def test_the_better_half_of_the_rates_goes_on_to_the_next_seed():
    (trial,) = [t for t in memory.trials(LabConfig()) if t.key == "memory/adding/T=50/lstm-forget/rate"]
    settings = {**trial.settings, "length": 8, "cap": 5, "evaluate_every": 5, "hidden_size": 4}
    found = choose({**settings, "rates": [0.03, 0.01, 1e-3, 1e-5], "tuning_seeds": [1000, 1001]})
    first, second = ([r for r in found["runs"] if r["seed"] == seed] for seed in (1000, 1001))
    losses = sorted(first, key=lambda run: run["loss"])
    assert {run["rate"] for run in second} == {run["rate"] for run in losses[:2]}
    sums = {
        r["rate"]: r["loss"] + next(s["loss"] for s in second if s["rate"] == r["rate"]) for r in losses[:2]
    }
    assert found["rate"] == min(sums, key=lambda rate: sums[rate])


def test_where_no_rate_solves_it_the_lowest_loss_decides_and_a_diverged_run_is_last():
    runs = [{"steps": 50, "loss": 0.3}, {"steps": 50, "loss": 0.1}, {"steps": 50, "loss": None}]
    orders = [memory._order([run]) for run in runs]
    assert sorted(range(3), key=lambda n: orders[n]) == [1, 0, 2]
    assert memory._order([{"steps": 20, "loss": 2.0}]) < orders[1]


def test_a_rate_at_which_training_diverges_at_once_is_not_the_fastest():
    (trial,) = [t for t in memory.trials(LabConfig()) if t.key == "memory/recall/T=50/lstm-forget/rate"]
    settings = {**trial.settings, "length": 10, "cap": 10, "evaluate_every": 5, "hidden_size": 4}
    found = choose({**settings, "rates": [3e38, 0.01], "tuning_seeds": [1000]})
    assert [(run["rate"], run["steps"], run["loss"] is None) for run in found["runs"]] == [
        (3e38, 10, True),
        (0.01, 10, False),
    ]
    assert found["rate"] == 0.01


@pytest.mark.parametrize(
    ("name", "control", "score", "learning"),
    [("mse", 0.2, 0.15, True), ("mse", 0.2, 0.17, False), ("accuracy", 0.5, 0.61, True), ("accuracy", 0.5, 0.59, False)],
)  # fmt: skip
def test_a_run_that_came_a_fifth_of_the_way_from_the_control_is_still_learning(
    name, control, score, learning
):
    assert memory._beats({"score_name": name, "final": score}, control) is learning


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_a_bad_path_is_refused_before_anything_is_trained(tmp_path: Path, content: bytes | None):
    path, out = tmp_path / "data.npz", tmp_path / "lab"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: expected"):
        lab.run(LabConfig("memory", quick=True, out=str(out), mnist1d=str(path)))
    assert not out.exists()


def test_a_file_that_lies_elsewhere_is_the_same_and_one_with_other_bytes_is_not(tmp_path: Path, curves: Path):
    moved = Path(shutil.copy(curves, tmp_path / "moved.npz"))
    other = write_curves(tmp_path / "other.npz", seed=1)
    plans = [
        [c.settings for c in memory.trials(LabConfig(quick=True, seeds=1, mnist1d=str(path)))]
        for path in (curves, moved, other)
    ]
    assert plans[0] == plans[1] != plans[2]
    assert str(curves) not in json.dumps(plans[0])
    settings = next(s for s in plans[0] if s["task"] == "mnist1d")
    with pytest.raises(DataError, match="expected sha256"):
        race({**settings, "learning_rate": 0.01, "seed": 0}, mnist1d=str(other))


def test_the_words_on_the_claims_follow_the_numbers():
    ahead = {
        **CELLS_SOLVE,
        "lstm-chrono": 100,
        "lstm-torch": 200,
        "rnn-orthogonal": 900,
        "gru-orthogonal": 900,
    }
    against_rnn, against_gru, *_ = summary(made_up(ahead))["compared"]
    assert verdict(against_gru["faster"], 0.05) == verdict(against_rnn["faster"], 0.05) == "yes"
    assert verdict(against_gru["better"], 0.05) == "alike"  # all solved all
    behind = summary(made_up({**ahead, "lstm-chrono": None, "lstm-torch": None}))
    rows = {row["claim"]: row["verdict"] for row in claims(behind) if "against RNN" in row["arms"]}
    assert rows["LSTMs perform better"].startswith(
        "does not hold: ahead in 0 of 3, alike in 0, behind in 3 ("
    )
    longer = rows["LSTMs detect longer dependencies"]
    assert longer.startswith(
        "does not hold: longest T of the middle seed adding none against 200, copying none"
    )


def test_one_setting_of_each_kind_is_no_verdict_for_either_side():
    mixed = {
        **CELLS_SOLVE,
        "adding 50 gru-chrono": 10,
        "adding 50 lstm-chrono": 900,
        "adding 50 gru-torch": 20,
    }
    mixed |= {"recall 50 gru-chrono": 900, "recall 50 lstm-chrono": 10, "recall 50 gru-torch": 900}
    found = summary(made_up(mixed))["compared"][4]
    assert (found["words"], verdict(found["faster"], 0.05)) == (
        "LSTM against GRU, both with a chrono start",
        "mixed",
    )


def test_a_claim_holds_only_where_chance_would_rarely_give_as_much():
    count = {"settings": 3, "wins": 3, "losses": 0, "ahead": 1, "p": 0.001}
    assert verdict(count, 0.05) == "yes"
    assert verdict({**count, "p": 0.06}, 0.05) == "alike"
    assert verdict({**count, "losses": 1}, 0.05) == "mixed"
    assert verdict({**count, "wins": 0, "ahead": -1}, 0.05) == "no"
    assert verdict({**count, "settings": 0}, 0.05) == "open"


def test_the_best_start_is_chosen_by_the_tuning_seeds_not_by_those_that_count():
    done = made_up(CELLS_SOLVE)
    lucky = [
        lab.Done(one.key, one.settings, {**one.result, "solved_at": 1})
        if one.settings["part"] == "race" and one.settings["kind"] == "lstm-torch"
        else one
        for one in done
    ]
    arms = summary(lucky)["compared"][0]["arms"]
    assert {arm["mine"] for arm in arms} == {"lstm-chrono"}


def figure(trained: int, untrained: int, *, asked: bool = True) -> dict[str, Any]:
    return {"met": {"trained": trained, "untrained": untrained} if asked else None}


def test_a_word_is_judged_beside_the_untrained_networks():
    both = {"a": figure(5, 0), "b": figure(5, 4), "c": figure(0, 0, asked=False)}
    assert judged(both, 5) == "yes, and it is learnt"
    assert judged({"a": figure(5, 3), "b": figure(3, 5)}, 5) == "yes, as before training"
    assert judged({"a": figure(5, 3), "b": figure(2, 0)}, 5) == "in part, as before training"
    assert judged({"a": figure(3, 0), "b": figure(2, 0)}, 5) == "in part, and it is learnt"
    assert judged({"a": figure(2, 0), "b": figure(0, 5)}, 5) == NO
    assert judged({"a": figure(2, 0)}, 4) == NO  # half of them are not most


def test_what_the_untrained_networks_do_too_is_not_called_learnt():
    told = {row["claim"]: row["verdict"] for row in claims(summary(made_up(CELLS_SOLVE)))}
    assert told["LSTMs preserve them for as long as needed"] == "yes, as before training"
    assert told["LSTMs recognise important inputs"] == "yes, as before training"


def test_the_look_inside_sees_the_same_start_untrained(document: dict[str, Any], trials: dict[str, Any]):
    result = trials["memory/inside/seed=0"]["result"]
    settings = trials["memory/inside/seed=0"]["settings"]
    start = memory.learn(problem_of(settings), {**settings, "cap": 0}).network
    again = memory.measured(start, memory.Adding(settings["length"]), rows=settings["rows"], seed=0)
    assert result["untrained"] == json.loads(json.dumps(again))
    assert result["trained"] != result["untrained"]
    assert document["sections"]["memory"]["summary"]["inside"]["runs"] == 2
