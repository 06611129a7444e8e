"""What is reported of memory: the claims, a table per problem, what was found inside; and the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unrolled import figures as draw
from unrolled.lab.experiment import Found
from unrolled.lab.report import picture, table
from unrolled.lab.spread import number, spread_text, within_text

__all__ = ["LIMITS", "WORDS", "answer", "figures", "judged", "report", "verdict"]

KINDS = {
    "rnn": "RNN",
    "rnn-slow": "RNN at a tenth of the rate",
    "gru": "GRU",
    "lstm": "LSTM",
    "lstm-chrono": "LSTM, chrono start",
}
NAMES = {"adding": "adding", "copying": "copying", "recall": "recall", "mnist1d": "MNIST-1D"}
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
CLAIMS = {
    "better": "they perform better",
    "faster": "training converges faster",
    "longer": "they detect long-term dependencies: the longest T that most seeds solved",
}
VERDICTS = {
    "yes": "holds",
    "no": "does not hold",
    "mixed": "holds in part",
    "alike": "no difference",
    "open": "nothing can be told: neither solved any",
}
INTRODUCTION = (
    "Each kind of cell learns the same problems, with about as many parameters and by the same recipe, up to "
    "the first held-out score that solves the problem or to the cap. The recipe was found for the LSTM, so "
    "the RNN is also given a tenth of the rate; the other kinds might do better by one of their own. Seconds "
    "are those of whole runs; a censored one ends at the cap. The final score is that of new examples, on "
    "which nothing was decided: a solved run's may lie just short of the goal. The LSTM starts with a forget "
    "bias of 1, or (chrono) with gates set for lags up to T.\n"
)

# What each word of the claim on LSTMs comes to: figures, where they stand, and limits within which one bears
# the word out.
NEAR_1, NEAR_0 = (0.8, 1.2), (-0.2, 0.2)
WORDS: dict[str, dict[str, tuple[str, tuple[float, float] | None]]] = {
    "recognise": {
        "written into c at marks (the length of i · g), times that at other steps": ("ratio", (2, math.inf)),
        "pairs of a marked and another step in which the marked one writes more": ("told_apart", (0.9, 1)),
        "input gate at marks, mean of the units": ("means.input_gate.marked", None),
        "input gate elsewhere": ("means.input_gate.unmarked", None),
        "size of the candidate at marks": ("means.candidate.marked", None),
        "size of the candidate elsewhere": ("means.candidate.unmarked", None),
    },
    "store": {
        "change of c per unit of the number at marks, times that at other steps": ("ratio", (3, math.inf)),
        "R² of a linear map from that change to the marked number": ("readable", (0.9, 1)),
        "change of c per unit of a marked number": ("follows.marked", None),
        "change of c per unit of another number": ("follows.unmarked", None),
        "correlation of the closest single unit with the marked number": ("closest_unit", None),
    },
    "preserve": {
        "R² of the first number, read from c just before the second mark": ("kept", (0.9, 1)),
        "steps in between": ("gap", None),
        "R² at its own step": ("stored", None),
        "R² of a number that was not marked": ("unmarked", None),
        "its trace in c, times what it was at first": ("trace_left", None),
        "forget gate in between, mean of the units": ("forget_gate", None),
        "units that by their forget gates alone keep more than 1/e so long": ("units_that_keep", None),
        "steps in which the middle unit forgets all but 1/e": ("time_constant.median", None),
        "steps in which the slowest unit does": ("time_constant.longest", None),
    },
    "extract": {
        "R² of the answer with the sum": ("ready_at_the_end", (0.9, 1)),
        "change of the answer per unit of the first marked number": ("follows.first", NEAR_1),
        "of the second marked number": ("follows.second", NEAR_1),
        "of a number that is not marked": ("follows.unmarked", NEAR_0),
        "output gate at the last step, times that between the marks": ("timed", (1.5, math.inf)),
        "output gate at the last step": ("output_gate.last", None),
        "output gate between the marks": ("output_gate.between", None),
        "squared error": ("mse", None),
        "squared error with the output gate held at its mean": ("mse_mean_gate", None),
    },
}
LIMITS = [
    limit
    for figures in WORDS.values()
    for _, limits in figures.values()
    for limit in limits or ()
    if limit < math.inf
]


def verdict(count: Found) -> str:
    """Return one word on a count: yes (ahead in most settings, behind in none), mixed, no, alike or open."""
    if not count["settings"]:
        return "open"
    if not count["wins"]:
        return "no" if count["losses"] else "alike"
    return "yes" if not count["losses"] and 2 * count["wins"] > count["settings"] else "mixed"


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    tasks = (_task(name, found) for name, found in summary["tasks"].items())
    return "\n".join([answer(summary), INTRODUCTION, *tasks, _inside(summary["inside"])])


def answer(summary: Found) -> str:
    """Return a row per pair of kinds: whether each word of the claim holds, and in how many settings."""
    rows = []
    for kinds, found in summary["claims"].items():
        mine, other = kinds.split()
        row = {"": f"{KINDS[mine]}, against the {KINDS[other]}"}
        for claim in ("better", "faster"):
            row[CLAIMS[claim]] = f"{VERDICTS[verdict(found[claim])]}{_counted(found[claim])}"
        reaches = {name: (reach["mine"], reach["other"]) for name, reach in found["longer"].items()}
        ahead = [(one or 0) - (two or 0) for one, two in reaches.values()]
        wins, losses = sum(more > 0 for more in ahead), sum(more < 0 for more in ahead)
        word = VERDICTS[verdict({"settings": len(ahead), "wins": wins, "losses": losses})]
        told = (f"{NAMES[n]} {one or 'none'} against {two or 'none'}" for n, (one, two) in reaches.items())
        rows.append({**row, CLAIMS["longer"]: f"{word}: {', '.join(told)}"})
    return f"### Of LSTMs it is said that …\n\n{table(rows)}"


def _counted(count: Found) -> str:
    """Return in how many settings ours is ahead, and where behind: adding T = 50, 100; recall T = 50."""
    if not count["settings"]:
        return ""
    places: dict[str, list[str]] = {}
    for place in count["lost"]:
        places.setdefault(NAMES[place["task"]], []).append(str(place["length"]))
    lost = "; ".join(f"{task} T = {', '.join(lengths)}" for task, lengths in places.items())
    alike = f", alike in {count['alike']}" if count["alike"] else ""
    behind = f", behind in {count['losses']} ({lost})" if count["losses"] else ""
    return f": ahead in {count['wins']} of {count['settings']}{alike}{behind}"


def _task(name: str, task: Found) -> str:
    score, sense = SCORES[task["score_name"]]
    word = "" if task["word"] is None else f" Symbols to copy: {task['word']}; T is the lag."
    sizes = "; ".join(
        f"{KINDS[kind]} {of['hidden_size']} units, {number(of['parameters'], 9)} parameters"
        for kind, of in task["kinds"].items()
    )
    words = (
        f"Score: {score}; solved: {sense} {number(task['threshold'])}; trivial control: "
        f"{number(task['control'])}.{word} {sizes}. Adam at a constant rate of {task['learning_rate']:g}, "
        f"{task['batch_size']} sequences a step, a look every {task['evaluate_every']} steps, at most "
        f"{number(task['cap'], 9)} steps.\n"
    )
    rows = []
    for row in task["rows"]:
        final = "none" if row["final"] is None else spread_text(row["final"])
        told = {
            "cell": KINDS[row["kind"]],
            "T": str(row["length"]),
            "steps to solve": within_text(row["solved"]),
            "seconds": spread_text(row["timing"]["seconds"]),
            "final score": final + (f", {row['diverged']} diverged" if row["diverged"] else ""),
        }
        rows.append(told)
    shown = picture(f"memory-{name}.png", TITLES[name])
    return "\n".join([f"### {TITLES[name]}\n", shown, words, table(rows)])


def _inside(found: Found) -> str:
    places, solved = found["places"], found["solved_at"]
    end = f"It solved the problem at step {number(solved or 0, 9)}."
    if solved is None:
        end = f"It did not solve the problem within {number(found['cap'], 9)} steps, so what follows is of a "
        end += "network that has not learnt it."
    parts = [
        "### LSTMs recognise important inputs, store them, preserve them, and extract them when needed?\n",
        f"The adding problem at T = {found['length']}, {KINDS[found['kind']]}, {found['units']} units, seed "
        f"{found['seed']}, trained as above. {end} Measured over {number(found['rows'], 9)} new sequences. "
        f"For the last two words the marks are set at steps {places['first']} and {places['second']}, "
        f"counted from 0, and the number that is not marked is that of step {places['unmarked']}. R² is that "
        "of a linear map, on sequences that it was not fitted to.\n",
    ]
    for word in WORDS:
        head = f"**{word.capitalize()}: {judged(word, found[word])}.**\n"
        parts += [head, picture(f"memory-{word}.png", word.capitalize()), _measured(word, found[word])]
    return "\n".join(parts)


def judged(word: str, found: Found) -> Literal["yes", "in part", "the numbers do not bear it out"]:
    """Say whether what was found lies within the word's limits: all of it, some, or none."""
    limited = [(_at(found, path), limits) for path, limits in WORDS[word].values() if limits is not None]
    met = [low <= value <= high for value, (low, high) in limited]
    return "yes" if all(met) else "in part" if any(met) else "the numbers do not bear it out"


def _measured(word: str, found: Found) -> str:
    rows = []
    for words, (path, limits) in WORDS[word].items():
        value, asked = _at(found, path), ""
        if limits is not None:
            asked = (
                f"{number(limits[0])} or more" if limits[1] == math.inf else " to ".join(map(number, limits))
            )
        rows.append({"": words, "found": "never" if value is None else number(value), "asked for": asked})
    return table(rows)


def _at(found: Found, path: str) -> Any:
    value: Any = found
    for name in path.split("."):
        value = value[name]
    return value


def figures(summary: Found, curves: Found, folder: Path) -> None:
    """Draw steps over lengths of each problem, scores over steps of MNIST-1D, and the inside of an LSTM."""
    for name, task in summary["tasks"].items():
        path = folder / f"memory-{name}.png"
        if name == "mnist1d":
            draw.series(
                path,
                curves={KINDS[kind]: curve for kind, curve in curves[name].items()},
                xlabel="optimizer steps",
                ylabel="share of held-out curves told right",
                title="MNIST-1D: median of the seeds and their spread; a solved run stays where it ended",
                levels={"solved": task["threshold"], "trivial control": task["control"]},
            )
        else:
            _steps(path, name, task)
    for word, (along, words, axes, title) in _looks(summary["inside"]["places"]).items():
        found = curves[word]
        lines = {text: {"x": found[along], "middle": _drawn(found[key])} for key, text in words.items()}
        draw.series(folder / f"memory-{word}.png", curves=lines, xlabel=axes[0], ylabel=axes[1], title=title)


def _steps(path: Path, name: str, task: Found) -> None:
    """Draw the median over seeds; an unsolved one is a hollow marker at the cap."""
    cap = task["cap"]
    curves: dict[str, dict[str, Any]] = {}
    for row in task["rows"]:
        curve = curves.setdefault(KINDS[row["kind"]], {"x": [], "middle": [], "unsolved": []})
        median = row["solved"]["median"]
        curve["x"].append(row["length"])
        curve["middle"].append(cap if median is None else median)
        curve["unsolved"].append(median is None)
    draw.series(
        path,
        curves=curves,
        xlabel="T, the lag" if name == "copying" else "T, the length of the sequences",
        ylabel="optimizer steps, median of the seeds",
        title=f"{NAMES[name].capitalize()}: steps until the problem was solved",
        levels={f"cap: {number(cap, 9)}; hollow: not solved within it": cap},
        log_x=True,
        log_y=True,
    )


def _looks(places: Mapping[str, int]) -> dict[str, tuple[str, dict[str, str], tuple[str, str], str]]:
    """Return word → what its picture is drawn along, the curves in words, the axes, and the title."""
    return {
        "recognise": (
            "offset",
            {
                "written": "written into c: the length of i · g",
                "input_gate": "input gate i, mean of the units",
                "candidate": "candidate |g|, mean of the units",
            },
            ("steps from the mark", "mean over sequences and both marks"),
            "Recognise: what the LSTM lets in, around a marked input",
        ),
        "store": (
            "offset",
            {"marked": "of the marked step", "unmarked": "of a step that is not marked"},
            ("steps from the one whose number is followed", "change of c per unit of the number"),
            "Store: how far the change of the long-term state follows the number",
        ),
        "preserve": (
            "step",
            {
                "first": f"first marked number, step {places['first']}",
                "second": f"second marked number, step {places['second']}",
                "sum": "their sum",
                "unmarked": f"number not marked, step {places['unmarked']}",
                "forget_gate": "forget gate f, mean of the units",
            },
            ("step", "R² of a linear read-out of c (below 0 drawn as 0)"),
            "Preserve: what can be read from the long-term state, step after step",
        ),
        "extract": (
            "step",
            {
                "slope": "the answer's slope by the step's number",
                "ready": "R² if answered here (below 0 drawn as 0)",
                "output_gate": "output gate o, mean of the units",
            },
            ("step", "value"),
            "Extract: which inputs the answer follows, and since when it is ready",
        ),
    }


def _drawn(values: Sequence[float | None]) -> Any:
    return np.maximum(np.array(values, dtype=np.float64), 0.0)
