"""The section of the report: what was done, a table a family, the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.lab.speed.answer import answer
from unrolled.lab.spread import number, spread_text

__all__ = ["report"]


def report(summary: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    parts = ["### The answer\n", answer(summary), "### How it was measured\n", _introduction(summary)]
    parts += [_family(family) for family in summary["families"]]
    return "\n".join(parts)


def _introduction(summary: Mapping[str, Any]) -> str:
    s = summary["settings"]
    load = summary["timing"]["load"]
    busy = f" (load average of the machine: {spread_text(load)})" if load else ""
    threads = "1 thread" if s["threads"] == 1 else f"{s['threads']} threads"
    return (
        f"An LSTM of {s['hidden_size']} units reads characters of the standard library's source "
        f"({number(s['train_targets'], 9)} to train on) and predicts the next one: as paragraphs of at most "
        f"{s['longest']} characters, each from the zero state, or as one long text. Or it tells which of "
        f"{s['classes']} frequencies a noisy signal of {s['samples']} samples has. Each variant differs from "
        "the first row of its table in one factor, starts from the same seed with the same learning rate "
        f"({s['learning_rate']:g}) and is trained {_how_long(s)}, on {threads}{busy}. The variants of a "
        f"table take turns in {s['rounds']} rounds, so that a busy moment of the machine hits all.\n\n"
        "Useful targets are the characters or labels that are scored; padding is not counted. After each "
        f"round the loss is measured, off the clock, on {number(s['held_targets'], 9)} characters of other "
        f"files or {s['held_signals']} other signals; the loss at equal wall-clock is read from each curve "
        "at the seconds that all variants of the table reached. A verdict needs all runs to agree: faster is "
        f"more than {s['speed_margin']:g} times the baseline's targets per second, worse a loss at equal "
        f"wall-clock more than {s['loss_margin']:g} nats higher.\n"
    )


def _how_long(settings: Mapping[str, Any]) -> str:
    if settings["seconds"] is not None:
        return f"for {number(settings['seconds'])} seconds"
    targets = number(settings["targets"], 9)
    return f"until {targets} targets, times the share in its settings, so that slow ones take about as long"


def _family(family: Mapping[str, Any]) -> str:
    head = ["variant", "factor", *["useful share of a batch"] * family["ragged"]]
    head += ["useful targets/s", "times the baseline"]
    head += ["nats per target at equal wall-clock", "beside the baseline"]
    head += ["from the zero state"] * family["long_text"]
    rows = [_row(row, family) for row in family["rows"]]
    words = f"### {family['title']}\n\n{_about(family)}\n"
    return f"{words}\n{_table([*head, 'verdict'], rows)}"


def _about(family: Mapping[str, Any]) -> str:
    seconds = spread_text(family["timing"]["equal_seconds"])
    text = f"Equal wall-clock: after {seconds} seconds of training."
    if family["long_text"]:
        text += " The loss is that with the state carried through the held-out text; from the zero state, "
        text += "that of short windows."
    if family["absent"]:
        text += f" Not run, as this machine cannot: {'; '.join(family['absent'])}."
    return text


def _row(row: Mapping[str, Any], family: Mapping[str, Any]) -> list[str]:
    timing = row["timing"]
    baseline = not row["factor"]
    cells = [
        row["name"],
        row["factor"] or "the baseline",
        *[number(timing["useful_share"]["median"])] * family["ragged"],
        spread_text(timing["targets_per_s"]),
        "" if baseline else spread_text(timing["ratio"]),
        _loss(timing["nats"]),
        "" if baseline else _loss(timing["difference"], signed=True),
    ]
    cells += [_loss(timing["cold_nats"])] * family["long_text"]
    return [*cells, "" if baseline else f"{timing['pace']} and {timing['quality']}"]


def _loss(found: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    if found is None:
        return "diverged"
    if not signed:
        return spread_text(found)
    middle, low, high = (f"{found[name]:+.3f}" for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
