"""Downsides and remedies: the tasks against their definitions, and that the verdict is what was measured."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lab_numbers import computed, unbacked, without_timing

from unrolled import LabConfig, kernels, lab
from unrolled.lab import remedies
from unrolled.lab.experiment import Done
from unrolled.lab.learning import Network, NetworkSettings
from unrolled.lab.problems import Recall
from unrolled.lab.remedies import PARTS, clocked, helped, problem_of, run, verdict

NAMES = ["slow", "fading", "exploding", "exploding-adamw", "order", "sensitivity"]
TINY = {
    "hidden_size": [8, 8],
    "batch_size": 4,
    "sequence_steps": [10, 10],
    "cap": [12, 12],
    "evaluate_every": 4,
    "draws": [2, 2],
}


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, part in PARTS.items():
            change = {"lengths": [[8, 16]] * 2, "repeats": [1, 1]} if name == "slow" else TINY
            variants = {
                words: {key: value for key, value in changed.items() if key != "hidden_size"}
                for words, changed in part.variants.items()
            }
            settings = {**part.settings, **change}
            patch.setitem(PARTS, name, part._replace(settings=settings, variants=variants))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> lab.Lab:
    return lab.run(LabConfig("remedies", quick=True, seeds=2, out=str(tmp_path_factory.mktemp("lab"))))


@pytest.fixture(scope="module")
def document(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(found.results.read_text())
    return stored


@pytest.fixture
def summary(document: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(document["sections"]["remedies"]["summary"])


def settings(**change: Any) -> dict[str, Any]:
    part = PARTS["fading"]
    return {
        **part.settings, "cell": "rnn", "seed": 0, "sequence_steps": 3, "hidden_size": 16, "cap": 300,
        "evaluate_every": 10, **change,
    }  # fmt: skip


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_the_report_computes_no_number_itself(document: dict[str, Any]):
    assert computed(remedies.EXPERIMENT, document["sections"]["remedies"]["summary"]) == []


def test_a_run_gives_the_same_for_a_seed_but_for_the_clock(document: dict[str, Any], tmp_path: Path):
    again = lab.run(LabConfig("remedies", quick=True, seeds=2, out=str(tmp_path)))
    assert without_timing(json.loads(again.results.read_text())) == without_timing(document)


def test_there_is_a_picture_and_a_table_for_each_downside(found: lab.Lab):
    report = found.report.read_text()
    assert [picture.name for picture in found.figures] == [f"remedies-{name}.png" for name in NAMES]
    assert all(picture.stat().st_size > 10_000 for picture in found.figures)
    for part in PARTS.values():
        assert f"### {part.title}" in report
        assert f"- {part.title} ({part.measures[0].words}). Before: {next(iter(part.variants))}, " in report
        assert all(f"| {words} |" in report for words in part.variants)


def test_runs_that_solved_nothing_are_censored_and_not_left_out(summary: dict[str, Any]):
    for row in summary["fading"]["rows"].values():
        solved = row["solved_at"]
        assert (solved["runs"], solved["solved"] + solved["censored"], solved["cap"]) == (2, 2, 12)


def test_the_problems_are_those_that_the_words_tell_of():
    fading, order = (
        problem_of(settings()),
        problem_of({**PARTS["order"].settings, "sequence_steps": 30, "delay": 2}),
    )
    assert (fading.name, fading.steps, fading.within) == ("recall", 3, 1)
    assert (order.name, order.steps, order.reach, order.delay) == ("majority", 30, 2, 2)


def test_a_run_that_solves_its_task_ends_there():
    result = run(settings())
    assert result["solved_at"] == result["curve"]["x"][-1] < 300
    assert result["accuracy"] >= 0.99
    assert result["diverged"] is False
    assert result["curve"]["y"][0] == pytest.approx(math.log(8), abs=0.3)


def test_without_a_goal_a_run_goes_on_to_its_cap():
    result = run(settings(stop=False, cap=30))
    assert result["solved_at"] is None
    assert result["curve"]["x"] == [0, 10, 20, 30]


def test_a_run_whose_loss_is_not_finite_diverged():
    result = run(settings(optimizer="sgd", learning_rate=1e38, clip_norm=0, stop=False, cap=20))
    assert result["diverged"] is True
    assert result["final_nats"] is None
    assert all(value is None or math.isfinite(value) for value in result["curve"]["y"])
    json.dumps(result, allow_nan=False)


def test_truncation_makes_more_updates_and_frames_make_fewer_steps():
    slow = PARTS["slow"]
    shared = {**slow.settings, "hidden_size": 64, "lengths": [64, 128], "repeats": 1, "seed": 0}
    found = {words: clocked({**shared, **change}) for words, change in slow.variants.items()}
    assert found["truncated after 64 steps"]["updates"] == 2
    assert found["4 frames stacked"]["recurrent_steps"] == 32
    assert found["torch's kernel, the whole sequence"]["updates"] == 1
    assert ("the native engine" in found) is kernels.available()


def test_a_sequence_takes_the_median_time_and_the_first_one_is_no_example(monkeypatch: pytest.MonkeyPatch):
    """By a clock that is made up: an update of the first sequence takes 9 s, those after it 1, 2, 3, … s."""

    def fit(*_: Any, steps: int, **__: Any) -> Iterator[SimpleNamespace]:
        first = steps // 4
        yield from (SimpleNamespace(seconds=float(9 if n < first else n - first + 1)) for n in range(steps))

    monkeypatch.setattr(remedies, "fit", fit)
    settings = {**PARTS["slow"].settings, "lengths": [64, 128], "window": 64, "repeats": 3, "hidden_size": 4}
    timing = clocked({**settings, "seed": 0})["timing"]
    assert timing["curve"]["y"] == [
        2000,
        3500,
    ]  # the middle one of 1, 2 and 3 s; of 1 + 2, 3 + 4 and 5 + 6, per update
    assert (timing["ms_a_sequence"], timing["ms_an_update"]) == (7000, 3500)


def test_the_verdict_changes_with_the_numbers(summary: dict[str, Any]):
    part, found = PARTS["exploding"], summary["exploding"]
    for calm, wild in (("clipped to 1", "no clipping"), ("no clipping", "clipped to 1")):
        rows = {words: copy.deepcopy(found["rows"]["gain 1"]) for words in ("no clipping", "clipped to 1")}
        rows[calm]["failed"]["count"], rows[wild]["failed"]["count"] = 0, 2
        found_out = helped(part.measures, rows, clear=rows.keys())
        said = verdict(part, {"rows": rows, "helped": found_out})
        if calm == "clipped to 1":
            assert "Before: no clipping, 2 of 2 runs. Better: clipped to 1, 0 of 2 runs.\n" in said
        else:
            assert (
                "No remedy is shown to be better. Not shown to be better: clipped to 1, 2 of 2 runs." in said
            )


def test_between_equals_the_next_measure_says_which_is_best(summary: dict[str, Any]):
    part, row = PARTS["exploding"], summary["exploding"]["rows"]["gain 1"]
    rows = {words: copy.deepcopy(row) for words in ("none", "calm", "learns")}
    for words, diverged, nats in (("none", 2, 9.0), ("calm", 0, 2.1), ("learns", 0, 0.8)):
        rows[words]["failed"]["count"] = rows[words]["diverged"]["count"] = diverged
        rows[words]["final_nats"]["median"] = nats
    found_out = helped(part.measures, rows, clear=rows.keys())
    assert (found_out["better"], found_out["best"]) == (["calm", "learns"], ["learns"])


def test_a_remedy_that_chance_explains_is_not_better():
    part = PARTS["sensitivity"]
    values = {
        "none": (2.1, 0.6, 3.6, 2.2, 2.0),
        "same": (2.08, 2.07, 2.08, 2.09, 2.08),
        "good": (0.1, 0.2, 0.1, 0, 0.3),
    }
    runs = [
        Done(f"{words}/{seed}", {"variant": words, "cap": 9}, {"worst": nats, "timing": {}})
        for words, own in values.items()
        for seed, nats in enumerate(own)
    ]
    assert remedies._clear(part.measures[0], runs) == {"good"}


def test_a_run_that_learnt_nothing_failed_though_it_did_not_diverge():
    still = run(settings(learning_rate=1e-9, stop=False, cap=20))
    assert (still["diverged"], still["failed"]) == (False, True)
    assert run(settings())["failed"] is False
    assert (
        run(settings(optimizer="sgd", learning_rate=1e38, clip_norm=0, stop=False, cap=20))["failed"] is True
    )


def test_what_explodes_is_measured_in_the_trainers_own_optimizer_too():
    plain, own = PARTS["exploding"], PARTS["exploding-adamw"]
    assert (plain.settings["optimizer"], own.settings.get("optimizer")) == ("sgd", None)
    assert {"no clipping", "clipped to 1", "clipped to 0.1"} <= own.variants.keys() & plain.variants.keys()
    assert plain.measures[0].name == own.measures[0].name == "failed"


def test_cells_that_are_compared_have_about_as_many_parameters():
    part, counts = remedies._parts()["fading"], []  # of the full run
    for change in part.variants.values():
        own = {**part.settings, **change}
        settings = NetworkSettings.of({**own, "hidden_size": own["hidden_size"][1]})
        network = Network(Recall(50), settings, torch.Generator())
        counts.append(sum(weight.numel() for weight in network.parameters()))
    assert max(counts) <= 1.03 * min(counts)


def test_the_plan_has_a_trial_per_variant_and_seed():
    plan = remedies.trials(LabConfig(seeds=3))
    assert len(plan) == 3 * sum(len(part.variants) for part in PARTS.values())
    assert len({trial.key for trial in plan}) == len(plan)
