"""Several processes on one run, for the tests: `Ranks` starts them, `outcome` says what they came to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import checkpoint

__all__ = ["Ended", "Ranks", "evaluation", "far", "free_port", "losses", "numbers", "tensors"]


@dataclass(frozen=True)
class Ended:
    """How the processes ended."""

    codes: list[int | None]  # by rank; negative: killed by that signal; None: not started
    seconds: list[float | None]  # from the start
    struck: list[float | None]  # from the start until it had ended or was stopped
    stderr: list[str]

    @property
    def lines(self) -> list[str]:
        """What was complained of, by any rank."""
        every = (line for text in self.stderr for line in text.splitlines())
        return [line for line in every if line.startswith("unrolled: ")]


class Ranks:
    """The server of ranks_server.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = [sys.executable, str(Path(__file__).with_name("ranks_server.py"))]
        quiet = {**os.environ, "TORCH_CPP_LOG_LEVEL": "FATAL", "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(words, env=quiet, **pipes)  # type: ignore[call-overload]
        assert self.process.stdout.readline() == "ready\n", "the server did not start"

    def __call__(self, *argv: str, **command: Any) -> Ended:
        return self.side_by_side([{"argv": list(argv), **command}])[0]

    def side_by_side(self, commands: Sequence[Mapping[str, Any]]) -> list[Ended]:
        """Run several commands at once, each with its own processes."""
        for left in self.folder.glob("stderr.*"):
            left.unlink()
        told = [
            {"ranks": 2, "stderr": str(self.folder / f"stderr.{number}."), "port": free_port(), **command}
            for number, command in enumerate(commands)
        ]
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        return [Ended(**each, stderr=_said(command)) for each, command in zip(found, told, strict=True)]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def _said(command: Mapping[str, Any]) -> list[str]:
    files = [Path(f"{command['stderr']}{rank}") for rank in range(command["ranks"])]
    return [
        file.read_text() if file.exists() else "" for file in files
    ]  # none: killed before, or not started


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def losses(run: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl, but for what the clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def evaluation(run: Path) -> dict[str, float]:
    """Return the numbers of evaluation.json by their paths, but for what the clock says."""
    return numbers(run / "evaluation.json")


def numbers(path: Path) -> dict[str, float]:
    """Return the numbers in a file of JSON by their paths, but for what the clock says."""
    return dict(_numbers(json.loads(path.read_text())))


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if key != "seconds":
                yield from _numbers(each, f"{name}/{key}")
    elif isinstance(value, int | float):
        yield name, value


def tensors(run: Path) -> dict[str, np.ndarray]:
    """Return the weights, moments and carried state of the last checkpoint."""
    last = checkpoint.read(checkpoint.locate(run, prefer=("LATEST",)))
    every = {**last.model, **(last.optimizer or {})}
    return {name: np.frombuffer(each.data, np.float32).reshape(each.shape) for name, each in every.items()}


def far(one: Path, two: Path) -> float:
    """Return the largest distance of two runs' losses and tensors, as a share of what is near 1 or larger."""
    found = 0.0
    for here, there in zip(losses(one), losses(two), strict=True):
        for name, value in here.items():
            if value is not None:
                found = max(found, abs(value - there[name]) / max(1.0, abs(value)))
    ours, theirs = tensors(one), tensors(two)
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        assert array.shape == theirs[name].shape
        found = max(found, float((np.abs(array - theirs[name]) / np.maximum(1.0, np.abs(array))).max()))
    return found
