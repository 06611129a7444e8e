"""What the packages hold: the wheel no sources, the source package all that a build needs."""

from __future__ import annotations

import importlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "unrolled"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    name = "scikit_build_core.build"
    pytest.importorskip(name)
    monkeypatch.chdir(ROOT)
    return importlib.import_module(name)


def test_a_wheel_holds_every_module_and_no_sources_of_the_engine(backend, tmp_path: Path):
    # Without CMake: what a machine without a compiler gets. CMake adds _engine and nothing else.
    name = backend.build_wheel(str(tmp_path), {"wheel.cmake": "false"})
    assert name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(tmp_path / name) as wheel:
        held = {n.removeprefix("unrolled/") for n in wheel.namelist() if n.startswith("unrolled/")}
        about = {n.partition(".dist-info/")[2]: n for n in wheel.namelist()}
        metadata = wheel.read(about["METADATA"]).decode()
        assert "licenses/LICENSE" in about
    modules = {
        str(p.relative_to(PACKAGE)) for kind in ("*.py", "*.toml", "*.css") for p in PACKAGE.rglob(kind)
    }
    templates = {str(p.relative_to(PACKAGE)) for p in (PACKAGE / "export").rglob("*.c")}  # of exported C
    assert held == modules | templates | {"py.typed", "kernels/_engine.pyi"}
    assert "License-Expression: Apache-2.0" in metadata


def test_the_source_package_holds_what_a_build_needs_and_nothing_built(backend, tmp_path: Path):
    name = backend.build_sdist(str(tmp_path))
    with tarfile.open(tmp_path / name) as sources:
        held = {n.partition("/")[2] for n in sources.getnames()}
    csrc = {str(p.relative_to(ROOT)) for p in (PACKAGE / "kernels" / "csrc").iterdir()}
    needed = {
        "CMakeLists.txt",
        "cmake/check_symbols.cmake",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "Makefile",
    }
    assert not (csrc | needed) - held
    assert {n for n in held if n.startswith("tests/native/")}
    assert not [
        n for n in held if n.endswith((".so", ".o", ".pyc")) or n.startswith(("build/", "runs/", ".venv"))
    ]
