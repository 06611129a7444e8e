"""Precision, recall and F1 of chunks, by the rules of conlleval, and the accuracy of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import chunks
from unrolled.errors import ShapeError, expected

__all__ = ["ChunkScores", "TypeScores", "chunk_scores"]

Tags: TypeAlias = Sequence[Sequence[str]]
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class TypeScores:
    """How well the chunks of one type were found: counts, and shares from 0 to 1."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """The share of the predicted chunks that are right; 0 where there are none."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of the gold chunks that were found; 0 where there are none."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.gold + self.predicted
        return 2 * self.correct / both if both else 0.0


@dataclass(frozen=True)
class ChunkScores:
    """Scores of all chunks and of each type, and of tags."""

    tokens: int
    accuracy: float  # the share of tokens with the right tag
    chunks: TypeScores | None  # all types together; None where tags mark no chunks
    by_type: Mapping[str, TypeScores]  # of chunks; where there are none, of each tag's tokens

    @property
    def precision(self) -> float | None:
        """Of all chunks; None where tags mark none."""
        return None if self.chunks is None else self.chunks.precision

    @property
    def recall(self) -> float | None:
        """Of all chunks; None where tags mark none."""
        return None if self.chunks is None else self.chunks.recall

    @property
    def f1(self) -> float | None:
        """Of all chunks; None where tags mark none."""
        return None if self.chunks is None else self.chunks.f1

    @property
    def values(self) -> dict[str, float]:
        """The figures by name, from 0 to 1: f1, precision, recall (where there are chunks), accuracy."""
        found = {} if self.chunks is None else {"f1": self.chunks.f1}
        if self.chunks is not None:
            found |= {"precision": self.chunks.precision, "recall": self.chunks.recall}
        return {**found, "accuracy": self.accuracy}


def chunk_scores(gold: Tags, predicted: Tags, scheme: str | None) -> ChunkScores:
    """Score predicted tags: a chunk is right where its first token, its last token and its type are.

    Both sides are read alike by the rules of conlleval, broken tags too: see `unrolled.data.chunks`. A scheme
    is therefore only known to be one: None scores plain tags, such as parts of speech, by tokens. Types that
    one side alone has count as well, as in conlleval.

    Args:
        gold, predicted: tags of the same sentences, as many in each.
    Raises:
        ShapeError: counts disagree.
    Source: Tjong Kim Sang & Buchholz 2000, Introduction to the CoNLL-2000 shared task.
    """
    if len(gold) != len(predicted):
        raise ShapeError(expected("predicted", f"[{len(gold)}] sentences", f"[{len(predicted)}]"))
    for index, (one, other) in enumerate(zip(gold, predicted, strict=True)):
        if len(one) != len(other):
            raise ShapeError(expected(f"predicted[{index}]", f"[{len(one)}]", f"[{len(other)}]"))
    pairs = zip(chain.from_iterable(gold), chain.from_iterable(predicted), strict=True)
    tokens = sum(map(len, gold))
    accuracy = sum(one == other for one, other in pairs) / tokens if tokens else 0.0
    if scheme is None:
        return ChunkScores(tokens, accuracy, None, _by_type(_single(gold), _single(predicted)))
    by_type = _by_type(_triples(gold), _triples(predicted))
    every = by_type.values()
    whole = TypeScores(
        *(sum(getattr(each, name) for each in every) for name in ("gold", "predicted", "correct"))
    )
    return ChunkScores(tokens, accuracy, whole, by_type)


def _triples(tags: Tags) -> tuple[Array, Array, Array]:
    firsts, lasts, kinds = chunks(tags)
    return firsts, lasts, np.array(kinds, object)


def _single(tags: Tags) -> tuple[Array, Array, Array]:
    kinds = np.array(list(chain.from_iterable(tags)), object)
    return np.arange(len(kinds)), np.arange(len(kinds)), kinds


def _by_type(
    gold: tuple[Array, Array, Array], predicted: tuple[Array, Array, Array]
) -> dict[str, TypeScores]:
    """Count by type. Chunks of one side do not overlap, so that the first token names one."""
    _, at, other = np.intersect1d(gold[0], predicted[0], assume_unique=True, return_indices=True)
    same = (gold[1][at] == predicted[1][other]) & (gold[2][at] == predicted[2][other])
    found, given, right = (_counts(kinds) for kinds in (gold[2], predicted[2], gold[2][at][same]))
    return {
        kind: TypeScores(found.get(kind, 0), given.get(kind, 0), right.get(kind, 0))
        for kind in sorted({*found, *given})
    }


def _counts(kinds: Array) -> dict[str, int]:
    names, counts = np.unique(kinds.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
