"""Steps seen: the score of the answers after some of the steps, and from when on it has settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unrolled import figures
from unrolled.errors import ConfigError, expected
from unrolled.probe.exchange import Exchange, Indices
from unrolled.probe.losses import Progress
from unrolled.probe.reach import CLOSER, spaced
from unrolled.probe.result import Floats, Interval, Result
from unrolled.tasks import Step

POINTS, AFTER = 20, 64  # numbers of steps, at which a network is asked that is not one way; and that is
LEFT = 0.05  # of the way from no inputs to all of them, that may be missing where a score has settled


@dataclass(frozen=True)
class StepsSeen(Result):
    """What `steps_seen` measured.

    Attributes:
        figure, unit, higher: of the score.
        steps: [K] how many steps of each sample were seen, from the first one on; shorter samples whole.
        score: [K]. low, high: [K] its 95 % interval over samples.
        same: [K] the share of samples whose class is already that of the whole sample; None of numbers.
        nothing: the score where all inputs are another sample's.
        stands: the steps after which the score has come 95 % of the way from `nothing` to the score of
            whole samples.
        stands_interval: its 95 % interval over samples.
        peak: the steps with the best score. lost: how much better than the last one it is; 0 or more.
        lost_interval: its 95 % interval over samples.
        controls: name → score of a simple model that saw whole samples. controls_of: of which samples.
        step, unit_of_step: how long a step is. one_way: whether the network was asked after each step.
        rows: samples. longest: steps of the longest one.
    """

    figure: str
    unit: str
    higher: bool
    steps: Indices
    score: Floats
    low: Floats
    high: Floats
    same: Floats | None
    nothing: float
    stands: int
    stands_interval: Interval
    peak: int
    lost: float
    lost_interval: Interval
    step: float
    unit_of_step: str
    one_way: bool
    rows: int
    longest: int
    controls: Mapping[str, float] = field(default_factory=dict)
    controls_of: str = ""

    def text(self, steps: float) -> str:
        """Return a number of steps in the data's unit."""
        return Step(self.step, self.unit_of_step).text(steps)

    @property
    def control(self) -> tuple[str, float] | None:
        """The name and score of the best simple model."""
        pick = max if self.higher else min
        return pick(self.controls.items(), key=lambda each: each[1]) if self.controls else None

    def plot(self, path: str | Path) -> None:
        """Draw the score over the steps seen into a PNG file, with the best control as a line."""
        at = np.arange(int(self.steps[0]), int(self.steps[-1]) + 1)
        curves = {"middle": self.score, "low": self.low, "high": self.high}
        best = self.control
        name = f"{self.figure}{', ' + self.unit if self.unit else ''}"
        figures.lags(
            path,
            curves={name: {key: np.interp(at, self.steps, curve) for key, curve in curves.items()}},
            captions={name: f"settles after {self.text(self.stands)}"},
            xlabel="steps seen, from the first one on",
            ylabel=name,
            title="the score of the answers so far",
            first=int(self.steps[0]),
            marks={f"settles: {self.stands}": float(self.stands)},
            level=None if best is None else (f"{best[0]}, {self.controls_of}: {best[1]:.3g}", best[1]),
        )


def steps_seen(exchange: Exchange, *, progress: Progress | None = None) -> StepsSeen:
    """Measure the score over how many steps of each sample were seen.

    A network that reads one way gives an answer after each step. Any other is asked again for samples that
    are cut after so many steps; it was not trained on such beginnings, which is part of what it is asked.

    Raises:
        ConfigError: each step has an answer of its own, or windows have one length.
    """
    given = exchange.answers
    if given.per_step:
        raise ConfigError(expected("answers", "one for each sample", "one at each step"))
    if not given.cut and given.after is None:
        raise ConfigError(expected("samples", "of any length", "windows of the one length it was built for"))
    figure, everyone, drawn = given.figure, np.arange(exchange.rows), exchange.resamples()
    nothing = float(np.mean([figure.of(exchange.plain[exchange.partners(n)], everyone) for n in range(5)]))
    by_step = _answers(exchange, nothing, progress)
    steps = np.array(sorted(by_step))
    answers = [by_step[int(k)] for k in steps]
    score = np.array([figure.of(each, everyone) for each in answers])
    curves = np.array([[figure.of(each, rows) for each in answers] for rows in drawn])  # [D, K]
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    stands = _stands(steps, score, nothing)
    ends = np.percentile([_stands(steps, curve, nothing) for curve in curves], [2.5, 97.5])
    sign = 1 if figure.higher else -1
    peak = int(np.argmax(sign * score))
    lost = sign * (curves[:, peak] - curves[:, -1])
    same = None
    if given.several:
        same = np.array([(each.argmax(-1) == exchange.plain.argmax(-1)).mean() for each in answers])
    return StepsSeen(
        figure.name, figure.unit, figure.higher, steps, score, low, high, same, nothing, stands,
        Interval(*ends.tolist()), int(steps[peak]), float(sign * (score[peak] - score[-1])),
        Interval(*np.percentile(lost, [2.5, 97.5]).tolist()), given.step.length, given.step.unit,
        given.after is not None, exchange.rows, exchange.longest, dict(given.controls), given.controls_of,
    )  # fmt: skip


def _answers(exchange: Exchange, nothing: float, progress: Progress | None) -> dict[int, Floats]:
    """Return the answers [B, …] after some numbers of steps: more of them where the score begins to stand."""
    given, rows = exchange.answers, np.arange(exchange.rows)
    if given.after is not None:
        every = np.asarray(given.after(given.columns, given.lengths), np.float64)
        seen = [k for k in spaced(exchange.longest, AFTER) if k]
        return {k: every[np.minimum(k + given.edges[0], exchange.lengths) - 1, rows] for k in seen}
    wanted = [k for k in spaced(exchange.longest, POINTS) if k]
    found: dict[int, Floats] = {}
    for number, k in enumerate(wanted):
        found[k] = exchange.answered(*exchange.beginning(k))
        if progress is not None:
            progress(number + 1, len(wanted))
    for _ in range(CLOSER):
        steps = sorted(found)
        score = np.array([given.figure.of(found[k], rows) for k in steps])
        at = steps.index(_stands(np.array(steps), score, nothing))
        if at and steps[at] - steps[at - 1] > 1:
            middle = (steps[at] + steps[at - 1]) // 2
            found[middle] = exchange.answered(*exchange.beginning(middle))
    return found


def _stands(steps: Indices, score: Floats, nothing: float) -> int:
    """Return the steps from which on no more than `LEFT` of the way to the last score is missing."""
    way = score[-1] - nothing
    if not way:
        return int(steps[0])
    short = np.flatnonzero((score[-1] - score) / way > LEFT)
    return int(steps[0]) if not len(short) else int(steps[min(int(short[-1]) + 1, len(steps) - 1)])
