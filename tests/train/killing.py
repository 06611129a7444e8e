"""Runs that are killed and resumed, and what must hold of them; for the slow tests and bench/torture.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from unrolled import checkpoint
from unrolled.tasks import load

__all__ = ["EVERY", "STEPS", "Answer", "Torture", "Zygote"]

TEXT = "the quick brown fox jumps over the lazy dog\n\npack my box with five dozen liquor jugs\n" * 40
STEPS, EVERY = 40, 4
WRITTEN = ("samples.txt", "predictions.parquet", "schema.json", "report.md")  # by one task or another


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int  # negative: killed by that signal
    seconds: float
    point: str | None  # the call that a kill came before
    stderr: str


class Zygote:
    """The server of zygote.py; `before` are words that start it, such as setpriv's."""

    def __init__(self, folder: Path, *, before: Sequence[str] = ()) -> None:
        self.stderr = folder / "stderr.txt"
        words = [*before, sys.executable, str(Path(__file__).with_name("zygote.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        patient = {
            **os.environ,
            "OMP_WAIT_POLICY": "passive",
        }  # no spinning where other tests share the cores
        self.process = subprocess.Popen(words, env=patient, **pipes)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the zygote did not start"

    def __call__(self, *argv: str, **command: Any) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        words = {"argv": argv, "stderr": str(self.stderr), **command}
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return Answer(**json.loads(self.process.stdout.readline()), stderr=self.stderr.read_text())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Torture:
    """One small run, known from end to end, against which every killed and resumed one is held."""

    def __init__(
        self,
        folder: Path,
        backend: str,
        *,
        before: Sequence[str] = (),
        extra: Sequence[str] = (),
        source: Sequence[str] | None = None,
    ) -> None:
        """Train the run from end to end.

        Args:
            before: see `Zygote`. extra: more flags. source: words that name it and its task; default a text.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.text = folder, folder / "text.txt"
        self.text.write_text(TEXT)
        self.source = [str(self.text), "--as", "stream", "--bptt", "16"] if source is None else list(source)
        self.run_path = folder / "run"
        sizes = ["--hidden", "12", "--layers", "2", "--batch", "4"]
        sizes += ["--dropout", "0.2", "--dtype", "float32"]
        budget = ["--steps", str(STEPS), "--save-every", str(EVERY)]
        self.words = [*sizes, *budget, "--backend", backend, *extra]
        self.zygote = Zygote(folder, before=before)
        for _ in range(2):  # the first one warms the machine up
            shutil.rmtree(folder / "whole", ignore_errors=True)
            whole = self.train(run=folder / "whole")
            assert whole.code == 0, whole.stderr
        self.seconds = whole.seconds
        self.want = self.outcome(folder / "whole")

    def train(self, *, run: Path | None = None, resume: bool = False, **command: Any) -> Answer:
        """Run the command, from scratch or to resume."""
        path = self.run_path if run is None else run
        words = ["train", *self.source, "--run", str(path), *self.words]
        return self.zygote(*words, *(["--resume"] if resume else []), **command)

    def fresh(self) -> None:
        """Take the run away."""
        shutil.rmtree(self.run_path, ignore_errors=True)

    def killed_at(self, random: Random) -> int:
        """Kill a run at a random moment, perhaps its resumed run too, then resume it to its end and compare.

        Returns how often it was killed.
        """
        self.fresh()
        kills = 0
        resume = False
        while True:
            moment = random.uniform(0.0, self.seconds)
            first = self.train(resume=resume, signals=[[moment, signal.SIGKILL]], from_start=True)
            kills += first.code == -signal.SIGKILL
            if first.code == 0:
                self.seconds = min(self.seconds, first.seconds)  # too late: the machine is faster than it was
            assert first.code in (0, -signal.SIGKILL), first.stderr
            self.check_loadable()
            resume = True
            if first.code == 0 or random.random() < 0.5:
                break
        self.finish()
        return kills

    def killed_before(self, save: int, call: int, *, resume: bool = False) -> str | None:
        """Kill a run before one call on the disk, in its save of that number; 0 counts from its start.

        Returns:
            The call, or None where the run came to its end, as fewer calls were made.
        """
        answer = self.train(resume=resume, point=[save, call])
        assert answer.code in (0, -signal.SIGKILL), answer.stderr
        self.check_loadable()
        return answer.point if answer.code else None

    def check_loadable(self) -> None:
        """Once a checkpoint is marked there is one that loads, and whatever bears a step's name is whole."""
        if (self.run_path / "LATEST").exists():
            load(self.run_path)
            checkpoint.read(checkpoint.locate(self.run_path, prefer=("LATEST",)))
        for step in (self.run_path / "checkpoints").glob("step-*"):
            checkpoint.read(step)

    def finish(self) -> None:
        """Resume to the end, where everything must be as in the run that nobody killed."""
        last = self.train(resume=True)
        assert last.code == 0, last.stderr
        assert self.outcome(self.run_path) == self.want
        left = [p.name for p in (*self.run_path.iterdir(), *(self.run_path / "checkpoints").iterdir())]
        assert not [name for name in left if name.startswith(".")], left

    def outcome(self, run: Path) -> dict[str, Any]:
        """Return what must be equal: weights, losses, what the task writes."""
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return {
            "weights": (run / "model" / "model.safetensors").read_bytes(),
            "last": checkpoint.read(checkpoint.locate(run, prefer=("LATEST",))).model,
            "losses": [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows],
            "evaluation": (run / "evaluation.json").read_text(),
            "written": [p.read_bytes() for name in WRITTEN if (p := run / name).exists()],
            "best": (run / "BEST").read_text(),
        }
