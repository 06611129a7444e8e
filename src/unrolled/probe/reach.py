"""Reach: how far back, and at which lag by which column, a task's answers depend on the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unrolled import figures
from unrolled.probe.exchange import Exchange, Indices, share_interval
from unrolled.probe.losses import Progress
from unrolled.probe.result import Floats, Interval, Mask, Result
from unrolled.tasks import Step

Kept = Callable[[int], Floats]  # steps that are kept → [B] the change of each row's answer
HALF, MOST = 0.5, 0.05  # of the dependence left beyond: the two distances that are named
POINTS = 16  # distances that are tried at first
CLOSER = 2  # times that the distances around the two are halved
REPEATS = 2  # partners of a row
DRAWN, LEAST_DRAWN = 1.5, 8  # times the distance with 95 % that a picture shows, and the least steps of it
TARGETS = 4  # steps of a row whose answers are looked at, where each step has one
SIDES = {
    "end": "steps back from the last one",
    "start": "steps from the first one on",
    "before": "steps before an answer's own",
    "after": "steps after an answer's own",
}


@dataclass(frozen=True)
class Side(Result):
    """How much answers depend on what lies further than so many steps away, in one direction.

    Attributes:
        name: "end": distance back from the last step; "start": from the first step on; "before", "after":
            from the step that an answer is of.
        steps: [K] distances, rising from 0.
        share: [K] the part of the dependence that lies beyond: mean squared change of the answers where
            everything further away is another sample's, over that where all inputs are.
        low, high: [K] its 95 % interval over samples.
        half: steps within which half of the dependence lies. most: 95 % of it.
        half_interval, most_interval: their 95 % intervals.
    """

    name: str
    steps: Indices
    share: Floats
    low: Floats
    high: Floats
    half: int
    half_interval: Interval
    most: int
    most_interval: Interval


@dataclass(frozen=True)
class Reach(Result):
    """What `reach` measured.

    Attributes:
        sides: one or two directions.
        step, unit: how long a step is. season: in steps; None where none is known. seasonal: whether the past
            season is known to help.
        rows: samples. longest: steps of the longest.
        moved: the mean squared change of the answers where all inputs are another sample's; 0: answers that
            do not depend on inputs.
        kind: of a network that answers, in words. one_way: whether it reads forward alone.
        longer: what lets the network look back further, in words and as a flag; None: what any network has.
        figure, unit_of_figure, higher: of the score. score: of the answers. score_interval: its 95 % interval
            over samples. nothing: the score where all inputs are another sample's.
    """

    sides: tuple[Side, ...]
    step: float
    unit: str
    season: int | None
    seasonal: bool
    rows: int
    longest: int
    moved: float
    kind: str
    one_way: bool
    longer: tuple[str, str] | None
    figure: str
    unit_of_figure: str
    higher: bool
    score: float
    score_interval: Interval
    nothing: float

    def text(self, steps: float) -> str:
        """Return a number of steps in the data's unit."""
        return Step(self.step, self.unit).text(steps)

    def plot(self, path: str | Path) -> None:
        """Draw the share that lies beyond over the distance, a panel for each direction, as a PNG file."""
        marks = {} if self.season is None else {f"season, {self.text(self.season)}": float(self.season)}
        far = [side.most for side in self.sides] + ([] if self.season is None else [self.season])
        last = max(LEAST_DRAWN, math.ceil(DRAWN * max(far)))
        panels = {SIDES[side.name]: _drawn(side, last) for side in self.sides}
        captions = {
            SIDES[side.name]: f"half within {self.text(side.half)}, 95 % within {self.text(side.most)}"
            for side in self.sides
        }
        figures.lags(
            path,
            curves=panels,
            captions=captions,
            xlabel="distance, in steps" + ("" if self.step == 1 and self.unit == "step" else
                                           f" of {self.text(1)}"),
            ylabel="share of the dependence beyond",
            title="how far away the inputs are that answers depend on",
            marks=marks if self.sides[0].name == "end" else {},
        )  # fmt: skip


def _drawn(side: Side, last: int) -> dict[str, Floats]:
    """Return the curves at every distance, between those that were measured in straight lines."""
    at = np.arange(min(last, int(side.steps[-1])) + 1)
    curves = {"middle": side.share, "low": side.low, "high": side.high}
    return {name: np.interp(at, side.steps, curve) for name, curve in curves.items()}


def reach(exchange: Exchange, *, lags: int | None = None, progress: Progress | None = None) -> Reach:
    """Measure how far away the inputs are that the answers of a task depend on.

    Everything further away than k steps is replaced by the same part of another sample, and the squared
    change of the answer is compared with that where all is replaced. So it is the total effect (Homma and
    Saltelli 1996, by the estimator of Jansen 1999) of the inputs beyond k as a share of the answers'
    variance, with interactions, whatever the network does with its inputs; unlike a gradient it knows how
    much inputs vary, does not fade where an answer is certain, and does not miss what neighbouring steps
    say alike.

    Args:
        exchange: samples. lags: the largest distance; default the longest sample.
        progress: called with (done, of how many).
    """
    given = exchange.answers
    names: tuple[str, ...] = ("before", "after") if given.per_step else ("end", "start")
    if given.per_step and given.one_way:
        names = ("before",)
    elif given.one_way and not given.cut:
        names = ("end",)
    sides = []
    moved = 0.0
    for number, name in enumerate(names):
        whole, measure = _measure(exchange, name)
        moved = float(whole.mean())
        sides.append(_side(name, exchange, whole, measure, lags or exchange.longest))
        if progress is not None:
            progress(number + 1, len(names))
    figure, everyone = given.figure, np.arange(exchange.rows)
    scores = [figure.of(exchange.plain, rows) for rows in exchange.resamples()]
    pairs = [exchange.partners(n) for n in range(REPEATS)]
    if given.per_step:
        others = [exchange.answered(exchange.same_place(each)) for each in pairs]
    else:
        others = [exchange.plain[each] for each in pairs]
    return Reach(
        tuple(sides), given.step.length, given.step.unit, given.season, given.seasonal, exchange.rows,
        exchange.longest, moved, given.kind, given.one_way, given.longer, figure.name, figure.unit,
        figure.higher,
        figure.of(exchange.plain, everyone), Interval(*np.percentile(scores, [2.5, 97.5]).tolist()),
        float(np.mean([figure.of(each, everyone) for each in others])),
    )  # fmt: skip


def targets(exchange: Exchange, repeat: int) -> Indices:
    """Return [B] a step of each row, drawn evenly."""
    drawn = np.random.default_rng([1, repeat]).random(exchange.rows)
    first, end = exchange.answers.edges
    found: Indices = (drawn * (exchange.lengths - first - end)).astype(np.int64) + first
    return found


def _measure(exchange: Exchange, name: str) -> tuple[Floats, Kept]:
    """Return [B] the change where all is replaced, and what gives [B] that with k steps kept."""
    rows = np.arange(exchange.rows)
    if name in ("end", "start"):
        cut = exchange.with_other_past if name == "end" else exchange.with_other_future
        pairs = [exchange.partners(repeat) for repeat in range(REPEATS)]
        whole = np.mean([exchange.difference(exchange.plain[each]) for each in pairs], axis=0)

        def kept(k: int) -> Floats:
            changed = [exchange.difference(exchange.answered(*cut(k, each))) for each in pairs]
            return np.asarray(np.mean(changed, axis=0))

        return whole, kept
    at = np.arange(int(exchange.lengths.max()))[:, None]
    draws = [(targets(exchange, n), exchange.same_place(exchange.partners(n))) for n in range(TARGETS)]

    def changed(keep: Callable[[Indices], Mask]) -> Floats:
        found = []
        for t, other in draws:
            answers = exchange.answered(np.where(keep(at - t), exchange.own(), other))
            squares = np.square(answers[t, rows] - exchange.plain[t, rows])
            found.append(squares.reshape(exchange.rows, -1).sum(1))
        return np.asarray(np.mean(found, axis=0))

    sign = -1 if name == "before" else 1
    return changed(lambda offset: offset * 0 > 1), lambda k: changed(lambda offset: sign * offset < k)


def _side(name: str, exchange: Exchange, whole: Floats, measure: Kept, longest: int) -> Side:
    longest = min(longest, exchange.longest)
    found: dict[int, Floats] = {}
    for k in spaced(longest, POINTS):
        found[k] = measure(k)
    for _ in range(CLOSER):
        for level in (HALF, MOST):
            steps = np.array(sorted(found))
            shares = _shares(found, steps, whole)
            beyond = np.flatnonzero(shares > level)
            at = int(beyond[-1]) if len(beyond) else 0
            if at + 1 < len(steps) and steps[at + 1] - steps[at] > 1:
                middle = int(steps[at] + steps[at + 1]) // 2
                found[middle] = measure(middle)
    steps = np.array(sorted(found))
    parts = np.stack([found[int(k)] for k in steps], axis=1)  # [B, K]
    drawn = exchange.resamples()
    share, low, high = share_interval(parts, whole, drawn)
    total = np.maximum([whole[rows].sum() for rows in drawn], np.finfo(float).tiny)
    curves = np.stack([parts[rows].sum(0) for rows in drawn]) / total[:, None]
    half, most = (_within(steps, share, level) for level in (HALF, MOST))
    ends = [
        Interval(*np.percentile([_within(steps, curve, level) for curve in curves], [2.5, 97.5]).tolist())
        for level in (HALF, MOST)
    ]
    return Side(name, steps, share, low, high, half, ends[0], most, ends[1])


def spaced(longest: int, count: int) -> list[int]:
    """Return distances from 0 to the longest: each at first, then further and further apart."""
    even = np.geomspace(1, longest + 1, count) - 1
    return sorted({0, longest, *map(int, even.round()), *range(min(5, longest))})


def _shares(found: dict[int, Floats], steps: Indices, whole: Floats) -> Floats:
    total = max(float(whole.sum()), np.finfo(float).tiny)
    return np.array([found[int(k)].sum() / total for k in steps])


def _within(steps: Indices, share: Floats, level: float) -> int:
    """Return the steps from which on no more than a level is left beyond, between two that were measured."""
    beyond = np.flatnonzero(share > level)
    if not len(beyond):
        return 0
    at = int(beyond[-1])
    if at + 1 == len(steps):
        return int(steps[-1])
    fall = (share[at] - level) / max(share[at] - share[at + 1], np.finfo(float).tiny)
    return int(np.ceil(steps[at] + fall * (steps[at + 1] - steps[at]) - 1e-9))
