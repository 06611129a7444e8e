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
MAKEFILE = (ROOT / "Makefile").read_text()
BIN = ".venv/bin"
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


def run(line: str) -> None:
    """Run one pasted line, smaller where it would take minutes; `make` runs its recipe."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        recipe = MAKEFILE.split(f"\n{words[1]}:", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
        for each in recipe:
            run(each.strip().lstrip("@").replace("$(BIN)/", ""))
    elif words[0] == "source":
        assert words[1] == BIN + "/activate"  # which .venv has, as `python3 -m venv` makes it
    elif words[0] == "unrolled":
        assert main(small(words[1:])) == 0, line
    else:
        assert words[0] in ("echo", "python3"), line


def small(words: list[str]) -> list[str]:
    """Return a command with few steps, small sizes and a small text for a long one."""
    words = ["sentences" if word == "stdlib" else word for word in words]
    if words[0] == "train":
        if "--minutes" in words:
            at = words.index("--minutes")
            del words[at : at + 2]
        words += ["--steps", "5", "--hidden", "16", "--threads", "1"]
    return words + {"lab": ["--seeds", "1"], "probe": ["--lags", "8"]}.get(words[0], [])


def test_the_first_lines_of_the_readme_run_in_order_as_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    lines = next(text for language, text in BLOCKS if not language).splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["make", "source"]
    for name in {word for line in lines for word in line.split() if (ROOT / word).is_file()}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for line in lines:
        if "stdlib" in line:  # a run of its own: what is trained here in its place has one already
            line = line.replace("stdlib", "stdlib --run runs/stdlib")
        run(line)
    assert "Fay " in capsys.readouterr().out
    left = {p.name for p in (tmp_path / "runs" / "sentences").iterdir()}
    assert {"loss.png", "gates.png", "samples.txt", "model"} <= left
    assert (tmp_path / "runs" / "lecture" / "probe.html").stat().st_size > 10_000


def test_a_night_of_the_readme_is_trained_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(BOOK)
    lines = [line for line in LINES if "runs/night" in line]
    assert len(lines) == 2
    for line in lines:
        run(line)


def test_without_make_the_readme_does_what_make_demo_does():
    recipe = MAKEFILE.split("\ndemo:", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    commands = [line.strip().replace("$(BIN)", BIN) for line in recipe if not line.strip().startswith("@")]
    assert commands == [line for line in LINES if line.startswith(f"{BIN}/unrolled")]


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
    tree = README.split("## Where things are", 1)[1].split("```")[1]
    for name in re.findall(r"[\w/]+/(?= )|\w+\.py", tree):
        assert (ROOT / "src/unrolled" / name).exists() or (ROOT / name).exists(), name
