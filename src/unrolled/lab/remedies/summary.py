"""Every number and text that the section prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.lab.cells import Done, pick
from unrolled.lab.remedies.part import Measure, Part
from unrolled.lab.remedies.parts import PARTS
from unrolled.lab.spread import spread, within_cap

__all__ = ["summary"]


def summary(done: Sequence[Done]) -> dict[str, Any]:
    """Sum up over seeds: a table a downside, and which remedies helped."""
    return {name: _part(part, pick(done, part=name)) for name, part in PARTS.items()}


def _part(part: Part, runs: Sequence[Done]) -> dict[str, Any]:
    settings = dict(runs[0].settings)
    variants = list(dict.fromkeys(run.settings["variant"] for run in runs))
    rows = {words: _row(part, pick(runs, variant=words)) for words in variants}
    first = part.measures[0]
    found: dict[str, Any] = {
        "settings": settings,
        "numbers": part.numbers(settings),
        "rows": rows,
        "timing": {},
    }
    place = found["timing"] if first.timing else found
    place["helped"] = _helped(part.measures, rows)
    return found


def _row(part: Part, runs: Sequence[Done]) -> dict[str, Any]:
    """Return the measures of one variant; those that the clock gives under "timing"."""
    row: dict[str, Any] = {"timing": {}}
    for measure in part.measures:
        place = row["timing"] if measure.timing else row
        place[measure.name] = _aggregate(measure, runs)
    return row


def _aggregate(measure: Measure, runs: Sequence[Done]) -> dict[str, Any]:
    results = [run.result["timing"] if measure.timing else run.result for run in runs]
    values = [result[measure.name] for result in results]
    if measure.kind == "count":
        return {"count": sum(map(bool, values)), "runs": len(values)}
    if measure.kind == "spread":
        return spread(values)
    cap = float(runs[0].settings[measure.cap] if isinstance(measure.cap, str) else measure.cap or 0)
    return within_cap([None if value is None or value > cap else value for value in values], cap)


def _helped(measures: Sequence[Measure], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return which variants are better than the first by the first measure, and which are not.

    The best are those of the better ones that no other beats; the next measures decide between equals.
    """
    values = {words: [_order(measure, row) for measure in measures] for words, row in rows.items()}
    before, *others = values
    better = [words for words in others if values[words][0] < values[before][0]]
    return {
        "before": [before],
        "better": better,
        "best": [words for words in better if values[words] == min(values[one] for one in better)],
        "not_better": [words for words in others if words not in better],
    }


def _order(measure: Measure, row: Mapping[str, Any]) -> tuple[float, float]:
    """Return what is the smaller the better: first runs that missed the goal where they are counted."""
    found = (row["timing"] if measure.timing else row)[measure.name]
    if measure.kind == "count":
        return float(found["count"]), 0.0
    middle = found["cap"] if found["median"] is None else found["median"]
    return float(found.get("censored", 0)), -middle if measure.more_is_better else middle
