"""No file imports itself by way of others: what a file needs can be read before it."""

from __future__ import annotations

import ast
from pathlib import Path

import unrolled

PACKAGE = Path(unrolled.__file__).parent


def module_of(path: Path) -> str:
    """Return the dotted name of a file: a package's `__init__` has the package's."""
    parts = ("unrolled", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, modules: set[str]) -> set[str]:
    """Return the modules of the package that a file imports, wherever in it and for whatever reason."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & modules) or {node.module}
    return found & modules


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules each of which reaches every other one."""
    reach = {name: set(targets) for name, targets in edges.items()}
    while True:
        grown = {name: targets.union(*(reach[t] for t in targets)) for name, targets in reach.items()}
        if grown == reach:
            break
        reach = grown
    found: list[set[str]] = []
    for name in reach:
        circle = {other for other in reach[name] if name in reach[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_no_file_imports_itself_by_way_of_others():
    files = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    front_door = files.pop("unrolled")
    assert front_door.name == "__init__.py"
    assert not circles({name: imported(path, set(files)) for name, path in files.items()})


def test_a_circle_of_three_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
