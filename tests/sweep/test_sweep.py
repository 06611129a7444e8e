"""A sweep from end to end, with trials that are stood in for: what is run, killed, stopped, pruned and told."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unrolled import sweep
from unrolled.cli import main
from unrolled.errors import ConfigError, DataError, MissingExtraError, RunError
from unrolled.spec import ClassifyData, DataConfig, Range, SweepConfig, TrainConfig
from unrolled.sweep.process import environment
from unrolled.sweep.settings import with_values
from unrolled.sweep.status import Status
from unrolled.train import Stopped

pytestmark = pytest.mark.usefixtures("ledger")

AXES = {"learning_rate": (1e-3, 1e-2, 1e-1), "hidden_size": (8, 16)}
CONFIG = TrainConfig(DataConfig("sentences"), steps=10)


def swept(**plan) -> sweep.Sweep:
    return sweep.run(CONFIG, AXES, SweepConfig(study="study", prune=False, **plan))


def test_a_grid_runs_each_combination_once_and_names_the_best(ledger):
    found = swept(workers=3)
    assert ledger() == {f"{n} {word}": 1 for n in range(6) for word in ("starts", "finishes")}
    best = found.best
    assert best is not None
    assert best.settings == {"hidden_size": 16, "learning_rate": 1e-2}
    assert [each.value for each in found.trials] == sorted(each.value for each in found.trials)
    assert found.command == ("train", "sentences", "--steps", "10", "--hidden", "16", "--lr", "0.01")
    stored = json.loads(Path("study/sweep.json").read_text())
    assert stored["best"] == f"study/trial-{best.number:04d}"
    assert stored["trials"] == found.to_dict()["trials"]
    assert Path("study/slices.png").is_file()
    again = swept(workers=2)  # nothing is left to do
    assert sum(ledger().values()) == 12
    assert again.to_dict() == found.to_dict()


def test_more_trials_go_on_with_a_finished_study(ledger):
    assert len(swept(trials=2).trials) == 2
    assert len(swept(trials=4).trials) == 4
    assert ledger() == {f"{n} {word}": 1 for n in range(4) for word in ("starts", "finishes")}


def test_a_random_search_is_the_same_again_with_its_seed():
    axes = {"learning_rate": Range(1e-4, 1e-1), "hidden_size": (8, 16)}
    several = [
        sweep.run(CONFIG, axes, SweepConfig(study=name, trials=3, sweep_seed=seed, workers=2))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    drawn = [{each.number: dict(each.settings) for each in found.trials} for found in several]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_trial_that_is_killed_goes_on_from_where_it_was_saved(ledger, capfd):
    ledger(die=[1, 2])
    found = swept(workers=2)
    assert found.count("finished") == 6
    noted = ledger()
    assert {n: noted[f"{n} starts"] for n in range(4)} == {0: 1, 1: 2, 2: 2, 3: 1}
    assert "trial 0001  killed by signal 9" in capfd.readouterr().err


def test_two_sweeps_of_one_study_share_its_trials(ledger):
    ledger(pause=0.005)
    found, failed = [], []

    def other() -> None:
        try:
            found.append(swept(workers=2))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    found.append(swept(workers=2))
    thread.join()
    assert not failed
    assert ledger() == {f"{n} {word}": 1 for n in range(6) for word in ("starts", "finishes")}
    assert max(each.count("finished") for each in found) == 6


BESIDE = """
from unrolled.spec import DataConfig, SweepConfig, TrainConfig
from unrolled.sweep import process, run
process.WORDS = (FAKE,)
plan = SweepConfig(study="study", prune=False, workers=2)
config = TrainConfig(DataConfig("sentences"), steps=10, learning_rate=0.01)
run(config, {"hidden_size": range(1, 9)}, plan)
"""


@pytest.mark.slow
def test_a_sweep_finishes_what_one_beside_it_leaves_that_is_killed(ledger, tmp_path):
    gate, noted = tmp_path / "gate", tmp_path / "ledger"
    ledger(gate=str(gate))
    fake = str(Path(__file__).with_name("fake_trial.py"))
    words = [sys.executable, "-c", BESIDE.replace("FAKE", repr(fake))]
    both = [subprocess.Popen(words, env=environment()) for _ in range(2)]
    until = time.monotonic() + 300
    while not noted.exists() or noted.read_text().count("starts") < 4:  # two of each sweep
        assert time.monotonic() < until
        time.sleep(0.01)
    assert {int(line.split()[2]) for line in noted.read_text().splitlines()} == {each.pid for each in both}
    both[0].kill()
    both[0].wait()
    gate.write_text("")
    assert both[1].wait() == 0
    stored = json.loads(Path("study/sweep.json").read_text())["trials"]
    assert sorted((each["number"], each["state"]) for each in stored) == [(n, "finished") for n in range(8)]
    assert len({each["settings"]["hidden_size"] for each in stored}) == 8
    counts = ledger()
    assert sorted(counts[f"{n} starts"] for n in range(8)) == [1] * 6 + [2] * 2
    assert all(counts[f"{n} finishes"] == 1 for n in range(8))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_every_trial_save_and_the_next_command_goes_on(ledger, signum, code):
    ledger(pause=0.05)
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signum))
    timer.start()
    with pytest.raises(Stopped, match="the same command continues") as caught:
        swept(workers=2)
    assert caught.value.exit_code == code
    before = ledger()
    assert before["0 stop"] + before["0 finishes"] == 1  # told to, not killed
    ledger(pause=0)
    found = swept(workers=2)
    assert found.count("finished") == 6
    noted = ledger()
    assert all(
        noted[f"{n} starts"] == 1 + noted[f"{n} stop"] and noted[f"{n} finishes"] == 1 for n in range(6)
    )


def test_a_second_signal_ends_every_trial_at_once(ledger):
    ledger(pause=60)  # none would finish its step
    for delay in (0.5, 0.8):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Stopped, match="stopped at once by SIGINT; the same command continues"):
        swept(workers=2)
    ledger(pause=0)
    assert swept(workers=2).count("finished") == 6


def test_a_run_that_is_a_link_to_another_place_is_not_gone_into(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/trial-0000").symlink_to(tmp_path)
    with pytest.raises(RunError, match="expected the run of a trial, got a link to another place"):
        swept()


def test_when_the_time_is_up_trials_are_saved_and_nothing_is_lost(ledger):
    ledger(pause=0.05)
    found = swept(workers=2, total_minutes=0.3 / 60)
    assert 0 < len(found.trials) < 6
    ledger(pause=0)
    assert swept().count("finished") == 6
    assert all(ledger()[f"{n} finishes"] == 1 for n in range(6))


def test_a_trial_far_behind_is_pruned():
    rates = (0.01, 0.011, 0.012, 0.013, 0.014, 5.0, 6.0, 7.0)
    axes = {"learning_rate": rates}
    found = sweep.run(TrainConfig(DataConfig("sentences"), hidden_size=8), axes, SweepConfig(study="study"))
    pruned = [each for each in found.trials if each.state == "pruned"]
    assert pruned
    assert all(each.settings["learning_rate"] >= 5 or each.number > 4 for each in pruned)
    assert all(4 <= each.step < 10 for each in pruned)  # not in the first third
    assert all(each.value is None for each in pruned)
    assert found.best is not None
    assert found.best.settings["learning_rate"] < 5


def test_settings_that_do_not_work_end_their_trial_and_what_all_share_ends_the_sweep(ledger):
    ledger(refuse={"2": ["NonFiniteError", "loss: expected a number, got nan at step 3"], "3": ["ConfigError", "sizes: expected less, got more"]})  # fmt: skip
    found = swept()
    failed = {each.number: each.reason for each in found.trials if each.state == "failed"}
    assert failed == {2: "loss: expected a number, got nan at step 3", 3: "sizes: expected less, got more"}
    assert found.count("finished") == 4
    ledger(refuse={"0": ["DataError", "source: expected a file, got nothing there"]})
    with pytest.raises(DataError, match=r"source: expected a file, got nothing there \(trial 0000\)"):
        sweep.run(CONFIG, AXES, SweepConfig(study="other"))
    ledger(refuse={})
    assert sweep.run(CONFIG, AXES, SweepConfig(study="other")).count("finished") == 6


def test_a_trial_that_dies_again_and_again_fails_alone(monkeypatch):
    from unrolled.sweep import process

    monkeypatch.setattr(
        process, "WORDS", ("-c", "import sys; print('out of memory', file=sys.stderr); sys.exit(9)")
    )
    found = sweep.run(CONFIG, {"hidden_size": (8, 16)}, SweepConfig(study="study"))
    assert [each.reason for each in found.trials] == [
        "ended with exit code 9, 3 times in a row; out of memory"
    ] * 2
    assert found.best is None


TABLE = ClassifyData("t.csv", label="y")


@pytest.mark.parametrize(
    ("config", "axes", "plan", "told"),
    [
        (CONFIG, {}, {}, "axes: expected a setting with several values, or with a Range, got none"),
        (CONFIG, {"speed": (1, 2)}, {}, "axes: expected settings of a run of the task language, got 'speed'"),
        (CONFIG, {"hidden_size": (8,)}, {}, "hidden_size: expected several values or a Range, got (8,)"),
        (CONFIG, {"run": ("a", "b")}, {}, "run: expected one value, as it says what is predicted, got several"),
        (TABLE, {"label": ("y", "z")}, {}, "label: expected one value, as it says what is predicted, got several"),
        (CONFIG, {"hidden_size": (8, 0)}, {}, "hidden_size: expected at least 1, got 0, in a trial with `hidden_size` 0"),
        (CONFIG, {"cell": ("lstm", "gru"), "forget_bias": (1.0, 2.0)}, {}, "forget_bias: expected `cell` lstm without chrono_steps, got `cell` gru, in a trial with `cell` gru, `forget_bias` 2"),
        (CONFIG, {"hidden_size": Range(8, 64)}, {}, "trials: expected a number, or `total_minutes`, beside a range, got none"),
        (DataConfig("-"), AXES, {}, "source: expected a file, which every trial can read, got standard input"),
        (TrainConfig(DataConfig("sentences"), run="here"), AXES, {}, "run: expected none in a sweep, which names its runs and resumes them itself (`study` says where), got here"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_cannot_be_swept_is_refused_before_anything_is_written(config, axes, plan, told):
    config = config if isinstance(config, TrainConfig) else TrainConfig(config)
    with pytest.raises(ConfigError) as caught:
        sweep.run(config, axes, SweepConfig(study="study", **plan))
    assert str(caught.value) == told
    assert not Path("study").exists()


def test_a_place_that_cannot_be_a_study_is_refused():
    Path("file").write_text("")
    Path("run").mkdir()
    Path("run/config.json").write_text("{}")
    Path("text").mkdir()
    Path("text/a.txt").write_text("a")
    for config, name, told in (
        (CONFIG, "file", "study: expected a directory or a new path, got the file file"),
        (CONFIG, "run", "study: expected a directory for several runs, got run, which is a run itself"),
        (TrainConfig(DataConfig("text")), "text/s", "study: expected a directory outside the source text, got text/s"),
    ):  # fmt: skip
        with pytest.raises(RunError) as caught:
            sweep.run(config, AXES, SweepConfig(study=name))
        assert str(caught.value) == told


def test_a_cell_says_its_own_norm_and_a_norm_that_was_asked_for_holds_for_every_cell():
    def cells(config: TrainConfig, *asked: str) -> list[str]:
        values = [{"cell": cell} for cell in ("layernorm_lstm", "lstm", "gru")]
        return [with_values(config, each, asked).cell for each in values]

    first = TrainConfig(DataConfig("sentences"), cell="layernorm_lstm")  # as the command line begins
    assert cells(first) == ["layernorm_lstm", "lstm", "gru"]
    layer = TrainConfig(DataConfig("sentences"), norm="layer")
    assert cells(layer, "norm") == ["layernorm_lstm", "layernorm_lstm", "layernorm_gru"]


def test_under_a_launcher_of_several_processes_it_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="sweep: expected one process, which starts those of trials itself"):
        swept()


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(
        MissingExtraError, match=r"expected Optuna, from the extra: pip install 'unrolled\[sweep\]'"
    ):
        swept()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [200, 60, 30, 10])
def test_the_line_on_a_terminal_fits_and_a_simple_terminal_has_none(monkeypatch, columns):
    shown = {}
    for kind in ("xterm", "dumb"):
        monkeypatch.setenv("TERM", kind)
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        status = Status()
        status.show(3, 20, [(number, share) for number, share in enumerate((None, 0.0, 0.456, 1.0, 0.5))])
        status.say("trial 0003  finished")
        shown[kind] = terminal.getvalue()
    line, told = shown["xterm"].split("\x1b[K")[1:]
    assert len(line.strip()) < columns
    assert told == "trial 0003  finished\n"
    whole = "3 of 20 done, 0:00:00: 0000 starts, 0001 0%, 0002 46%, 0003 finishes, 0004 50%"
    assert line.strip() == whole if columns == 200 else line.strip(", …\r") in whole
    assert shown["dumb"] == "trial 0003  finished\n"


FLAGS = ["sweep", "sentences", "--study", "study", "--steps", "10"]


def test_a_dry_run_lists_the_trials_that_a_run_then_has_and_writes_nothing(capsys):
    flags = [*FLAGS, "--lr", "1e-4..1e-2", "--hidden", "8,16", "--trials", "3", "--workers", "2"]
    assert main([*flags, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not Path("study").exists()
    assert not told["begun"]
    assert main([*flags, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert told["trials"] == [each["settings"] for each in sorted(trials, key=lambda each: each["number"])]
    assert main([*flags, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 trials, 2 at a time; ranked by bits per char"
    assert lines[-2] == "the study study is there, and would be continued; nothing was trained or written"
    rate = f"{told['trials'][0]['learning_rate']:g}"
    assert lines[-1].endswith(f"train sentences --steps 10 --hidden 16 --lr {rate} --dry-run")


def test_the_command_prints_a_table_and_how_to_use_the_best(capsys):
    assert main([*FLAGS, "--lr", "1e-3,1e-2", "--hidden", "8,16", "--no-prune"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 trials of 4: 4 finished"
    assert lines[1].split() == [
        "trial",
        "hidden",
        "lr",
        "bits",
        "per",
        "char",
        "step",
        "parameters",
        "seconds",
        "state",
    ]
    assert lines[2].split()[1:4] == ["16", "0.01", "0.0625"]
    assert lines[-3].startswith("best: study/trial-000")
    assert lines[-2].endswith("--length 400")
    assert lines[-1].endswith("train sentences --steps 10 --hidden 16 --lr 0.01")
    assert main([*FLAGS, "--lr", "1e-3,1e-2", "--hidden", "8,16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ranked_by"] == "bits per char"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--lr", "1e-3"], "--FLAG: expected one of the flags of unrolled train with several values, such as --lr 1e-3,3e-3, or a range, such as --lr 1e-4..1e-2, got none"),
        (["--rum", "a"], "--rum: expected a flag of unrolled sweep, got an unknown one (see unrolled sweep --help)"),
        (["--dry-rum"], "--dry-rum: expected a flag of unrolled sweep, got an unknown one; did you mean --dry-run? (see unrolled sweep --help)"),
        (["--lr", "1e-3,"], "--lr: expected values separated by commas, got an empty one in '1e-3,'"),
        (["--lr", "1e-3,0"], "--lr: expected more than 0, got 0.0, in a trial with --lr 0"),
        (["--wobble", "1,2"], "--wobble: expected a flag of unrolled sweep, got an unknown one (see unrolled sweep --help)"),
        (["--hiden", "1,2"], "--hiden: expected a flag of unrolled sweep, got an unknown one; did you mean --hidden? (see unrolled sweep --help)"),
        (["--lr", "1e-3,1e-2", "--trials", "0"], "--trials: expected at least 1, got 0"),
        (["--lr", "1e-3,1e-2", "--total-minutes", "0"], "--total-minutes: expected more than 0, got 0.0"),
        (["--lr", "1e-4..1e-2"], "--trials: expected a number, or --total-minutes, beside a range, got none"),
        (["--lr", "1e-3,1e-2", "--pooling", "last"], "--pooling: expected --label or --target beside it, got neither"),
        (["--lr", "1e-3,1e-2", "--run", "a"], "--run: expected none in a sweep, which names its runs and resumes them itself (--study says where), got a"),
        (["--lr", "1e-3,1e-2", "--resume"], "--resume: expected none in a sweep, which names its runs and resumes them itself (--study says where), got True"),
        (["--lr", "1e-3,1e-2", "--tie", "maybe"], "--tie: expected yes, no or yes,no, got 'maybe'; write SOURCE before --tie"),
        (["--lr"], "--lr: expected a value, got none; one that begins with - is written --lr=VALUE (see unrolled sweep --help)"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(capsys, words, told):
    try:
        code = main([*FLAGS, *words])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    err = capsys.readouterr().err
    assert err.splitlines() == [err.strip()]
    assert err.partition(": ")[2].strip() == told
    assert not Path("study").exists()
