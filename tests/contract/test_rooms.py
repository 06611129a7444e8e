"""The rooms of the design: who may import whom, function-local imports included."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import unrolled

PACKAGE = Path(unrolled.__file__).parent
LEVELS = [
    {"errors"},  # the design draws it on level 0 with the next ones, which raise what it defines
    {"files", "spec"},
    {"parsing"},  # the old place of a name of `files`
    {"kernels", "tokens", "checkpoint", "draw", "figures", "schema"},
    {"ops", "data", "stream"},
    {"nn"},
    {"tasks"},
    {"models"},  # the old name of `tasks`
    {"train", "predict", "sample", "quantize", "probe", "export", "adapters"},
    {"lab", "sweep", "serve", "studio", "doctor"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
TORCH_FREE = {
    "errors",
    "files",
    "parsing",
    "spec",
    "kernels",
    "tokens",
    "checkpoint",
    "draw",
    "figures",
    "schema",
    "stream",
    "sample",
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Return the room that a file belongs to; the package's own __init__ and __main__ are the front door."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "front door" if first in ("__init__", "__main__") else first


def imports(path: Path) -> list[tuple[int, str]]:
    """Return (line, dotted name) of every import in a file, at any depth of indentation."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: expected an absolute import"
            base = node.module or ""
            if base == "unrolled":
                found += [(node.lineno, f"unrolled.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, base))
    return found


def test_every_file_belongs_to_a_room_of_the_design():
    unknown = {room_of(p) for p in FILES} - set(LEVEL) - {"front door"}
    assert not unknown, f"rooms that DESIGN.md does not know: {unknown}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_of_a_lower_level(path: Path):
    room = room_of(path)
    if room == "front door":
        return
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "unrolled" or len(parts) == 1 or parts[1] == room or parts[1].startswith("__"):
            continue
        assert LEVEL[parts[1]] < LEVEL[room], f"{path.name}:{line}: {room} imports {parts[1]}"


def _ours(name: str) -> bool:
    return name.partition(".")[0] == "unrolled"


def inner_imports(path: Path) -> list[str]:
    """Return the inner modules of other rooms that a file imports: `from unrolled.data.batches import Batch`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            of_another = _ours(node.module) and node.module.split(".")[1:2] != [room_of(path)]
            public = getattr(importlib.import_module(node.module), "__all__", ()) if of_another else ()
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names if a.name not in public)]
        else:
            continue
        for parts in (name.split(".") for name in names):
            inside = PACKAGE.joinpath(*parts[1:])
            is_module = inside.with_suffix(".py").exists() or (inside / "__init__.py").exists()
            if parts[0] == "unrolled" and len(parts) > 2 and parts[1] != room_of(path) and is_module:
                found.append(f"line {node.lineno}: {'.'.join(parts)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_is_imported_by_its_init_only(path: Path):
    assert inner_imports(path) == []


@pytest.mark.parametrize(
    "line",
    [
        "from unrolled.data.batches import Batch",
        "import unrolled.data.batches",
        "import unrolled.data.batches as b",
        "from unrolled.data import batches",
        "def f():\n    from unrolled.tasks.language.task import LanguageTask",
    ],
)
def test_the_rule_sees_every_way_to_import_an_inner_module(line: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.room_of", lambda _: "train")
    file = tmp_path / "x.py"
    file.write_text(line)
    (only,) = {found.partition(": ")[2] for found in inner_imports(file)}
    assert only.startswith(("unrolled.data.batches", "unrolled.tasks.language.task"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_room_goes_around_the_rule_through_the_front_door(path: Path):
    if room_of(path) == "front door":
        return
    bare = [line for line, name in imports(path) if name == "unrolled"]
    bare += [line for line, name in imports(path) if name in ("unrolled.load", "unrolled.accelerate")]
    dynamic = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and "import_module" in ast.unparse(node.func)
        and any("unrolled" in ast.unparse(a) for a in node.args)
    ]
    assert not bare + dynamic


@pytest.mark.parametrize(
    "path", [p for p in FILES if room_of(p) in TORCH_FREE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_a_torch_free_room_never_imports_torch(path: Path):
    assert not [line for line, name in imports(path) if name.partition(".")[0] == "torch"]


def test_the_rule_sees_an_import_inside_a_function(tmp_path: Path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from unrolled.cli import main\n    return main\n")
    assert imports(file) == [(2, "unrolled.cli")]


def test_no_two_test_files_share_a_name():
    """pytest imports them by it: the second one is an error, and only in a run of both."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
