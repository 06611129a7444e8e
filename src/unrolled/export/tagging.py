"""Tags of an exported tagger's scores: what the graph leaves to Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled.data import Sentences
from unrolled.errors import DataError, expected
from unrolled.tasks import SentenceBatches, TagSchema, best_paths

__all__ = ["best_tags"]

Array = npt.NDArray[Any]
Texts = Sequence[Sequence[str]]  # a sentence each, of a word each
ROWS = 64


def best_tags(
    stored: Mapping[str, Any],
    sentences: Texts,
    columns: Mapping[str, Texts],
    run: Callable[..., dict[str, Array]],
) -> list[list[str]]:
    """Return the best path of each sentence, by Viterbi, in the letters of the training data.

    Args:
        stored: the tagger's schema.
        sentences: their words.
        columns: by the names of training, a value for each word of each sentence.
        run: inputs by name → outputs by name.
    Raises:
        DataError: other columns than those of training, or values for other words than there are.
    """
    schema = TagSchema.from_json(stored)
    ids = tuple(map(str, range(len(sentences))))
    words = _texts(sentences)
    sizes = [len(each) for each in words]
    for name, values in columns.items():
        if [len(each) for each in values] != sizes:
            raise DataError(
                expected(f"columns[{name!r}]", "a value for each word of each sentence", "others")
            )
    features = schema.features if set(columns) == set(schema.features) else tuple(columns)
    further = tuple(_texts(columns[name]) for name in features)
    encoded = schema.encode(Sentences(words, features, further, None, ids, None, "sentences", ""))
    batches = SentenceBatches(encoded, batch_size=ROWS)
    paths: list[Array] = [np.zeros(0, np.int64)] * len(sentences)
    for rows in batches.indices(0):
        batch = batches.batch(rows)
        forms, lengths = batch.forms, batch.lengths
        given = {"columns": batch.columns.numpy()} if features else {}
        assert lengths is not None  # by `SentenceBatches`
        found = run(
            words=forms.words, shapes=forms.shapes, affixes=forms.affixes, characters=forms.characters,
            character_lengths=forms.lengths, places=batch.inputs.numpy(), lengths=lengths.numpy(),
            **given,
        )  # fmt: skip
        scores, moves = (torch.from_numpy(found[name]) for name in ("emissions", "transitions"))
        best = best_paths(scores, moves, lengths)
        for column, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            paths[row] = best[:length, column]
    return schema.outside(paths)


def _texts(sentences: Texts) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(map(str, each)) for each in sentences)
