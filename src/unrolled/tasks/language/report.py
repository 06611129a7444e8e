"""What a run on a text leaves to look at: gates.png and samples.txt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from unrolled import figures, files
from unrolled.data import Corpus, Split
from unrolled.errors import NonFiniteError
from unrolled.spec import CELLS
from unrolled.tasks.language.generation import continuation
from unrolled.tasks.language.network import LanguageModel

__all__ = ["draw_gates", "first_sample", "one_sentence", "write_samples"]

SENTENCE = 24  # symbols that a line needs to be worth a picture
STRIP_TOKENS = 60
SAMPLES = 5
SAMPLE_TOKENS = 400
TEMPERATURE = 0.8


def draw_gates(model: LanguageModel, corpus: Corpus, path: Path) -> None:
    """Draw the last layer's gates and states over one held-out sentence; nothing of a cell without gates."""
    cell = CELLS[model.config.cell]
    if not cell.sigmoid:
        return
    ids = one_sentence(corpus.validation)
    seen = model.trajectories(torch.from_numpy(ids))[-1]._asdict()
    strips = {cell.title(name): np.asarray(values[:, 0].float()) for name, values in seen.items()}
    ranges = {cell.title(name): (0.0, 1.0) for name in seen if name in cell.sigmoid}
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
    files.replace(path, "\n".join(head))
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
