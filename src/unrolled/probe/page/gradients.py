"""What the page says of gradients and of small disturbances."""

from __future__ import annotations

import math

import numpy as np

from unrolled.probe.exponents import Lyapunov
from unrolled.probe.gradient import Flow, GradientFlow
from unrolled.probe.page.markup import Markup, table
from unrolled.probe.page.section import Section
from unrolled.probe.page.words import between, number, numbers, percent, steps, thinned
from unrolled.probe.updates import UpdateNorms

__all__ = ["exponents", "flow", "updates"]


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
