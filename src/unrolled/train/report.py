"""What a run leaves to look at: loss.png, gates.png, telemetry.png, samples.txt, evaluation.json."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled import figures
from unrolled.data import Corpus, Split
from unrolled.errors import NonFiniteError, RunError, expected
from unrolled.tasks import COLD_STEPS, Evaluation, LanguageModel, Telemetry, continuation, evaluate_split
from unrolled.train.observer import Row
from unrolled.train.rundir import write_text

__all__ = [
    "draw_gates",
    "draw_loss",
    "draw_telemetry",
    "evaluate",
    "first_sample",
    "read_evaluation",
    "write_evaluation",
    "write_samples",
]

LARGEST = 2**16  # bytes of an evaluation

REPORT_TOKENS = 262_144  # that the report scores at most; `unrolled eval` scores all
SENTENCE = 24  # symbols that a line needs to be worth a picture
STRIP_TOKENS = 60
SAMPLES = 5
SAMPLE_TOKENS = 400
TEMPERATURE = 0.8
TITLES = {
    "i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o", "c": "cell state c",
    "h": "hidden state h", "r": "reset gate r", "z": "update gate z", "n": "candidate n",
}  # fmt: skip
GATES = ("i", "f", "o", "r", "z")  # sigmoids: 0 is shut, 1 is open


def evaluate(model: LanguageModel, corpus: Corpus) -> Evaluation:
    """Score the validation part, or the beginning of a very long one, carried and cold."""
    cold = COLD_STEPS if corpus.shape == "stream" else None
    part = corpus.validation.head(REPORT_TOKENS)
    unknown = corpus.tokens.count_unknown(part.ids)
    return evaluate_split(model, part, shape=corpus.shape, unknown=unknown, cold_steps=cold)


def write_evaluation(found: Evaluation, corpus: Corpus, path: Path) -> None:
    """Write an evaluation as JSON."""
    stored = {**found.to_dict(), "validation_is_train": corpus.validation_is_train}
    write_text(path, json.dumps(stored, indent=2) + "\n")


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read what `write_evaluation` wrote. Raises RunError: it is something else."""
    try:
        stored = json.loads(path.read_bytes()[:LARGEST])
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(expected(str(path), "the evaluation of a run", error)) from error
    if not isinstance(stored, dict):
        raise RunError(expected(str(path), "the evaluation of a run", "another JSON"))
    return stored


def draw_loss(rows: Sequence[Row], path: Path, *, best_step: int, title: str) -> None:
    """Draw the training and validation curves."""
    trained = [(r.step, r.train_nats_per_token) for r in rows if r.train_nats_per_token is not None]
    checked = [(r.step, r.val_nats_per_token) for r in rows if r.val_nats_per_token is not None]
    best = next(((s, v) for s, v in checked if s == best_step), None)
    figures.loss(
        path,
        step=np.array([s for s, _ in trained]),
        train_nats_per_token=np.array([v for _, v in trained]),
        val_step=np.array([s for s, _ in checked]),
        val_nats_per_token=np.array([v for _, v in checked]),
        best=best,
        title=title,
    )


def draw_telemetry(found: Sequence[tuple[int, Telemetry]], path: Path, *, title: str) -> None:
    """Draw the gradient's norm by lag, and how far gates stood open, over steps; nothing without any."""
    if not found:
        return
    steps = [step for step, _ in found]
    lags = max((each.lags for _, each in found), key=len)
    panels: dict[str, dict[str, list[float]]] = {}
    for name in found[0][1].grad_norm:
        panels[f"gradient by {name}"] = {
            f"lag {lag}": [_at(each, name, number) for _, each in found] for number, lag in enumerate(lags)
        }
    norms = frozenset(panels)
    words = {"closed": "gates closed (below 0.1)", "open": "gates open (above 0.9)"}
    if all(name.endswith(" h") for name in found[0][1].closed):  # an RNN has no gates
        words = {"closed": "states below −0.9", "open": "states above 0.9"}
    for part, word in words.items():
        names = getattr(found[0][1], part)
        if names:
            panels[word] = {name: [getattr(e, part).get(name, math.nan) for _, e in found] for name in names}
    if panels:
        labels = {name: "norm, nats" if name in norms else "share of units and steps" for name in panels}
        figures.families(path, step=steps, panels=panels, ylabels=labels, logarithmic=norms, title=title)


def _at(found: Telemetry, name: str, number: int) -> float:
    norms = found.grad_norm.get(name, ())
    return norms[number] if number < len(norms) else math.nan


def draw_gates(model: LanguageModel, corpus: Corpus, path: Path) -> None:
    """Draw the last layer's gates and states over one held-out sentence; an RNN has no gates."""
    if model.config.cell == "rnn":
        return
    ids = one_sentence(corpus.validation)
    seen = model.trajectories(torch.from_numpy(ids))[-1]._asdict()
    strips = {TITLES[name]: np.asarray(values[:, 0].float()) for name, values in seen.items()}
    ranges = {TITLES[name]: (0.0, 1.0) for name in seen if name in GATES}
    where = "a training" if corpus.validation_is_train else "a held-out"
    figures.strips(
        path,
        tokens=[corpus.tokens.decode([i]) for i in ids],
        strips=strips,
        ranges=ranges,
        title=f"What layer {model.config.num_layers} does over {where} sentence",
    )


def one_sentence(split: Split) -> npt.NDArray[np.int64]:
    """Return the ids of the first line of at least SENTENCE symbols, else of the longest, newlines included.

    Lines beyond the first 10,000 symbols are not looked at; a long one is cut at STRIP_TOKENS.
    """
    ids = np.asarray(split.ids[:10_000]).astype(np.int64)
    borders = np.union1d(np.flatnonzero(ids == split.boundary), [0, len(ids) - 1])
    sizes = np.diff(borders)
    long = np.flatnonzero(sizes > SENTENCE)
    begin = borders[long[0] if len(long) else sizes.argmax()]
    end = borders[borders > begin][0]
    return ids[begin : min(end + 1, begin + STRIP_TOKENS)]


def write_samples(model: LanguageModel, corpus: Corpus, path: Path, *, seed: int) -> str:
    """Write seeded samples of the model and return the first of them."""
    texts = []
    for sample in range(SAMPLES):
        drawn = continuation(
            model,
            corpus.tokens,
            lines=corpus.shape == "lines",
            length=SAMPLE_TOKENS,
            temperature=TEMPERATURE,
            generator=np.random.default_rng([seed, sample]),
        )
        texts.append(corpus.tokens.decode(_until_infinite(drawn)).strip("\n"))
    head = [
        f"--- sample {i}, temperature {TEMPERATURE}, seed [{seed}, {i}]\n{t}\n" for i, t in enumerate(texts)
    ]
    write_text(path, "\n".join(head))
    return texts[0]


def first_sample(path: Path) -> str:
    """Return the first text that `write_samples` wrote; empty where the file is gone."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    return text.partition("\n")[2].split("\n\n--- sample", 1)[0].rstrip("\n")


def _until_infinite(drawn: Iterator[int]) -> list[int]:
    """Return the ids up to where the state runs to infinity, as a relu network's may after long."""
    ids: list[int] = []
    with contextlib.suppress(NonFiniteError):
        ids.extend(drawn)
    return ids
