"""The question answered: "Are you likely to find exploding or vanishing gradients in RNNs or LSTMs?"

Each sentence is chosen by the numbers of the summary; none is there whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.lab.spread import number

__all__ = ["answer"]

NAMES = {"rnn": "an RNN", "gru": "a GRU", "lstm": "an LSTM"}
PLURALS = {"rnn": "RNNs", "gru": "GRUs", "lstm": "LSTMs"}
USUAL = "Counted over the starts that leave the recurrent weights at gain 1, unless it says otherwise."
LIKELY = 0.5  # the share of runs from which on it is


def answer(summary: Mapping[str, Any]) -> str:
    """Return the answer as Markdown: a paragraph a kind of cell, then how they compare."""
    kinds = summary["kinds"]
    parts = [_kind(name, kinds[name], summary) for name in kinds]
    together = [
        _compared("vanishes", "vanish", kinds),
        _compared("explodes", "explode", kinds),
        _more_explosions(kinds),
        *_twins(summary["twins"]),
        _stability(kinds),
    ]
    return "\n\n".join([_short(kinds), USUAL, *parts, "**RNNs beside LSTMs.** " + " ".join(together)]) + "\n"


def _short(kinds: Mapping[str, Any]) -> str:
    """Return the answer in one sentence."""
    texts = []
    for name, kind in kinds.items():
        after = kind["usual"]["trained"]
        vanishing = likelihood(after["fates"]["vanishes"], after["runs"])
        exploding = likelihood(kind["exploded"]["free"], kind["trainings"])
        texts.append(f"in {NAMES[name]} vanishing ones are {vanishing}, exploding ones {exploding}")
    text = "; ".join(texts)
    return (
        f"**In short,** of gradients that vanish after training and explode while it goes unclipped: {text}."
    )


def likelihood(count: int, runs: int) -> str:
    """Return what a count of runs makes of an event."""
    return "not found" if count == 0 else "likely" if count >= LIKELY * runs else "possible"


def _kind(name: str, kind: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    usual, scaled = kind["usual"], kind["scaled_up"]
    sentences = [
        f"**{NAMES[name][0].upper()}{NAMES[name][1:]}.**",
        _found("Vanishing", "vanishes", usual),
        _found("Exploding", "explodes", usual),
    ]
    if scaled["start"]["runs"]:
        count, runs = scaled["start"]["fates"]["explodes"], scaled["start"]["runs"]
        sentences.append(
            f"With recurrent weights that are scaled up exploding gradients are {likelihood(count, runs)} "
            f"at the start ({count} of {runs} runs)."
        )
    sentences += [_half_lives(usual), _holding(kind["holding"]), *_trained(kind, summary)]
    return " ".join(sentences)


def _found(word: str, fate: str, group: Mapping[str, Any]) -> str:
    begin, after = group["start"], group["trained"]
    first, second = (likelihood(found["fates"][fate], found["runs"]) for found in (begin, after))
    return (
        f"{word} gradients are {first} at the start ({begin['fates'][fate]} of {begin['runs']} runs) and "
        f"{second} after training ({after['fates'][fate]} of {after['runs']})."
    )


def _half_lives(group: Mapping[str, Any]) -> str:
    begin, after = (_fall(group[when]["half_life"]) for when in ("start", "trained"))
    return f"At the median rate the gradient {begin} at the start and {after} after training."


def _holding(found: Mapping[str, list[str]]) -> str:
    """Say with which starts the gradient holds in every run."""
    start, trained = ("; ".join(found[when]) or "none" for when in ("start", "trained"))
    return f"Starts with which it holds in every run: {start}. After training: {trained}."


def _fall(half_life: float | None) -> str:
    return "does not fall" if half_life is None else f"halves every {number(half_life)} steps"


def _trained(kind: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Say how often the gradient explodes while training, and how often training diverges."""
    runs = kind["trainings"]
    texts = {
        event: " and ".join(
            f"{words} in {kind[event][name]} of {runs} runs"
            for name, words in (("free", "without clipping"), ("clipped", "with it"))
        )
        for event in ("exploded", "diverged")
    }
    passed = f"the gradient's norm passes {number(summary['explosion'])} {texts['exploded']}"
    return [f"While it is trained, from all starts, {passed}.", f"Training diverges {texts['diverged']}."]


def _more_explosions(kinds: Mapping[str, Any]) -> str:
    """Say which of RNN and LSTM explodes more often while it is trained without clipping."""
    counts = {name: kinds[name]["exploded"]["free"] for name in ("rnn", "lstm")}
    runs = {name: kinds[name]["trainings"] for name in counts}
    rnn, lstm = (counts[name] / runs[name] for name in counts)
    if rnn == lstm:
        word = "in neither" if rnn == 0 else "equally often in both"
        return f"While training without clipping they explode {word}."
    more, less = ("rnn", "lstm") if rnn > lstm else ("lstm", "rnn")
    return (
        f"While training without clipping they explode more often in {PLURALS[more]} ({counts[more]} of "
        f"{runs[more]} runs) than in {PLURALS[less]} ({counts[less]} of {runs[less]})."
    )


def _compared(fate: str, word: str, kinds: Mapping[str, Any]) -> str:
    """Say which of RNN and LSTM meets a fate in more of its usual runs, at the start and after training."""
    sentences = []
    for when, words in (("start", "at the start"), ("trained", "after training")):
        found = {name: kinds[name]["usual"][when] for name in ("rnn", "lstm")}
        counts = {name: f"{each['fates'][fate]} of {each['runs']}" for name, each in found.items()}
        rnn, lstm = (found[name]["fates"][fate] / found[name]["runs"] for name in ("rnn", "lstm"))
        more, less = ("rnn", "lstm") if rnn > lstm else ("lstm", "rnn")
        if rnn == lstm == 0:
            sentences.append(f"{words} gradients {word} in neither.")
        elif rnn == lstm:
            sentences.append(f"{words} gradients {word} equally often in both ({counts['rnn']} runs each).")
        else:
            sentences.append(
                f"{words} gradients {word} more often in {PLURALS[more]} ({counts[more]} runs) than in "
                f"{PLURALS[less]} ({counts[less]})."
            )
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _twins(twins: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say, start for start, in which of the two the gradient lasts longer after training."""
    sentences = []
    for found in twins:
        rnn, lstm = found["rnn"], found["lstm"]
        longer = _length(lstm["trained"]) > _length(rnn["trained"])
        sentences.append(
            f"With {found['words']} the gradient {_fall(rnn['start'])} in an RNN and "
            f"{_fall(lstm['start'])} in an LSTM at the start; after training it {_fall(rnn['trained'])} and "
            f"{_fall(lstm['trained'])}, so that it "
            f"{'lasts' if longer else 'does not last'} longer in the LSTM."
        )
    return sentences


def _length(half_life: float | None) -> float:
    return math.inf if half_life is None else half_life


def _stability(kinds: Mapping[str, Any]) -> str:
    """Say which kind of cell diverges least and most often, and what clipping changes."""
    free, clipped = (
        {name: kind["diverged"][word] for name, kind in kinds.items()} for word in ("free", "clipped")
    )
    runs = {name: kind["trainings"] for name, kind in kinds.items()}
    ordered = sorted(kinds, key=lambda name: (free[name] + clipped[name]) / runs[name])
    least, most = ordered[0], ordered[-1]
    if (free[least] + clipped[least]) * runs[most] == (free[most] + clipped[most]) * runs[least]:
        first = "No kind of cell diverges more often than another."
    else:
        first = f"{PLURALS[least]} diverge least often, {PLURALS[most]} most."
    helped = [PLURALS[name] for name in kinds if clipped[name] < free[name]]
    not_enough = [PLURALS[name] for name in kinds if 0 < free[name] <= clipped[name]]
    parts = [first]
    if helped:
        parts.append(f"Clipping makes divergence rarer in {_listed(helped)}.")
    if not_enough:
        parts.append(f"Clipping does not make it rarer in {_listed(not_enough)}.")
    return " ".join(parts)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
