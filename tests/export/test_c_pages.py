"""The two pages on exported C run from begin to end: Python, C, C++ and the shell's commands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import c_cases as c
import pytest

from unrolled import kernels

FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FOLDER = Path(__file__).parents[2] / "docs" / "export"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not())),
    pytest.mark.skipif(not c.found("cc", "c++"), reason="no C or C++ compiler"),
]


def followed(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Do what a page says, and return what its commands printed."""
    monkeypatch.chdir(folder)
    said = ""
    for kind, name, text in FENCE.findall((FOLDER / page).read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, page, "exec"), {"__name__": page})
        elif kind in ("c", "cpp"):
            (folder / name).write_text(text)
        elif kind == "sh" and ("ARM" not in name or c.found("arm-linux-gnueabihf-gcc", "qemu-arm")):
            env = {**os.environ, "QEMU_LD_PREFIX": "/usr/arm-linux-gnueabihf"}
            done = subprocess.run(
                ["sh", "-e", "-c", text], capture_output=True, text=True, check=False, env=env
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said += done.stdout
    return said


def test_the_page_of_the_microcontroller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = followed("microcontroller.md", tmp_path, monkeypatch)
    answers = re.findall(r"^(\w+) (0\.\d+|1\.000); (\d+) bytes of weights, (\d+) of RAM", said, re.MULTILINE)
    assert len(answers) == 1 + c.found("arm-linux-gnueabihf-gcc", "qemu-arm")
    assert len(set(answers)) == 1  # the emulated processor says the same
    assert answers[0][0] == "walk"
    assert int(answers[0][2]) < 3000


def test_the_page_of_the_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "a second took" in followed("audio-plugin.md", tmp_path, monkeypatch)
