"""What the page says of memory: how far inputs reach, what context is worth, and how a long run goes."""

from __future__ import annotations

import numpy as np

from unrolled.probe.context import CLOSE, ContextCurve
from unrolled.probe.horizon import MemoryHorizon
from unrolled.probe.long_run import WINDOW, WORSE, LongRun
from unrolled.probe.maps import MemoryMap
from unrolled.probe.page.markup import Markup, joined, table, token
from unrolled.probe.page.section import Section
from unrolled.probe.page.words import between, number, numbers, percent, steps, thinned

__all__ = ["context", "horizon", "long_text", "pairs"]

INPUTS = 3  # of a prediction, that the table of the map names


def horizon(result: MemoryHorizon) -> Section:
    """Return the section on how far back inputs matter."""
    largest = int(np.nanargmax(result.effect))
    return Section(
        name="memory_horizon",
        kind="A curve over lags on a logarithmic scale, with a band, the threshold and the horizon.",
        reading="each point is how much the prediction at t changes when the input k steps before it is "
        "replaced, with the 95 % interval as a band; the horizon is the last lag whose band lies above the "
        "threshold.",
        shows=f"{result.summary}; the largest effect is {number(result.effect[largest])} {result.unit}, at "
        f"lag {largest}, and an effect of {number(result.threshold)} counts.",
        tables=[
            table(
                f"Effect of a replaced input on the prediction, {result.unit}",
                ("Lag", "Mean effect", "Low end of 95 %", "High end of 95 %", "Counts"),
                (
                    (
                        k,
                        *numbers(result.effect[k], result.low[k], result.high[k]),
                        "yes" if result.effect[k] >= result.threshold else "no",
                    )
                    for k in thinned(result.effect)
                ),
            )
        ],
        draw=result.plot,
    )


def context(result: ContextCurve) -> Section:
    """Return the section on what context is worth."""
    most = len(result.loss)
    return Section(
        name="context_curve",
        kind="A falling curve over the number of inputs seen, with a band."
        if result.gain > 0
        else "A curve over the number of inputs seen, with a band.",
        reading="each point is the loss on the same targets after so many inputs from the zero state, with "
        "the 95 % interval as a band; where the curve is level, more context does not help.",
        shows=f"with one input the loss is {number(result.loss[0])}, with {most} it is "
        f"{number(result.loss[-1])}: context is worth {number(result.gain)} (95 % interval: "
        f"{between(*map(float, result.gain_interval))}), and from {steps(result.needed)} on the loss is "
        f"within {percent(CLOSE)} of the last.",
        tables=[
            table(
                f"Loss by context, {result.samples:,} targets",
                ("Steps of context", "Loss", "Low end of 95 %", "High end of 95 %"),
                (
                    (n + 1, *numbers(result.loss[n], result.low[n], result.high[n]))
                    for n in thinned(result.loss)
                ),
            )
        ],
        draw=result.plot,
    )


def pairs(result: MemoryMap) -> Section:
    """Return the section on which prediction hangs on which input."""
    return Section(
        name="memory_map",
        kind="A triangle of cells, predictions from top to bottom and inputs from left to right.",
        reading="a row is a prediction and a column an input: the brighter a cell, the more the prediction "
        "after t hangs on the input at s, on a scale of powers of ten; the diagonal is the latest input.",
        shows=_looks_back(result),
        tables=[_hangs_on(result)],
        draw=result.plot,
        wide=True,
    )


def _looks_back(result: MemoryMap) -> str:
    reach, whole = result.reach, float(result.norms.sum())
    if not whole:
        return f"none of the {len(reach)} predictions hangs on any input."
    far = int(reach.argmax())
    return (
        f"over {len(reach)} predictions the mean lag is {steps(float(reach.mean()))} and at most "
        f"{number(float(reach[far]))}, after step {far}; the latest input has "
        f"{percent(float(np.trace(result.norms)) / whole)} of the weight."
    )


def _hangs_on(result: MemoryMap) -> Markup:
    head: tuple[str, ...] = ("After step", "Token", "Hangs most on", "then on", "then on", "Mean lag")
    if result.tokens is None:
        head = ("After step", *head[2:])
    rows = (_prediction(result, t, float(result.reach[t])) for t in thinned(result.reach))
    return table("Each prediction: the inputs it hangs on most, with their share of the weight", head, rows)


def _prediction(result: MemoryMap, t: int, reach: float) -> list[object]:
    row = result.norms[t, : t + 1]
    best = [int(s) for s in np.argsort(-row, kind="stable")[:INPUTS] if row[s] > 0]
    cells = [_input(result, t, s, float(row[s] / row.sum())) for s in best]
    cells += [Markup("nothing")] * (INPUTS - len(cells))
    named = [] if result.tokens is None else [token(result.tokens[t])]
    return [t, *named, *cells, number(reach)]


def _input(result: MemoryMap, t: int, s: int, share: float) -> Markup:
    where = "the same step" if s == t else f"{steps(t - s)} back"
    words = f"{where}, {percent(share)}"
    return joined((words,) if result.tokens is None else (token(result.tokens[s]), f" {words}"))


def long_text(result: LongRun) -> Section:
    """Return the section on the loss along a long text."""
    begins = (0, *result.ends[:-1])
    return Section(
        name="long_run",
        kind="A curve over the parts of a text, with a band.",
        reading="each point is the mean loss over one part of the text, each part about as long as what "
        "comes before it, with the 95 % interval as a band; the curve of a network that runs away from what "
        "it was trained on rises.",
        shows=f"from the zero state to step {result.ends[-1]:,} the loss goes from {number(result.loss[0])} "
        f"to {number(result.loss[-1])} nats a token; {result.lost} of {result.rows} rows have run away at "
        f"the end: there the carried state predicts worse, by more than {percent(WORSE)}, than one that "
        f"starts from zero every {WINDOW} steps.",
        tables=[
            table(
                "Loss at the end of each row, nats a token",
                ("Row", "State carried", "Fresh state"),
                (
                    (n + 1, *numbers(*each))
                    for n, each in enumerate(zip(result.carried, result.fresh, strict=True))
                ),
            ),
            table(
                f"Loss by part of the text, nats a token, {result.rows} rows",
                ("Part", "Steps", "Loss", "Low end of 95 %", "High end of 95 %"),
                (
                    (
                        n + 1,
                        f"{begins[n] + 1:,} to {result.ends[n]:,}",
                        *numbers(result.loss[n], result.low[n], result.high[n]),
                    )
                    for n in range(len(result.ends))
                ),
            ),
        ],
        draw=result.plot,
    )
