"""Tags of an exported tagger's scores: what the graph leaves to Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled.data import Sentences
from unrolled.tasks import SentenceBatches, TagSchema, best_paths

__all__ = ["best_tags"]

Array = npt.NDArray[Any]
ROWS = 64


def best_tags(
    stored: Mapping[str, Any], sentences: Sequence[Sequence[str]], run: Callable[..., dict[str, Array]]
) -> list[list[str]]:
    """Return the best path of each sentence, by Viterbi, in the letters of the training data.

    Args:
        stored: the tagger's schema. run: inputs by name → outputs by name.
    """
    schema = TagSchema.from_json(stored)
    ids = tuple(map(str, range(len(sentences))))
    words = tuple(tuple(map(str, each)) for each in sentences)
    encoded = schema.encode(Sentences(words, (), (), None, ids, None, "sentences", ""))
    batches = SentenceBatches(encoded, batch_size=ROWS)
    paths: list[Array] = [np.zeros(0, np.int64)] * len(sentences)
    for rows in batches.indices(0):
        batch = batches.batch(rows)
        forms, lengths = batch.forms, batch.lengths
        assert lengths is not None  # by `SentenceBatches`
        found = run(
            words=forms.words, shapes=forms.shapes, affixes=forms.affixes, characters=forms.characters,
            character_lengths=forms.lengths, places=batch.inputs.numpy(), lengths=lengths.numpy(),
        )  # fmt: skip
        scores, moves = (torch.from_numpy(found[name]) for name in ("emissions", "transitions"))
        best = best_paths(scores, moves, lengths)
        for column, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            paths[row] = best[:length, column]
    return schema.outside(paths)
