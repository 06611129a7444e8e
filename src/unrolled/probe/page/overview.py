"""What the page says of the whole: the facts, the key numbers, what is missing, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from unrolled.probe.context import CLOSE
from unrolled.probe.gate_use import STILL
from unrolled.probe.gradient import EXPLODING, VANISHING
from unrolled.probe.horizon import FLOOR_NATS, FLOOR_SQUARED, SHARE
from unrolled.probe.page.markup import LINE, Markup, joined, paragraph, table, tag
from unrolled.probe.page.section import HEADINGS
from unrolled.probe.page.words import between, listed, number, percent, steps
from unrolled.spec import CLOSED, OPEN

if TYPE_CHECKING:
    from unrolled.probe.report import Report

__all__ = ["facts", "key_numbers", "method", "missing"]

UNDEFINED = {
    "long_run": "needs a language model, and rows of text without an end",
    "update_norms": "needs a language model and its batch",
}
THRESHOLDS = (
    ("Vanishing", f"{number(VANISHING)} nats a step", "a rate below: the gradient halves within two steps"),
    ("Exploding", f"{number(EXPLODING)} nats a step", "a rate above: the gradient doubles within 70 steps"),
    ("Horizon", f"{percent(SHARE)} of the largest effect", "an effect of at least this counts"),
    ("Horizon, floor", f"{number(FLOOR_NATS)} nats", "a smaller effect on a distribution never counts"),
    ("Horizon, floor of other outputs", f"{number(FLOOR_SQUARED)} of the variance", "as the floor in nats"),
    ("Context", f"{percent(CLOSE)} of the last loss", "from so near on, more context does not help"),
    ("Closed gate", f"below {CLOSED}", "of a gate between 0 and 1"),
    ("Open gate", f"above {OPEN}", "of a gate between 0 and 1; a tanh is saturated beyond plus or minus it"),
    ("Unit that never changes", number(STILL),
     "a standard deviation below, in parts of 1 or of the mean's size where that is more"),
)  # fmt: skip


def facts(report: Report) -> Markup:
    """Return what was measured, as a list of names and texts."""
    known = dict(report.facts or _derived(report))
    pairs = (joined((tag("dt", name), tag("dd", tag("bdi", text)), LINE)) for name, text in known.items())
    return tag("dl", *pairs) if known else paragraph("Nothing is known of the model.")


def _derived(report: Report) -> Iterator[tuple[str, str]]:
    if report.gates is not None:
        layers = (f"{each.layer} ({each.cell}, {len(each.saturated)} units)" for each in report.gates.layers)
        yield "layers", listed(layers)
        yield "steps, all rows", f"{report.gates.samples:,}"
    if report.gradient_flow is not None:
        yield "rows", f"{report.gradient_flow.rows:,}"
        yield "looked back", steps(report.gradient_flow.lags)
    if report.memory_horizon is not None and report.memory_horizon.bptt_steps is not None:
        yield "training window", steps(report.memory_horizon.bptt_steps)
    if report.known_lag is not None:
        yield "known lag", steps(report.known_lag)


def key_numbers(report: Report) -> Markup:
    """Return the table of the numbers that sum a network up."""
    rows = key_rows(report)
    if not rows:
        return paragraph("Nothing was measured that one number sums up.")
    return table("What sums the network up", ("Quantity", "Value", "95 % interval", "In words"), rows)


Row = tuple[str, str, str, str]  # quantity, value, interval, words


def key_rows(report: Report) -> list[Row]:
    """Return the numbers that sum a network up."""
    return [*_gradients(report), *_memory(report), *_dynamics(report)]


def _gradients(report: Report) -> Iterator[Row]:
    for each in report.gradient_flow.flows if report.gradient_flow else ():
        where = f"{each.layer} {each.state}"
        words = "nothing is carried" if each.verdict == "none" else each.verdict
        yield (f"Gradient rate, {where}", f"{number(each.rate)} nats a step",
               between(*each.rate_interval), words)  # fmt: skip
        value = "does not halve" if math.isinf(each.half_life) else steps(each.half_life)
        yield f"Gradient half-life, {where}", value, between(*each.half_life_interval), words


def _memory(report: Report) -> Iterator[Row]:
    horizon, curve = report.memory_horizon, report.context_curve
    if horizon is not None:
        yield ("Memory horizon", steps(horizon.horizon), between(*horizon.horizon_interval),
               horizon.summary)  # fmt: skip
    if curve is not None:
        words = f"within {percent(CLOSE)} of the loss with {len(curve.loss)}"
        yield "Context needed", steps(curve.needed), "not defined", words
        yield ("What context is worth", number(curve.gain), between(*map(float, curve.gain_interval)),
               "loss with one input, less that with all")  # fmt: skip


def _dynamics(report: Report) -> Iterator[Row]:
    exponents, run, norms = report.lyapunov, report.long_run, report.update_norms
    for layer in report.gates.layers if report.gates else ():
        if layer.spectral_radius is not None:
            yield (f"Spectral radius, {layer.layer}", number(layer.spectral_radius), "not defined",
                   f"saturated at {percent(float(layer.saturated.mean()))} of the steps")  # fmt: skip
    if exponents is not None:
        top = max(exponents.layers, key=lambda each: float(each.exponents[0]))
        yield (f"Leading exponent, {top.layer}", f"{number(exponents.leading)} nats a step",
               between(float(top.low[0]), float(top.high[0])), exponents.verdict)  # fmt: skip
    if run is not None:
        words = f"after {steps(run.ends[-1])}, against a fresh state"
        yield "Rows that have run away", f"{run.lost} of {run.rows}", "not defined", words
    if norms is not None:
        words = f"the largest is {number(norms.largest)}"
        yield "Update norm, median", number(norms.median), "not defined", words


def missing(report: Report) -> Markup:
    """Return what was not measured, and why."""
    why = {
        heading: report.omitted.get(name) or UNDEFINED.get(name, "not asked for")
        for name, heading in HEADINGS.items()
        if getattr(report, name) is None
    }
    if not why:
        return paragraph("Everything was measured.")
    return tag("ul", *(tag("li", tag("b", heading), ": ", tag("bdi", text)) for heading, text in why.items()))


def method() -> Markup:
    """Return how it was measured: intervals in words, thresholds as a table."""
    words = (
        "The model was held still while it was measured: in evaluation mode, its weights, gradients and "
        "random state untouched. ",
        "Intervals are 95 %, by Student's t over the rows of the batch, which are independent of each other; "
        "one row gives none. Rates and exponents are in nats a step: −0.69 halves, +0.69 doubles.",
    )
    head = ("Threshold", "Value", "Meaning")
    return joined((paragraph(*words), table("Thresholds", head, THRESHOLDS)))
