"""The README is true: its first lines run in a shell as pasted, its Python runs, its links lead somewhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled import DataConfig, TrainConfig, train
from unrolled.cli import main
from unrolled.cli.parser import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [text for language, text in BLOCKS if not language]
FIRST = next(text for text in SHELL if text.startswith("make demo"))
LATER = [
    line for text in SHELL if text != FIRST for line in text.splitlines() if line.startswith("unrolled ")
]
RECIPE = (ROOT / "Makefile").read_text().split("\ndemo:", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
COMMANDS = [line.strip() for line in RECIPE if not line.strip().startswith("@")]
BOOK = "KING: the quick brown fox jumps over the lazy dog.\n\nQUEEN: pack my box with jugs.\n" * 40
# What the tests change in the README's commands: the installation, and how long they take. Nothing else.
SHORTER = {
    "make demo": "\n".join(line.replace("$(BIN)/", "") for line in COMMANDS),
    ". .venv/bin/activate": ":",
    "unrolled train sentences": "unrolled train sentences --steps 20",
    " --minutes 1 ": " --steps 3 --hidden 8 ",
    " --minutes 480 ": " --steps 3 --hidden 8 ",
    " --minutes 60 ": " --steps 5 ",
    " --minutes 3 ": " --steps 3 --hidden 8 ",
    " --label ": " --steps 3 --hidden 8 --label ",
    " --target ": " --steps 3 --hidden 8 --target ",
    " --tags ": " --steps 3 --hidden 8 --tags ",
    " --horizon ": " --steps 3 --hidden 8 --horizon ",
    "unrolled lab sentences --quick": "unrolled lab sentences --quick --seeds 1",
}


def shorter(text: str) -> str:
    for given, taken in SHORTER.items():
        text = text.replace(given, taken)
    return text


@pytest.mark.slow
def test_the_first_lines_of_the_readme_run_in_order_as_pasted_into_a_shell(tmp_path: Path):
    program = tmp_path / "bin" / "unrolled"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m unrolled "$@"\n')
    program.chmod(0o755)
    for name in {word for word in FIRST.split() if (ROOT / word).is_file()}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    path, source = f"{program.parent}{os.pathsep}{os.environ['PATH']}", str(ROOT / "src")
    env = {**os.environ, "PATH": path, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["sh", "-e", "-c", shorter(FIRST)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {"sentences", "stdlib", "lecture"} <= {path.name for path in (tmp_path / "runs").iterdir()}
    left = {path.name for path in (tmp_path / "runs" / "sentences").iterdir()}
    assert {"loss.png", "gates.png", "samples.txt", "model"} <= left
    assert (tmp_path / "runs" / "lecture" / "probe.html").stat().st_size > 10_000
    assert (tmp_path / "lab" / "report.md").exists()


def test_the_first_lines_show_every_command_and_make_it_findable_first():
    lines = FIRST.splitlines()
    assert len(lines) == 10
    assert lines[1].startswith(". .venv/bin/activate")
    shown = {shlex.split(line, comments=True)[1] for line in lines[2:]}
    assert shown == {"train", "sample", "eval", "probe", "lab", "doctor"}


def write_files(place: Path) -> None:
    """Write the files that the README's commands read: small ones, of the kinds that people have."""
    (place / "book.txt").write_text(BOOK)
    steps = [(sample, step) for sample in range(16) for step in range(6)]
    gestures = [f"{s},p{s % 4},{s * t % 5},{t},{('walk', 'sit')[s % 2]}" for s, t in steps]
    header = "sample,subject,ax,ay,activity"
    for name in ("gestures.csv", "test.csv"):
        (place / name).write_text("\n".join([header, *gestures]) + "\n")
    unlabelled = [line.rpartition(",")[0] for line in (header, *gestures)]
    (place / "new.csv").write_text("\n".join(unlabelled) + "\n")
    pump = [f"{s},{t},{(s + t) % 7},{60 - s}" for s, t in steps]
    (place / "pump.csv").write_text("\n".join(["unit,cycle,vibration,rul", *pump]) + "\n")
    (place / "names").mkdir()
    for name, end in {"Czech": "ova", "Dutch": "sen"}.items():
        (place / "names" / f"{name}.txt").write_text("\n".join(f"{c}a{end}" for c in "BDFGHKLMN") + "\n")
    for name in ("train.conll", "test.conll"):
        sentence = "EU NNP B-ORG\nrejects VBZ O\nGerman JJ B-MISC\ncalls NNS O\n\n"
        (place / name).write_text(sentence * 12)
    hours = [f"2026-05-{h // 24 + 1:02} {h % 24:02}:00,{h % 24 + h % 7},{h % 24}" for h in range(24 * 20)]
    (place / "load.csv").write_text("\n".join(["time,load,temperature", *hours]) + "\n")


@pytest.mark.usefixtures("in_brief")
def test_the_later_commands_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    for line in LATER:
        assert main(shlex.split(shorter(line), comments=True)[1:]) == 0, line
    assert (tmp_path / "runs" / "night" / "checkpoints" / "step-00000005").exists()


def test_the_lines_for_a_machine_without_make_are_those_of_the_makefile():
    lines = [line for text in SHELL for line in text.splitlines() if line.startswith(".venv/bin/unrolled")]
    assert lines == [line.replace("$(BIN)", ".venv/bin") for line in COMMANDS]


@pytest.mark.parametrize("command", re.findall(r"`(unrolled \w+\s[^`]*)`", README))
def test_a_command_within_a_sentence_parses(command: str):
    assert build().parse_args(shlex.split(command)[1:]).command


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, brief: Callable[[], Any]) -> Path:
    """A directory with the run that `make demo` leaves, shorter."""
    place = tmp_path_factory.mktemp("demo")
    config = TrainConfig(DataConfig("sentences"), run=str(place / "runs" / "sentences"), steps=5)
    with brief():
        train.run(config, observers=[])
    return place


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_a_python_block_of_the_readme_runs(
    code: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: Callable[[], Any]
):
    monkeypatch.chdir(demo if "runs/sentences" in code else tmp_path)
    with brief() if "train.run(" in code else contextlib.nullcontext():  # the later commands' runs are whole
        exec(compile(code.replace("steps=40", "steps=5"), "README.md", "exec"), {})


def test_the_lines_of_the_three_promises_run(demo: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(demo)
    import torch

    import unrolled

    lines = re.findall(r"^  `(.+)`$", README, re.M)
    assert len(lines) == 3
    known = {"x": torch.randn(5, 2, 64), "lengths": torch.tensor([5, 3]), "resets": None, "token": 3}
    known["unrolled"] = unrolled
    for line in lines:
        exec(line, known)


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\(([^)#\s]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_folder_of_the_tree_exists():
    tree = README.split("## Where things are", 1)[1].split("```")[1]
    for name in re.findall(r"[\w/]+/(?= )|\w+\.py", tree):
        assert (ROOT / "src/unrolled" / name).exists() or (ROOT / name).exists(), name


def test_the_speed_that_the_readme_names_is_the_recorded_one_point_by_point():
    record = json.loads((ROOT / "bench" / "layers.json").read_text())
    points = [
        (row["question"], row["case"]["cell"], row["case"]["B"] == 1, ratio_of(row["times"], peer))
        for row in record["rows"]
        for peer in [{"grid": "torch.nn", "ragged": "packed"}.get(row["question"])]
        if peer is not None
    ]
    full = [point[1:] for point in points if point[0] == "grid"]
    every, batches = [ratio for *_, ratio in full], [ratio for _, row, ratio in full if not row]
    lstm = [ratio for cell, _, ratio in full if cell == "lstm"]
    others = [ratio for cell, row, ratio in full if cell != "lstm" and not row]
    rows = [ratio for cell, row, ratio in full if cell != "lstm" and row]
    packed = [ratio for question, *_, ratio in points if question == "ragged"]
    said, mean = " ".join(README.split()), statistics.geometric_mean
    assert f"two cores of an {record['machine']['processor']} (Zen 5)" in said
    assert f"{statistics.median(every):.1f} times as fast as `torch.nn` in the median" in said
    assert f"The mean is {mean(every):.1f}, without that row {mean(batches):.1f};" in said
    assert f"an LSTM {min(lstm):.1f} to {max(lstm):.1f} times" in said
    assert f"a GRU or RNN {min(others):.1f} to {max(others):.1f} times" in said
    assert f"and {min(rows):.0f} to {max(rows):.0f} times on one row" in said
    assert f"It is {statistics.median(packed):.1f} times as fast as packed sequences in the median" in said


def ratio_of(times: dict[str, list[float]], peer: str) -> float:
    """Return the peer's time divided by ours, in the median of rounds in which both took turns."""
    return statistics.median(
        theirs / ours for theirs, ours in zip(times[peer], times["unrolled"], strict=True)
    )
