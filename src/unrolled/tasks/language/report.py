"""What a run on a text leaves to look at: gates.png and samples.txt."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from unrolled import figures, files
from unrolled.data import Corpus, Split
from unrolled.errors import NonFiniteError, RunError
from unrolled.spec import CELLS
from unrolled.tasks.language.generation import continuation
from unrolled.tasks.language.network import LanguageModel
from unrolled.tokens import Tokens

__all__ = ["draw_gates", "first_sample", "one_sentence", "write_samples"]

SENTENCE = 24  # symbols that a line needs to be worth a picture
LETTERS = 0.6  # of its characters that must be letters: a ruler, or a row of a table, is no sentence
STRIP_TOKENS = 60
NAMED = 3  # units that are drawn by their number
SAMPLES = 5
SAMPLE_TOKENS = 400
TEMPERATURE = 0.8


def draw_gates(model: LanguageModel, corpus: Corpus, path: Path) -> None:
    """Draw the last layer over one held-out sentence, and what the network expected to read.

    Of a cell with gates every gate and state, of another its states.
    """
    cell = CELLS[model.config.cell]
    ids = torch.from_numpy(one_sentence(corpus.validation, corpus.tokens))
    with torch.inference_mode():
        expected = model(ids[:-1, None])[0].argmax(-1)[:, 0].tolist()
    seen = model.trajectories(ids)[-1]._asdict()
    shown = {name: cell.title(name) for name in seen if cell.sigmoid or name in cell.states}
    where = "a training" if corpus.validation_is_train else "a held-out"
    gates = "A gate is dark where it is closed (0) and bright where it is open (1). " if cell.sigmoid else ""
    figures.strips(
        path,
        tokens=[corpus.tokens.decode([i]) for i in ids.tolist()],
        predicted=["", *(corpus.tokens.decode([i]) for i in expected)],
        strips={title: np.asarray(seen[name][:, 0].float()) for name, title in shown.items()},
        ranges={cell.title(name): (0.0, 1.0) for name in cell.sigmoid},
        ends={cell.title(name): ("closed", "open") for name in cell.sigmoid},
        named=NAMED,
        title=f"What layer {model.config.num_layers} does over {where} sentence",
        reading=f"One column per symbol, one row per unit, the same in every strip. {gates}Below each strip "
        f"are the {NAMED} units whose state changes most. The last line is what the network expected before "
        "it read the symbol above it, red where it was wrong.",
    )


def one_sentence(split: Split, tokens: Tokens) -> npt.NDArray[np.int64]:
    """Return the ids of a line that reads as a sentence, the newlines around it included.

    It is the first of at least SENTENCE symbols that is mostly letters; where none is, the one of that length
    with the most different symbols; where all are shorter, the longest. Lines beyond the first 10,000 symbols
    are not looked at; a long one is cut at STRIP_TOKENS.
    """
    ids = np.asarray(split.ids[:10_000]).astype(np.int64)
    borders = np.union1d(np.flatnonzero(ids == split.boundary), [0, len(ids) - 1])
    lines = [
        ids[begin : min(end + 1, begin + STRIP_TOKENS)] for begin, end in itertools.pairwise(borders.tolist())
    ]
    long = [line for line in lines if len(line) > SENTENCE + 1]
    if not long:
        return max(lines, key=len)
    varied = max(long, key=lambda line: len(np.unique(line)))
    return next((line for line in long if _letters(tokens.decode(line)) >= LETTERS), varied)


def _letters(text: str) -> float:
    """Return which share of a text is letters."""
    return sum(map(str.isalpha, text)) / max(1, len(text))


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
    """Return the first text that `write_samples` wrote; empty where the file is gone or another."""
    try:
        text = files.read_regular(path, 2**20, RunError).decode()
    except (RunError, ValueError):
        return ""
    return text.partition("\n")[2].split("\n\n--- sample", 1)[0].rstrip("\n")


def _until_infinite(drawn: Iterator[int]) -> list[int]:
    """Return the ids up to where the state runs to infinity, as a relu network's may after long."""
    ids: list[int] = []
    with contextlib.suppress(NonFiniteError):
        ids.extend(drawn)
    return ids
