"""The section of the report: tables, equations with their numbers, predictions, completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.figures import visible
from unrolled.lab.spread import number, spread_text, within_text

__all__ = ["report"]

WORDS = {"neuron": "one neuron", "layer": "a layer", "lstm": "an LSTM"}


def report(summary: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    parts = [
        _models(summary),
        "### What goes in at step t, what comes back from t - 1\n",
        *(_equations(name, found) for name, found in summary["equations"].items()),
        _predictions(summary),
        _completions(summary),
        _samples(summary),
    ]
    return "\n".join(parts)


def _models(summary: Mapping[str, Any]) -> str:
    text = summary["text"]
    rows = [
        [
            WORDS[name],
            f"{m['cell']}, {_units(m['hidden_size'])}",
            number(m["parameters"], 9),
            spread_text(m["nats_per_char"]),
            spread_text(m["completed"]),
            within_text(m["solved_at"]),
            spread_text(m["timing"]["seconds"]),
        ]
        for name, m in summary["models"].items()
    ]
    head = ["model", "cell", "parameters", "nats per character", f"completed of {text['sentences']}"]
    head += [f"steps until all {text['completable']} were completed", "seconds"]
    return f"{_introduction(summary)}\n{_table(head, rows)}"


def _introduction(summary: Mapping[str, Any]) -> str:
    text, training = summary["text"], summary["training"]
    shared = " and ".join(text["shared_words"])
    return (
        f"Each model is trained for {number(training['steps'], 9)} steps on all "
        f"{text['sentences']} sentences ({text['characters']} characters with their newlines), from "
        f"character to character, at a peak learning rate of {training['learning_rate']:g}. The best that "
        "any model can reach is "
        f"{number(text['floor_nats_per_char'])} nats per character, by knowing the sentences and not which "
        f"one comes; knowing only how often each character comes gives "
        f"{number(text['unigram_nats_per_char'])}. It is then given the first word of each sentence and "
        f"writes on, always the likeliest character. {shared} each begin more than one sentence, so no "
        f"model can complete more than {text['completable']}; it is looked at every "
        f"{training['look_every']} steps.\n"
    )


def _equations(name: str, found: Mapping[str, Any]) -> str:
    if name == "lstm":
        return _lstm(found)
    if found["weights"] is not None:
        return _neuron(found)
    head = (
        f"**A layer.** Unit {found['unit']} of {found['hidden_size']} takes in {found['embedding_size']} "
        f"numbers that stand for the character, and what all {found['hidden_size']} units gave at t - 1:\n"
    )
    lines = ["h_t = tanh(w_ih . x_t + w_hh . h_(t-1) + b)", ""]
    for step in found["steps"]:
        parts = step["parts"]["h"]
        lines.append(
            f"{_name(step)} tanh({_four(parts['input'])} {_signed(parts['recurrent'])} "
            f"{_signed(parts['bias'])}) = tanh({_four(parts['sum'])}) = {_four(step['h'])}"
        )
    return _block(head, lines)


def _neuron(found: Mapping[str, Any]) -> str:
    head = (
        "**One recurrent neuron.** The character is one number x_t, and what comes back is the neuron's own "
        "output h_(t-1). The first step reads the newline before the sentence, from the zero state:\n"
    )
    weights = found["weights"]
    w_ih, w_hh, b = weights["weight_ih"][0], weights["weight_hh"][0], weights["bias"]
    lines = ["h_t = tanh(w_ih * x_t + w_hh * h_(t-1) + b)", ""]
    lines += [
        f"{_name(step)} tanh({_four(w_ih)} * {_four(step['x'])} {_signed(w_hh)} * {_four(step['h_before'])} "
        f"{_signed(b)}) = tanh({_four(step['parts']['h']['sum'])}) = {_four(step['h'])}"
        for step in found["steps"]
    ]
    return _block(head, lines)


def _lstm(found: Mapping[str, Any]) -> str:
    head = (
        f"**An LSTM.** Unit {found['unit']} of {found['hidden_size']}: three gates and a candidate, each "
        f"from the {found['embedding_size']} numbers of the character, from all outputs of t - 1, and "
        "a bias; then the long-term state c and the output h:\n"
    )
    lines = [
        "gate = sigmoid(w_ih . x_t + w_hh . h_(t-1) + b) for i, f, o; tanh of it for g",
        "c_t = f * c_(t-1) + i * g;  h_t = o * tanh(c_t)",
        "",
    ]
    for step in found["steps"]:
        for gate, parts in step["parts"].items():
            function = "tanh" if gate == "g" else "sigmoid"
            lines.append(
                f"{_name(step, gate)} {function}({_four(parts['input'])} {_signed(parts['recurrent'])} "
                f"{_signed(parts['bias'])}) = {function}({_four(parts['sum'])}) = {_four(parts['value'])}"
            )
        f, i, g, o = (step["parts"][gate]["value"] for gate in "figo")
        lines += [
            f"{_name(step, 'c')} {_four(f)} * {_four(step['c_before'])} + {_four(i)} * {_four(g)} "
            f"= {_four(step['c'])}",
            f"{_name(step, 'h')} {_four(o)} * tanh({_four(step['c'])}) = {_four(step['h'])}",
            "",
        ]
    return _block(head, lines[:-1])


def _predictions(summary: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["t"]),
            visible(row["input"]),
            visible(row["next"]),
            *(_top(top) for top in row["models"].values()),
        ]
        for row in summary["predictions"]
    ]
    head = ["t", "reads", "true next", *(WORDS[name] for name in summary["models"])]
    words = "### What each expects next, along the first sentence: the likeliest, and their probabilities\n"
    return f"{words}\n{_table(head, rows)}"


def _completions(summary: Mapping[str, Any]) -> str:
    rows = [
        [
            row["sentence"],
            *("exactly" if text == row["sentence"] else text for text in row["models"].values()),
        ]
        for row in summary["completions"]
    ]
    head = ["sentence", *(WORDS[name] for name in summary["models"])]
    return f"### From the first word on\n\n{_table(head, rows)}"


def _samples(summary: Mapping[str, Any]) -> str:
    lines = []
    for name, text in summary["samples"].items():
        lines += [f"{WORDS[name]}:", *(f"    {line}" for line in text.splitlines()), ""]
    return _block(
        f"### What each writes by itself, drawn at temperature {summary['temperature']:g}\n", lines[:-1]
    )


def _top(choices: list[dict[str, Any]]) -> str:
    return ", ".join(f"{visible(choice['symbol'])} {choice['probability']:.2f}" for choice in choices)


def _name(step: Mapping[str, Any], what: str = "h") -> str:
    return f"{visible(step['symbol'])}  {what}_{step['t']} ="


def _four(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):.4f}"


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"


def _block(head: str, lines: list[str]) -> str:
    return "\n".join([head, "```", *lines, "```", ""])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
