"""What the page says of each measurement of gradients and of memory: its picture, a sentence, its numbers."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unrolled.errors import counted
from unrolled.probe.decay import Left
from unrolled.probe.gradient import Flow, GradientFlow, UpdateNorms
from unrolled.probe.long_run import WINDOW, WORSE, LongRun
from unrolled.probe.lyapunov import Lyapunov
from unrolled.probe.maps import MemoryMap
from unrolled.probe.memory import CLOSE, ContextCurve, MemoryHorizon
from unrolled.probe.page.html import Markup, joined, paragraph, region, table, tag, token
from unrolled.probe.result import Floats
from unrolled.probe.words import between, number, numbers, percent, steps, thinned

Draw = Callable[[Path], None]
INCH, DOTS = 96, 150  # pixels of the page, and of a picture, in an inch
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
ANSWER_HEADINGS = {
    "reach": "How far back the answers look",
    "columns": "The score without a column",
    "lag_map": "Which column matters at which lag",
    "steps_seen": "The score over the steps seen",
}  # of those of a task's answers, which come first


@dataclass(frozen=True)
class Section:
    """What the page says of one measurement.

    Attributes:
        name: of the report's field.
        kind: of picture, the beginning of its alternative text.
        reading: how to read the picture, in a sentence. shows: what it shows here, in a sentence.
        tables: the numbers behind it. draw: the picture into a file; None where there is nothing to see.
    """

    name: str
    kind: str
    reading: str
    shows: str
    tables: Sequence[Markup]
    draw: Draw | None

    @property
    def heading(self) -> str:
        """The name in words."""
        return (ANSWER_HEADINGS | HEADINGS)[self.name]

    @property
    def id(self) -> str:
        """The name as an address within the page."""
        return self.name.replace("_", "-")


def lay_out(section: Section, light: bytes | None, dark: bytes | None) -> list[Markup]:
    """Return what is below a section's heading: what it shows, its picture, its numbers.

    Args:
        light, dark: its picture as PNG files, for a light and a dark page; None where there was no room.
    """
    numbers = tag("details", tag("summary", f"{section.heading}: the numbers"), *section.tables)
    shows = paragraph(tag("b", "Here: "), section.shows)
    if section.draw is None:
        return [shows, numbers]
    if light is None:
        left_out = paragraph("The picture is left out, as the page would grow too large; the numbers follow.")
        return [shows, left_out, numbers]
    caption = tag("figcaption", tag("b", "How to read it: "), section.reading)
    seen = region(f"Picture: {section.heading}", _picture(section, light, dark))
    return [shows, tag("figure", seen, caption), numbers]


def _picture(section: Section, light: bytes, dark: bytes | None) -> Markup:
    """Return a picture in its own size, so that its words stay readable: it scrolls on narrow screens."""
    width, height = (size * INCH // DOTS for size in struct.unpack(">II", light[16:24]))
    alt = f"{section.kind} {section.shows[:1].upper()}{section.shows[1:]}"
    image = tag("img", src=_address(light), alt=alt, width=width, height=height)
    if dark is None:
        return image
    other = tag("source", srcset=_address(dark), media="(prefers-color-scheme: dark)")
    return tag("picture", other, image)


def _address(picture: bytes) -> Markup:
    return Markup("data:image/png;base64," + base64.b64encode(picture).decode("ascii"))


def _of_several(draw: Draw, points: int) -> Draw | None:
    """Return how a picture is drawn; None for a single point, which shows no more than the sentence does."""
    return draw if points > 1 else None


def _intervals(caption: str, head: str, value: str, measured: tuple[Floats, ...], first: int = 0) -> Markup:
    """Return a table of values, counted from `first` on, with the two ends of their 95 % intervals."""
    rows = ((first + n, *numbers(*(each[n] for each in measured))) for n in thinned(measured[0]))
    return table(caption, (head, value, "Low end of 95 %", "High end of 95 %"), rows)


def flow(result: GradientFlow) -> Section:
    """Return the section on the gradient with respect to each state by lag."""
    return Section(
        name="gradient_flow",
        kind="A curve over lags for each state of each layer, with a band.",
        reading="each curve is the logarithm of the norm of the gradient of the loss with respect to a state "
        "k steps earlier; the band holds 80 % of the samples. A curve that falls by 0.69 has halved, by 2.3 "
        "is at a tenth and by 4.6 at a hundredth; a level one loses nothing, and one that keeps rising "
        "explodes.",
        shows=f"over {counted(result.lags, 'lag')} and {counted(result.samples, 'loss', 'losses')} the "
        f"gradient is {result.verdict}. "
        f"{'. '.join(map(_words, result.flows))}."
        if result.verdict != "none"
        else "no state carries any gradient back in time.",
        tables=(_decay(result), _split(result), *map(_curve, result.flows)),
        draw=result.plot,
    )


def _words(each: Flow) -> str:
    where = f"With respect to {each.layer} {each.state}"
    if each.decay is None:
        return f"{where} nothing is carried back"
    if each.verdict == "exploding":
        return f"{where} it grows by {number(each.rate)} nats per step"
    slopes = f"; {each.decay.slopes}" if each.decay.slopes else ""
    return f"{where} {each.decay.summary}{slopes}"


def _decay(result: GradientFlow) -> Markup:
    """Return the table of when a half, a tenth and a hundredth is left, and of the slopes between."""
    head = ("State", "A half", "A tenth", "A hundredth", "Nats per step to a tenth", "From there")

    def when(left: Left, lags: int) -> str:
        if not math.isfinite(left.steps):
            return f"beyond {steps(lags)}"
        interval = "" if math.isnan(left.interval.low) else f" ({between(*left.interval)})"
        return f"{number(left.steps)}{interval}"

    rows = (
        (
            f"{each.layer} {each.state}",
            *(when(left, found.lags) for left in (found.half, found.tenth, found.hundredth)),
            *numbers(found.fast, found.slow),
        )
        for each in result.flows
        if (found := each.decay) is not None
    )
    return table(
        "Steps from the largest norm until so much of it is left, with 95 % intervals over rows", head, rows
    )


def _split(result: GradientFlow) -> Markup:
    head = (
        "State",
        "Injected at a step",
        "Carried from later steps",
        "Share that is carried",
        "Lags fitted",
        "Units never read",
    )
    rows = (
        (
            f"{each.layer} {each.state}",
            *numbers(each.injected, each.carried),
            percent(each.carried_share),
            "none" if each.fitted is None else f"{each.fitted[0]} to {each.fitted[1]}",
            percent(each.unread),
        )
        for each in result.flows
    )
    return table(
        "Gradient of the summed loss: mean norms, and the lags that the rate is fitted on", head, rows
    )


def _curve(each: Flow) -> Markup:
    head = ("Lag", "Mean ln norm, nats", "Share of the largest", "10th percentile", "90th percentile")
    rows = ((k, number(each.nats[k]), _left(each, k), *numbers(each.low[k], each.high[k]))
            for k in thinned(each.nats))  # fmt: skip
    return table(f"Gradient with respect to {each.layer} {each.state} by lag", head, rows)


def _left(each: Flow, k: int) -> str:
    """Say which part of the largest norm of any lag there is at a lag."""
    if each.decay is None or not np.isfinite(each.nats[k]):
        return "nothing"
    return number(np.exp(np.clip(each.nats[k] - each.nats[each.decay.start], -700, 700)))


def exponents(result: Lyapunov) -> Section:
    """Return the section on the Lyapunov exponents."""
    top = max(result.layers, key=lambda each: float(each.exponents[0]))
    reach = between(float(top.low[0]), float(top.high[0]))
    over = f"{counted(result.steps, 'step')} of {counted(result.rows, 'row')}"
    place = "at the edge of chaos" if result.verdict == "at the edge" else result.verdict
    pace = ""
    if math.isfinite(result.leading) and result.leading:
        verb = "doubles" if result.leading > 0 else "halves"
        pace = f": a small disturbance {verb} every {steps(math.log(2) / abs(result.leading))}"
    return Section(
        name="lyapunov",
        kind="The leading exponents of each layer, one panel per layer, with a band.",
        reading="each point says how fast a small disturbance of the layer's state grows (above 0) or fades "
        "(below 0) in one direction, the fastest first; the band is the 95 % interval.",
        shows=f"driven by these inputs the network is {place}{pace}; the leading exponent is "
        f"{number(result.leading)} nats per step, in {top.layer} (95 % interval: {reach}).",
        tables=[
            _intervals(
                f"Exponents of {each.layer}, nats per step, over {over}",
                "Number",
                "Exponent",
                (each.exponents, each.low, each.high),
                1,
            )
            for each in result.layers
        ],
        draw=_of_several(result.plot, max(len(each.exponents) for each in result.layers)),
    )


def updates(result: UpdateNorms) -> Section:
    """Return the section on the gradients of training steps."""
    spread = "" if not math.isfinite(result.spread) else f", {number(result.spread)} times the median"
    windows = counted(len(result.norms), "window")
    return Section(
        name="update_norms",
        kind="A curve over training windows, with a level line at the 90th percentile.",
        reading="each point is the norm of the gradient of one window, as training would see it before "
        "clipping; clipping is for a few that are far above the rest.",
        shows=f"over {windows} of {counted(result.window, 'step')} and {counted(result.rows, 'row')} the "
        f"median norm is {number(result.median)}, the 90th percentile {number(result.ninetieth)} and the "
        f"largest {number(result.largest)}{spread}.",
        tables=[
            table(
                "Norm of the gradient of the mean loss, window after window",
                ("Window", "Norm"),
                ((n + 1, number(result.norms[n])) for n in thinned(result.norms)),
            )
        ],
        draw=_of_several(result.plot, len(result.norms)),
    )


def horizon(result: MemoryHorizon) -> Section:
    """Return the section on how far back inputs matter."""
    largest = int(np.nanargmax(result.effect))
    caption = f"Effect of a replaced input on the prediction, {result.unit}"
    return Section(
        name="memory_horizon",
        kind="A curve over lags on a logarithmic scale, with a band, the threshold and the horizon.",
        reading="each point is how much the prediction at t changes when the input k steps before it is "
        "replaced; the band is the 95 % interval. The horizon is the last lag whose band lies above the "
        "threshold.",
        shows=f"{result.summary}; the largest effect is {number(result.effect[largest])} {result.unit}, at "
        f"lag {largest}, and an effect of {number(result.threshold)} counts.",
        tables=[_intervals(caption, "Lag", "Mean effect", (result.effect, result.low, result.high))],
        draw=result.plot,
    )


def context(result: ContextCurve) -> Section:
    """Return the section on what context is worth."""
    most = len(result.loss)
    caption = f"Loss by context, {counted(result.samples, 'target')}"
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
        tables=[_intervals(caption, "Steps of context", "Loss", (result.loss, result.low, result.high), 1)],
        draw=_of_several(result.plot, most),
    )


def pairs(result: MemoryMap) -> Section:
    """Return the section on which prediction depends on which input."""
    return Section(
        name="memory_map",
        kind="A triangle of cells, predictions from top to bottom and inputs from left to right.",
        reading="a row is a prediction and a column an input: the brighter a cell, the more the prediction "
        "after t depends on the input at s, on a scale of powers of ten; the diagonal is the latest input.",
        shows=_looks_back(result),
        tables=[_depends_on(result)],
        draw=_of_several(result.plot, len(result.norms)),
    )


def _looks_back(result: MemoryMap) -> str:
    reach, whole = result.reach, float(result.norms.sum())
    if not whole:
        return f"none of the {len(reach)} predictions depends on any input."
    far = int(reach.argmax())
    return (
        f"over {counted(len(reach), 'prediction')} the mean lag is {steps(float(reach.mean()))} and at most "
        f"{number(float(reach[far]))}, after step {far}; the latest input has "
        f"{percent(float(np.trace(result.norms)) / whole)} of the weight."
    )


def _depends_on(result: MemoryMap) -> Markup:
    head: tuple[str, ...] = ("After step", "Token", "Depends most on", "then on", "then on", "Mean lag")
    if result.tokens is None:
        head = ("After step", *head[2:])
    rows = (_prediction(result, t, float(result.reach[t])) for t in thinned(result.reach))
    return table("Each prediction: the inputs it depends on most, with their share of the weight", head, rows)


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
    ends = ", ".join(f"{end:,}" for end in result.ends)
    caption = f"Loss by part of the text, nats per token; the parts end at step {ends}"
    return Section(
        name="long_run",
        kind="A curve over the parts of a text, with a band.",
        reading="each point is the mean loss over one part of the text, each about as long as all before it; "
        "the band is the 95 % interval. The curve rises where the network runs away from what it was trained "
        "on.",
        shows=f"from the zero state to step {result.ends[-1]:,} the loss goes from {number(result.loss[0])} "
        f"to {number(result.loss[-1])} nats per token; at the end {result.lost} of "
        f"{counted(result.rows, 'row')} {'has' if result.lost == 1 else 'have'} run away: there the carried "
        f"state predicts worse, by more than {percent(WORSE)}, than one that starts from zero every {WINDOW} "
        f"steps.",
        tables=[
            table(
                "Loss at the end of each row, nats per token",
                ("Row", "State carried", "Fresh state"),
                (
                    (n + 1, *numbers(*each))
                    for n, each in enumerate(zip(result.carried, result.fresh, strict=True))
                ),
            ),
            _intervals(caption, "Part", "Loss", (result.loss, result.low, result.high), 1),
        ],
        draw=_of_several(result.plot, len(result.ends)),
    )
