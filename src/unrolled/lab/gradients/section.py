"""The section of the report: what was measured at the start and after training, and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.lab.gradients.answer import answer
from unrolled.lab.spread import number, spread_text

__all__ = ["report"]


def report(summary: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    return "\n".join(
        [
            _introduction(summary),
            "### At the start, and after training\n",
            _flows(summary),
            "### How often training diverges\n",
            _divergence(summary),
            "### Are you likely to find exploding or vanishing gradients in RNNs or LSTMs?\n",
            answer(summary),
        ]
    )


def _introduction(summary: Mapping[str, Any]) -> str:
    training = summary["training"]
    rates = " and ".join(number(rate) for rate in training["learning_rates"])
    return (
        f"Each network has {training['hidden_size']} units and reads {number(training['characters'], 9)} "
        "characters of the standard library, from character to character. It is trained by SGD for "
        f"{training['steps']} steps of {training['rows']} rows and {training['bptt_steps']} characters, at "
        f"learning rates of {rates}, with the gradient clipped to a norm of {number(training['clip'])} and "
        "not clipped. The rate is the slope of the logarithm of a loss's gradient by the state, over the "
        "steps back; of an LSTM's two states the one through which more is left. A gradient vanishes if at "
        f"its rate less than 1/{number(summary['fold'])} is left {training['lags']} steps back, explodes if "
        f"it has grown by more than {number(summary['fold'])}, and holds in between; it is measured on "
        "text that was not trained on. The Lyapunov exponent is that of the state itself.\n"
    )


def _flows(summary: Mapping[str, Any]) -> str:
    calm = summary["calm"]
    rows = []
    for found in summary["starts"].values():
        for words, flow in (("at the start", found["start"]), (f"trained, {calm}", found["trained"][calm])):
            rows.append(
                [
                    found["words"],
                    words,
                    "none" if flow["rate"] is None else spread_text(flow["rate"]),
                    "does not fall" if flow["half_life"] is None else number(flow["half_life"]),
                    "none" if flow["lyapunov"] is None else spread_text(flow["lyapunov"]),
                    _counts(flow["fates"]),
                    _counts(flow["verdicts"]),
                ]
            )
    head = ["start", "when", "rate, nats a step", "halves every, steps", "Lyapunov exponent", "it …, runs"]
    note = (
        f'"{calm}" is the learning rate, with clipping. The last column is the verdict of '
        "`probe.gradient_flow`, which looks at the rate alone.\n"
    )
    return f"{_table([*head, 'verdict of the probe, runs'], rows)}\n{note}"


def _divergence(summary: Mapping[str, Any]) -> str:
    names = [pace["name"] for pace in summary["paces"]]
    head = ["start", *names]
    rows = []
    for found in summary["starts"].values():
        runs = (found["trained"][name] for name in names)
        rows.append([found["words"], *(_run(run) for run in runs)])
    note = (
        "At each learning rate, clipped and free: runs that diverged; the largest norm of the gradient, "
        "before it is clipped; the final nats per character. A run diverges if its loss is not finite, or "
        "ends above the one that it began with.\n"
    )
    return f"{_table(head, rows)}\n{note}"


def _run(found: Mapping[str, Any]) -> str:
    texts = spread_text(found["largest_norm"]), spread_text(found["end_nats_per_char"])
    return "; ".join([f"{found['diverged']} of {found['runs']}", *texts])


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items() if count)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
