"""Downsides and remedies: the tasks against their definitions, and that the verdict is what was measured."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lab_numbers import computed, unbacked, without_timing

from unrolled import LabConfig, kernels, lab
from unrolled.errors import ConfigError
from unrolled.lab import remedies
from unrolled.lab.remedies import slow
from unrolled.lab.remedies.fitting import fit, work
from unrolled.lab.remedies.network import build
from unrolled.lab.remedies.parts import PARTS
from unrolled.lab.remedies.section import verdict
from unrolled.lab.remedies.tasks import NOT_ASKED, drawing, forward_ceiling, majority, recall

NAMES = ["slow", "fading", "exploding", "order", "sensitivity"]
TINY = {"hidden_size": 8, "rows": 4, "sequence_steps": 8, "cap": 12, "look_every": 4, "draws": 2}


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, part in PARTS.items():
            change = {"lengths": [8, 16], "repeats": 1} if name == "slow" else TINY
            full = part.shared(True)
            patch.setitem(PARTS, name, replace(part, shared=lambda _, s={**full, **change}: dict(s)))
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


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(**change: Any) -> dict[str, Any]:
    return {
        **PARTS["fading"].shared(True), "cell": "rnn", "start": "orthogonal", "seed": 0, "sequence_steps": 3,
        "hidden_size": 16, "cap": 300, "look_every": 10, **change,
    }  # fmt: skip


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_the_report_computes_no_number_itself(document: dict[str, Any]):
    assert computed(remedies, document["sections"]["remedies"]["summary"]) == []


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


def test_recall_asks_for_the_symbol_with_the_flag_at_the_last_step():
    inputs, targets = recall(50, 9, 8, seeded())
    assert inputs.shape == (9, 50, 9)
    assert inputs[..., :8].sum(-1).eq(1).all()
    assert inputs[0, :, 8].eq(1).all()
    assert inputs[1:, :, 8].eq(0).all()
    assert targets[:-1].eq(NOT_ASKED).all()
    assert targets[-1].tolist() == [row[:8].tolist().index(1.0) for row in inputs[0]]
    assert set(targets[-1].tolist()) == set(range(8))


@pytest.mark.parametrize("delay", [0, 2])
def test_majority_asks_for_what_most_signs_around_a_step_are(delay: int):
    inputs, targets = majority(5, 12, 2, delay, seeded())
    signs = inputs[..., 0].long().T.tolist()
    for row, asked in zip(signs, targets.T.tolist(), strict=True):
        expected = [NOT_ASKED] * 12
        for t in range(2, 10):
            expected[t + delay] = int(sum(row[t - 2 : t + 3]) > 0)
        assert asked == expected


def test_no_guess_without_the_future_beats_the_ceiling():
    for reach in (1, 2, 3):
        ones = {}
        for bits in itertools.product((0, 1), repeat=2 * reach + 1):
            ones.setdefault(bits[: reach + 1], []).append(sum(bits) > reach)
        best = [max(sum(answers), len(answers) - sum(answers)) for answers in ones.values()]
        assert forward_ceiling(reach) == pytest.approx(sum(best) / 2 ** (2 * reach + 1))


def test_a_task_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"^task: expected recall or majority, got 'copy'$"):
        drawing({"task": "copy", "sequence_steps": 3})


def test_only_a_bidirectional_network_sees_what_comes_later():
    for both in (False, True):
        network = build({**settings(cell="lstm"), "bidirectional": both}, 9, 8, seed=0)
        inputs = torch.randn(6, 1, 9, generator=seeded())
        changed = inputs.clone()
        changed[4:] = 0
        before, after = network(inputs), network(changed)
        assert torch.equal(before[:4], after[:4]) is not both


def test_a_run_that_solves_its_task_ends_there():
    result = work(settings())
    assert result["solved_at"] == result["curve"]["x"][-1] < 300
    assert result["accuracy"] >= 0.99
    assert result["diverged"] is False
    assert result["curve"]["y"][0] == pytest.approx(math.log(8), abs=0.3)


def test_without_a_goal_a_run_goes_on_to_its_cap():
    result = work(settings(goal=None, cap=30))
    assert result["solved_at"] is None
    assert result["curve"]["x"] == [0, 10, 20, 30]


def test_a_run_whose_loss_is_not_finite_diverged():
    chosen = settings(optimizer="sgd", learning_rate=1e38, clip=None, goal=None, cap=20)
    network = build(chosen, 9, 8, seed=0)
    result = fit(network, drawing(chosen), chosen)
    assert result["diverged"] is True
    assert result["final_nats"] is None
    assert all(value is None or math.isfinite(value) for value in result["curve"]["y"])
    json.dumps(result, allow_nan=False)


def test_truncation_makes_more_updates_and_frames_make_fewer_steps():
    shared = {**slow.SHARED, "lengths": [64, 128], "repeats": 1, "seed": 0}
    found = {words: slow.PART.work({**shared, **change}) for words, change in slow.PART.variants.items()}
    assert found["truncated after 64 steps"]["updates"] == 2
    assert found["4 frames stacked"]["recurrent_steps"] == 32
    assert found["torch's kernel, the whole sequence"]["updates"] == 1
    assert ("the native engine" in found) is kernels.available()


def test_stacked_frames_hold_the_same_numbers_in_order():
    front = slow._Front({**slow.SHARED, "stride": 4})
    seen: list[torch.Tensor] = []
    front.recurrent.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    inputs = torch.arange(8.0 * 2 * 16).view(8, 2, 16)
    front(inputs)
    assert seen[0].shape == (2, 2, 64)
    assert seen[0][1, 1].tolist() == torch.cat([inputs[t, 1] for t in range(4, 8)]).tolist()


def test_the_verdict_changes_with_the_numbers(summary: dict[str, Any]):
    part, found = PARTS["exploding"], summary["exploding"]
    from unrolled.lab.remedies.summary import _helped

    for calm, wild in (("clipped to 1", "no clipping"), ("no clipping", "clipped to 1")):
        rows = {words: copy.deepcopy(found["rows"]["gain 1"]) for words in ("no clipping", "clipped to 1")}
        rows[calm]["diverged"]["count"], rows[wild]["diverged"]["count"] = 0, 2
        helped = _helped(part.measures, rows)
        said = verdict(part, {"rows": rows, "helped": helped})
        if calm == "clipped to 1":
            assert "Before: no clipping, 2 of 2 runs. Better: clipped to 1, 0 of 2 runs.\n" in said
        else:
            assert "No remedy is better. Not better: clipped to 1, 2 of 2 runs." in said


def test_between_equals_the_next_measure_says_which_is_best(summary: dict[str, Any]):
    from unrolled.lab.remedies.summary import _helped

    part, row = PARTS["exploding"], summary["exploding"]["rows"]["gain 1"]
    rows = {words: copy.deepcopy(row) for words in ("none", "calm", "learns")}
    for words, diverged, nats in (("none", 2, 9.0), ("calm", 0, 2.1), ("learns", 0, 0.8)):
        rows[words]["diverged"]["count"], rows[words]["final_nats"]["median"] = diverged, nats
    helped = _helped(part.measures, rows)
    assert (helped["better"], helped["best"]) == (["calm", "learns"], ["learns"])


def test_the_plan_has_a_cell_a_variant_and_seed():
    plan = remedies.cells(LabConfig(seeds=3))
    assert len(plan) == 3 * sum(len(part.variants) for part in PARTS.values())
    assert len({cell.key for cell in plan}) == len(plan)
