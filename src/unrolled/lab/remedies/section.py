"""The section of the report: a table and a verdict a downside, chosen by the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.lab.remedies.part import Measure, Part
from unrolled.lab.remedies.parts import PARTS
from unrolled.lab.spread import number, spread_text, within_text

__all__ = ["report", "verdict"]

QUESTION = "What are some downsides of RNNs and how can you resolve them?"


def report(summary: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    parts = [_part(part, summary[name]) for name, part in PARTS.items()]
    answers = [_answer(part, summary[name]) for name, part in PARTS.items()]
    return "\n".join([*parts, f"### {QUESTION}\n", *answers])


def _part(part: Part, found: Mapping[str, Any]) -> str:
    known = {**found["settings"], **found["numbers"]}
    texts = {name: _plain(value) for name, value in known.items()}
    head = ["", *(measure.words for measure in part.measures)]
    rows = [[words, *(_cell(m, row) for m in part.measures)] for words, row in found["rows"].items()]
    parts = [
        f"### {part.title}\n",
        part.words.format(**texts) + "\n",
        _table(head, rows),
        verdict(part, found),
    ]
    return "\n".join(parts)


def verdict(part: Part, found: Mapping[str, Any]) -> str:
    """Say which remedies moved the first measure the right way, and which did not."""
    first, texts = part.measures[0], _groups(part, found)
    better = f"Better: {texts['better']}." if texts["better"] else "No remedy is better."
    worse = f" Not better: {texts['not_better']}." if texts["not_better"] else ""
    return f"**{first.words[0].upper()}{first.words[1:]}.** Before: {texts['before']}. {better}{worse}\n"


def _answer(part: Part, found: Mapping[str, Any]) -> str:
    """Return a line of the answer: the downside, and what was best against it."""
    texts = _groups(part, found)
    best = f"best: {texts['best']}" if texts["best"] else "no remedy was better"
    return f"- {part.title} ({part.measures[0].words}). Before: {texts['before']}; {best}."


def _groups(part: Part, found: Mapping[str, Any]) -> dict[str, str]:
    """Return the variants of each group, with their figures."""
    first = part.measures[0]
    helped = (found["timing"] if first.timing else found)["helped"]
    return {
        name: "; ".join(f"{words}, {_cell(first, found['rows'][words])}" for words in group)
        for name, group in helped.items()
    }


def _cell(measure: Measure, row: Mapping[str, Any]) -> str:
    found = (row["timing"] if measure.timing else row)[measure.name]
    if measure.kind == "count":
        return f"{found['count']} of {found['runs']} runs"
    solving = measure.kind == "within" and isinstance(measure.cap, str)
    return within_text(found) if solving else spread_text(found)


def _plain(value: Any) -> str:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if numeric else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
