"""Shows the fields of a class as one table: name, type, default, and what the source says of each.

A field is described by the `Attributes:` section of its class, by the comment that ends its line, or by the
help text of its `setting(...)`.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from typing import Any

import griffe

SECTION = re.compile(r"^Attributes:\n((?:[ \t]+.*\n?|\n)*)", re.MULTILINE)
INNER = re.compile(r"\. (\w+): ")
TOOLS = re.compile(r"#? *(fmt: skip|noqa.*|type: ignore.*)$")  # comments that are not for people
ENTRY = re.compile(r"^(\w+(?:, \w+)*): ")


class Fields(griffe.Extension):
    """Called by griffe once the package is read."""

    def on_package(self, *, pkg: griffe.Module, loader: Any, **kwargs: Any) -> None:
        griffe.DataclassesExtension().on_package(
            pkg=pkg, loader=loader
        )  # signatures, before fields are moved
        for cls in _classes(pkg):
            fields = {n: a for n, a in cls.members.items() if a.is_attribute and _is_field(n, a)}
            if fields:
                _describe(cls, fields)
        for module in _modules(pkg):
            for attribute in module.attributes.values():
                if not attribute.is_alias and not attribute.docstring and (words := _comment(attribute)):
                    attribute.docstring = griffe.Docstring(words, parent=attribute)


def _modules(module: griffe.Module) -> list[griffe.Module]:
    return [module, *(m for below in module.modules.values() if not below.is_alias for m in _modules(below))]


def _classes(module: griffe.Module) -> list[griffe.Class]:
    """Return every class that a module and those below it define."""
    found: list[griffe.Class] = []
    for member in module.members.values():
        if not member.is_alias and member.is_class:
            found.append(member)
        elif not member.is_alias and member.is_module:
            found += _classes(member)
    return found


def _is_field(name: str, attribute: Any) -> bool:
    return (
        not name.startswith("_") and attribute.annotation is not None and "property" not in attribute.labels
    )


def _describe(cls: griffe.Class, fields: dict[str, Any]) -> None:
    """Write the table into the docstring of a class, and take its fields off the list of members."""
    text = cls.docstring.value if cls.docstring else ""
    said = _section(text, set(fields))
    rows, seen = [], set()
    for names, words in said:
        known = [n for n in names if n in fields]
        if known:
            rows.append(_row(known, fields, words))
            seen.update(known)
    rows += [_row([n], fields, _own_words(fields[n])) for n in fields if n not in seen]
    extra = [f"- `{', '.join(n)}`: {w}" for n, w in said if not any(x in fields for x in n)]
    table = ["| field | type | default | what it is |", "| --- | --- | --- | --- |", *rows]
    whole = "\n".join([SECTION.sub("", text).rstrip(), "", *table, "", *extra])
    cls.docstring = griffe.Docstring(whole, parent=cls, lineno=cls.lineno, endlineno=cls.endlineno)
    for name, field in fields.items():
        cls.del_member(name)
        if "__init__" in cls.members and name in cls["__init__"].parameters:
            parameter = cls["__init__"].parameters[name]
            parameter.default = _default(field).strip("`") or parameter.default


def _section(docstring: str, fields: set[str]) -> list[tuple[list[str], str]]:
    """Return what the `Attributes:` section says: the names of an entry, and its text in one line."""
    match = SECTION.search(docstring + "\n")
    found: list[tuple[list[str], str]] = []
    for line in textwrap.dedent(match[1]).splitlines() if match else []:
        entry = ENTRY.match(line)
        if entry:
            found.append((entry[1].split(", "), line[entry.end() :].strip()))
        elif line.strip() and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
    return [part for names, words in found for part in _split(names, words, fields)]


def _split(names: list[str], words: str, fields: set[str]) -> list[tuple[list[str], str]]:
    """Return the entries of a line that holds several: `lags: how far back. rows: of the batch.`"""
    for inner in INNER.finditer(words):
        if inner[1] in fields:
            return [(names, words[: inner.start() + 1]), *_split([inner[1]], words[inner.end() :], fields)]
    return [(names, words)]


def _row(names: list[str], fields: dict[str, Any], words: str) -> str:
    types = list(dict.fromkeys(str(fields[n].annotation) for n in names))
    cells = (
        ", ".join(f"`{n}`" for n in names),
        ", ".join(f"`{t}`" for t in types),
        ", ".join(dict.fromkeys(_default(fields[n]) for n in names)),
        words,
    )
    return "| " + " | ".join(_escaped(c) for c in cells) + " |"


def _escaped(cell: str) -> str:
    """Return a cell of a table; a bar in code needs no escape."""
    parts = cell.replace("\n", " ").split("`")
    return "`".join(p if i % 2 else p.replace("|", "\\|") for i, p in enumerate(parts))


def _default(field: Any) -> str:
    """Return a field's default as it is written, also inside `setting(...)` and `field(...)`."""
    call = _call(field)
    if call is None:
        return f"`{field.value}`" if field.value is not None else ""
    if getattr(call.func, "id", "") == "setting" or getattr(call.func, "attr", "") == "setting":
        default = ast.unparse(call.args[0]) if call.args else ""
        return "" if default.endswith("MISSING") else f"`{default}`"
    by_name = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if "default_factory" in by_name:
        return f"`{by_name['default_factory']}()`"
    return f"`{by_name['default']}`" if "default" in by_name else ""


def _own_words(field: Any) -> str:
    """Return the help text of a `setting(...)`, with its flag, else the comment behind the field."""
    call = _call(field)
    if call is not None and len(call.args) > 1:
        words = _text(call.args[1])
        flag = next((_text(k.value) for k in call.keywords if k.arg == "flag"), "")
        return f"{words} (`{flag}`)" if flag else words
    if field.docstring:
        return str(field.docstring.value)
    return _comment(field)


def _comment(field: Any) -> str:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(textwrap.dedent("\n".join(field.lines))).readline))
    except (tokenize.TokenError, IndentationError):
        return ""
    return " ".join(
        TOOLS.sub("", t.string.lstrip("# ")).strip() for t in tokens if t.type == tokenize.COMMENT
    )


def _text(node: ast.expr) -> str:
    try:
        return str(ast.literal_eval(node) or "")
    except ValueError:
        return ast.unparse(node)


def _call(field: Any) -> ast.Call | None:
    if field.value is None:
        return None
    node = ast.parse(str(field.value), mode="eval").body
    return node if isinstance(node, ast.Call) else None
