"""What the probe asks a tagger: how probable each tag is at each word of held-out sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import DataError, counted, expected
from unrolled.tasks.examined import Answers, Columns, Examined, Figure, Step, stored_controls
from unrolled.tasks.tag import crf
from unrolled.tasks.tag.batches import Encoded, SentenceBatch, SentenceBatches
from unrolled.tasks.tag.network import TagNetwork

__all__ = ["examined"]

Array: TypeAlias = npt.NDArray[Any]
ROWS, BATCH = 128, 32  # sentences that tags are asked for; and that gradients and states are measured on
WORD = "word"
LEAST = 1e-12  # probability, so that a loss is finite
SEED = 0


def examined(network: TagNetwork, encoded: Encoded, name: str, directory: Path | None) -> Examined:
    """Return what the probe measures a tagger on: sentences drawn by chance.

    Args:
        encoded: sentences with tags, called `name`. directory: RUN/data.
    Raises:
        DataError: fewer than two have tags that training knows.
    """
    assert encoded.tags is not None
    known = np.array([n for n, tags in enumerate(encoded.tags) if len(tags) and (tags >= 0).all()], np.int64)
    if len(known) < 2:
        raise DataError(
            expected("sentences", "at least 2 with tags that occur in the training data", len(known))
        )
    rows = np.random.default_rng(SEED).permutation(known)[:ROWS]
    batch = SentenceBatches(encoded, batch_size=len(rows)).batch(rows)
    with torch.no_grad():
        seen = network.read(batch)[:, :BATCH]
    few = batch.part(0, len(batch.inputs), slice(0, BATCH))
    facts = {"sentences": f"{counted(len(rows), 'sentence')} of {len(encoded):,} of {name}, drawn at random"}
    answers = _answers(network, batch, None if directory is None else directory.parent)
    return Examined(Batch(seen, few.targets, few.lengths), facts, None, answers, None, few)


def _answers(network: TagNetwork, batch: SentenceBatch, run: Path | None) -> Answers:
    schema = network.schema
    assert schema is not None
    assert batch.lengths is not None
    columns = {WORD: batch.inputs}
    columns |= {name: batch.columns[..., place] for place, name in enumerate(schema.features)}
    tags, lengths = batch.targets.clamp(min=0).numpy(), batch.lengths.numpy()
    inside = np.arange(len(tags))[:, None] < lengths
    scale = 1.0 / schema.temperature

    def answer(given: Columns, sizes: Tensor | None) -> Array:
        words = given[WORD]
        further = [given[name] for name in schema.features]
        whole = SentenceBatch(
            words, torch.zeros_like(words), sizes, forms=batch.forms,
            columns=torch.stack(further, -1) if further else words.new_zeros((*words.shape, 0)),
        )  # fmt: skip
        emissions, _ = network.emissions(whole)
        full = torch.full((words.shape[1],), len(words)) if sizes is None else sizes
        return np.asarray(crf.marginals(emissions * scale, network.moves() * scale, full))

    def right(answers: Array, rows: Array) -> float:
        steps, valid = answers.shape[0], inside[: answers.shape[0], rows]
        hits = answers[:, rows].argmax(-1) == tags[:steps, rows]
        return float(hits[valid].mean())

    def nats(answers: Array) -> Array:
        steps, count = answers.shape[:2]
        own = np.take_along_axis(answers, tags[:steps, :count, None], 2)[..., 0]
        each = -np.log(np.maximum(own, LEAST)) * inside[:steps, :count]
        return np.asarray(each.sum(0) / lengths[:count])

    return Answers(
        columns=columns, lengths=batch.lengths, answer=answer, loss=nats, per_step=True, several=True,
        figure=Figure("accuracy of tags", right, higher=True, best=1.0), step=Step(1.0, "word"),
        kind="reads both ways, and decodes the tags of a sentence jointly", no_leak=(WORD,),
        **stored_controls(run, "accuracy"),
    )  # fmt: skip
