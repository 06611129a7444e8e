"""A run directory from a stranger: whatever it holds, one typed line, soon, in little memory, and nothing runs.

`pytest -m slow tests/test_checkpoint_mutations.py -s` prints how many were refused and the worst figures.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoint_mutations as mutations
import pytest
from checkpoint_bombs import BOMBS, spoil
from checkpoint_runs import write_run

from unrolled.cli import main
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.tokens import build

READER = Path(__file__).with_name("checkpoint_reader.py")
ALLOWANCE = 64 * 2**20  # bytes of memory beside the size of the files
HANG = 60  # seconds for one directory: no measurement, the end of patience
BATCH = 40


@dataclass
class Reader:
    """The reading process, with what it said of the good runs."""

    process: subprocess.Popen[str]
    good: dict[str, str] = field(default_factory=dict)  # digests by what was left of a run
    worst: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "growth": 0.0})
    counts: dict[str | None, int] = field(default_factory=dict)

    def ask(self, paths: Iterable[Path], *, user: int | None = None) -> list[dict[str, Any]]:
        """Have directories read, by another user if so asked, and return what came of each."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answers = []
        for path in paths:
            patience = threading.Timer(HANG, self.process.kill)
            patience.start()
            self.process.stdin.write(json.dumps({"path": str(path), "user": user}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            patience.cancel()
            assert line, f"the reader died or hung at {path}"
            answers.append(json.loads(line))
        return answers

    def judge(self, name: str, answer: dict[str, Any], size: int, *, signed: bool, good: set[str]) -> None:
        """Hold an answer against the promise."""
        for way in ("load", "read"):
            found = answer[way]
            assert found["error"] != "UNTYPED", f"{name}: {way}: {found['message']}"
            assert found["message"].isprintable(), f"{name}: {way}: {found['message']!r}"
            assert len(found["message"]) < 1000, f"{name}: {way}"
            assert found["growth"] <= size + ALLOWANCE, (
                f"{name}: {way} took {found['growth'] / 2**20:.1f} MiB"
            )
            for figure in self.worst:
                self.worst[figure] = max(self.worst[figure], found[figure])
        if answer["load"]["error"] is None and not signed:
            assert answer["load"]["digest"] in good, f"{name}: loaded as something else"
        error = answer["load"]["error"]
        self.counts[error] = self.counts.get(error, 0) + 1


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    command = [sys.executable, str(READER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        found = Reader(process)
        yield found
        print(
            f"\n{found.counts} worst: {found.worst['seconds']:.3f} s, {found.worst['growth'] / 2**20:.1f} MiB"
        )
        process.stdin.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("good")
    kinds = [("lstm", "char", False), ("gru", "word", True), ("rnn", "byte", False)]
    return [write_run(root / cell, cell, kind=kind, tied=tied) for cell, kind, tied in kinds]


def size_of(path: Path) -> int:
    """Return what a directory really takes of the disk."""
    found = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    return sum(min(p.lstat().st_size, 512 * p.lstat().st_blocks) for p in found)


def digests(reader: Reader, goods: list[Path], home: Path) -> set[str]:
    """Return the digests of what the good runs load as, with and without model/ and BEST."""
    copies = []
    for good in goods:
        for gone in ((), ("model",), ("model", "BEST")):
            copies.append(Path(shutil.copytree(good, home / f"{good.name}-{len(gone)}")))
            for name in gone:
                mutations.remove(copies[-1] / name)
    answers = reader.ask(copies)
    assert all(answer["load"]["error"] is None for answer in answers)
    assert not any(answer["compiler"] for answer in answers), "a load of milliseconds became one of a second"
    return {answer["load"]["digest"] for answer in answers}


def check(reader: Reader, goods: list[Path], home: Path, seed: int, count: int) -> None:
    """Have `count` mutants read, a batch at a time; nothing may run, and the good ones are checked last."""
    good = digests(reader, goods, home)
    made = enumerate(mutations.mutations(seed, count))
    while batch := list(itertools.islice(made, BATCH)):
        with tempfile.TemporaryDirectory(dir=home) as folder:
            for number, mutation in batch:
                run = Path(folder) / f"run{number}"
                shutil.copytree(goods[number % len(goods)], run, copy_function=os.link)
                mutation.spoil(run)  # puts other files in the place of these, and writes into none
                (answer,) = reader.ask([run])
                reader.judge(mutation.name, answer, size_of(run), signed=mutation.signed, good=good)
                assert not (run / mutations.CANARY).exists(), mutation.name
    assert reader.counts.get("CheckpointError", 0) > count / 2


def test_a_sample_of_mutated_run_directories(reader: Reader, goods: list[Path], tmp_path: Path):
    check(reader, goods, tmp_path, seed=1, count=150)


@pytest.mark.slow
def test_two_thousand_mutated_run_directories(reader: Reader, goods: list[Path], tmp_path: Path):
    check(reader, goods, tmp_path, seed=2, count=2000)


@pytest.mark.slow
def test_mutated_run_directories_with_merges_for_tokens(reader: Reader, tmp_path: Path):
    pytest.importorskip("tokenizers")
    good = write_run(tmp_path / "good" / "bpe", "lstm", kind="bpe")
    check(reader, [good], tmp_path, seed=3, count=300)


FEW = [("tokens.json", kind) for kind in ("empty lists", "objects of many", "keys", "wider texts", "words")]


def bomb(reader: Reader, good: Path, home: Path, name: str, kind: str, *, fits: bool) -> None:
    run = Path(shutil.copytree(good, home / "run"))
    spoil(run, name, kind, fits=fits)
    (answer,) = reader.ask([run])
    reader.judge(kind, answer, size_of(run / "model"), signed=True, good=set())
    print(
        f"{name} {kind}: {answer['load']['growth'] / 2**20:.1f} MiB {answer['load']['seconds']:.3f} s {answer['load']['message'][-60:]}"
    )


@pytest.mark.parametrize(("name", "kind"), FEW)
def test_a_document_that_grows_takes_little_memory(
    reader: Reader, goods: list[Path], tmp_path: Path, name: str, kind: str
):
    bomb(reader, goods[2], tmp_path, name, kind, fits=True)


@pytest.mark.slow
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize(("name", "kind"), BOMBS)
def test_no_document_takes_more_memory_than_promised(
    reader: Reader, goods: list[Path], tmp_path: Path, name: str, kind: str, fits: bool
):
    bomb(reader, goods[2], tmp_path, name, kind, fits=fits)


def test_a_load_takes_the_memory_of_the_weights_once(reader: Reader, tmp_path: Path):
    tokens = build("byte", [])
    LanguageModel(ModelConfig(256, 600, 600, 3), tokens=tokens).save_pretrained(tmp_path / "m")
    size = size_of(tmp_path / "m")
    assert size > 32 * 2**20
    (answer,) = reader.ask([tmp_path / "m"])
    assert answer["load"]["error"] is None
    assert answer["load"]["growth"] < size + 8 * 2**20


def blinded(run: Path) -> None:
    """Take everyone's right to read a model away; root reads all the same, so another user is put on."""
    (run / "model" / "model.safetensors").chmod(0)


def closed(run: Path) -> None:
    (run / "model").chmod(0)


def shut(run: Path) -> None:
    run.chmod(0)


@pytest.mark.parametrize("spoiled", [blinded, closed, shut])
def test_what_may_not_be_read_is_one_line(reader: Reader, goods: list[Path], spoiled: Callable[[Path], None]):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run = Path(shutil.copytree(goods[0], Path(folder) / "run"))
        spoiled(run)
        (answer,) = reader.ask([run], user=65534)
        run.chmod(0o755)
    assert answer["load"]["error"] in ("CheckpointError", "RunError")
    assert re.search(r": expected .*, got .*Permission denied(;|$)", answer["load"]["message"])
    assert answer["load"]["message"].isprintable()


def truncated(run: Path) -> None:
    raw = (run / "model" / "model.safetensors").read_bytes()
    mutations.put(run / "model" / "model.safetensors", raw[:-1])


def absurd(run: Path) -> None:
    stored = json.loads((run / "model" / "config.json").read_text())
    stored["model"]["hidden_size"] = 2**40
    mutations.put(run / "model" / "config.json", json.dumps(stored).encode())
    mutations.seal(run / "model")


def pickled(run: Path) -> None:
    mutations.put(run / "model" / "model.safetensors", mutations.payloads(str(run / mutations.CANARY))[0])
    mutations.seal(run / "model")


def lost(run: Path) -> None:
    mutations.remove(run / "model")
    mutations.put(run / "BEST", b"../../../etc\n")


def piped(run: Path) -> None:
    mutations.remove(run / "model" / "tokens.json")
    os.mkfifo(run / "model" / "tokens.json")


def rewritten(run: Path) -> None:
    mutations.put(run / "model" / "tokens.json", b'{"a": "\\u001b[2J", "a": 1}')
    mutations.seal(run / "model")


@pytest.mark.parametrize("command", ["sample", "eval"])
@pytest.mark.parametrize("spoiled", [truncated, absurd, pickled, lost, piped, rewritten])
def test_the_command_line_says_one_line_and_exits_with_2(
    goods: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    spoiled: Callable[[Path], None],
):
    run = Path(shutil.copytree(goods[0], tmp_path / "run"))
    spoiled(run)
    assert main([command, str(run), *(["sentences"] if command == "eval" else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("unrolled: ")
    assert err.count("\n") == 1
    assert err.strip().isprintable()
    assert not (run / mutations.CANARY).exists()


def test_a_process_of_its_own_says_one_line_too(goods: list[Path], tmp_path: Path):
    run = Path(shutil.copytree(goods[0], tmp_path / "run"))
    pickled(run)
    command = [sys.executable, "-m", "unrolled", "eval", str(run), "sentences"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (run / mutations.CANARY).exists()
