"""What `.ci/run` does where torch is not installed, in a process where nobody finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unrolled import kernels

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

SCRIPT = Path(__file__).parents[2] / ".ci" / "stream.py"

WITHOUT = """
import runpy, sys

class NoTorch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch)
"""


def run(then: str, *arguments: str, given: str = "") -> str:
    command = [sys.executable, "-c", WITHOUT + then, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, input=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_streams_and_a_model_writes_without_torch(tmp_path: Path):
    run(f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')", str(tmp_path))
    cli = "import unrolled.cli; sys.exit(unrolled.cli.main(sys.argv[1:]))"
    directory = str(tmp_path / "runs" / "sentences")
    assert len(run(cli, "sample", directory, "--length", "40", "--seed", "1")) >= 40
    assert "nats per token over 8" in run(cli, "stream", directory, "--weights", "int8", given="Fay and\n")
