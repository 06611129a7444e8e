"""Break the code on purpose, in one place at a time, and see whether the tests of that room notice.

    python bench/mutants.py                     every list of bench/mutants
    python bench/mutants.py probe nn --only 3,7 some rooms, or some of a room's mutants (counted from 1)
    python bench/mutants.py probe --keep        write what came out to bench/mutants/probe.json
    python bench/mutants.py kernels --scratch m keep the copy in which the tests run, and what was built, in m
    python bench/mutants.py --check             run nothing: does each text to replace occur exactly once?
    python bench/mutants.py --table             the score of all rooms, from what was kept

A list, bench/mutants/ROOM.toml:

    tests = ["tests/probe"]                     # the room's own tests; nothing else counts
    [[mutant]]
    file = "src/unrolled/probe/decay.py"
    old = "lags[0]"                             # occurs exactly once in the file
    new = "lags[1]"
    why = "the rate is fitted over one lag fewer"
    first = "tests/probe/test_decay.py"         # optional: run first; FILE::TEST may be slow
    survives = "equal up to rounding"           # optional: why no test can tell, if none does

Each mutant is put into a scratch copy of what git tracks here, with the compiled engine, and the tests run
with -x. It is killed by the first test that fails there and passes without the mutant, or where the tests do
not end.

A mutant of the C++ engine is built in beside all others, which takes two minutes once: its `old` is a whole
expression, or whole statements where it ends with ; or }, and becomes a choice by UNROLLED_MUTANT of the
environment. Among its tests "driver" are those of tests/native, "driver:layer" one part of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "bench" / "mutants"
CSRC = Path("src/unrolled/kernels/csrc")
LIMIT_S = 900  # of one mutant's tests


@dataclass(frozen=True)
class Mutant:
    """One change of one file; `place` counts the mutants of the room from 1."""

    room: str
    place: int
    tests: tuple[str, ...]
    file: str
    old: str
    new: str
    why: str
    first: str = ""
    survives: str = ""

    @property
    def key(self) -> str:
        """What the result is kept under: it changes with the mutant."""
        return hashlib.sha256("\0".join((self.file, self.old, self.new)).encode()).hexdigest()[:12]

    @property
    def is_native(self) -> bool:
        """Whether it is one of the C++ engine."""
        return not self.file.endswith(".py")


@dataclass(frozen=True)
class Result:
    """The test that killed a mutant, or none."""

    why: str
    file: str
    killed_by: str
    seconds: float
    survives: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM")
    parser.add_argument("--only", default="", metavar="N,N", help="these mutants of the room")
    parser.add_argument("--keep", action="store_true", help="write the results to bench/mutants/ROOM.json")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="keep the copy there")
    parser.add_argument("--check", action="store_true", help="run nothing, check the lists")
    parser.add_argument("--table", action="store_true", help="show the score of what was kept")
    args = parser.parse_args()
    mutants = [m for room in args.rooms or sorted(p.stem for p in LISTS.glob("*.toml")) for m in read(room)]
    if args.only:
        mutants = [m for m in mutants if m.place in {int(n) for n in args.only.split(",")}]
    wrong = [problem for m in mutants if (problem := check(m))]
    for problem in wrong:
        print(problem, file=sys.stderr)
    if wrong or args.check:
        return 1 if wrong else 0
    if args.table:
        print(table(mutants))
        return 0
    left = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        place = (args.scratch or Path(temporary)).resolve()
        scratches: dict[str, Scratch] = {}
        for mutant in mutants:
            kind = f"built-{mutant.room}" if mutant.is_native else "plain"
            if kind not in scratches:
                scratches[kind] = (
                    Built(place / kind, read(mutant.room)) if mutant.is_native else Scratch(place / kind)
                )
            scratch = scratches[kind]
            result = scratch.run(mutant)
            left += not result.killed_by and not mutant.survives
            said = f"killed by {result.killed_by}" if result.killed_by else "SURVIVES"
            print(
                f"{mutant.room} {mutant.place}: {mutant.why}\n    {said}, {result.seconds:.0f} s", flush=True
            )
            if args.keep:
                keep(mutant, result)
    return 1 if left else 0


def read(room: str) -> list[Mutant]:
    """Return the mutants of a room's list."""
    found: dict[str, Any] = tomllib.loads((LISTS / f"{room}.toml").read_text(encoding="utf-8"))
    tests = tuple(found["tests"])
    return [Mutant(room, place, tests, **each) for place, each in enumerate(found["mutant"], 1)]


def check(mutant: Mutant) -> str:
    """Return what is wrong with a mutant, if anything is."""
    count = (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old)
    if count != 1:
        return f"{mutant.room} {mutant.place}: `old` occurs {count} times in {mutant.file}, expected once"
    return f"{mutant.room} {mutant.place}: old and new are the same" if mutant.old == mutant.new else ""


class Scratch:
    """A copy of the project, in which one file at a time is changed."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._sound: dict[str, bool] = {}  # tests, by whether they pass without a mutant
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        engines = (str(p.relative_to(ROOT)) for p in (ROOT / "src/unrolled/kernels").glob("*.so"))
        for name in (*filter(None, tracked.stdout.decode().split("\0")), *engines):
            if (ROOT / name).is_file():
                self._bring(name)

    def _bring(self, name: str) -> None:
        (self._place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, self._place / name)

    def run(self, mutant: Mutant) -> Result:
        """Run the room's tests with the mutant in place."""
        begin = time.monotonic()
        killer = ""
        with self._changed(mutant):
            for tests in filter(None, ([mutant.first] if mutant.first else [], mutant.tests)):
                if killer := self._failing(tests):
                    break
        if killer and killer not in self._sound:
            self._sound[killer] = not self._failing([killer])
        if killer and not self._sound[killer]:
            raise SystemExit(f"{killer} fails without a mutant, too")
        return Result(mutant.why, mutant.file, killer, round(time.monotonic() - begin, 1), mutant.survives)

    @contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        """Hold the mutant in place."""
        file = self._place / mutant.file
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")

    def _failing(self, tests: Sequence[str]) -> str:
        """Return the first test that fails, or the tests that do not end or do not begin."""
        slow_too = ["-m", ""] if any("::" in name for name in tests) else []
        words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *slow_too, *tests]
        done = self._output_of(words)
        if done is None:
            return tests[0]
        if done.returncode in (0, 5):  # all pass, or none was selected
            return ""
        named = re.search(r"^(?:FAILED|ERROR) (\S+(?: \S+)*?)(?: - .*)?$", done.stdout, re.MULTILINE)
        return named.group(1) if named else tests[0]

    def _output_of(self, words: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
        """Run a command on the copy; None where it does not end."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._place / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",  # a changed file may have the size and the second of the other
            "OMP_NUM_THREADS": "1",
            **self._environment(),
        }
        try:
            return subprocess.run(
                words, cwd=self._place, env=environment, capture_output=True, text=True, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return None

    def _environment(self) -> dict[str, str]:
        return {}


class Built(Scratch):
    """A copy whose engine holds all mutants of a room, each asleep until the environment names it."""

    def __init__(self, place: Path, mutants: Sequence[Mutant]) -> None:
        self._files = {each.file for each in mutants if each.is_native}
        self._awake = 0
        super().__init__(place)
        for file in self._files:
            text = (ROOT / file).read_text(encoding="utf-8")
            _write(place / file, switched(text, [each for each in mutants if each.file == file]))
        _write(place / CSRC / "mutant.h", "#pragma once\nnamespace unrolled {\nextern const int mutant;\n}\n")
        _write(
            place / CSRC / "mutant.cpp",
            '#include "mutant.h"\n#include <cstdlib>\nnamespace unrolled {\n'
            'static const char* const chosen = std::getenv("UNROLLED_MUTANT");\n'
            "extern const int mutant;\nconst int mutant = chosen ? std::atoi(chosen) : 0;\n}\n",
        )
        nanobind = subprocess.run(
            [sys.executable, "-m", "nanobind", "--cmake_dir"], check=True, stdout=subprocess.PIPE, text=True
        )
        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "SKBUILD_STATE": "editable",  # the module is put beside its package
            "Python_EXECUTABLE": sys.executable,
            "nanobind_DIR": nanobind.stdout.strip(),
            "UNROLLED_DRIVER": "ON",
            "UNROLLED_COMPILES_AVX512": "OFF",  # two instruction sets are enough, and quicker
            "UNROLLED_COMPILES_AVX512_BF16": "OFF",
        }
        given = [f"-D{name}={value}" for name, value in settings.items()]
        subprocess.run(["cmake", "-S", place, "-B", place / "build", *given], check=True, stdout=2)
        subprocess.run(["cmake", "--build", place / "build", "--parallel", "2"], check=True, stdout=2)

    def _bring(self, name: str) -> None:
        path = self._place / name
        is_built = name in self._files or name.endswith(".so")
        if not is_built and not (path.exists() and path.read_bytes() == (ROOT / name).read_bytes()):
            super()._bring(name)

    @contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        self._awake = mutant.place
        try:
            yield
        finally:
            self._awake = 0

    def _environment(self) -> dict[str, str]:
        return {"UNROLLED_MUTANT": str(self._awake)}

    def _failing(self, tests: Sequence[str]) -> str:
        for test in tests:
            name, _, part = test.partition(":")
            if name == "driver":
                done = self._output_of(
                    [str(self._place / "build" / name), *(["--only", part] if part else [])]
                )
                if done is None or done.returncode:
                    return test
        others = [test for test in tests if test.partition(":")[0] != "driver"]
        return super()._failing(others) if others else ""


def switched(text: str, mutants: Sequence[Mutant]) -> str:
    """Return a file of C++ with each mutant beside what it replaces."""
    for each in mutants:
        choice = f"unrolled::mutant == {each.place}"
        if each.old.endswith((";", "}")):
            both = f"if ({choice}) {{ {each.new} }} else {{ {each.old} }}"
        else:
            both = f"({choice} ? ({each.new}) : ({each.old}))"
        text = text.replace(each.old, both)
    return re.sub(r"^#include", '#include "mutant.h"\n#include', text, count=1, flags=re.MULTILINE)


def _write(path: Path, text: str) -> None:
    """Write a file unless it holds this text: what is built from it need not be built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def keep(mutant: Mutant, result: Result) -> None:
    """Put a result among those of its room; results of mutants that are no longer listed go."""
    path = LISTS / f"{mutant.room}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[mutant.key] = asdict(result)
    kept = {each.key: known[each.key] for each in read(mutant.room) if each.key in known}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def table(mutants: Sequence[Mutant]) -> str:
    """Return a table of the score of each room, and the survivors."""
    rows, survivors, total = ["| room | mutants | killed |", "| --- | --- | --- |"], [], [0, 0]
    for room in dict.fromkeys(m.room for m in mutants):
        path = LISTS / f"{room}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        listed = [m for m in mutants if m.room == room]
        killed = [m for m in listed if known.get(m.key, {}).get("killed_by")]
        rows.append(f"| {room} | {len(listed)} | {len(killed)} |")
        total = [total[0] + len(listed), total[1] + len(killed)]
        survivors += [
            f"- {m.room}: {m.why} ({m.survives or ('survives' if m.key in known else 'not run')})"
            for m in listed
            if m not in killed
        ]
    rows.append(f"| all | {total[0]} | {total[1]} ({total[1] / max(1, total[0]):.0%}) |")
    return "\n".join([*rows, "", *survivors])


if __name__ == "__main__":
    sys.exit(main())
