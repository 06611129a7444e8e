"""The three claims in plain words, chosen by the counts: where each holds, and where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.lab.memory.claims import verdict
from unrolled.lab.memory.kinds import KINDS

__all__ = ["answer"]

CLAIMS = {
    "better": "They perform better",
    "faster": "Training converges faster",
    "longer": "They detect long-term dependencies",
}
NAMES = {"adding": "adding", "copying": "copying", "recall": "recall", "mnist1d": "MNIST-1D"}
OPENINGS = {
    "yes": "The claim holds",
    "no": "The claim does not hold",
    "mixed": "The claim holds in part",
    "alike": "No difference",
    "open": "Nothing can be told",
}


def answer(summary: Mapping[str, Any]) -> str:
    """Return a heading, and a paragraph a claim with a sentence a pair of kinds."""
    parts = ["### The three claims\n"]
    for claim, words in CLAIMS.items():
        parts.append(f"**{words}.**\n")
        parts += [f"- {_sentence(claim, pair, found)}" for pair, found in summary["claims"].items()]
        parts.append("")
    return "\n".join(parts)


def _sentence(claim: str, kinds: str, found: Mapping[str, Any]) -> str:
    mine, other = kinds.split()
    pair = f"{KINDS[mine].words}, against the {KINDS[other].words}"
    if claim == "longer":
        return f"{pair}. {_longer(found['longer'])}"
    count = found[claim]
    text = _counted(count, {"better": "ahead", "faster": "solved in fewer steps"}[claim])
    seconds = found["timing"]["faster"]
    if claim == "faster" and seconds["settings"]:
        text += f" By the clock: sooner in {seconds['wins']} of {seconds['settings']}."
    return f"{pair}. {OPENINGS[verdict(count)]}: {text}"


def _counted(count: Mapping[str, Any], ahead: str) -> str:
    if not count["settings"]:
        return "neither solved any."
    alike = f", alike in {count['alike']}" if count["alike"] else ""
    lost = f", behind in {count['losses']} ({_places(count['lost'])})" if count["losses"] else ""
    return f"{ahead} in {count['wins']} of {count['settings']}{alike}{lost}."


def _places(lost: Sequence[Mapping[str, Any]]) -> str:
    """Return where it was lost: adding T = 50, 100; recall T = 50."""
    tasks: dict[str, list[str]] = {}
    for place in lost:
        tasks.setdefault(NAMES[place["task"]], []).append(str(place["length"]))
    return "; ".join(f"{task} T = {', '.join(lengths)}" for task, lengths in tasks.items())


def _longer(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    signs = [_sign(reach["mine"], reach["other"]) for reach in tasks.values()]
    count = {"settings": len(signs), "wins": signs.count(1), "losses": signs.count(-1)}
    parts = [
        f"{NAMES[name]}: {_reach(reach['mine'])} against {_reach(reach['other'])}"
        for name, reach in tasks.items()
    ]
    return f"{OPENINGS[verdict(count)]}; the longest T that most seeds solved: {'; '.join(parts)}."


def _sign(mine: int | None, other: int | None) -> int:
    one, two = mine or 0, other or 0
    return (one > two) - (one < two)


def _reach(length: int | None) -> str:
    return "none" if length is None else str(length)
