"""Columns: the score without each, and alone; and at which lag answers depend on which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unrolled import figures
from unrolled.errors import ConfigError, expected
from unrolled.probe.exchange import Exchange, Indices, share_interval
from unrolled.probe.losses import Progress
from unrolled.probe.reach import targets
from unrolled.probe.result import Floats, Interval, Result, mean_interval
from unrolled.tasks import Step

REPEATS = 5  # draws of partners, for the score without a column
CARRIES = 0.01  # of what all columns are worth: one that is worth less is of no use
FEWEST = 50  # samples, below which no column is called useless
LISTED = 24  # columns of a map: of more the most important ones
RUNS = 256  # of the network, for a map: steps are put together where there would be more
WIDEST = 64  # lags of a map
TOP = 12  # columns and lags that are listed


@dataclass(frozen=True)
class Column(Result):
    """What the answers have of one column.

    Attributes:
        name: of the source's column.
        score: the figure where the column is another sample's, the mean over draws. spread: its standard
            deviation over draws.
        change: `score` less the figure with all columns. change_interval: its 95 % interval over samples.
        share: the part of the dependence that the column takes part in: the mean squared change of the
            answers, over that where all columns are exchanged. Columns that work together both count.
        worth: the loss that the column saves, over that which all columns save together.
        worth_interval: its 95 % interval over samples.
        alone: the figure where every other column is another sample's.
    """

    name: str
    score: float
    spread: float
    change: float
    change_interval: Interval
    share: float
    worth: float
    worth_interval: Interval
    alone: float


@dataclass(frozen=True)
class Columns(Result):
    """What `columns` measured.

    Attributes:
        figure: the name of the score. unit: of it. higher: whether more is better. best: of no errors.
        score: with all columns. nothing: with none: all are another sample's.
        columns: the most important first: by the loss that each saves.
        unused: names of those that save nothing, all of them together; with this many samples that is sure.
        rows: samples.
        suspect: the column that gives the best score alone, of those that might be a leak; None: none might.
        flag: of `unrolled train`, that leaves the unused columns out; "" where there is none.
        flag_of_suspect: that leaves the suspect out.
    """

    figure: str
    unit: str
    higher: bool
    best: float
    score: float
    nothing: float
    columns: tuple[Column, ...]
    unused: tuple[str, ...]
    rows: int
    suspect: Column | None
    flag: str
    flag_of_suspect: str

    def helps(self, column: Column) -> bool:
        """Whether the score is worse without a column, beyond what chance does."""
        sign = 1 if self.higher else -1
        worst = max(sign * end for end in column.change_interval)
        return worst < 0 and abs(column.change) > column.spread

    def plot(self, path: str | Path) -> None:
        """Draw the loss that each column saves into a PNG file, the most important ones."""
        shown = self.columns[:LISTED]
        figures.ranking(
            path,
            names=[each.name for each in shown],
            values=[each.worth for each in shown],
            low=[each.worth_interval.low for each in shown],
            high=[each.worth_interval.high for each in shown],
            xlabel="loss that a column saves, in parts of what all save",
            title="what each column is worth",
        )


def columns(exchange: Exchange, *, progress: Progress | None = None) -> Columns:
    """Measure what each column is worth: permutation importance (Breiman 2001), of all steps of a column.

    Raises:
        ConfigError: there is one column alone.
    """
    given = exchange.answers
    names = tuple(given.columns)
    if len(names) < 2:
        raise ConfigError(expected("input", "at least two columns, to leave one out", "one"))
    places = [exchange.same_place(exchange.partners(n)) for n in range(REPEATS)]
    figure, everyone, drawn = given.figure, np.arange(exchange.rows), exchange.resamples()
    plain, losses = exchange.plain, given.loss(exchange.plain)
    full = figure.of(plain, everyone)
    fulls = np.array([figure.of(plain, rows) for rows in drawn])
    every = [exchange.answered(each) for each in places]
    whole = np.mean([_whole(exchange, each) for each in every], axis=0)
    gain = np.mean([given.loss(each) - losses for each in every], axis=0)  # [B] that all columns save
    nothing = float(np.mean([figure.of(each, everyone) for each in every]))
    found = []
    for number, name in enumerate(names):
        without = [exchange.answered({name: each}) for each in places]
        others = [other for other in names if other != name]
        alone = exchange.answered(dict.fromkeys(others, places[0]))
        scores = np.array([figure.of(each, everyone) for each in without])
        changes = np.mean([[figure.of(each, rows) for rows in drawn] for each in without], axis=0) - fulls
        worth, interval = _worth(
            np.mean([given.loss(each) - losses for each in without], axis=0), gain, drawn
        )
        share = np.mean([_whole(exchange, each) for each in without], axis=0).sum() / max(whole.sum(), 1e-300)
        found.append(
            Column(
                name, float(scores.mean()), float(scores.std(ddof=1)), float(scores.mean()) - full,
                Interval(*np.percentile(changes, [2.5, 97.5]).tolist()), float(share), worth, interval,
                figure.of(alone, everyone),
            )
        )  # fmt: skip
        if progress is not None:
            progress(number + 1, len(names))
    found.sort(key=lambda each: -each.worth)
    unused = _unused(exchange, found, places, losses, gain)
    suspects = [each for each in found if each.name not in given.no_leak]
    best = max if figure.higher else min
    suspect = best(suspects, key=lambda each: each.alone) if suspects else None
    kept = [name for name in names if name not in unused]
    innocent = [name for name in names if suspect is None or name != suspect.name]
    return Columns(
        figure.name, figure.unit, figure.higher, figure.best, full, nothing, tuple(found), unused,
        exchange.rows, suspect, given.choose(kept), given.choose(innocent),
    )  # fmt: skip


def _whole(exchange: Exchange, answers: Floats) -> Floats:
    """Return [B] the squared change of a row's answers, over all of its steps where it has several."""
    squares = np.square(answers - exchange.plain)
    if not exchange.answers.per_step:
        return np.asarray(squares.reshape(exchange.rows, -1).sum(1))
    valid = np.arange(len(squares))[:, None] < exchange.lengths
    by_step = squares.reshape(*squares.shape[:2], -1).sum(-1) * valid
    return np.asarray(by_step.sum(0) / exchange.lengths)


def _worth(saved: Floats, gain: Floats, drawn: Indices) -> tuple[float, Interval]:
    share, low, high = share_interval(saved[:, None], gain, drawn)
    return float(share[0]), Interval(float(low[0]), float(high[0]))


def _unused(
    exchange: Exchange, found: Sequence[Column], places: Sequence[Indices], losses: Floats, gain: Floats
) -> tuple[str, ...]:
    """Return columns that save nothing together: those that do not each, but for the best, until it is so.

    For sure, or none: there are `FEWEST` samples, the high end of the loss that they save is below `CARRIES`
    of what all are worth, and all are worth something.
    """
    low = float(mean_interval(gain)[1])
    if exchange.rows < FEWEST or not low > 0:
        return ()
    chosen = [each for each in found if each.worth_interval.high < CARRIES]
    while chosen:
        without = [exchange.answered({each.name: place for each in chosen}) for place in places]
        saved = np.mean([exchange.answers.loss(each) - losses for each in without], axis=0)
        if float(mean_interval(saved)[2]) < CARRIES * float(gain.mean()):
            break
        chosen = chosen[1:]  # they are in the order of their worth
    return tuple(each.name for each in chosen) if len(chosen) < len(found) else ()


@dataclass(frozen=True)
class LagMap(Result):
    """What `lag_map` measured.

    Attributes:
        columns: [C] names. first: [K] the lag at which a range of lags begins. width: lags of a range.
        share: [C, K] the part of the dependence that a column at these lags takes part in: mean squared
            change of the answers, over that where all inputs are another sample's.
        low, high: [C, K] its 95 % interval over samples.
        step, unit: how long a step is. origin: what lag 0 is, in words.
        left_out: columns that are less important than those listed.
    """

    columns: tuple[str, ...]
    first: Indices
    width: int
    share: Floats
    low: Floats
    high: Floats
    step: float
    unit: str
    origin: str
    left_out: int

    def text(self, steps: float) -> str:
        """Return a number of steps in the data's unit."""
        return Step(self.step, self.unit).text(steps)

    def lag(self, k: int) -> str:
        """Return a range of lags in steps."""
        begin, end = int(self.first[k]), int(self.first[k]) + self.width - 1
        if begin < 0:
            return f"{-begin} ahead" + (f" to {abs(end)}{' ahead' * (end < 0)}" if end > begin else "")
        return str(begin) if begin == end else f"{begin} to {end}"

    def span(self, k: int) -> str:
        """Return a range of lags in the data's unit: "10 h to 11 h"."""
        begin, end = int(self.first[k]), int(self.first[k]) + self.width - 1
        return self.text(begin) if begin == end else f"{self.text(begin)} to {self.text(end)}"

    @property
    def top(self) -> list[tuple[int, int]]:
        """(number of a column, number of a range of lags) of those that matter most, the first twelve."""
        order = np.argsort(-self.share, axis=None, kind="stable")[:TOP]
        return [divmod(int(at), len(self.first)) for at in order if self.share.flat[at] > 0]

    def plot(self, path: str | Path) -> None:
        """Draw the map into a PNG file; of one column a curve."""
        unit = "" if self.unit == "step" and self.step == 1 else f" of {self.text(1)}"
        if len(self.columns) == 1:
            at = np.arange(int(self.first[0]), int(self.first[-1]) + self.width)
            figures.lags(
                path,
                curves={self.columns[0]: {"middle": np.repeat(self.share[0], self.width)[: len(at)]}},
                xlabel=f"{self.origin}, steps{unit}",
                ylabel="share of the dependence",
                title="at which lag answers depend on inputs",
                first=int(self.first[0]),
            )
            return
        figures.by_lag(
            path,
            values=100 * self.share,
            rows=self.columns,
            first=int(self.first[0]),
            width=self.width,
            xlabel=f"{self.origin}, steps{unit}",
            unit="% of the dependence",
            title="which column matters at which lag",
        )


def lag_map(
    exchange: Exchange,
    *,
    order: Sequence[str] = (),
    lags: int | None = None,
    progress: Progress | None = None,
) -> LagMap:
    """Measure at which lag answers depend on which column: each is another sample's at a few lags alone.

    Args:
        exchange: samples. order: columns, the most important first; default as they are.
        lags: how far back; default the longest sample. progress: called with (done, of how many).
    """
    given = exchange.answers
    names = tuple(order or given.columns)[:LISTED]
    reach = min(lags or exchange.longest, exchange.longest)
    first = 0
    if given.per_step:
        reach = min(reach, WIDEST // 2)
        first = 0 if given.one_way else -reach + 1
    width = max(1, -(-(reach - first) * len(names) // RUNS), -(-(reach - first) // WIDEST))
    begins = np.arange(first, reach, width)
    partners = exchange.partners(0)
    other, own, at = (
        exchange.same_place(partners),
        exchange.own(),
        np.arange(int(exchange.lengths.max()))[:, None],
    )
    t = targets(exchange, 0) if given.per_step else exchange.last
    back = t - at  # [T, B] the lag of each step
    whole = _at(exchange, exchange.answered(other), t)
    parts = np.zeros((exchange.rows, len(names), len(begins)))
    for c, name in enumerate(names):
        for k, begin in enumerate(begins):
            places = np.where((back >= begin) & (back < begin + width), other, own)
            parts[:, c, k] = _at(exchange, exchange.answered({name: places}), t)
        if progress is not None:
            progress(c + 1, len(names))
    share, low, high = share_interval(parts, whole, exchange.resamples())
    origin = "steps before the answer's own" if given.per_step else "lag back from the last step"
    return LagMap(names, begins, int(width), share, low, high, given.step.length, given.step.unit, origin,
                  len(given.columns) - len(names))  # fmt: skip


def _at(exchange: Exchange, answers: Floats, t: Indices) -> Floats:
    """Return [B] the squared change of the answers, of those at steps t where each step has one."""
    if not exchange.answers.per_step:
        return exchange.difference(answers)
    rows = np.arange(exchange.rows)
    squares = np.square(answers[t, rows] - exchange.plain[t, rows])
    return np.asarray(squares.reshape(exchange.rows, -1).sum(1))
