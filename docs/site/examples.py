"""Shows an example with each public name: the section `## name, name` of docs/examples/ROOM.md."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import griffe

INSIDE = {"files", "kernels"}  # rooms for the rooms above; an example is welcome, not required
FOLDER = Path(__file__).parents[1] / "examples"
HEADER = re.compile(r"(?<!\n)\n((?:Args|Attributes|Returns|Yields|Raises|Source|Examples):(?= |\n))")
ENTRY = re.compile(
    r"^ *(unrolled\.\w+|\w+\.py|\w+/) +(\S.*(?:\n {8,}.*)*)$", re.MULTILINE
)  # a name, and what it is
INTERNAL = re.compile(r"^Internal\b(?:.+\n?)*", re.MULTILINE)  # a paragraph for the rooms above
TAG = re.compile(r"<(?=[a-z/])")
BARE = re.compile(r"(?:^|\n\n)(>>> .*(?:\n.+)*)")


def read(path: Path) -> dict[str, str]:
    """Return the examples of a file by name; one section may serve several names."""
    parts = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = zip(parts[1::2], parts[2::2], strict=True)
    return {name: textwrap.dedent(text.strip("\n")) for names, text in sections for name in names.split(", ")}


def missing() -> list[str]:
    """Return one line for every public class and function without an example."""
    package = griffe.load("unrolled", search_paths=["src"], allow_inspection=False)
    found = []
    for room in package.modules.values():
        if room.name in INSIDE:
            continue
        path = FOLDER / f"{room.name}.md"
        shown = read(path) if path.exists() else {}
        public = [str(n) for n in room.exports or []]
        without = [n for n in public if n not in shown and _wants_one(room.members[n], n)]
        found += [f"{room.path}.{n}: no example, expected in docs/examples/{room.name}.md" for n in without]
    return found


def _wants_one(thing: Any, name: str) -> bool:
    target = thing.final_target if thing.is_alias else thing
    if target.is_module and name in target.members:  # a function named like its file
        target = target.members[name]
    said = target.docstring.value if target.docstring else ""
    return (target.is_class or target.is_function) and ">>> " not in said


class Examples(griffe.Extension):
    """Called by griffe once the package is read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        for path in sorted(FOLDER.glob("*.md")):
            room = pkg.modules.get(path.stem)
            for name, example in read(path).items():
                if room is not None and name in room.members:
                    _append(room.members[name], example)
        for thing in _documented(pkg):
            text = thing.docstring.value
            if thing.is_module:
                text = INTERNAL.sub("", ENTRY.sub(_entry, text))
            text = HEADER.sub(r"\n\n\1", text)
            thing.docstring.value = BARE.sub(r"\n\n```pycon\n\1\n```", _without_tags(text))


def _without_tags(text: str) -> str:
    """Return a docstring in which `<unk>` outside code is no tag of HTML."""
    parts = text.split("`")
    return "`".join(p if i % 2 else TAG.sub("&lt;", p) for i, p in enumerate(parts))


def _entry(match: re.Match[str]) -> str:
    """Return an item of a list for a public name, nothing for a file: who uses a room does not open it."""
    name, words = match.groups()
    return "" if name.endswith((".py", "/")) else f"- `{name}`: {' '.join(words.split())}"


def _append(thing: Any, example: str) -> None:
    target = thing.final_target if thing.is_alias else thing
    if target.is_module and target.name in target.members:  # a function named like its file
        target = target.members[target.name]
    if target.docstring is None:
        target.docstring = griffe.Docstring("", parent=target)
    target.docstring.value += f"\n\n**Example:**\n\n```pycon\n{example.rstrip()}\n```"


def _documented(thing: Any) -> list[Any]:
    """Return what has a docstring, below a module or class and itself."""
    found = [thing] if thing.docstring else []
    for member in thing.members.values() if hasattr(thing, "members") else ():
        if not member.is_alias:
            found += _documented(member)
    return found
