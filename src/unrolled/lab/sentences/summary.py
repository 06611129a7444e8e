"""Every number and text that the section prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from unrolled.data import SENTENCES
from unrolled.lab.cells import Done, pick
from unrolled.lab.sentences.training import (
    TEMPERATURE,
    TEXT,
    completed,
    first_words,
    floor_nats,
    unigram_nats,
)
from unrolled.lab.spread import spread, within_cap

__all__ = ["MODELS", "summary"]

MODELS: dict[str, dict[str, Any]] = {
    "neuron": {"cell": "rnn", "hidden_size": 1, "embedding_size": 1},
    "layer": {"cell": "rnn", "hidden_size": 64, "embedding_size": 16},
    "lstm": {"cell": "lstm", "hidden_size": 64, "embedding_size": 16},
}


def summary(done: Sequence[Done]) -> dict[str, Any]:
    """Sum up over seeds; equations, predictions, completions and samples are those of the first seed."""
    first = {name: pick(done, model=name)[0] for name in MODELS}
    return {
        "text": _text(),
        "training": {name: done[0].settings[name] for name in ("steps", "learning_rate", "look_every")},
        "models": {name: _model(pick(done, model=name)) for name in MODELS},
        "shown_seed": first["neuron"].settings["seed"],
        "equations": {name: _equations(run) for name, run in first.items()},
        "predictions": _predictions(first),
        "completions": [
            {"sentence": s, "models": {name: run.result["completions"][n] for name, run in first.items()}}
            for n, s in enumerate(SENTENCES)
        ],
        "samples": {name: run.result["sample"] for name, run in first.items()},
        "temperature": TEMPERATURE,
    }


def _text() -> dict[str, Any]:
    words = Counter(first_words())
    return {
        "sentences": len(SENTENCES),
        "characters": len(TEXT),
        "completable": len(words),
        "shared_words": sorted(word for word, count in words.items() if count > 1),
        "floor_nats_per_char": floor_nats(),
        "unigram_nats_per_char": unigram_nats(),
    }


def _model(runs: Sequence[Done]) -> dict[str, Any]:
    results = [run.result for run in runs]
    sizes = {name: runs[0].settings[name] for name in ("cell", "hidden_size", "embedding_size")}
    return {
        **sizes,
        "parameters": results[0]["parameters"],
        "nats_per_char": spread([r["nats_per_char"] for r in results]),
        "completed": spread([completed(r["completions"]) for r in results]),
        "solved_at": within_cap([r["solved_at"] for r in results], runs[0].settings["steps"]),
        "timing": {"seconds": spread([r["timing"]["seconds"] for r in results])},
    }


def _equations(run: Done) -> dict[str, Any]:
    """Return the unit's numbers as they are printed: of one neuron with its weights, else with its parts."""
    unit = run.result["unit"]
    lone = run.settings["hidden_size"] == 1 and run.settings["embedding_size"] == 1
    steps = []
    for step in unit["steps"]:
        shown = {name: step[name] for name in ("t", "symbol", "parts", "h", "c", "c_before") if name in step}
        if lone:
            shown |= {"x": step["x"][0], "h_before": step["h_before"][0]}
        steps.append(shown)
    weights = (
        {part: unit["weights"]["h"][part] for part in ("weight_ih", "weight_hh", "bias")} if lone else None
    )
    sizes = {name: run.settings[name] for name in ("hidden_size", "embedding_size")}
    return {"unit": unit["unit"], "weights": weights, **sizes, "steps": steps}


def _predictions(first: dict[str, Done]) -> list[dict[str, Any]]:
    """Return, a row a character of the first sentence, what each model expects next."""
    rows = []
    for parts in zip(*(run.result["predictions"] for run in first.values()), strict=True):
        shared = {name: parts[0][name] for name in ("t", "input", "next")}
        rows.append(
            {**shared, "models": {name: part["top"] for name, part in zip(first, parts, strict=True)}}
        )
    return rows
