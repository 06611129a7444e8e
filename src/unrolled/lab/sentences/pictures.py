"""The pictures: how the models learn, and what they expect."""

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
    return [LOSS, EXPECTED]


def _curve(runs: Sequence[Done]) -> dict[str, Any]:
    values = np.array([run.result["curve"]["nats_per_char"] for run in runs])  # [seeds, points]
    return {
        "x": runs[0].result["curve"]["step"],
        "middle": np.median(values, axis=0),
        "low": values.min(axis=0),
        "high": values.max(axis=0),
    }
