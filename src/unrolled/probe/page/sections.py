"""What the page says of each measurement of gradients and of memory: its picture, a sentence, its numbers."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unrolled.probe.gradient import Flow, GradientFlow, UpdateNorms
from unrolled.probe.long_run import WINDOW, WORSE, LongRun
from unrolled.probe.lyapunov import Lyapunov
from unrolled.probe.maps import MemoryMap
from unrolled.probe.memory import CLOSE, ContextCurve, MemoryHorizon
from unrolled.probe.page.html import Markup, joined, paragraph, region, table, tag, token
from unrolled.probe.words import between, number, numbers, percent, steps, thinned

__all__ = [
    "HEADINGS", "Section", "context", "exponents", "flow", "horizon", "lay_out", "long_text", "pairs",
    "updates",
]  # fmt: skip

INCH, DOTS = 96, 150  # pixels of the page, and of a picture, in an inch
NARROWEST = 0.75  # of its size: below that a picture scrolls, so that its words stay readable
INPUTS = 3  # of a prediction, that the table of the map names
HEADINGS = {
    "gradient_flow": "Gradient flow",
    "memory_horizon": "Memory horizon",
    "context_curve": "What context is worth",
    "gates": "Gates and units",
    "lyapunov": "Lyapunov exponents",
    "memory_map": "Memory map",
    "trajectories": "Gates and states, step by step",
    "long_run": "Loss along a long run",
    "update_norms": "Update norms",
}  # of each measurement, in the order of the page


@dataclass(frozen=True)
class Section:
    """What the page says of one measurement.

    Attributes:
        name: of the report's field.
        kind: of picture, the beginning of its alternative text.
        reading: how to read the picture, in a sentence. shows: what it shows here, in a sentence.
        tables: the numbers behind it. draw: the picture into a file.
        wide: whether the picture has texts so small that it must not shrink.
    """

    name: str
    kind: str
    reading: str
    shows: str
    tables: Sequence[Markup]
    draw: Callable[[Path], None]
    wide: bool = False

    @property
    def heading(self) -> str:
        """The name in words."""
        return HEADINGS[self.name]

    @property
    def id(self) -> str:
        """The name as an address within the page."""
        return self.name.replace("_", "-")


def lay_out(section: Section, picture: bytes | None) -> list[Markup]:
    """Return what stands below a section's heading, with the PNG file, or without one for want of room."""
    if picture is None:
        drawn = paragraph("The picture is left out, as the page would grow too large; the numbers follow.")
    else:
        caption = tag("figcaption", tag("b", "How to read it: "), section.reading)
        drawn = tag("figure", region(f"Picture: {section.heading}", _image(section, picture)), caption)
    numbers = tag("details", tag("summary", f"{section.heading}: the numbers"), *section.tables)
    return [paragraph(tag("b", "Here: "), section.shows), drawn, numbers]


def _image(section: Section, picture: bytes) -> Markup:
    width, height = (size * INCH // DOTS for size in struct.unpack(">II", picture[16:24]))
    least = width if section.wide else int(NARROWEST * width)
    return tag(
        "img",
        src=Markup("data:image/png;base64," + base64.b64encode(picture).decode("ascii")),
        alt=f"{section.kind} {section.shows[:1].upper()}{section.shows[1:]}",
        width=width,
        height=height,
        style=f"min-width:{least}px",
    )


def flow(result: GradientFlow) -> Section:
    """Return the section on the gradient by lag."""
    return Section(
        name="gradient_flow",
        kind="A curve over lags for each state of each layer, with a band.",
        reading="each curve is the logarithm of the part of the loss's gradient that reaches a state k steps "
        "earlier, with a band that holds 80 % of the samples: one that falls by 0.69 has halved, a level one "
        "loses nothing, a rising one explodes.",
        shows=f"over {result.lags} lags and {result.samples} losses the gradient is {result.verdict}: "
        f"{'; '.join(map(_words, result.flows))}."
        if result.verdict != "none"
        else "no state carries any gradient back in time.",
        tables=(_split(result), *map(_curve, result.flows)),
        draw=result.plot,
    )


def _words(each: Flow) -> str:
    where = f"by {each.layer} {each.state}"
    if each.fitted is None:
        return f"{where} nothing is carried"
    change = f"{where} it changes by {number(each.rate)} nats a step"
    if math.isinf(each.half_life):
        return f"{change} and does not halve"
    return f"{change} and halves every {steps(each.half_life)}"


def _split(result: GradientFlow) -> Markup:
    head = ("State", "Injected at a step", "Carried from later steps", "Share that is carried", "Lags fitted")
    rows = (
        (
            f"{each.layer} {each.state}",
            *numbers(each.injected, each.carried),
            percent(each.carried_share),
            "none" if each.fitted is None else f"{each.fitted[0]} to {each.fitted[1]}",
        )
        for each in result.flows
    )
    return table("Gradient of the summed loss: mean norms, and the lags of the fit", head, rows)


def _curve(each: Flow) -> Markup:
    head = ("Lag", "Mean ln norm, nats", "In parts of lag 0", "10th percentile", "90th percentile")
    rows = ((k, number(each.nats[k]), _left(each, k), *numbers(each.low[k], each.high[k]))
            for k in thinned(each.nats))  # fmt: skip
    return table(f"Gradient by {each.layer} {each.state} over lags", head, rows)


def _left(each: Flow, k: int) -> str:
    """Say which part of the gradient at lag 0 is left."""
    if not np.isfinite(each.nats[[0, k]]).all():
        return "nothing"
    return number(np.exp(np.clip(each.nats[k] - each.nats[0], -700, 700)))


def exponents(result: Lyapunov) -> Section:
    """Return the section on the Lyapunov exponents."""
    top = max(result.layers, key=lambda each: float(each.exponents[0]))
    reach = between(float(top.low[0]), float(top.high[0]))
    pace = ""
    if math.isfinite(result.leading) and result.leading:
        verb = "doubles" if result.leading > 0 else "halves"
        pace = f": a small disturbance {verb} every {steps(math.log(2) / abs(result.leading))}"
    return Section(
        name="lyapunov",
        kind="The leading exponents of each layer, a panel a layer, with a band.",
        reading="each point is how fast a small disturbance of the layer's state grows (above 0) or fades "
        "(below 0) in one more direction, the fastest first; the band is the 95 % interval.",
        shows=f"driven by this text the network is {_place(result.verdict)}{pace}; the leading exponent is "
        f"{number(result.leading)} nats a step, in {top.layer} (95 % interval: {reach}).",
        tables=[
            table(
                f"Exponents of {each.layer}, nats a step, over {result.steps:,} steps of {result.rows} rows",
                ("Number", "Exponent", "Low end of 95 %", "High end of 95 %"),
                (
                    (n + 1, *numbers(each.exponents[n], each.low[n], each.high[n]))
                    for n in thinned(each.exponents)
                ),
            )
            for each in result.layers
        ],
        draw=result.plot,
    )


def _place(verdict: str) -> str:
    return "at the edge of chaos" if verdict == "at the edge" else verdict


def updates(result: UpdateNorms) -> Section:
    """Return the section on the gradients of training steps."""
    spread = "" if not math.isfinite(result.spread) else f", {number(result.spread)} times the median"
    windows = "1 window" if len(result.norms) == 1 else f"{len(result.norms)} windows"
    return Section(
        name="update_norms",
        kind="A curve over training windows, with a level line at the 90th percentile.",
        reading="each point is the norm of the gradient of one window as training would see it, before "
        "clipping; a few that are far above the rest are what clipping is for.",
        shows=f"over {windows} of {result.window} steps and {result.rows} rows the median norm is "
        f"{number(result.median)}, the 90th percentile {number(result.ninetieth)} and the largest "
        f"{number(result.largest)}{spread}.",
        tables=[
            table(
                "Norm of the gradient, window after window, nats",
                ("Window", "Norm"),
                ((n + 1, number(result.norms[n])) for n in thinned(result.norms)),
            )
        ],
        draw=result.plot,
    )


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
