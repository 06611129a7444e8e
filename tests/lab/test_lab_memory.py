"""Memory: the plan, the run over seeds, and a report whose sentences follow the numbers."""

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
from lab_numbers import unbacked, without_timing

from unrolled import LabConfig, lab
from unrolled.errors import DataError
from unrolled.lab import memory
from unrolled.lab.learning import Network, NetworkSettings
from unrolled.lab.memory import KINDS, claims, problem_of, race
from unrolled.lab.memory_report import answer, verdict
from unrolled.lab.spread import spread, within_cap

LENGTHS = {"adding": [8, 12], "copying": [2], "recall": [10], "mnist1d": [40]}
TINY = {
    name: {**memory.QUICK[name], "lengths": [lengths, []], "hidden_size": 6, "cap": 20}
    for name, lengths in LENGTHS.items()
}


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


@pytest.fixture
def summary(document: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(document["sections"]["memory"]["summary"])


def row(kind: str, length: int, solved: list[int | None], final: float, seconds: float = 1.0) -> Any:
    timing = {"seconds": spread([seconds] * len(solved))}
    return {
        "length": length,
        "kind": kind,
        "solved": within_cap(solved, 100),
        "final": spread([final] * len(solved)),
        "control": 0.167,
        "timing": timing,
    }


def races(*rows: Any, score: str = "mse") -> dict[str, Any]:
    return {"adding": {"score_name": score, "rows": list(rows)}}


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_a_quick_run_gives_the_same_for_a_seed_apart_from_the_clock(
    trials: dict[str, Any], curves: Path, tmp_path: Path
):
    again = lab.run(LabConfig("memory", quick=True, seeds=1, out=str(tmp_path), mnist1d=str(curves)))
    second = without_timing(json.loads((again.out / "trials.json").read_text())["trials"])
    first = without_timing(trials)
    assert second == {key: first[key] for key in first if key.endswith("seed=0")}


def test_every_picture_is_drawn_and_shown(found: lab.Lab):
    tasks, words = ("adding", "copying", "recall", "mnist1d"), ("recognise", "store", "preserve", "extract")
    assert [path.name for path in found.figures] == [f"memory-{name}.png" for name in tasks + words]
    report = found.report.read_text()
    for picture in found.figures:
        assert picture.stat().st_size > 10_000
        assert f"]({picture.name})" in report


def test_runs_that_did_not_solve_are_counted_as_censored_and_stay_in_the_table(
    summary: dict[str, Any], found: lab.Lab
):
    rows = summary["tasks"]["adding"]["rows"]
    assert len(rows) == 2 * len(KINDS)
    for one in rows:
        assert (one["solved"]["solved"], one["solved"]["censored"], one["solved"]["median"]) == (0, 2, None)
    assert found.report.read_text().count("> 20, solved by 0 of 2, 2 censored") >= len(rows)
    assert "It did not solve the problem within 20 steps" in found.report.read_text()


def test_a_run_that_diverged_has_no_score_and_is_named(summary: dict[str, Any]):
    one = summary["tasks"]["recall"]["rows"][0]
    one.update(final=None, diverged=2)
    assert "none, 2 diverged" in memory.EXPERIMENT.report(summary)


def test_kinds_that_diverged_at_once_are_drawn_beside_the_others(trials: dict[str, Any], tmp_path: Path):
    stored = copy.deepcopy(trials)
    for key, cell in stored.items():
        if "/mnist1d/rnn/" in key:
            cell["result"].update(curve={"step": [0], "score": [0.1]}, diverged=True, final=None)
    done = [lab.Done(key, cell["settings"], cell["result"]) for key, cell in stored.items()]
    summary = memory.EXPERIMENT.summary(done)
    memory.EXPERIMENT.figures(summary, memory.EXPERIMENT.curves(done), tmp_path)
    assert (tmp_path / "memory-mnist1d.png").stat().st_size > 10_000
    assert summary["tasks"]["mnist1d"]["rows"][0]["diverged"] == 2


def test_the_plan_holds_every_task_length_kind_and_seed_and_long_adds_lengths():
    keys = [cell.key for cell in memory.trials(LabConfig(seeds=2))]
    assert len(keys) == len(set(keys)) == 3 * 3 * 5 * 2 + 1
    assert "memory/copying/T=200/lstm-chrono/seed=1" in keys
    longer = {cell.key for cell in memory.trials(LabConfig(seeds=2, long=True))} - set(keys)
    assert len(longer) == 3 * 2 * 5 * 2
    assert "memory/adding/T=750/rnn/seed=0" in longer


def test_all_kinds_have_about_as_many_parameters_and_one_recipe():
    each = {(s["task"], s["kind"]): s for s in (cell.settings for cell in memory.trials(LabConfig(seeds=1)))}
    assert len(each) == 3 * 5
    for settings in each.values():
        network = NetworkSettings(settings["cell"], settings["hidden_size"])
        count = sum(p.numel() for p in Network(problem_of(settings), network, torch.Generator()).parameters())
        chosen = memory.FULL[settings["task"]]
        lstm = Network(
            problem_of(settings), NetworkSettings("lstm", chosen["hidden_size"]), torch.Generator()
        )
        assert count == pytest.approx(sum(p.numel() for p in lstm.parameters()), rel=0.03)
        assert settings["threads"] == 1
        for name in ("batch_size", "cap", "evaluate_every"):
            assert settings[name] == {**memory.SHARED, **chosen}[name]
        slow = 0.1 if settings["kind"] == "rnn-slow" else 1
        assert settings["learning_rate"] == pytest.approx(slow * 1e-2)


def test_only_the_chrono_start_is_given_the_length():
    for cell in memory.trials(LabConfig(seeds=1)):
        chrono = cell.settings["kind"] == "lstm-chrono"
        assert cell.settings["chrono_steps"] == (cell.settings["length"] if chrono else None)


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
        race(settings, mnist1d=str(other))


def test_better_is_more_seeds_solved_and_then_the_final_score():
    solved = row("lstm", 50, [10, 20], 0.001), row("rnn", 50, [10, None], 0.0001)
    ours = claims(races(*solved))["lstm rnn"]["better"]
    assert (ours["wins"], ours["losses"]) == (1, 0)
    assert verdict(ours) == "yes"
    unsolved = row("lstm", 50, [None, None], 0.1), row("rnn", 50, [None, None], 0.01)
    theirs = claims(races(*unsolved))["lstm rnn"]["better"]
    assert theirs["lost"] == [{"task": "adding", "length": 50}]
    assert verdict(theirs) == "no"
    assert verdict(claims(races(*unsolved, score="accuracy"))["lstm rnn"]["better"]) == "yes"
    alike = row("lstm", 50, [None, None], 0.166), row("rnn", 50, [None, None], 0.167)
    assert claims(races(*alike))["lstm rnn"]["better"]["alike"] == 1


def test_faster_counts_a_censored_run_as_slower_and_nothing_where_neither_solved():
    rows = [
        row("lstm", 50, [None, None], 0.1),
        row("gru", 50, [40, 50], 0.001),
        row("lstm", 100, [30, 30], 0.001, seconds=9.0),
        row("gru", 100, [60, None], 0.001),
        row("lstm", 200, [None, None], 0.1),
        row("gru", 200, [None, None], 0.1),
    ]
    found = claims(races(*rows))["lstm gru"]
    assert (found["faster"]["wins"], found["faster"]["losses"], found["faster"]["settings"]) == (1, 1, 2)
    assert verdict(found["faster"]) == "mixed"
    assert found["longer"]["adding"] == {"mine": 100, "other": 50}


def test_a_claim_holds_only_where_the_lstm_is_ahead_in_most_settings_and_behind_in_none():
    counts = {(2, 0, 3): "yes", (1, 0, 3): "mixed", (2, 1, 3): "mixed", (0, 1, 3): "no", (0, 0, 3): "alike"}
    for (wins, losses, settings), word in counts.items():
        assert verdict({"wins": wins, "losses": losses, "settings": settings}) == word
    assert verdict({"wins": 0, "losses": 0, "settings": 0}) == "open"


def told(tasks: dict[str, Any], kinds: str = "LSTM, against the GRU") -> list[str]:
    """Return what the answer's row of a pair says of better, faster and longer."""
    text = answer({"claims": claims(tasks)})
    (found,) = (line for line in text.splitlines() if line.startswith(f"| {kinds} |"))
    return found.strip("| ").split(" | ")[1:]


def test_the_words_on_the_claims_follow_the_numbers():
    good = races(
        *(row("lstm", length, [10, 20], 0.001) for length in (50, 100)),
        *(row("gru", length, [None, None], 0.1) for length in (50, 100)),
    )
    assert told(good) == [
        "holds: ahead in 2 of 2",
        "holds: ahead in 2 of 2",
        "holds: adding 100 against none",
    ]
    bad = races(
        *(row("gru", length, [10, 20], 0.001) for length in (50, 100)),
        *(row("lstm", length, [None, None], 0.1) for length in (50, 100)),
    )
    behind = "does not hold: ahead in 0 of 2, behind in 2 (adding T = 50, 100)"
    assert told(bad) == [behind, behind, "does not hold: adding none against 100"]
    none = races(row("lstm", 50, [None], 0.1), row("gru", 50, [None], 0.1))
    assert told(none)[1] == "nothing can be told: neither solved any"
