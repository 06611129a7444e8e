"""A digest of what ten commands leave: weights, losses, samples and measurements.

    OMP_NUM_THREADS=1 .venv/bin/python bench/digest.py before.json               # before the change
    OMP_NUM_THREADS=1 .venv/bin/python bench/digest.py after.json before.json    # names what differs

Equal on one machine, with one version of torch and one thread. What a run says of time is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS = "the sea a ship sails far away no wind tonight and we are cold but home is near so row"
TRAIN = "train {source} --run {run} --threads 1 --seed 3"
COMMANDS = {
    "lstm": f"{TRAIN} --steps 60 --dtype float32",
    "gru": f"{TRAIN} --steps 60 --cell gru --dtype bfloat16 --chrono 20",
    "rnn": f"{TRAIN} --steps 60 --cell rnn --nonlinearity relu --dtype float32 --hidden 40 --layers 2"
    " --dropout 0.2",
    "stream": f"{TRAIN} --steps 50 --as stream --bptt 16 --restart 0.3 --batch 4 --hidden 48"
    " --telemetry 20 --tie",
    "words": f"{TRAIN} --epochs 2 --tokens word --max-words 15 --init uniform --forget-bias 2",
    "bpe": f"{TRAIN} --steps 30 --tokens bpe:300 --backend reference --hidden 24 --dtype float32",
    "resumed": f"{TRAIN} --steps 60 --dtype float32 --resume",
    "sample": "sample {first} --prompt {prompt} --length 120 --seed 5",
    "eval": "eval {first} {text} --json",
    "probe": "probe {stream} --lags 12 --json",
}
SOURCES = {"stream": "text", "words": "text", "bpe": "text"}
TIMED = ("tokens_per_s", "seconds")


def main() -> int:
    """Run the commands, write their digests, and compare them with an earlier file's."""
    target, *earlier = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: _digest(name, Path(folder)) for name in COMMANDS}
    Path(target).write_text(json.dumps(found, indent=2) + "\n")
    if not earlier:
        return 0
    before = json.loads(Path(earlier[0]).read_text())
    parts = {(name, part) for name in COMMANDS for part in {*found[name], *before[name]}}
    differing = sorted(
        f"{name} {part}" for name, part in parts if found[name].get(part) != before[name].get(part)
    )
    print("\n".join(differing) or f"{len(parts)} digests of {len(COMMANDS)} commands are equal")
    return 1 if differing else 0


def _digest(name: str, folder: Path) -> dict[str, str]:
    """Run one command and return the digest of each thing that it left."""
    text = folder / "text.txt"
    if not text.exists():
        text.write_text(_text())
    run = folder / name
    if name == "resumed":
        run = folder / "lstm"  # a copy of it that has lost its last checkpoint
        _forget_the_end(run)
    words = COMMANDS[name].format(
        source=text if SOURCES.get(name) else "sentences",
        run=run,
        first=folder / "lstm",
        stream=folder / "stream",
        text=text,
        prompt="Fay",
    )
    said = _unrolled(words.split())
    if not name.startswith(("sample", "eval", "probe")):
        return {
            "weights": _sha((run / "model" / "model.safetensors").read_bytes()),
            "losses": _sha(_numbers((run / "metrics.jsonl").read_text())),
            "samples": _sha((run / "samples.txt").read_bytes()),
            "evaluation": _sha(_numbers((run / "evaluation.json").read_text())),
        }
    return {"said": _sha(_numbers(said) if name != "sample" else said.encode())}


def _unrolled(words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", *words], capture_output=True, text=True, env={**os.environ}
    )
    if done.returncode:
        raise SystemExit(f"unrolled {' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def _forget_the_end(run: Path) -> None:
    """Take a finished run back to the checkpoint before its last one."""
    steps = sorted(path.name for path in (run / "checkpoints").iterdir())
    for mark in ("LATEST", "BEST"):
        (run / mark).write_text(steps[-2] + "\n")
    (run / "evaluation.json").unlink()


def _text() -> str:
    draw = random.Random(0)
    lines = [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 9))) for _ in range(500)]
    return "\n".join(lines) + "\n"


def _numbers(text: str) -> bytes:
    """Return the numbers of each JSON document of a text, sorted, so that a key may be renamed."""
    lines = text.splitlines()
    documents = [json.loads(line) for line in lines] if lines[0].endswith("}") else [json.loads(text)]
    return json.dumps([sorted(_numbers_of(document)) for document in documents]).encode()


def _numbers_of(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = [each for key, each in value.items() if key not in TIMED]
    if isinstance(value, list):
        for each in value:
            yield from _numbers_of(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
