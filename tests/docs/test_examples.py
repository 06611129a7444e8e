"""Every example of docs/examples/ runs and gives what it says."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled import DataConfig, TrainConfig, spec, tasks, train

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)
IMPORTED = re.compile(r">>> (?:import|from) (\w+)")


def sections() -> list[tuple[str, str, str]]:
    """Return (room, names, code) of every example."""
    found = []
    for path in sorted(FOLDER.glob("*.md")):
        parts = SECTION.split(path.read_text(encoding="utf-8"))
        found += [(path.stem, *pair) for pair in zip(parts[1::2], parts[2::2], strict=True)]
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, brief: Callable[[], Any]) -> Path:
    """A directory with a trained run, as `make demo` leaves it."""
    folder = tmp_path_factory.mktemp("examples")
    config = TrainConfig(DataConfig("sentences"), run=str(folder / "runs" / "sentences"), steps=40)
    with brief():
        train.run(config, observers=[])
    return folder


@pytest.mark.parametrize(("room", "names", "code"), sections(), ids=lambda text: text[:40])
def test_an_example_gives_what_it_says(
    room: str, names: str, code: str, place: Path, monkeypatch: pytest.MonkeyPatch, brief: Callable[[], Any]
):
    for name in IMPORTED.findall(code):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: make test-clients")
    monkeypatch.chdir(place)
    monkeypatch.setattr(tasks.protocol, "_TASKS", dict(tasks.protocol._TASKS))  # an example registers one
    monkeypatch.setattr(spec.rundir, "_PICTURES", list(spec.rundir._PICTURES))  # and a picture
    registered = dict(spec.TASKS)
    parsed = doctest.DocTestParser().get_doctest(textwrap.dedent(code), {}, names, f"{room}.md", 0)
    said: list[str] = []
    with (
        brief() if room in ("train", "probe") else contextlib.nullcontext()
    ):  # none of their examples shows a run's pictures, a page's or a sample
        failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(parsed, out=said.append)
    spec.TASKS.clear()
    spec.TASKS.update(registered)
    assert not failed, "".join(said)
