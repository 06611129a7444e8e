"""Recognise, store, preserve, extract: whether the numbers bear each word out, in one sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from unrolled.lab.spread import number

__all__ = ["CRITERIA", "WORDS", "asked_for", "judged", "sentence"]

Found = Mapping[str, Any]
Judged = Literal["yes", "in part", "no"]

CRITERIA: dict[str, dict[str, float]] = {
    "recognise": {"told_apart": 0.9, "ratio": 2.0},  # at least
    "store": {"readable": 0.9, "ratio": 3.0},  # at least
    "preserve": {"kept": 0.9},  # at least
    "extract": {"ready": 0.9, "off": 0.2, "timed": 1.5},  # at least; at most from 1 and from 0; at least
}
WORDS = tuple(CRITERIA)
ANSWERS = {"yes": "yes", "in part": "in part", "no": "the numbers do not bear it out"}


def judged(word: str, found: Found) -> Judged:
    """Say whether what was found meets the word's criteria: all of them, some, or none."""
    met = _CHECKS[word](found, CRITERIA[word])
    return "yes" if all(met) else "in part" if any(met) else "no"


def asked_for(criteria: Mapping[str, Found]) -> str:
    """Return what each word was asked for, in one sentence."""
    r, s, p, e = (criteria[word] for word in WORDS)
    return (
        f"Asked for were: to recognise, {number(r['ratio'])} times as much written at marks, and more in "
        f"{number(r['told_apart'])} of the pairs; to store, {number(s['ratio'])} times as much change and R² "
        f"{number(s['readable'])}; to preserve, R² {number(p['kept'])}; to extract, R² {number(e['ready'])}, "
        f"slopes within {number(e['off'])} of 1 and of 0, and an output gate {number(e['timed'])} times as "
        "open at the end as between the marks."
    )


def sentence(word: str, found: Found) -> str:
    """Return the word, whether it is borne out, and the numbers for it."""
    return f"**{word.capitalize()}: {ANSWERS[judged(word, found)]}.** {_TEXTS[word](found)}"


def _recognises(found: Found, least: Found) -> list[bool]:
    return [found["told_apart"] >= least["told_apart"], found["ratio"] >= least["ratio"]]


def _stores(found: Found, least: Found) -> list[bool]:
    return [found["readable"] >= least["readable"], found["ratio"] >= least["ratio"]]


def _preserves(found: Found, least: Found) -> list[bool]:
    return [found["kept"] >= least["kept"]]


def _extracts(found: Found, limits: Found) -> list[bool]:
    follows, gate = found["follows"], found["output_gate"]
    off = max(abs(follows["first"] - 1), abs(follows["second"] - 1), abs(follows["unmarked"]))
    timed = gate["last"] >= limits["timed"] * gate["between"]
    return [found["ready_at_the_end"] >= limits["ready"], off <= limits["off"], timed]


def _recognise(found: Found) -> str:
    means = found["means"]
    gate, candidate = means["input_gate"], means["candidate"]
    return (
        f"At a marked step {number(found['ratio'])} times as much is written into c (the length of i · g) as "
        f"at others, and in {number(found['told_apart'])} of all pairs the marked step writes more. The "
        f"input gate is at {number(gate['marked'])} there and {number(gate['unmarked'])} elsewhere, in the "
        f"mean of the units; the candidate's size at {number(candidate['marked'])} and "
        f"{number(candidate['unmarked'])}."
    )


def _store(found: Found) -> str:
    follows = found["follows"]
    return (
        f"At a marked step c changes by {number(follows['marked'])} per unit of the number, at others by "
        f"{number(follows['unmarked'])}: {number(found['ratio'])} times as much. A linear map of that change "
        f"gives the marked number with R² {number(found['readable'])}; the closest single unit is correlated "
        f"with it by {number(found['closest_unit'])}."
    )


def _preserve(found: Found) -> str:
    slow = found["time_constant"]
    return (
        f"After {found['gap']} steps, just before the second mark, the first number is read from c with R² "
        f"{number(found['kept'])} (at its own step {number(found['stored'])}; a number that was not marked "
        f"{number(found['unmarked'])}), and its trace in c is {number(found['trace_left'])} times as long as "
        f"it was. The forget gates stand at {number(found['forget_gate'])} in the mean; by them alone "
        f"{found['units_that_keep']} units keep more than 1/e of their state so long, the slowest forgets in "
        f"{_steps(slow['longest'])}, the one in the middle in {_steps(slow['median'])}."
    )


def _extract(found: Found) -> str:
    follows, gate = found["follows"], found["output_gate"]
    *_, timed = _extracts(found, CRITERIA["extract"])
    when = (
        "it opens when the answer is due"
        if timed
        else "it does not wait for the end, which nothing announces to it"
    )
    return (
        f"The answer moves by {number(follows['first'])} per unit of the first marked number, by "
        f"{number(follows['second'])} of the second, and by {number(follows['unmarked'])} of one that is not "
        f"marked; it gives the sum with R² {number(found['ready_at_the_end'])}. The output gate is at "
        f"{number(gate['last'])} at the last step and at {number(gate['between'])} between the marks: "
        f"{when}. Held at its mean there, the squared error is {number(found['mse_mean_gate'])} instead of "
        f"{number(found['mse'])}."
    )


def _steps(value: float | None) -> str:
    return "no finite time" if value is None else f"{number(value)} steps"


_CHECKS = {"recognise": _recognises, "store": _stores, "preserve": _preserves, "extract": _extracts}
_TEXTS = {"recognise": _recognise, "store": _store, "preserve": _preserve, "extract": _extract}
