"""Whether every number of a report stands in its results: a second reading of both, by nothing of the lab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")


def unbacked(report: str, document: dict[str, Any]) -> list[str]:
    """Return the numbers of a report that are no rounding of a number printed from its results document.

    Looked for among summaries, constants, settings and machines; not in the curves of the pictures, which hold
    so many numbers that almost any would be found. Texts of the results (versions, dates, a name) are taken out first, and
    signs are left aside: `a - 0.5` prints the number -0.5.
    """
    sections = [{n: part for n, part in s.items() if n != "curves"} for s in document["sections"].values()]
    backing = {"sections": sections, "machines": document["machines"], "timing": document["timing"]}
    for text in sorted(set(texts(backing)), key=len, reverse=True):
        if re.search(r"\d", text):
            report = report.replace(text, "")
    pool = sorted({abs(value) for value in numbers(backing)})
    return [found for found in NUMBER.findall(report) if not stands_in(found, pool)]


def computed(experiment: Any, summary: dict[str, Any]) -> list[str]:
    """Return the numbers that an experiment's report computes: those not in the summary, where all are unlike.

    In a small run a sum may stand among the results by chance; here each number of the summary is another one.
    """
    unlike = renumbered(summary, count(10_007, 13))
    section = {"summary": unlike, "constants": list(experiment.constants)}
    document = {"sections": {experiment.name: section}, "machines": [], "timing": {}}
    return unbacked(experiment.report(unlike), document)


def renumbered(value: Any, fresh: Iterator[int]) -> Any:
    """Return a document with another number in the place of each."""
    if isinstance(value, dict):
        return {name: renumbered(one, fresh) for name, one in value.items()}
    if isinstance(value, list):
        return [renumbered(one, fresh) for one in value]
    return next(fresh) if isinstance(value, int | float) and not isinstance(value, bool) else value


def stands_in(found: str, pool: list[float]) -> bool:
    """Whether a printed number is a rounding of one of the pool, in its own decimals."""
    mantissa, _, exponent = found.replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = 0.5 * 10.0 ** (int(exponent or 0) - decimals) * (1 + 1e-6)
    value = float(found.replace(",", ""))
    return any(abs(value - one) <= half for one in pool)


def numbers(value: Any) -> Iterator[float]:
    """Yield every number of a document, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a document, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def without_timing(value: Any) -> Any:
    """Return a document without what the clock says."""
    if isinstance(value, dict):
        return {name: without_timing(one) for name, one in value.items() if name != "timing"}
    if isinstance(value, list):
        return [without_timing(one) for one in value]
    return value
