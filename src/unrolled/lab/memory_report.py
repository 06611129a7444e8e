"""What is reported of memory: the claims, a table per problem, what was found inside; and the pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.lab.experiment import Found, plan_of
from unrolled.lab.report import lines, picture, table
from unrolled.lab.spread import number, spread_text

__all__ = ["LIMITS", "WORDS", "answer", "claims", "figures", "judged", "report", "verdict"]

PLAN = plan_of("memory")
KINDS = {kind: found["words"] for kind, found in PLAN["kinds"].items()}
WORDINGS: list[dict[str, str]] = [PLAN[name] for name in ("names", "titles", "claims", "verdicts")]
NAMES, TITLES, CLAIMS, VERDICTS = WORDINGS
WORDS = {word: found["figures"] for word, found in PLAN["words"].items()}
PROSE: dict[str, str] = PLAN["prose"]
LIMITS = [x for found in WORDS.values() for _, *limits in found.values() for x in limits if x < math.inf]


def verdict(count: Found, significant: float) -> str:
    """Return a verdict: yes (ahead over all, behind nowhere), mixed, no (behind over all), alike or open."""
    if not count["settings"]:
        return "open"
    if count["wins"] and count["losses"]:
        return "mixed"
    if count["p"] >= significant:
        return "alike"
    return "yes" if count["ahead"] == 1 else "no"


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    tasks = (_task(name, found) for name, found in summary["tasks"].items())
    return "\n".join([answer(summary), _introduction(summary), *tasks, _inside(summary["inside"])])


def _introduction(summary: Found) -> str:
    shared, edges = summary["shared"], summary["edges"]
    return PROSE["introduction"].format(
        count=shared["choices"],
        rates=", ".join(f"{rate:g}" for rate in shared["rates"]),
        seeds=" and ".join(map(str, shared["tuning_seeds"])),
        share=f"{shared['tuning_share']:g}",
        clip=f"{shared['clip_norm']:g}",
        every=shared["evaluate_every"],
        patience=shared["patience"],
        **edges,
    )


def answer(summary: Found) -> str:
    """Return a row per comparison: whether each word of the claim holds, and in how many settings."""
    significant, rows = summary["shared"]["significant"], []
    for found in summary["compared"]:
        row = {"": found["words"]}
        for claim, words in CLAIMS.items():
            row[words] = _judgement(found, claim, significant)
        rows.append(row)
    text = PROSE["test"].format(significant=f"{significant:g}")
    return f"### The claims: against an RNN and a GRU, LSTMs …\n\n{table(rows)}\n{text}"


def _judgement(found: Found, claim: str, significant: float) -> str:
    """Return the verdict on a word of the claim, and what it rests on."""
    count = found[claim]
    told = VERDICTS[verdict(count, significant)]
    if not count["settings"]:
        return told
    if claim == "longer":
        reaches = {NAMES[name]: [one["mine"], one["other"]] for name, one in count["reaches"].items()}
        texts = [
            f"{name} {_length(mine)} against {_length(other)}" for name, (mine, other) in reaches.items()
        ]
        return f"{told}: longest T of the middle seed {', '.join(texts)}; {_chance(count)}"
    return f"{told}: {_counted(count)}; {_chance(count)}"


def _length(length: int) -> str:
    return str(length) if length else "none"


def _chance(count: Found) -> str:
    return f"p = {number(count['p'], 2)}"


def _counted(count: Found) -> str:
    """Return in how many settings ours is ahead, and where behind: adding T = 50, 100; recall T = 50."""
    places: dict[str, list[str]] = {}
    for place in count["lost"]:
        places.setdefault(NAMES[place["task"]], []).append(str(place["length"]))
    lost = "; ".join(f"{task} T = {', '.join(lengths)}" for task, lengths in places.items())
    behind = f", behind in {count['losses']} ({lost})" if count["losses"] else ""
    return f"ahead in {count['wins']} of {count['settings']}, alike in {count['alike']}{behind}"


def claims(summary: Found) -> list[dict[str, str]]:
    """Return a row per claim of the lecture: what was compared, within which caps, and the verdict."""
    shared, tasks = summary["shared"], summary["tasks"]
    caps = "; ".join(
        f"{NAMES[name]} {number(task['seconds'])} s, {_range(task['caps'])} steps"
        for name, task in tasks.items()
    )
    rows = [
        {
            "claim": f"LSTMs {words}",
            "arms": found["words"],
            "caps": caps,
            "verdict": _judgement(found, claim, shared["significant"]),
        }
        for claim, words in CLAIMS.items()
        for found in summary["compared"]
        if found["claimed"]
    ]
    found = summary["inside"]
    arms = f"{KINDS[found['kind']]}, adding T = {found['length']}, {found['runs']} seeds, before and after"
    rows += [
        {
            "claim": f"LSTMs {word} {what}",
            "arms": arms,
            "caps": f"{number(found['cap'], 9)} steps",
            "verdict": judged(found["words"][word], found["runs"]),
        }
        for word, what in WHAT.items()
    ]
    return rows


WHAT = {
    "recognise": "important inputs",
    "store": "them in the long-term state",
    "preserve": "them for as long as needed",
    "extract": "them when needed",
}


def _range(caps: Found) -> str:
    low, high = number(caps["low"], 9), number(caps["high"], 9)
    return low if low == high else f"{low} to {high}"


def _task(name: str, task: Found) -> str:
    word = "" if task["word"] is None else f" Symbols to copy: {task['word']}; T is the lag."
    sizes = "; ".join(
        f"{KINDS[kind]} {of['hidden_size']} units, {number(of['parameters'], 9)} parameters"
        for kind, of in task["kinds"].items()
    )
    ended = [kind for kind, length in task["ended"].items() if length < max(task["lengths"])]
    stopped = "; ".join(f"{KINDS[kind]} after T = {task['ended'][kind]}" for kind in ended)
    not_tried = f" Not tried on longer ones: {stopped}." if ended else ""
    words = (
        f"Score: {PLAN['scores'][task['score_name']]} {number(task['threshold'])}; trivial control: "
        f"{number(task['control'])}.{word} {sizes}. Adam at a constant rate, {task['batch_size']} sequences "
        f"per step; {number(task['seconds'])} s per run.{not_tried}\n"
    )
    rows = [
        {
            "arm": KINDS[row["kind"]],
            "T": str(row["length"]),
            "rate": f"{row['rate']:g}",
            "steps to solve": _solved(row),
            "CPU seconds": spread_text(row["seconds"]),
            "still learning": str(row["learning"]),
            "final score": ("none" if row["final"] is None else spread_text(row["final"]))
            + (f", {row['diverged']} diverged" if row["diverged"] else ""),
        }
        for row in task["rows"]
    ]
    shown = [picture(f"memory-{name}.png", TITLES[name])] if len(task["lengths"]) > 1 else []
    shown += [
        picture(_curve_file(name, length), f"Scores while training, T = {length}")
        for length in task["lengths"]
    ]
    return "\n".join([f"### {TITLES[name]}\n", words, table(rows), *shown])


def _solved(row: Found) -> str:
    """Return "475 (400 to 500), 5 of 5", or "not within 12,000 steps" where no seed got there."""
    solved = row["solved"]
    if not solved["solved"]:
        return f"not within {number(row['cap'], 9)} steps, 0 of {solved['runs']}"
    return f"{spread_text(solved, 6)}, {solved['solved']} of {solved['runs']}"


def _curve_file(name: str, length: int) -> str:
    return f"memory-{name}-{length}.png"


def _inside(found: Found) -> str:
    places, solved = found["places"], found["solved"]
    parts = [
        "### Does an LSTM recognise important inputs, store, preserve and extract them?\n",
        PROSE["inside"].format(
            **{name: found[name] for name in ("length", "units", "runs", "learning_rate")},
            arm=KINDS[found["kind"]],
            solved=solved["solved"],
            cap=number(found["cap"], 9),
            rows=number(found["rows"], 9),
            **places,
        ),
    ]
    for word, figures_of in found["words"].items():
        head = f"**{word.capitalize()}: {judged(figures_of, found['runs'])}.**\n"
        parts += [
            head,
            picture(f"memory-{word}.png", word.capitalize()),
            _measured(word, figures_of, found["runs"]),
        ]
    return "\n".join(parts)


def judged(figures_of: Found, runs: int) -> str:
    """Say whether most networks lie within the word's limits, and whether training brought that about.

    A word is borne out if most trained networks meet all its limits, in part if most meet some; it is learnt
    unless most untrained networks with the same start meet the same limits.
    """
    met = {
        state: {words for words, one in figures_of.items() if one["met"] and 2 * one["met"][state] > runs}
        for state in ("trained", "untrained")
    }
    limited = {words for words, one in figures_of.items() if one["met"]}
    if not met["trained"]:
        return "the numbers do not bear it out"
    told = "yes" if met["trained"] == limited else "in part"
    return f"{told}, {'as before training' if met['trained'] <= met['untrained'] else 'and it is learnt'}"


def _measured(word: str, figures_of: Found, runs: int) -> str:
    rows = []
    for words, found in figures_of.items():
        _, *limits = WORDS[word][words]
        asked = met = ""
        if limits:
            more = f"{number(limits[0])} or more"
            asked = more if limits[1] == math.inf else " to ".join(map(number, limits))
            met = f"{found['met']['trained']} of {runs}, untrained {found['met']['untrained']}"
        rows.append(
            {
                "": words,
                "trained": spread_text(found["trained"]),
                "untrained": spread_text(found["untrained"]),
                "asked for": asked,
                "met by": met,
            }
        )
    return table(rows)


def figures(summary: Found, curves: Found, folder: Path) -> None:
    """Draw each problem's steps by length, its scores while training, and the inside of an LSTM."""
    for name, task in summary["tasks"].items():
        if len(task["lengths"]) > 1:
            _steps(folder / f"memory-{name}.png", name, task)
        for length in task["lengths"]:
            _scores(
                folder / _curve_file(name, length), name, length, task, curves["scores"][name][str(length)]
            )
    for word, found in PLAN["words"].items():
        look = found["look"]
        drawn: dict[str, Any] = {}
        for state in ("trained", "untrained"):
            seen = curves[word][state]
            for key, text in look["curves"].items():
                if state == "trained" or key in look["untrained"]:
                    values = np.maximum(np.array(seen[key], dtype=np.float64), 0.0)
                    words = text.format(**summary["inside"]["places"])
                    words += "" if state == "trained" else ", untrained"
                    drawn[words] = {"x": seen[look["along"]], "middle": values}
        lines(folder / f"memory-{word}.png", drawn, look["axes"], look["title"])


def _scores(path: Path, name: str, length: int, task: Found, found: Found) -> None:
    """Draw the scores of all arms at one length, to the cap or the solution."""
    accuracy = task["score_name"] == "accuracy"
    drawn = {KINDS[kind]: curve for kind, curve in found.items()}
    rows = [row for row in task["rows"] if row["length"] == length]
    levels = {"trivial control": rows[0]["control"]}
    title = f"{NAMES[name]}, T = {length}: median and spread of the seeds; a solved run stays where it ended"
    axes = ("CPU seconds of training", "held-out accuracy" if accuracy else "held-out score, less is better")
    lines(path, drawn, axes, title[0].upper() + title[1:], levels=levels, log_y=not accuracy)


def _steps(path: Path, name: str, task: Found) -> None:
    """Draw the median seconds over seeds; an unsolved one is a hollow marker at the end of its time."""
    end = task["seconds"]
    curves: dict[str, dict[str, Any]] = {}
    for row in task["rows"]:
        curve = curves.setdefault(KINDS[row["kind"]], {"x": [], "middle": [], "unsolved": []})
        median = row["seconds"]["median"]
        curve["x"].append(row["length"])
        curve["middle"].append(end if median is None else median)
        curve["unsolved"].append(median is None)
    axes = ("T, the length of the sequences", "CPU seconds, median of the seeds")
    title = f"{NAMES[name].capitalize()}: seconds of training until the problem was solved"
    levels = {f"cap: {number(end)} s; hollow: not solved within it": end}
    lines(path, curves, axes, title, levels=levels, log_x=True, log_y=True)
