"""What is reported of memory: the claims, a table per problem, what was found inside; and the pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unrolled.lab.experiment import Found, plan_of
from unrolled.lab.report import lines, picture, table
from unrolled.lab.spread import number, spread_text, within_text

__all__ = ["LIMITS", "WORDS", "answer", "figures", "judged", "report", "verdict"]

PLAN = plan_of("memory")
KINDS = {kind: found["words"] for kind, found in PLAN["kinds"].items()}
NAMES, TITLES, CLAIMS, VERDICTS = (PLAN[name] for name in ("names", "titles", "claims", "verdicts"))
WORDS = {word: found["figures"] for word, found in PLAN["words"].items()}
INTRODUCTION = (
    "Each kind of cell learns the same problems, with about as many parameters and by the same recipe, up to "
    "the first held-out score that solves the problem or to the cap. The recipe was found for the LSTM, so "
    "the RNN is also given a tenth of the rate; the other kinds might do better by one of their own. Seconds "
    "are those of whole runs; a censored one ends at the cap. The final score is that of new examples, on "
    "which nothing was decided: a solved run's may lie just short of the goal. The LSTM starts with a forget "
    "bias of 1, or (chrono) with gates set for lags up to T.\n"
)

LIMITS = [x for found in WORDS.values() for _, *limits in found.values() for x in limits if x < math.inf]


def verdict(count: Found) -> str:
    """Return a verdict on a count: yes (ahead in most settings, behind in none), mixed, no, alike or open."""
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
    return f"### The claims: against an RNN and a GRU, an LSTM …\n\n{table(rows)}"


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
    word = "" if task["word"] is None else f" Symbols to copy: {task['word']}; T is the lag."
    sizes = "; ".join(
        f"{KINDS[kind]} {of['hidden_size']} units, {number(of['parameters'], 9)} parameters"
        for kind, of in task["kinds"].items()
    )
    words = (
        f"Score: {PLAN['scores'][task['score_name']]} {number(task['threshold'])}; trivial control: "
        f"{number(task['control'])}.{word} {sizes}. Adam at a constant rate of {task['learning_rate']:g}, "
        f"{task['batch_size']} sequences per step, scored every {task['evaluate_every']} steps, at most "
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
        "### Does an LSTM recognise important inputs, store, preserve and extract them?\n",
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
    limited = [(_at(found, path), limits) for path, *limits in WORDS[word].values() if limits]
    met = [limits[0] <= value <= limits[1] for value, limits in limited]
    return "yes" if all(met) else "in part" if any(met) else "the numbers do not bear it out"


def _measured(word: str, found: Found) -> str:
    rows = []
    for words, (path, *limits) in WORDS[word].items():
        value, asked = _at(found, path), ""
        if limits:
            more = f"{number(limits[0])} or more"
            asked = more if limits[1] == math.inf else " to ".join(map(number, limits))
        rows.append({"": words, "found": "never" if value is None else number(value), "asked for": asked})
    return table(rows)


def _at(found: Found, path: str) -> Any:
    value: Any = found
    for name in path.split("."):
        value = value[name]
    return value


def figures(summary: Found, curves: Found, folder: Path) -> None:
    """Draw each problem's steps by length, the scores on MNIST-1D by step, and the inside of an LSTM."""
    for name, task in summary["tasks"].items():
        path = folder / f"memory-{name}.png"
        if name == "mnist1d":
            scores = {KINDS[kind]: curve for kind, curve in curves[name].items()}
            title = "MNIST-1D: median of the seeds and their spread; a solved run stays where it ended"
            levels = {"solved": task["threshold"], "trivial control": task["control"]}
            lines(
                path, scores, ("optimizer steps", "share of held-out curves told right"), title, levels=levels
            )
        else:
            _steps(path, name, task)
    for word, found in PLAN["words"].items():
        look, seen = found["look"], curves[word]
        drawn = {}
        for key, text in look["curves"].items():
            values = np.maximum(np.array(seen[key], dtype=np.float64), 0.0)
            drawn[text.format(**summary["inside"]["places"])] = {"x": seen[look["along"]], "middle": values}
        lines(folder / f"memory-{word}.png", drawn, look["axes"], look["title"])


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
    axes = ("T, the length of the sequences", "optimizer steps, median of the seeds")
    title = f"{NAMES[name].capitalize()}: steps until the problem was solved"
    levels = {f"cap: {number(cap, 9)}; hollow: not solved within it": cap}
    lines(path, curves, axes, title, levels=levels, log_x=True, log_y=True)
