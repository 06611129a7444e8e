"""The core of the lab: what is done is kept, nothing is lost, everything printed was measured."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab_fake import Fake
from lab_numbers import unbacked, without_timing

from unrolled import LabConfig, lab
from unrolled.cli import main
from unrolled.errors import CheckpointError, NonFiniteError, RunError
from unrolled.lab.report import publish
from unrolled.train import held

pytestmark = pytest.mark.usefixtures("fake")
ALL = ["a0", "a1", "b0", "b1"]


def config(out: Path, **settings: Any) -> LabConfig:
    return LabConfig(**{"experiment": "speed", "seeds": 2, "out": str(out), **settings})


def document(out: Path, name: str = "results") -> dict[str, Any]:
    return json.loads((out / f"{name}.json").read_text())


def stop_at(fake: Fake, trial: str, signum: int) -> None:
    def before(settings: Any) -> None:
        if f"{settings['kind']}{settings['seed']}" == trial:
            os.kill(os.getpid(), signum)

    fake.before = before


def test_a_run_leaves_results_a_report_and_pictures(fake: Fake, tmp_path: Path):
    found = lab.run(config(tmp_path / "deep" / "out"))
    assert (found.run, found.kept) == (4, 0)
    assert fake.log == ALL
    names = {p.name for p in found.out.iterdir()}
    assert names == {"trials.json", "results.json", "report.md", "speed-fake.png"}
    assert found.figures == (found.out / "speed-fake.png",)
    stored = document(found.out, "trials")
    assert list(stored["trials"]) == [trial.key for trial in fake.trials(config(tmp_path))]
    assert all(trial["timing"]["seconds"] >= 0 for trial in stored["trials"].values())
    assert stored["machines"][0]["packages"].keys() >= {"unrolled", "torch"}


def test_every_number_of_the_report_stands_in_the_results(tmp_path: Path):
    found = lab.run(config(tmp_path))
    report, stored = found.report.read_text(), document(tmp_path)
    assert unbacked(report, stored) == []
    drawn = stored["sections"]["speed"]["summary"]["a"]["drawn"]["median"]
    assert f"{drawn:.3f}" in report
    assert set(unbacked(report.replace(f"{drawn:.3f}", "0.9999"), stored)) == {"0.9999"}
    assert unbacked(report + "in 1998, 12 % of 5,001 and 3.2e-07", stored) == [
        "1998",
        "12",
        "5,001",
        "3.2e-07",
    ]


def test_a_run_that_missed_its_goal_is_reported_as_censored(tmp_path: Path):
    report = lab.run(config(tmp_path)).report.read_text()
    assert "b: " in report
    assert "> 50 (10 to > 50), solved by 1 of 2, 1 censored" in report


def test_trials_that_are_done_are_kept_and_more_seeds_add_to_them(fake: Fake, tmp_path: Path):
    lab.run(config(tmp_path))
    before = document(tmp_path, "trials")["trials"]
    assert lab.run(config(tmp_path)).kept == 4
    found = lab.run(config(tmp_path, seeds=3))
    assert (found.run, found.kept) == (2, 4)
    assert fake.log == [*ALL, "a2", "b2"]
    after = document(tmp_path, "trials")["trials"]
    assert {key: after[key] for key in before} == before
    assert document(tmp_path)["sections"]["speed"]["summary"]["a"]["drawn"]["runs"] == 3


def test_a_seed_gives_the_same_results_whatever_ran_before(tmp_path: Path):
    lab.run(config(tmp_path / "one"))
    lab.run(config(tmp_path / "two", seeds=1))
    lab.run(config(tmp_path / "two"))
    assert without_timing(document(tmp_path / "one")) == without_timing(document(tmp_path / "two"))
    one, two = (document(tmp_path / name, "trials")["trials"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert without_timing(one) == without_timing(two)
    drawn = [trial["result"]["drawn"] for trial in one.values()]
    assert drawn[0] == drawn[2] != drawn[1]  # torch is seeded by the trial's seed


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done_and_says_how_to_go_on(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], signum: int, code: int
):
    out = tmp_path / "the lab"
    stop_at(fake, "a1", signum)
    words = ["lab", "speed", "--seeds", "2", "--out", str(out)]
    assert main(words) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("unrolled: stopped: 1 of 4 trials are done; go on with: ")
    assert said.endswith(f"unrolled lab speed --seeds 2 --out '{out}'")
    assert len(document(out, "trials")["trials"]) == 1
    assert not (out / "report.md").exists()
    fake.before = lambda _: None
    assert main(words) == 0
    assert fake.log == ALL
    assert "3 trials run, 1 kept from before" in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lab.run(config(tmp_path, seeds=1))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("unrolled.files.write", full)
        with pytest.raises(RunError, match=r"trials\.json: expected to write there, got: No space left"):
            lab.run(config(tmp_path))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert lab.run(config(tmp_path)).kept == 2


def test_what_a_write_that_was_killed_left_is_removed(tmp_path: Path):
    lab.run(config(tmp_path))
    (tmp_path / ".writing-results.json-0123abcd").write_text("{")
    lab.run(config(tmp_path))
    assert not list(tmp_path.glob(".writing*"))


def test_a_second_process_on_the_same_directory_is_refused(fake: Fake, tmp_path: Path):
    with held(tmp_path), pytest.raises(RunError, match=r"^out: expected a directory that no run is using"):
        lab.run(config(tmp_path))
    assert fake.log == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: {**d, "version": 4},
            r"expected version 3, got version 4; name another directory with --out",
        ),
        (lambda _: {"sections": 1}, r"expected results of the lab, got another JSON"),
        (lambda d: {**d, "sections": {"speed": 3}}, r"got a damaged file; nothing was changed"),
        (lambda d: {**d, "sections": [1]}, r"got a damaged file; nothing was changed"),
        (lambda d: {**d, "machines": None}, r"got a damaged file; nothing was changed"),
        (
            lambda d: {**d, "sections": {"speed": {**d["sections"]["speed"], "settings": {"quick": True}}}},
            r"^out: expected results of full runs, got .* of quick ones",
        ),
    ],
)
def test_results_of_another_kind_are_refused_and_stay(fake: Fake, tmp_path: Path, change: Any, message: str):
    lab.run(config(tmp_path))
    text = json.dumps(change(document(tmp_path)))
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RunError, match=message):
        lab.run(config(tmp_path, seeds=3))
    assert (tmp_path / "results.json").read_text() == text
    assert fake.log == ALL


@pytest.mark.parametrize("raw", [b"", b"\xff\x00", b"{", b"[1]", b'{"format": NaN}'])
def test_results_that_are_no_json_are_refused_and_stay(tmp_path: Path, raw: bytes):
    (tmp_path / "results.json").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"results\.json: expected a JSON object, got") as caught:
        lab.run(config(tmp_path))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "results.json").read_bytes() == raw


def test_a_trial_with_other_settings_is_refused_not_replaced(fake: Fake, tmp_path: Path):
    lab.run(config(tmp_path))
    fake.scale = 2
    with pytest.raises(RunError, match=r"^out: expected speed/a/seed=0 with these settings"):
        lab.run(config(tmp_path))


def test_a_file_and_another_programs_report_are_refused_and_stay(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"^out: expected a directory or a new path, got the file"):
        lab.run(config(tmp_path / "file"))
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(RunError, match=r"^out: expected a free directory or one of the lab"):
        lab.run(config(tmp_path))
    assert (tmp_path / "report.md").read_text() == "mine"


def test_the_directory_of_a_training_run_is_refused_and_stays(tmp_path: Path):
    (tmp_path / "run" / "data").mkdir(parents=True)
    for name in ("data/corpus.json", "LATEST"):
        (tmp_path / "run" / name).write_text("")
        with pytest.raises(
            RunError, match=r"^out: expected a free directory or one of the lab, got .* a run$"
        ):
            lab.run(config(tmp_path / "run"))
        (tmp_path / "run" / name).unlink()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["data"]


def test_a_section_that_another_version_wrote_is_refused_in_one_line(fake: Fake, tmp_path: Path):
    lab.run(config(tmp_path))
    stored = document(tmp_path)
    stored["sections"]["speed"]["summary"]["a"] = {}
    with pytest.raises(RunError, match=r"section speed: expected what the lab writes"):
        publish(stored, tmp_path, (fake.experiment,))


def test_pictures_and_report_can_be_made_again_from_the_results_alone(fake: Fake, tmp_path: Path):
    lab.run(config(tmp_path / "one"))
    (tmp_path / "two").mkdir()
    publish(document(tmp_path / "one"), tmp_path / "two", (fake.experiment,))
    for name in ("report.md", "speed-fake.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_results_of_an_older_format_are_run_again_with_a_line(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], version: int
):
    old = {"format": "unrolled lab", "version": version, "sections": {"speed": {}}}
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert (lab.run(config(tmp_path)).run, fake.log) == (4, ALL)
    assert "results.json is of an older version: its trials are run again" in capsys.readouterr().err
    assert document(tmp_path)["version"] == 3
    assert lab.run(config(tmp_path)).kept == 4


def test_results_decide_on_further_trials_and_a_stopped_run_goes_on_after_them(fake: Fake, tmp_path: Path):
    """The fake's second part: for each "a" that is done, a "c" with twice its seed."""

    def further(_: LabConfig, done: Any) -> list[lab.Trial]:
        seeds = [one.settings["seed"] for one in done if one.settings["kind"] == "a"]
        return [
            lab.Trial(f"speed/c/seed={2 * seed}", {"kind": "c", "seed": 2 * seed}, fake.work)
            for seed in seeds
        ]

    fake.more = further
    stop_at(fake, "c2", signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"^stopped: 5 of 6 trials are done"):
        lab.run(config(tmp_path))
    fake.before = lambda _: None
    assert lab.run(config(tmp_path)).run == 1
    assert fake.log == [*ALL, "c0", "c2"]
    stored = document(tmp_path, "trials")["trials"]
    stored["speed/c/seed=0"]["settings"]["seed"] = 7
    text = json.dumps({**document(tmp_path, "trials"), "trials": stored})
    (tmp_path / "trials.json").write_text(text)
    with pytest.raises(RunError, match=r"^out: expected speed/c/seed=0 with these settings"):
        lab.run(config(tmp_path))


@pytest.mark.slow
def test_workers_give_what_one_process_gives_and_a_signal_ends_them(tmp_path: Path):
    words = ["sentences", "--quick", "--seeds", "1", "--out"]
    run = [sys.executable, "-m", "unrolled", "lab", *words]
    for out, more in (("one", []), ("two", ["--workers", "2"])):
        subprocess.run([*run, str(tmp_path / out), *more], check=True, capture_output=True)
    one, two = (document(tmp_path / name, "trials")["trials"] for name in ("one", "two"))
    assert without_timing(one) == without_timing({key: two[key] for key in one})
    last = [*run, str(tmp_path / "three"), "--workers", "2"]
    with subprocess.Popen(last, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # a trial is done
        process.terminate()
        rest = process.stderr.read()  # to its end: no worker holds it open
    assert process.returncode == 143
    assert "lab sentences --quick --seeds 1 --workers 2 --out" in rest.partition("go on with: ")[2]
    assert len(document(tmp_path / "three", "trials")["trials"]) >= 1


def test_the_old_name_of_a_trial_is_told():
    with pytest.warns(DeprecationWarning, match=r"unrolled\.lab\.Cell is now unrolled\.lab\.Trial"):
        assert lab.Cell is lab.Trial


def test_a_result_that_json_cannot_hold_names_its_trial(fake: Fake, tmp_path: Path):
    fake.work = lambda _: {"loss": float("nan")}  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=r"^speed/a/seed=0: expected numbers that JSON can hold"):
        lab.run(config(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["memories"],
            "EXPERIMENT: expected one of sentences, memory, speed, remedies, gradients, all, got 'memories'",
        ),
        (["--seeds", "0"], "--seeds: expected at least 1, got 0"),
        (["--quick", "--long"], "--long: expected no quick beside it, got both"),
        (["--out", ""], "--out: expected a directory or a new path, got an empty text"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["lab", *words]) == 2
    assert capsys.readouterr().err == f"unrolled: {message}\n"


def test_the_progress_is_a_line_per_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lab.run(config(tmp_path, seeds=1))
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"[\d.]+ s$", "# s", line) for line in lines] == [
        "[1/2] speed/a/seed=0  # s",
        "[2/2] speed/b/seed=0  # s",
    ]


def test_a_directory_under_the_name_of_the_results_is_refused(tmp_path: Path):
    (tmp_path / "results.json").mkdir()
    with pytest.raises(RunError, match=r"results\.json: expected a regular file, got something else"):
        lab.run(config(tmp_path))
