"""The pages of the site that are not files of docs/: README and its siblings, and a page for each room's API.

mkdocs calls the functions that begin with `on_`. The sources are read, never imported, so no torch is needed.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ELSEWHERE = {  # a file of the repository: the page that shows it
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "bench/RESULTS.md": "results.md",
}
ROOMS = (  # in the order in which a reader meets them
    "nn", "ops", "tasks", "train", "stream", "adapters", "sample", "predict", "quantize", "export", "probe",
    "data", "tokens", "checkpoint", "draw", "figures", "sweep", "lab", "doctor", "spec", "errors", "files",
    "kernels", "cli",
)  # fmt: skip
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
LIST_ITEM = re.compile(r"([-*]|\d+\.) ")
BAR = re.compile(r"(?<=\w)\\\|(?=\w)")  # GitHub asks for it inside code in a table, Markdown shows it
INDEXED = re.compile(r"^- `([\w.]+)\.(\w+)`", re.MULTILINE)

_NAMES: dict[str, list[str]] = {}  # the public names of each room, read once a build
_HIDDEN: set[str] = set()  # public names that are files too


def public_names() -> dict[str, list[str]]:
    """Return the names in `__all__` of every room by the room's dotted name, the package itself first."""
    _HIDDEN.clear()
    package = griffe.load("unrolled", search_paths=["src"], allow_inspection=False)
    modules = {"unrolled": package, **{m.path: m for m in package.modules.values()}}
    _HIDDEN.update(
        f"{path}.{name}"
        for path, module in modules.items()
        for name in module.modules
        if path != "unrolled" and name in module.modules[name].members
    )
    return {path: [str(name) for name in module.exports or []] for path, module in modules.items()}


def rooms(names: dict[str, list[str]]) -> list[str]:
    """Return the rooms that have public names: those of ROOMS first, then what it does not know yet."""
    found = [path.removeprefix("unrolled.") for path in names if path != "unrolled" and names[path]]
    known = [room for room in ROOMS if room in found]
    return known + sorted(set(found) - set(known))


def places() -> set[str]:
    """Return the dotted names that the site must describe."""
    names = public_names()
    return {_place(room, n) for room, found in names.items() if room != "unrolled" for n in found}


def on_config(config: Any) -> Any:
    names = public_names()
    decisions, exports = (
        sorted(f"{folder}/{p.name}" for p in Path(config.docs_dir, folder).glob("*.md"))
        for folder in ("decisions", "export")
    )
    shown_first = ("index.md", "when-it-helps.md")
    clients = sorted(
        f"clients/{p.name}"
        for p in Path(config.docs_dir, "clients").glob("*.md")
        if p.name not in shown_first
    )
    config.nav = [
        {"Home": "index.md"},
        {"Command line": "cli.md"},
        {"Cells": "cells.md"},
        {"Python": ["api.md", *({room: f"api/{room}.md"} for room in ["unrolled", *rooms(names)])]},
        {"In other programs": ["clients/index.md", "clients/when-it-helps.md", *clients]},
        {"The lecture": ["lecture.md", {"Measured": "lecture/report.md"}]},
        {"Export": exports},
        {"Figures": "results.md"},
        {"Decisions": decisions},
        {"Contributing": "contributing.md"},
        {"Changes": "changelog.md"},
    ]
    _NAMES.update(names)
    return config


def on_files(files: Any, config: Any) -> Any:
    for path, uri in ELSEWHERE.items():
        with open(path, encoding="utf-8") as file:
            files.append(File.generated(config, uri, content=file.read()))
    for room in ["unrolled", *rooms(_NAMES)]:
        module = "unrolled" if room == "unrolled" else f"unrolled.{room}"
        files.append(File.generated(config, f"api/{room}.md", content=_page(module, _NAMES)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    uri = page.file.src_uri
    source = next((path for path, shown in ELSEWHERE.items() if shown == uri), f"docs/{uri}")
    text = BAR.sub("|", _lists(_links(markdown, source, uri, files)))
    if uri == "api.md":  # the index of names leads to each name's place
        text = INDEXED.sub(_to_its_place, text)
    return text


def _page(module: str, names: dict[str, list[str]]) -> str:
    """Return a room's page: what the room is, then every public name."""
    about = f"# {module}\n\n::: {module}\n    options: {{members: false, show_root_heading: false}}\n\n"
    if module == "unrolled":
        return about + "".join(f"- [`unrolled.{n}`][{_home(n)}]\n" for n in names[module] if _home(n))
    return about + "".join(f"\n::: {_place(module, name)}\n" for name in names[module])


def _place(room: str, name: str) -> str:
    """Return where a room's name is described: a function named like its file hides behind the file."""
    return f"{room}.{name}.{name}" if f"{room}.{name}" in _HIDDEN else f"{room}.{name}"


def _home(name: str) -> str | None:
    """Return where a name of the package itself is described: in its room, or the room's page."""
    if _NAMES.get(f"unrolled.{name}"):
        return f"unrolled.{name}"
    return next(
        (_place(path, name) for path, found in _NAMES.items() if path != "unrolled" and name in found), None
    )


def _to_its_place(match: re.Match[str]) -> str:
    """Lead a name of the index to the place where it is described."""
    room, name = match.groups()
    place = _home(name) if room == "unrolled" else _place(room, name)
    return f"- [`{room}.{name}`][{place}]" if place else match[0]


def _links(markdown: str, source: str, uri: str, files: Any) -> str:
    """Lead links between files of the repository to pages of the site; what has no page loses its link."""

    def lead(match: re.Match[str]) -> str:
        bang, text, target = match.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        shown = ELSEWHERE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if shown == "lecture/results.json":
            shown = None
        if shown and files.get_file_from_path(shown) is None:  # decisions/0011, without the rest of its name
            shown = next((f.src_uri for f in files if f.src_uri.startswith(f"{shown}-")), None)
        if shown is None:
            return f"`{path}`" if text.strip("`") == path or not text else text
        relative = posixpath.relpath(shown, posixpath.dirname(uri) or ".")
        return f"{bang}[{text}]({relative}{'#' + anchor if anchor else ''})"

    return LINK.sub(lead, markdown)


def _lists(markdown: str) -> str:
    """Set a blank line before a list that follows a paragraph, as GitHub reads it and Markdown does not."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        fenced ^= line.startswith("```")
        before = lines[-1] if lines else ""
        inside = not before or LIST_ITEM.match(before) or before.startswith(" ")
        if LIST_ITEM.match(line) and not (fenced or inside):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
