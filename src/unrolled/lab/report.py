"""OUT/report.md: what was run, where and when, then a section an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.errors import RunError, expected
from unrolled.lab import machine
from unrolled.lab.cells import Experiment
from unrolled.lab.registry import EXPERIMENTS

__all__ = ["write_report"]


def write_report(document: Mapping[str, Any]) -> str:
    """Return the report of a results document, and of nothing else: every number stands in there.

    Raises:
        RunError: a section is not what its experiment writes.
    """
    parts = [_head(document)]
    for experiment in EXPERIMENTS:
        section = document["sections"].get(experiment.NAME)
        if section is not None:
            try:
                parts.append(_section(experiment, section))
            except (KeyError, TypeError) as error:
                where = f"results.json, section {experiment.NAME}"
                raise RunError(expected(where, "what the lab writes", f"another ({error!r})")) from error
    return "\n".join(parts)


def _section(experiment: Experiment, section: Mapping[str, Any]) -> str:
    settings = section["settings"]
    kind = "a quick run, of small networks and few steps" if settings["quick"] else "a full run"
    longest = ", with the longest sequences" if settings["long"] else ""
    seeds = "1 seed" if settings["seeds"] == 1 else f"{settings['seeds']} seeds"
    pictures = [f"![{name}]({name})\n" for name in section["figures"]]
    words = experiment.report(section["summary"]).rstrip("\n") + "\n"
    run = f"Of {kind}{longest}: {section['cells']} cells, {seeds}.\n"
    return "\n".join([f"## {experiment.TITLE}\n", run, words, *pictures])


def _head(document: Mapping[str, Any]) -> str:
    timing = document["timing"]
    lines = [
        "# The lecture, by measurement",
        "",
        f"- when: {timing['started']} to {timing['ended']}",
        *(f"- machine: {machine.line(found)}" for found in document["machines"]),
        "- a figure is the median of its runs, a run a seed, with the lowest and the highest in brackets",
        "- a run that did not reach its goal within its cap counts as more than the cap, and as censored",
        "- every number here stands in results.json, beside the cells that it comes from",
        "",
    ]
    return "\n".join(lines)
