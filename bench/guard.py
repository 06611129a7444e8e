"""No op is timed whose tests are red."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from record import ROOT

PYTEST = (
    "-m",
    "pytest",
    "tests/ops",
    "tests/nn",
    "-x",
    "--tb=short",
    "--show-capture=no",
    "-p",
    "no:cacheprovider",
)
SLOW = ("projected", "compile", "export")  # what no call here does, and takes its time


def passes(cell: str, backend: str, environment: Mapping[str, str] | None = None) -> tuple[bool, str]:
    """Run the tests of `ops` and `nn` that name the cell and the backend.

    Returns:
        whether there are some and all pass; and pytest's last line, or what to read when red.
    """
    chosen = " and ".join([cell, backend, *(f"not {word}" for word in SLOW)])
    command = [sys.executable, *PYTEST, "-k", chosen]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | dict(environment or {}), capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode == 0:
        return True, lines[-1]
    tail = "\n".join(lines[-15:]) or done.stderr.strip()
    return False, f"{' '.join(command[1:])}\n{tail}"
