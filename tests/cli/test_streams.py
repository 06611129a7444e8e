"""The command line and its streams: terminals, pipes, what is closed, full or cannot show a text."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.cli import main

CALL = "import sys; from unrolled.cli import main; sys.exit(main())"
UNROLLED = [sys.executable, "-c", CALL]
WITHOUT_PICTURES = """
from unrolled import figures
from unrolled.tasks.language import report
figures.loss = figures.strips = lambda *_, **__: None
report.SAMPLE_TOKENS = 40
"""


def test_control_characters_of_a_model_are_escaped_on_a_terminal_and_only_there(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    module = importlib.import_module("unrolled.sample")
    monkeypatch.setattr(module, "sample", lambda *_, **__: iter(["a\x1b[31m\x07é", "\x9b2J\x7f\r\tb\nc"]))
    argv = ["sample", str(trained), "--prompt", "\x1b"]
    assert main(argv) == 0
    assert capsys.readouterr().out == "\x1ba\x1b[31m\x07é\x9b2J\x7f\r\tb\nc\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(argv) == 0
    assert capsys.readouterr().out == "\\x1ba\\x1b[31m\\x07é\\x9b2J\\x7f\\r\tb\nc\n"


def test_text_that_the_terminal_cannot_show_is_escaped(tmp_path: Path):
    argv = [*UNROLLED, "sample", str(tmp_path / "gone-ü.txt")]
    done = subprocess.run(
        argv, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False
    )
    assert done.returncode == 2
    assert b"gone-\\xfc.txt" in done.stderr
    assert b"Traceback" not in done.stderr


INTERRUPTED_WHILE_LOADING = """
import os, signal, sys, time
from unrolled.cli import main

class Swallows:  # as torch does with whatever goes wrong while it loads numpy
    def find_spec(self, name, *_):
        if name == "unrolled.tasks":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            except KeyboardInterrupt:
                pass

sys.meta_path.insert(0, Swallows())
sys.exit(main(["eval", "no-such-run", "no-such-file"]))
"""


def test_ctrl_c_while_torch_loads_ends_the_process_and_is_not_swallowed():
    words = [sys.executable, "-c", INTERRUPTED_WHILE_LOADING]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


SAMPLE = "sample RUN --length 9"


@pytest.mark.parametrize(
    ("closed", "command"),
    [
        (">&-", SAMPLE),
        ("2>&-", SAMPLE),
        ("<&- >&- 2>&-", SAMPLE),
        ("<&- >&- 2>&-", "eval RUN sentences"),  # loads torch
        (">/dev/full", SAMPLE),
        (">/dev/full", "--version"),
        ("| head -c 1", SAMPLE),
    ],
)
def test_standard_streams_that_are_closed_or_full_give_no_traceback(closed: str, command: str, trained: Path):
    words = shlex.join([*UNROLLED, *command.replace("RUN", str(trained)).split()])
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["sh", "-c", f"{words} {closed}"], env=buffered, capture_output=True, text=True, check=False
    )
    full = closed == ">/dev/full"
    assert done.returncode == (2 if full else 0)
    assert len(done.stderr.splitlines()) == (1 if full else 0), done.stderr


@pytest.mark.usefixtures("in_brief")
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
@pytest.mark.parametrize(
    "command",
    [
        "",
        "doctor",
        "train --help",
        "sample RUN --length 9",
        "eval RUN sentences",
        "probe RUN --lags 4 --html OUT/page.html",
        "train sentences --steps 2 --hidden 4 --run OUT/run",
    ],
)
def test_every_command_runs_without_one_of_its_streams(
    command: str, closed: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, closed, None)  # what Python makes of >&- and 2>&-
    argv = [w.replace("RUN", str(trained)).replace("OUT", str(tmp_path)) for w in command.split()]
    assert main(argv) == 0
    getattr(sys, closed).close()


def test_a_closed_standard_input_is_an_empty_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of <&-
    assert main(["train", "-", "--run", str(tmp_path / "run")]) == 2
    said = "unrolled: SOURCE: expected at least 2 characters, got 0 in standard input\n"
    assert capsys.readouterr().err == said
    sys.stdin.close()


def test_a_program_may_have_read_of_standard_input_before_it_calls_main():
    code = "import sys; sys.stdin.readline(); from unrolled.cli import main; sys.exit(main(['--version']))"
    done = subprocess.run([sys.executable, "-c", code], input=b"a\nb\n", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="has no terminals of this kind")
def test_a_terminal_without_unicode_sees_every_help_and_the_progress_bar(tmp_path: Path):
    import pty

    env = {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "xterm", "COLUMNS": "80"}
    commands = [
        ["lab", "--help"],
        ["train", "sentences", "--steps", "3", "--hidden", "4", "--run", str(tmp_path / "r")],
    ]
    for command in commands:
        ours, theirs = pty.openpty()
        argv = [sys.executable, "-c", (WITHOUT_PICTURES if command[0] == "train" else "") + CALL, *command]
        with subprocess.Popen(argv, stdout=theirs, stderr=theirs, env=env) as running:
            os.close(theirs)
            seen = b""
            while piece := _piece(ours):
                seen += piece
        os.close(ours)
        assert running.returncode == 0
        assert b"Traceback" not in seen
        assert seen.isascii()


def _piece(terminal: int) -> bytes:
    """Return what a terminal shows next; nothing after its last process has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
