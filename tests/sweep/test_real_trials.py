"""Real trials in real processes: killed, left alone, shared by two commands; and one of every task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from unrolled import train
from unrolled.spec import (
    ClassifyData,
    DataConfig,
    ForecastData,
    RegressData,
    RunDirectory,
    TagData,
    TrainConfig,
    kind_of,
    to_json,
)
from unrolled.sweep.results import Ranking
from unrolled.sweep.trial import _outcome, config_of

STEPS, EVERY = 800, 20
FLAGS = ["sentences", "--hidden", "8,16", "--steps", str(STEPS), "--save-every", str(EVERY), "--threads", "1"]
PATIENCE = 300.0  # seconds, on a machine that does other things too


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def started(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "unrolled", "sweep", *FLAGS, "--study", "study", *words]
    with open("said", "ab") as said:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def step_of(number: int) -> int:
    latest = RunDirectory(f"study/trial-{number:04d}").latest
    return (RunDirectory.step_of(latest.read_text().strip()) or 0) if latest.exists() else -1


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs Linux's /proc"
)
def test_killed_trials_and_sweeps_end_with_the_bits_of_plain_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = started("--workers", "2")
    until(lambda: min(step_of(0), step_of(1)) > 0)
    pids = children(first)
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: "continues: " in Path("said").read_text())
    until(lambda: len(set(children(first)) - {pids[0]}) == 2)
    left = [pid for pid in children(first) if pid != pids[0]]
    first.kill()
    first.wait()
    until(lambda: not any(map(alive, left)))  # they hear that the sweep is gone, save, and end
    both = [started(), started()]
    assert [each.wait() for each in both] == [0, 0]
    stored = json.loads(Path("study/sweep.json").read_text())
    assert [each["state"] for each in stored["trials"]] == ["finished"] * 2
    for each in stored["trials"]:
        size = each["settings"]["hidden_size"]
        data = DataConfig("sentences")
        config = TrainConfig(
            data, run=f"plain-{size}", hidden_size=size, steps=STEPS, save_every=EVERY, threads=1
        )
        plain = RunDirectory(train.run(config, observers=[], pictures=False).run)
        trial = RunDirectory(each["run"])
        weights = [(run.model / "model.safetensors").read_bytes() for run in (plain, trial)]
        assert weights[0] == weights[1], f"hidden {size}"
        losses = [
            [
                (row["step"], row["val_nats_per_token"])
                for row in map(json.loads, run.metrics.read_text().splitlines())
            ]
            for run in (plain, trial)
        ]
        assert losses[0] == losses[1]
        assert each["value"] == json.loads(plain.evaluation.read_text())["bits_per_char"]


@pytest.mark.slow
def test_a_signal_ends_the_sweep_and_its_trials_which_are_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = started()
    until(lambda: step_of(0) > 0)
    (pid,) = children(sweep)
    sweep.terminate()
    assert sweep.wait() == 143
    assert not alive(pid)
    assert Path("said").read_text().splitlines()[-1] == (
        "unrolled: stopped: 1 trial of 2: 1 unfinished; the same command continues"
    )
    latest = step_of(0)
    assert 0 < latest < STEPS


def rows(header: str, lines: list[str], path: Path) -> str:
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def configs(place: Path) -> list[Any]:
    steps = [(sample, step) for sample in range(16) for step in range(6)]
    gestures = [f"{s},{s * t % 5},{('walk', 'sit')[s % 2]}" for s, t in steps]
    pump = [f"{s},{(s + t) % 7},{60 - s}" for s, t in steps]
    hours = [f"2026-05-{h // 24 + 1:02} {h % 24:02}:00,{h % 24 + h % 7}" for h in range(24 * 20)]
    words = ["EU NNP B-ORG", "rejects VBZ O", "German JJ B-MISC", "calls NNS O", ""] * 12
    return [
        ClassifyData(rows("sample,ax,activity", gestures, place / "g.csv"), label="activity", id="sample"),
        RegressData(rows("unit,vibration,rul", pump, place / "p.csv"), target="rul", id="unit"),
        ForecastData(rows("time,load", hours, place / "l.csv"), horizon=12, window=24),
        TagData(rows("", words, place / "t.conll"), tags="2"),
    ]


@pytest.mark.slow
def test_every_task_crosses_to_a_process_and_comes_back_with_what_ranks_it(tmp_path):
    for data in configs(tmp_path):
        kind = kind_of(data)
        config = TrainConfig(data, run=str(tmp_path / kind.name), hidden_size=4, steps=3)
        job = {"task": kind.name, "config": json.loads(json.dumps(to_json(config))), "asked": []}
        assert config_of(job) == config
        result = train.run(replace(config, threads=1), observers=[], pictures=False)
        told = json.loads(json.dumps(_outcome(result, kind.loss)))
        assert Ranking.of(kind, ["hidden_size"]).value(told) == told["loss"] >= 0
        by_figure = Ranking.of(kind, ["controls"])
        assert by_figure.value(told) == told["figures"][told["main"]]
        assert by_figure.maximise == (told["main"] in ("accuracy", "f1"))
