"""The section of the report: a table a task, the claims in plain words, and what was found inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.lab.memory.answer import answer
from unrolled.lab.memory.kinds import KINDS
from unrolled.lab.memory.words import WORDS, asked_for, sentence
from unrolled.lab.spread import number, spread_text, within_text

__all__ = ["report"]

TITLES = {
    "adding": "Adding: the sum of two marked numbers",
    "copying": "Copying: the first symbols again, after the lag",
    "recall": "Recall: the marked symbol",
    "mnist1d": "MNIST-1D: which of ten curves, read point by point",
}
SCORES = {
    "mse": ("mean squared error", "at most"),
    "nats_per_step": ("nats per step", "at most"),
    "accuracy": ("share of right answers", "at least"),
}
TRAINING = ("batch_size", "learning_rate", "evaluate_every", "cap")


def report(summary: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    parts = [
        _introduction(),
        answer(summary),
        *(_task(name, found) for name, found in summary["tasks"].items()),
        _inside(summary["inside"]),
    ]
    return "\n".join(parts)


def _introduction() -> str:
    return (
        "The lecture says of LSTMs that they perform better, that training converges faster, and that they "
        "detect long-term dependencies. Four kinds of cell learn the same tasks, with about as many "
        "parameters each and by the same recipe, up to the first held-out score that solves the task or to "
        "the cap. The recipe was found for the LSTM; the other kinds might do better by one of their own, so "
        "the RNN is also given a tenth of the rate. Seconds are those of whole runs; a censored one ends at "
        "the cap. The final score is that of new examples, on which nothing was decided: a solved run's may "
        "lie just short of the goal. The LSTM starts with a forget bias of 1, or (chrono) with gates set for "
        "lags up to T.\n"
    )


def _task(name: str, task: Mapping[str, Any]) -> str:
    score, sense = SCORES[task["score_name"]]
    word = "" if task["word"] is None else f" Symbols to copy: {task['word']}; T is the lag."
    head = ["cell", "T", "steps to solve", "seconds", "final score", f"solved {sense}", "trivial control"]
    rows = [_row(row) for row in task["rows"]]
    size, rate, every, cap = (task[key] for key in TRAINING)
    words = (
        f"Score: {score}.{word} {_sizes(task)} Adam at a constant rate of {rate:g}, {size} sequences a step, "
        f"a look every {every} steps, at most {number(cap, 9)} steps.\n"
    )
    return f"### {TITLES[name]}\n\n{words}\n{_table(head, rows)}"


def _sizes(task: Mapping[str, Any]) -> str:
    parts = [
        f"{KINDS[kind].words} {of['hidden_size']} units, {number(of['parameters'], 9)} parameters"
        for kind, of in task["kinds"].items()
    ]
    return f"{'; '.join(parts)}."


def _row(row: Mapping[str, Any]) -> list[str]:
    final = "none" if row["final"] is None else spread_text(row["final"])
    diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
    return [
        KINDS[row["kind"]].words,
        str(row["length"]),
        within_text(row["solved"]),
        spread_text(row["timing"]["seconds"]),
        final + diverged,
        number(row["threshold"]),
        number(row["control"]),
    ]


def _inside(found: Mapping[str, Any]) -> str:
    kind, length = KINDS[found["kind"]].words, found["length"]
    solved = found["solved_at"]
    end = (
        f"It solved the task at step {number(solved, 9)}."
        if solved is not None
        else f"It did not solve the task within {number(found['cap'], 9)} steps, so what follows is of a "
        "network that has not learnt it."
    )
    places = found["places"]
    head = (
        "### Inside: recognise, store, preserve, extract\n\n"
        f"The adding problem at T = {length}, {kind}, {found['units']} units, seed {found['seed']}, trained "
        f"as above. {end} Measured over {number(found['rows'], 9)} new sequences; for the last two words the "
        f"marks are set at steps {places['first']} and {places['second']}, counted from 0, and the number "
        f"that is not marked is that of step {places['unmarked']}. R² is that of a linear map, on sequences "
        f"that it was not fitted to. {asked_for(found['criteria'])}\n"
    )
    return "\n".join([head, *(f"- {sentence(word, found[word])}" for word in WORDS), ""])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
