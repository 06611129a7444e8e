"""The lecture's claim, pair by pair: is an LSTM better, faster, of longer reach than an RNN, than a GRU?

A setting is a task at one length, where both were trained by the same recipe. A median of None is that of
censored runs: more than the cap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["OURS", "RIVALS", "claims", "verdict"]

OURS, RIVALS = ("lstm", "lstm-chrono"), ("rnn", "rnn-slow", "gru")
ALIKE = 0.1  # final scores that differ by less than this share of the control are alike

Row = Mapping[str, Any]
Judge = Callable[[Row, Row, str], int | None]


def claims(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return, a pair of kinds each: in how many settings each word of the claim holds, and in which not."""
    found = {}
    for mine in OURS:
        for other in RIVALS:
            pairs = [pair for task in tasks.items() for pair in _pairs(*task, mine, other)]
            found[f"{mine} {other}"] = {
                "better": _count(pairs, _better),
                "faster": _count(pairs, _faster),
                "longer": {
                    name: _reaches(task["rows"], mine, other)
                    for name, task in tasks.items()
                    if len({row["length"] for row in task["rows"]}) > 1
                },
                "timing": {"faster": _count(pairs, _sooner)},
            }
    return found


def verdict(count: Mapping[str, Any]) -> str:
    """Return one word on a count: yes (ahead in most settings, behind in none), mixed, no, alike or open."""
    if not count["settings"]:
        return "open"
    if not count["wins"]:
        return "no" if count["losses"] else "alike"
    return "yes" if not count["losses"] and 2 * count["wins"] > count["settings"] else "mixed"


def _pairs(name: str, task: Mapping[str, Any], mine: str, other: str) -> list[tuple[str, int, Row, Row, str]]:
    rows = {(row["length"], row["kind"]): row for row in task["rows"]}
    return [
        (name, length, row, rows[length, other], task["score_name"])
        for (length, kind), row in rows.items()
        if kind == mine and (length, other) in rows
    ]


def _count(pairs: Sequence[tuple[str, int, Row, Row, str]], judge: Judge) -> dict[str, Any]:
    """Count settings by who is ahead: 1 ours, −1 the rival, 0 alike, None where neither can be told."""
    judged = [(name, length, judge(mine, other, score)) for name, length, mine, other, score in pairs]
    return {
        "settings": sum(ahead is not None for *_, ahead in judged),
        "wins": sum(ahead == 1 for *_, ahead in judged),
        "alike": sum(ahead == 0 for *_, ahead in judged),
        "losses": sum(ahead == -1 for *_, ahead in judged),
        "lost": [{"task": name, "length": length} for name, length, ahead in judged if ahead == -1],
    }


def _better(mine: Row, other: Row, score: str) -> int:
    """More seeds solved; where as many but not all, the better final score in the middle."""
    solved = mine["solved"]["solved"], other["solved"]["solved"]
    if solved[0] != solved[1]:
        return 1 if solved[0] > solved[1] else -1
    if solved[0] == mine["solved"]["runs"]:
        return 0
    if mine["final"] is None or other["final"] is None:
        return (mine["final"] is not None) - (other["final"] is not None)
    ahead = mine["final"]["median"] - other["final"]["median"]
    if abs(ahead) < ALIKE * mine["control"]:
        return 0
    return 1 if (ahead > 0) == (score == "accuracy") else -1


def _faster(mine: Row, other: Row, _: str) -> int | None:
    """Fewer steps to the solution, in the median; nothing can be told where neither solved it."""
    return _fewer(mine["solved"]["median"], other["solved"]["median"])


def _sooner(mine: Row, other: Row, _: str) -> int | None:
    """Fewer seconds, in the median."""
    seconds = (
        row["timing"]["seconds"]["median"] if row["solved"]["median"] is not None else None
        for row in (mine, other)
    )
    return _fewer(*seconds)


def _fewer(mine: float | None, other: float | None) -> int | None:
    if mine is None and other is None:
        return None
    one, two = (math.inf if value is None else value for value in (mine, other))
    return (one < two) - (one > two)


def _reaches(rows: Sequence[Row], mine: str, other: str) -> dict[str, int | None]:
    """Return the longest length that each solves with more than half of its seeds; None: not even one."""
    found = {}
    for name, kind in (("mine", mine), ("other", other)):
        reached = [
            row["length"]
            for row in rows
            if row["kind"] == kind and 2 * row["solved"]["solved"] > row["solved"]["runs"]
        ]
        found[name] = max(reached, default=None)
    return found
