"""The documentation's site describes every public name, and its check sees what a page would load from elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("griffe", reason="the extra docs is not installed; make site installs it")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    monkeypatch.chdir(ROOT)
    return importlib.import_module


def test_every_public_name_of_every_room_has_its_place_in_the_site(site):
    pages: ModuleType = site("pages")
    names = pages.public_names()
    for room in pages.rooms(names):
        public = importlib.import_module(f"unrolled.{room}").__all__
        assert sorted(names[f"unrolled.{room}"]) == sorted(public), room


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://host/x.js"></script>',
        '<script src="//host/x.js"></script>',
        '<link rel="stylesheet" href="https://host/x.css">',
        '<link rel="preconnect" href="https://host">',
        '<img src="https://host/x.png">',
        '<img src="a.png" srcset="b.png 1x, https://host/x.png 2x">',
        '<iframe src="https://host/"></iframe>',
        "<style>@import 'https://host/x.css';</style>",
        "body { background: url(https://host/x.png) }",
    ],
)
def test_the_check_sees_what_another_host_would_serve(site, html: str):
    assert site("check").remote(html) != []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="assets/x.js"></script><img src="data:image/png;base64,AA==">',
        '<a href="https://host/">a link to follow</a><link rel="canonical" href="https://host/">',
        "body { background: url('x.png') }",
    ],
)
def test_the_check_lets_pass_what_is_local_and_what_a_reader_follows(site, html: str):
    assert site("check").remote(html) == []


def test_the_check_finds_a_link_without_a_file(site, tmp_path: Path):
    (tmp_path / "index.html").write_text('<a href="gone.html">x</a><a href="#here">y</a>', encoding="utf-8")
    assert any("gone.html: no such file" in problem for problem in site("check").problems(tmp_path))
