"""Findings on a task's answers: what is wrong with what they depend on, and what fixes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unrolled.probe.columns import Columns
from unrolled.probe.measurements import Finding, Measurements
from unrolled.probe.reach import Side
from unrolled.probe.words import listed, number, percent
from unrolled.spec import TrainConfig, settings

PERFECT = 0.98  # of the way from no inputs to no errors, in squares where the score is an error
WORSE = 0.05  # of the way from no inputs to the last score: so much lost after the best step is a finding
LEAVE_OUT = "leave it out of the file"  # where no flag does
LISTED = 8  # columns that a sentence names

FLAGS = {setting.name: setting.flag for setting in settings(TrainConfig)}


def answer_findings(report: Measurements) -> Iterator[Finding]:
    """Yield what is wrong with what answers depend on, worst first; nothing for a healthy network."""
    for rule in (_blind, _leak, _short, _late, _unused):
        yield from rule(report)


def _blind(report: Measurements) -> Iterator[Finding]:
    """Find answers that are no better than those to other samples' inputs."""
    found = report.reach
    if found is None:
        return
    sign = 1 if found.higher else -1
    low = min(sign * end for end in found.score_interval)
    if low > sign * found.nothing and found.moved > 0:
        return
    problem = (
        f"the {found.figure} is {number(found.score)}, and {number(found.nothing)} where every input is "
        "another sample's: the answers make no use of the inputs"
    )
    steps = report.trained.get("steps")
    flag = (
        f"{FLAGS['steps']} {2 * steps}" if isinstance(steps, int) and steps > 0 else f"{FLAGS['minutes']} 10"
    )
    remedy = "train for longer; if that does not help, check that the labels belong to these inputs"
    yield Finding("blind", None, problem, found.score, found.unit_of_figure or found.figure, found.nothing,
                  remedy, flag)  # fmt: skip


def _leak(report: Measurements) -> Iterator[Finding]:
    """Find a column that gives an almost perfect score alone."""
    found = report.columns
    if found is None or any(each.name == "blind" for each in _blind(report)):
        return
    best = found.suspect
    if best is None or (way := _way(found, best.alone)) < PERFECT:
        return
    value = f"{found.figure} {number(best.alone)}{' ' + found.unit if found.unit else ''}"
    problem = (
        f"the column {best.name} alone gives an almost perfect score, {value}: if it is not known when the "
        "answer is needed, or was made from the answer, it is a leak"
    )
    remedy = f"if so, train without {best.name}"
    yield Finding("leak", None, problem, way, "of the way to a perfect score", PERFECT, remedy,
                  found.flag_of_suspect or LEAVE_OUT)  # fmt: skip


def _way(found: Columns, score: float) -> float:
    """Return how much of the way from no inputs to no errors a score is; of an error, of its square."""
    if found.higher:
        whole = found.best - found.nothing
        return (score - found.nothing) / whole if whole > 0 else 0.0
    return 1 - (score / found.nothing) ** 2 if found.nothing > 0 else 0.0


def _short(report: Measurements) -> Iterator[Finding]:
    """Find answers that depend on fewer steps than a season, or the known lag, has."""
    found = report.reach
    if found is None or found.moved == 0:
        return
    side: Side = found.sides[0]
    high = side.most if np.isnan(side.most_interval.high) else side.most_interval.high
    known = [("season", found.season if found.seasonal else None), ("known lag", report.known_lag)]
    for name, lag in known:
        if lag is None or high >= lag:
            continue
        problem = (
            f"95 % of what the answers depend on lies within {found.text(side.most)}, and the {name} is "
            f"{found.text(lag)}"
        )
        words, flag = found.longer or (
            f"start the gates for lags up to {lag}", f"{FLAGS['chrono_steps']} {max(lag, 2)}"
        )  # fmt: skip
        yield Finding("short", None, problem, float(side.most), "steps", float(lag), words, flag)
        return


def _late(report: Measurements) -> Iterator[Finding]:
    """Find a score that falls with further steps."""
    found = report.steps_seen
    if found is None or not found.one_way or found.lost_interval.low <= 0:
        return
    way = abs(float(found.score[-1]) - found.nothing)
    if found.lost < WORSE * way:
        return
    best = float(found.score[np.flatnonzero(found.steps == found.peak)[0]])
    problem = (
        f"the {found.figure} is best after {found.text(found.peak)}, {number(best)}, and "
        f"{number(found.score[-1])} after all {found.text(found.longest)}: what was known is forgotten"
    )
    yield Finding(
        "late", None, problem, found.lost, found.unit or found.figure, WORSE * way,
        f"start the gates for lags up to {found.longest}, and read the answer from all steps",
        f"{FLAGS['chrono_steps']} {max(found.longest, 2)} --pooling mean+max",
    )  # fmt: skip


def _unused(report: Measurements) -> Iterator[Finding]:
    """Find columns that save nothing, together."""
    found = report.columns
    if found is None or not found.unused or any(each.name == "leak" for each in _leak(report)):
        return
    worth = max(each.worth_interval.high for each in found.columns if each.name in found.unused)
    some = listed(found.unused[:LISTED]) + (" and others" if len(found.unused) > LISTED else "")
    one = len(found.unused) == 1
    problem = (
        f"the {'column' if one else 'columns'} {some} {'saves' if one else 'save'} nothing: exchanged "
        "between "
        f"samples, the {found.figure} stays {number(found.score)} and the loss as it is (at most "
        f"{percent(worth)} of what all columns save, for each)"
    )
    yield Finding(
        "unused", None, problem, len(found.unused) / len(found.columns), "of the columns", 0.0,
        "train without them: the network gets smaller and faster, and they can no longer break it",
        found.flag or LEAVE_OUT,
    )  # fmt: skip
