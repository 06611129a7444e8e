"""OUT/report.md and its pictures, from OUT/results.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled import figures, files
from unrolled.errors import RunError, expected
from unrolled.lab.experiment import Experiment, Found
from unrolled.lab.results import REPORT

__all__ = ["lines", "picture", "publish", "table"]

HEAD = """\
# The lecture, by measurement

- when: {started} to {ended}
{machines}
- a figure is the median of its runs, one run per seed, with the lowest and the highest in brackets
- a run that did not reach its goal within its cap counts as more than the cap, and as censored
- every number here stands in results.json
"""
CLAIMS = """\
## What is claimed, what was compared, how long it was given, and what came out

{rows}
"""
SECTION = """\
## {title}

From {kind}; trials: {trials}, seeds: {seeds}.

{words}
"""


def publish(document: Found, out: Path, experiments: Sequence[Experiment]) -> None:
    """Draw the pictures of a results document and write its report.

    Raises:
        RunError: a section is not what its experiment writes; or `out` cannot be written.
    """
    machines = "\n".join(f"- machine: {_machine(found)}" for found in document["machines"])
    parts: list[str] = []
    claims: list[dict[str, str]] = []
    for experiment in experiments:
        section = document["sections"].get(experiment.name)
        if section is None:
            continue
        try:
            experiment.figures(section["summary"], section["curves"], out)
            parts.append(_section(experiment, section))
            claims += experiment.claims(section["summary"])
        except (KeyError, TypeError) as error:
            where = f"results.json, section {experiment.name}"
            raise RunError(expected(where, "what the lab writes", f"another ({error!r})")) from error
    head = [HEAD.format(**document["timing"], machines=machines)]
    head += [CLAIMS.format(rows=table(claims).rstrip("\n"))] if claims else []
    files.replace(out / REPORT, "\n".join(head + parts))


def lines(path: Path, curves: Mapping[str, Any], axes: Sequence[str], title: str, **how: Any) -> None:
    """Draw curves by `figures.series`; axes are the words of x and y."""
    figures.series(path, curves=curves, xlabel=axes[0], ylabel=axes[1], title=title, **how)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a table in Markdown; each row has the same headings."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def picture(name: str, words: str) -> str:
    """Return the line of Markdown that shows a picture."""
    return f"![{words}]({name})\n"


def _section(experiment: Experiment, section: Found) -> str:
    settings = section["settings"]
    kind = "a quick run, of small networks and few steps" if settings["quick"] else "a full run"
    return SECTION.format(
        title=experiment.title,
        kind=kind + (", with the longest sequences" if settings["long"] else ""),
        trials=section["trials"],
        seeds=settings["seeds"],
        words=experiment.report(section["summary"]).rstrip("\n"),
    )


def _machine(found: Found) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    native = f"native kernels for {found['kernels']}" if found["kernels"] else "no native kernels"
    return (
        f"{found['processor']}, {found['cores']} cores to use, {found['threads']} torch threads, {native}; "
        f"{found['platform']}, python {found['python']}, {packages}"
    )
