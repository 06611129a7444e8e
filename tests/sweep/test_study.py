"""The file of a study: many processes at once, torn lines, and what strangers put into it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from unrolled.errors import CheckpointError, RunError, UnrolledError
from unrolled.spec import Range
from unrolled.sweep.axes import Axes

optuna = pytest.importorskip("optuna")

from unrolled.sweep.study import SHARES, Study, quiet  # noqa: E402

AXES = Axes({"learning_rate": (1e-3, 1e-2, 1e-1), "hidden_size": (8, 16)})
DEFINITION = {"task": "language", "source": "/book.txt", "settings": {"steps": 10}}


def opened(place: Path, axes: Axes = AXES, *, prune: bool = True, **changed) -> Study:
    with quiet():
        return Study(place, axes, {**DEFINITION, **changed}, maximise=False, prune=prune)


def test_claims_of_many_workers_are_every_trial_once(tmp_path):
    axes, claimed, failed = Axes({"a": tuple(range(6)), "b": tuple(range(5))}), [], []

    def work() -> None:
        try:
            study = opened(tmp_path, axes)
            while (claim := study.claim(30)) is not None:
                claim.report(1.0, 0.5)
                claimed.append((claim.number, tuple(claim.values.values())))
                study.finish(claim, "finished", claim.number / 10, {"loss": 0.5})
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    assert sorted(number for number, _ in claimed) == list(range(30))
    assert len({values for _, values in claimed}) == 30
    trials = opened(tmp_path, axes).trials()
    assert [(each.state, each.value) for each in trials] == [("finished", n / 10) for n in range(30)]


def test_a_trial_that_its_process_left_is_taken_again_and_one_at_work_is_not(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path)
    mine, theirs = first.claim(6), second.claim(6)
    assert (mine.number, theirs.number) == (0, 1)
    mine.report(0.25, 2.0)
    mine.lock.release()  # as the system does where a process is killed
    again = opened(tmp_path).claim(6)
    assert (again.number, again.begun, dict(again.values)) == (0, True, dict(mine.values))
    assert again.reported == {SHARES // 4: 2.0}
    assert opened(tmp_path).claim(2) is None  # both are at work, and there may be no third


def test_a_validation_counts_from_its_share_of_the_run_until_the_next_one(tmp_path):
    claim = opened(tmp_path).claim(1)
    for share, loss in ((0.0, 3.0), (0.24, 2.0), (0.5, 1.0), (0.5, 9.0)):
        claim.report(share, loss)
    assert claim.reported == {
        0: 3.0,
        1: 3.0,
        2: 3.0,
        3: 3.0,
        4: 2.0,
        5: 2.0,
        6: 2.0,
        7: 2.0,
        8: 2.0,
        9: 2.0,
        10: 1.0,
    }


def test_a_trial_far_behind_the_median_is_pruned_and_one_that_leads_is_not(tmp_path):
    axes = Axes({"learning_rate": tuple(range(10))})
    study = opened(tmp_path, axes)
    for number in range(5):
        claim = study.claim(6)
        claim.report(0.5, 1.0 + number)
        study.finish(claim, "finished", 1.0, {})
    claim = study.claim(6)
    claim.report(0.1, 99.0)
    assert not claim.is_behind()  # too early to tell
    claim.report(0.5, 2.9)
    assert not claim.is_behind()
    claim.reported.clear()
    claim.report(0.55, 99.0)  # its best is 2.9 all the same
    assert not claim.is_behind()
    study.finish(claim, "finished", 1.0, {})
    claim = study.claim(7)
    claim.report(0.5, 3.1)
    assert claim.is_behind()
    assert not opened(tmp_path, axes, prune=False).claim(8).is_behind()


@pytest.mark.parametrize(
    ("axes", "changed", "told"),
    [
        (AXES, {"source": "/other.txt"}, "source: expected /book.txt, as the study in {} was started with, got /other.txt"),
        (AXES, {"settings": {"steps": 20}}, "steps: expected 10, as the study in {} was started with, got 20"),
        (AXES, {"settings": {}}, "steps: expected 10, as the study in {} was started with, got none"),
        (AXES, {"task": "classify"}, "task: expected language, as the study in {} was started with, got classify"),
        (Axes({"learning_rate": (1e-3, 1e-2, 1e-1), "hidden_size": (8, 32)}), {}, "hidden_size: expected 8,16, as the study in {} was started with, got 8,32"),
        (Axes({"learning_rate": Range(1e-3, 1e-1), "hidden_size": (8, 16)}), {}, "learning_rate: expected 0.001,0.01,0.1, as the study in {} was started with, got 0.001..0.1"),
        (Axes(AXES.named, 7), {}, "sweep_seed: expected 0, as the study in {} was started with, got 7"),
    ],
)  # fmt: skip
def test_a_study_of_something_else_is_refused_by_the_name_of_the_setting(tmp_path, axes, changed, told):
    opened(tmp_path)
    with pytest.raises(RunError) as caught:
        opened(tmp_path, axes, **changed)
    assert str(caught.value) == f"{told.format(tmp_path)}; name another directory with --study"


def test_a_torn_last_line_costs_nothing_but_itself(tmp_path):
    study = opened(tmp_path)
    study.finish(study.claim(6), "finished", 0.5, {"loss": 0.5})
    file = tmp_path / "study.jsonl"
    whole = file.read_bytes()
    for torn in (b'{"op_code":4,"torn', b"\xff\xfe"):
        file.write_bytes(whole + torn)
        again = opened(tmp_path)
        assert [each.state for each in again.trials()] == ["finished"]
        other = opened(tmp_path)
        assert again.claim(6).number == 1
        assert other.trials()[1].state == "unfinished"  # what was added is whole for everyone
        assert torn not in file.read_bytes()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    from unrolled import files

    study = opened(tmp_path)
    before = (tmp_path / "study.jsonl").read_bytes()

    def full(file, data) -> None:
        file.write(data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(RunError, match="No space left on device"):
        study.claim(6)
    assert (tmp_path / "study.jsonl").read_bytes() == before


CREATED = {"op_code": 0, "worker_id": "w", "study_name": "unrolled", "directions": [1]}
TRIAL = {"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "2026-01-01T00:00:00"}
DEFINED = {"version": 1, **DEFINITION, "axes": AXES.to_json(), "sweep_seed": 0}
PARAMETER = {"op_code": 5, "worker_id": "w", "trial_id": 0, "param_name": "hidden_size", "param_value_internal": 0,
             "distribution": json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [8, 16]}})}  # fmt: skip
OURS = [CREATED, {"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"definition": DEFINED}}]
PICKLED = "80049525000000000000008c05706f736978948c0673797374656d9493948c0a746f7563682050574e454494859452942e"
HOSTILE: list[list[object]] = [
    ["no JSON"],
    [[1, 2]],
    [{"op_code": 99, "worker_id": "w"}],
    [{"op_code": 1, "worker_id": "w", "study_id": 0}],  # would delete it
    [{"op_code": "0", "worker_id": "w"}],
    [{**CREATED, "directions": [7]}],
    [{**CREATED, "directions": "up"}],
    [*OURS, {**TRIAL, "datetime_start": "yesterday"}],
    [*OURS, {**TRIAL, "state": 77}],
    [*OURS, {**TRIAL, "distributions": {"a": "os.system"}, "params": {"a": 1}}],
    [*OURS, TRIAL, {"op_code": 5, "worker_id": "w", "trial_id": 0, "param_name": "learning_rate",
                    "param_value_internal": 1e308, "distribution": json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [1]}})}],
    [*OURS, TRIAL, {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": 1, "intermediate_value": "much"}],
    [*OURS, TRIAL, {"op_code": 6, "worker_id": "w", "trial_id": 0, "state": 1, "values": ["x"], "datetime_complete": "then"}],
    [CREATED, {"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"definition": {"version": 9}}}],
    [CREATED, TRIAL],
    [*OURS, *[TRIAL] * 7],  # of six combinations
    [*OURS, TRIAL, *[{"op_code": 9, "worker_id": "w", "trial_id": 0, "system_attr": {str(n): n}} for n in range(1001)]],
    [*OURS, TRIAL, {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"known": {"steps": 10**30}}}],
    [*OURS, TRIAL, {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": -(10**30), "intermediate_value": 1}],
    [*OURS, TRIAL, {"op_code": 7, "worker_id": "w", "trial_id": -1, "step": 1, "intermediate_value": 1}],
    [*OURS, TRIAL, {"op_code": 7, "worker_id": "w", "trial_id": 1, "step": 1, "intermediate_value": 1}],
    [*OURS, TRIAL, {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": 1, "intermediate_value": float("nan")}],
    [*OURS, TRIAL, {"op_code": 6, "worker_id": "w", "trial_id": 0, "state": 1, "values": [float("inf")], "datetime_complete": "2026-01-01"}],
    [*OURS, {**TRIAL, "study_id": 1}],
    [*OURS, {**TRIAL, "intermediate_values": {"1": "much"}}],
    [*OURS, TRIAL, *[PARAMETER] * 2],
    [*OURS, TRIAL, {**PARAMETER, "distribution": '{"name": "IntDistribution", "attributes": {"low": 0, "high": 1' + "0" * 30 + "}}"}],
    [*OURS, {**TRIAL, "worker_id": "w" * 2**18}],
]  # fmt: skip


@pytest.mark.parametrize("lines", HOSTILE, ids=range(len(HOSTILE)))
def test_a_file_that_is_no_study_is_one_line(tmp_path, lines):
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines) + "\n"
    (tmp_path / "study.jsonl").write_text(text)

    def used() -> None:
        study = opened(tmp_path)
        study.trials()
        study.claim(3)

    with pytest.raises(UnrolledError) as caught:
        used()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_attributes_that_other_samplers_would_unpickle_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attribute = {"op_code": 9, "worker_id": "w", "trial_id": 0, "system_attr": {"cma:optimizer:0": PICKLED}}
    (tmp_path / "study.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in (*OURS, TRIAL, attribute))
    )
    study = opened(tmp_path)
    claim = study.claim(3)
    assert claim.number == 0
    claim.report(0.5, 1.0)
    claim.is_behind()
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_a_link_in_place_of_the_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "study.jsonl")
    with pytest.raises(RunError, match="expected a regular file, got something else"):
        opened(tmp_path)
    os.unlink(tmp_path / "study.jsonl")
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "study.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="expected a regular file, got something else"):
        opened(tmp_path)


def test_nothing_is_written_through_a_link_that_a_stranger_left(tmp_path):
    import queue

    from unrolled.sweep.process import Process

    place, victim = tmp_path / "study", tmp_path / "victim"
    place.mkdir()
    victim.mkdir()
    (place / ".locks").symlink_to(victim)
    with pytest.raises(RunError, match=r"\.locks: expected a directory, got a link to another place"):
        opened(place)
    (victim / "file").write_text("precious")
    (place / "trial-0000.log").symlink_to(victim / "file")
    with pytest.raises(RunError, match="expected to write there"):
        Process({}, place / "trial-0000.log", queue.SimpleQueue())
    assert (victim / "file").read_text() == "precious"
    assert list(victim.iterdir()) == [victim / "file"]


def test_a_file_beyond_its_limit_is_not_read_and_none_is_written_to_it(tmp_path, monkeypatch):
    from unrolled.sweep import journal

    with open(tmp_path / "study.jsonl", "wb") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(CheckpointError, match="expected at most 67108864 bytes"):
        opened(tmp_path)
    (tmp_path / "study.jsonl").unlink()
    study = opened(tmp_path)
    before = (tmp_path / "study.jsonl").read_bytes()
    monkeypatch.setattr(journal, "LARGEST", len(before) + 20)
    with pytest.raises(RunError, match="got a full study"):
        study.claim(6)
    assert (tmp_path / "study.jsonl").read_bytes() == before
    assert opened(tmp_path).trials() == []


def test_what_a_file_says_of_a_trial_is_bounded_where_it_is_shown(tmp_path):
    known = {"steps": -5, "step": 3, "seconds": 2.0**60, "parameters": True, "reason": "r" * 10_000,
             "figures": {"a": 1.0, "b": "x"}, "main": 7}  # fmt: skip
    lines = [*OURS, TRIAL, {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"known": known}}]
    lines += [{"op_code": 7, "worker_id": "w", "trial_id": 0, "step": 2**50, "intermediate_value": 1e308}]
    (tmp_path / "study.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    study = opened(tmp_path)
    (kept,) = study.trials()
    assert kept.known["step"] == 3
    assert kept.known["figures"] == {"a": 1.0}
    assert len(kept.known["reason"]) < 200
    assert not {"steps", "seconds", "parameters", "main"} & kept.known.keys()
    claim = study.claim(1)
    assert claim.reported == {}
    for share, loss in ((1e300, 1.0), (float("inf"), 1.0)):  # of a run whose file is damaged
        claim.report(share, loss)
    assert claim.reported == {SHARES: 1.0}


def test_a_loss_without_a_number_is_kept_as_the_worst(tmp_path):
    study = opened(tmp_path)
    claim = study.claim(6)
    claim.report(0.5, float("inf"))
    claim.report(0.6, float("nan"))
    assert not claim.is_behind()
    (kept,) = opened(tmp_path).trials()
    assert kept.state == "unfinished"


def test_optuna_itself_reads_the_file(tmp_path):
    study = opened(tmp_path)
    study.finish(study.claim(6), "finished", 0.5, {"loss": 0.5})
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.jsonl"))
    with quiet():
        found = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert found.best_value == 0.5
    assert found.best_params == AXES.values(0)
