"""The lists of bench/mutants are of the code as it is: each change can be made, and the tests that judge it are there."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTS = sorted((ROOT / "bench" / "mutants").glob("*.toml"))


@pytest.mark.parametrize("room", [path.stem for path in LISTS])
def test_every_mutant_changes_one_place_of_the_code(room: str):
    spec = importlib.util.spec_from_file_location("bench_mutants", ROOT / "bench" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    mutants = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutants)
    found = mutants.read(room)
    assert found
    assert [problem for each in found if (problem := mutants.check(each))] == []
    named = {
        path for each in found for path in (*each.tests, each.first) if path and not path.startswith("driver")
    }
    assert [path for path in named if not (ROOT / path.partition("::")[0]).exists()] == []
    assert len({each.key for each in found}) == len(found), "a mutant twice"


def test_there_is_a_mutant_of_most_rooms():
    listed = {
        each["file"].split("/")[2].removesuffix(".py")
        for path in LISTS
        for each in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    }
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "src" / "unrolled").iterdir()}
    assert len(listed & rooms) >= 12
