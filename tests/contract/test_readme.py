"""The README is true: its commands parse, its Python runs, its demo works, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from unrolled.cli import main
from unrolled.cli.parser import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]
LINES = [
    line.split("  #")[0].strip() for language, text in BLOCKS if not language for line in text.splitlines()
]
COMMANDS = sorted(
    {line.removeprefix(".venv/bin/") for line in LINES if re.match(r"(\.venv/bin/)?unrolled ", line)}
)
BOOK = "KING: the quick brown fox jumps over the lazy dog.\n\nQUEEN: pack my box with jugs.\n" * 40


def test_the_readme_shows_every_command():
    shown = {shlex.split(c)[1] for c in COMMANDS}
    assert shown == {"train", "sample", "eval", "probe", "lab", "doctor"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_parses(command: str):
    args = build().parse_args(shlex.split(command)[1:])
    assert args.command


def test_the_commands_of_the_readme_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(BOOK)
    (tmp_path / "other.txt").write_text(BOOK[:200])
    for line in [line for line in LINES if line.startswith("unrolled ")]:
        words = shlex.split(line)[1:]
        if words[1:] == ["stdlib"]:
            continue  # long: test_data reads that corpus
        if words[0] == "train":
            short = " ".join(words) + " --steps 5 --hidden 16"
            words = re.sub(r"--minutes \d+ ", "", short).split()
        if words[0] == "lab":
            words = ["lab", "sentences", "--quick", "--seeds", "1"]  # all of it takes minutes
        assert main(words) == 0, line
    assert (tmp_path / "runs" / "book" / "model" / "model.safetensors").exists()
    assert len(capsys.readouterr().out.split("KING", 1)[1]) > 400


def test_the_demo_of_the_makefile_trains_samples_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = (ROOT / "Makefile").read_text().split("\ndemo:", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    commands = [line.strip().removeprefix("$(BIN)/") for line in recipe]
    assert commands == [c.removeprefix(".venv/bin/") for c in LINES if c.startswith(".venv/bin/unrolled")]
    monkeypatch.chdir(tmp_path)
    for command in commands:
        words = shlex.split(command)[1:]
        assert main([*words, "--steps", "5"] if words[0] == "train" else words) == 0
    left = {p.name for p in (tmp_path / "runs" / "sentences").iterdir()}
    assert {"loss.png", "gates.png", "samples.txt", "model"} <= left


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_a_python_block_of_the_readme_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("steps=40", "steps=5"), "README.md", "exec"), {})


def test_the_lines_of_the_three_promises_run():
    import torch

    import unrolled

    lines = re.findall(r"^  `(.+)`$", README, re.M)
    assert len(lines) == 3
    known = {
        "unrolled": unrolled,
        "x": torch.randn(5, 2, 64),
        "lengths": torch.tensor([5, 3]),
        "resets": None,
    }
    for line in lines:
        exec(line, known)


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\(([^)#\s]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_folder_of_the_tree_exists():
    tree = README.split("## The tree", 1)[1].split("```")[1]
    for name in re.findall(r"[\w/]+/(?= )|\w+\.py", tree):
        assert (ROOT / "src/unrolled" / name).exists() or (ROOT / name).exists(), name
