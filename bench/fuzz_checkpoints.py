"""Coverage-guided search for a checkpoint that does more than be refused: `python bench/fuzz_checkpoints.py`.

libFuzzer (by atheris) changes the files of a small good directory, byte by byte or field by field, and keeps
what reaches new code in the rooms that read. In half of the cases the manifest is signed anew, so that the
checksums agree. A find is an exception that is no UnrolledError, a canary file, more than a second, or more
memory than the files and 64 MiB; its input is kept under build/fuzz.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import atheris
import torch  # not instrumented

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "checkpoint"))

with atheris.instrument_imports(include=["unrolled.checkpoint", "unrolled.tokens", "unrolled.tasks.loading"]):
    import checkpoint_mutations as mutations

    from unrolled.errors import UnrolledError
    from unrolled.tasks.loading import load

FILES = (*mutations.STEP_FILES, "manifest.json")
STEP = "step-00000001"
SIGNED, WHOLE = 1, 2  # flags of an input: sign the manifest anew; a step directory, else a model
SLOW_SECONDS = 1.0
ALLOWANCE = 64 * 2**20  # bytes beside the size of the files
LARGEST = 2**17  # bytes of an input

Files = dict[str, bytes]


def pack(flags: int, files: Files) -> bytes:
    """Return an input: the flags, then each file's length and bytes."""
    parts = [len(files.get(name, b"")).to_bytes(4, "little") + files.get(name, b"") for name in FILES]
    return bytes([flags]) + b"".join(parts)


def unpack(data: bytes) -> tuple[int, Files]:
    """Return flags and files of an input, whatever it is."""
    files: Files = {}
    at = 1
    for name in FILES:
        size = int.from_bytes(data[at : at + 4], "little")
        files[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return (data[0] if data else 0), files


class Mutator:
    """Changes one file of an input: its bytes by libFuzzer, or its fields by the lists of the tests."""

    def __init__(self, good: Sequence[bytes]) -> None:
        self.good = (
            good  # what a third of the changes start from, so that one wrong file does not hide the next
        )

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        choice = random.Random(seed)
        flags, files = unpack(choice.choice(self.good) if choice.random() < 0.3 else data)
        flags = flags & WHOLE | choice.choice((0, SIGNED))
        name = choice.choice(FILES)
        for _ in range(choice.choice((1, 1, 2))):
            raw = files[name]
            changed = fields_changed(name, raw, choice) if choice.random() < 0.6 else None
            files[name] = atheris.Mutate(raw, 2 * len(raw) + 64) if changed is None else changed
        packed = pack(flags, files)
        return packed if len(packed) <= min(max_size, LARGEST) else data


def fields_changed(name: str, raw: bytes, choice: random.Random) -> bytes | None:
    """Return a document or a header with hostile fields, or None where it is neither any more."""
    try:
        if name.endswith(".safetensors"):
            header, tensors = mutations.split(raw)
            return bytes(mutations.joined(mutations.edited(header, choice), tensors))
        return bytes(mutations.dumped(mutations.edited(json.loads(raw), choice)))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class Search:
    """What was run, and what was found."""

    def __init__(self, home: Path, runs: int, finds: Path) -> None:
        self.home, self.runs, self.finds = home, runs, finds
        self.outcomes: Counter[str] = Counter()
        self.found: list[str] = []
        self.slowest, self.largest = 0.0, 0
        self.begin = time.perf_counter()

    def __call__(self, data: bytes) -> None:
        """Write an input's files, load them, and judge."""
        flags, files = unpack(data)
        directory = self.home / (STEP if flags & WHOLE else "model")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name in FILES if flags & WHOLE else (*mutations.MODEL_FILES, "manifest.json"):
            (directory / name).write_bytes(files[name])
        if flags & SIGNED:
            sign(directory, whole=bool(flags & WHOLE))
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory is the present
        before, start = status("VmRSS"), time.perf_counter()
        outcome = self.attempt(directory)
        seconds, growth = time.perf_counter() - start, status("VmHWM") - before
        self.outcomes[outcome] += 1
        self.slowest, self.largest = max(self.slowest, seconds), max(self.largest, growth)
        if seconds > SLOW_SECONDS:
            self.keep(data, f"{seconds:.2f} s")
        if growth > ALLOWANCE + sum(map(len, files.values())):
            self.keep(data, f"{growth / 2**20:.0f} MiB")
        if (self.home / mutations.CANARY).exists():
            self.keep(data, "something ran")
        if outcome not in ("loaded", "refused"):
            self.keep(data, outcome)
        if sum(self.outcomes.values()) == self.runs:
            self.report()

    def attempt(self, directory: Path) -> str:
        """Load; say "loaded", "refused", or what else was raised."""
        try:
            load(directory)
        except UnrolledError as error:
            return "refused" if str(error).isprintable() else f"not one line: {str(error)!r}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        return "loaded"

    def keep(self, data: bytes, what: str) -> None:
        """Keep the input of a find, and say so."""
        self.finds.mkdir(parents=True, exist_ok=True)
        name = self.finds / hashlib.sha256(data).hexdigest()[:16]
        name.write_bytes(data)
        self.found.append(what)
        print(f"FIND {what[:300]}: {name}", flush=True)

    def report(self) -> None:
        """Print what came of all the runs."""
        minutes = (time.perf_counter() - self.begin) / 60
        print(
            f"{self.runs:,} executions in {minutes:.1f} min: "
            f"{self.outcomes['loaded']:,} loaded, {self.outcomes['refused']:,} refused, "
            f"{len(self.found)} finds; slowest {self.slowest:.3f} s, "
            f"memory at most {self.largest / 2**20:.1f} MiB above the start",
            flush=True,
        )


def sign(directory: Path, *, whole: bool) -> None:
    """Write a manifest that fits the files."""
    kind = {"kind": "step", "step": 1} if whole else {"kind": "model", "step": 1}
    fields = {"format": "unrolled checkpoint", "version": 1, "files": mutations.entries(directory), **kind}
    mutations.write_manifest(directory, fields)


def status(field: str) -> int:
    """Return bytes of a field of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith(field)).split()[1])


def write_seeds(corpus: Path, home: Path) -> list[bytes]:
    """Write the inputs to start from, and return the good ones.

    They are a model and a step of each cell, and the same with a pickle or the like in the place of a file.
    """
    from checkpoint_runs import write_run

    good = []
    for cell, kind in (("lstm", "char"), ("gru", "word"), ("rnn", "byte"), ("lstm", "bpe")):
        run = write_run(home / kind, cell, kind=kind, tied=cell == "gru")
        for flags, directory in ((0, run / "model"), (WHOLE, run / "checkpoints" / STEP)):
            files = {path.name: path.read_bytes() for path in directory.iterdir()}
            good.append(pack(flags, files))
            (corpus / f"{kind}-{flags}").write_bytes(good[-1])
            for number, payload in enumerate(mutations.payloads(str(home / mutations.CANARY))):
                name = FILES[number % 3]
                (corpus / f"{kind}-{flags}-{number}").write_bytes(
                    pack(flags | SIGNED, files | {name: payload})
                )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the reading of checkpoints.")
    parser.add_argument("--runs", type=int, default=10_000, help="executions")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        home, corpus = Path(folder), Path(folder) / "corpus"
        corpus.mkdir()
        mutator = Mutator(write_seeds(corpus, home))
        gc.freeze()
        ctypes.CDLL(None).malloc_trim(0)
        settings = [
            f"-runs={asked.runs}",
            f"-seed={asked.seed}",
            f"-max_len={LARGEST}",
            "-timeout=10",
            "-mutate_depth=2",
        ]
        search = Search(home, asked.runs, ROOT / "build" / "fuzz")
        atheris.Setup([sys.argv[0], *settings, str(corpus)], search, custom_mutator=mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
