"""The pictures: how the models learn, what they expect, and what one unit computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import figures as draw
from unrolled.lab.cells import Done, pick
from unrolled.lab.sentences.summary import MODELS
from unrolled.lab.sentences.training import floor_nats, unigram_nats

__all__ = ["figures"]

LOSS, EXPECTED = "sentences-loss.png", "sentences-expected.png"
WORDS = {"neuron": "one neuron", "layer": "a layer of 64", "lstm": "an LSTM of 64"}
PARTS = {
    "input": "what goes in at step t: w_ih · x_t",
    "recurrent": "what comes back from step t − 1: w_hh · h_(t−1)",
    "h": "what goes out: h_t",
}
GATES = {
    "i": "input gate i_t: what is let in",
    "f": "forget gate f_t: what is kept of the long-term state",
    "g": "candidate g_t",
    "o": "output gate o_t: what is let out",
    "c": "long-term state c_t",
    "h": "output h_t",
}
UNITS = {
    "neuron": ("sentences-neuron.png", PARTS),
    "layer": ("sentences-layer.png", PARTS),
    "lstm": ("sentences-lstm.png", GATES),
}


def figures(done: Sequence[Done], folder: Path) -> list[str]:
    """Draw the loss of all models over steps, and what each gave the true next character."""
    draw.series(
        folder / LOSS,
        curves={WORDS[name]: _curve(pick(done, model=name)) for name in MODELS},
        xlabel="optimizer steps",
        ylabel="nats per character",
        title="The ten sentences: training loss, median of the seeds and their spread",
        levels={"how often a character comes": unigram_nats(), "the best possible": floor_nats()},
        log_y=True,
    )
    first = {name: pick(done, model=name)[0].result["predictions"] for name in MODELS}
    read = next(iter(first.values()))
    draw.strips(
        folder / EXPECTED,
        tokens=[step["next"] for step in read],
        strips={WORDS[name]: [[step["probability"]] for step in steps] for name, steps in first.items()},
        ranges={WORDS[name]: (0.0, 1.0) for name in MODELS},
        title="The probability that each model gave the next character, before it read it",
    )
    for name, (file, words) in UNITS.items():
        _unit(folder / file, pick(done, model=name)[0], words)
    return [LOSS, EXPECTED, *(file for file, _ in UNITS.values())]


def _unit(path: Path, run: Done, words: dict[str, str]) -> None:
    """Draw what one unit computes while the network reads the first sentence."""
    unit, read = run.result["unit"], run.result["predictions"]
    draw.strips(
        path,
        tokens=[step["input"] for step in read],
        strips={words[name]: np.array(curve)[:, None] for name, curve in unit["along"].items()},
        ranges={words[name]: (0.0, 1.0) for name in unit["along"] if name in "ifo"},
        title=f"The first sentence: what unit {unit['unit']} computes in {WORDS[run.settings['model']]}",
    )


def _curve(runs: Sequence[Done]) -> dict[str, Any]:
    values = np.array([run.result["curve"]["nats_per_char"] for run in runs])  # [seeds, points]
    return {
        "x": runs[0].result["curve"]["step"],
        "middle": np.median(values, axis=0),
        "low": values.min(axis=0),
        "high": values.max(axis=0),
    }
