"""Every page of docs/clients/ runs as it is shown, against the library that it is about."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest
from client_cases import QUIETLY

FOLDER = Path(__file__).parents[2] / "docs" / "clients"
BLOCK = re.compile(r"```python\n(.*?)```", re.S)
IMPORTED = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
PAGES = sorted(path for path in FOLDER.glob("*.md") if BLOCK.search(path.read_text(encoding="utf-8")))
pytestmark = QUIETLY


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_of_a_client_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = "\n".join(BLOCK.findall(path.read_text(encoding="utf-8")))
    for name in IMPORTED.findall(code):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: make test-clients")
    monkeypatch.chdir(tmp_path)
    page = types.ModuleType("client_page")  # a module, as what is pickled names the one that it is defined in
    monkeypatch.setitem(sys.modules, page.__name__, page)
    exec(compile(code, str(path), "exec"), vars(page))


def test_every_page_is_listed_in_the_index():
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w[\w-]*\.md)\)", index)) == {path.name for path in FOLDER.glob("*.md")} - {
        "index.md"
    }
