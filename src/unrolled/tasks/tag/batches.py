"""Batches of whole sentences: each different word of a batch once, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.data import IGNORED, Batch, SampleBatches
from unrolled.tasks.tag.forms import Forms

__all__ = ["Encoded", "SentenceBatch", "SentenceBatches"]

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Encoded:
    """N sentences as numbers."""

    forms: Forms  # of the different words
    words: Sequence[Array]  # [T_i] each: numbers of forms
    columns: Sequence[Array]  # [T_i, F] each: numbers of values, of all columns in one table
    tags: Sequence[Array] | None  # [T_i] each: numbers of tags inside; IGNORED where training has none such

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, eq=False)
class SentenceBatch(Batch):
    """T steps of B sentences; `inputs` [T, B] are numbers of the batch's different words."""

    forms: Forms = field(kw_only=True)
    columns: Tensor = field(kw_only=True)  # [T, B, F] int64

    def part(self, begin: int, steps: int, rows: slice | Tensor = slice(None)) -> SentenceBatch:
        """Return so many steps from one on, of some of the rows."""
        plain = Batch.part(Batch(self.inputs, self.targets, self.lengths), begin, steps, rows)
        columns = self.columns[begin : begin + steps, rows]
        return replace(
            self, inputs=plain.inputs, targets=plain.targets, lengths=plain.lengths, columns=columns
        )


class SentenceBatches:
    """Every sentence once an epoch, sentences of like length side by side, as `data.SampleBatches` orders."""

    carries_state = False

    def __init__(self, encoded: Encoded, *, batch_size: int, seed: int = 0, shuffle: bool = False) -> None:
        self._encoded = encoded
        numbers = np.arange(len(encoded))
        self._order = SampleBatches(
            list(encoded.words), numbers, batch_size=batch_size, seed=seed, shuffle=shuffle
        )
        self.rows = self._order.rows
        self._tokens = sum(map(len, encoded.words))

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[SentenceBatch]:
        """Yield batches of epoch n from number `start` on, with the rows rank::world_size."""
        for chosen in self.indices(n)[start:]:
            yield self.batch(chosen[rank::world_size])

    def indices(self, epoch: int) -> list[Array]:
        """Return which sentences are in each batch of an epoch, in order."""
        return list(self._order.indices(epoch))

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return self._order.len_of(epoch)

    def tokens_of(self, epoch: int) -> int:
        """Return the number of words in an epoch."""
        return self._tokens

    def batch(self, chosen: Array) -> SentenceBatch:
        """Return a batch of some sentences."""
        encoded = self._encoded
        lengths = np.array([len(encoded.words[index]) for index in chosen], np.int64)
        steps, rows = int(lengths.max(initial=0)), len(chosen)
        where = np.arange(steps)[:, None] < lengths
        flat = where.T  # rows first, as sentences are laid out one after the other
        words = np.concatenate([np.zeros(0, np.int64), *(encoded.words[index] for index in chosen)])
        different, places = np.unique(words, return_inverse=True)
        columns = encoded.columns[0].shape[1]
        return SentenceBatch(
            inputs=_laid_out(places, flat, 0),
            targets=self._targets(chosen, flat),
            lengths=torch.from_numpy(lengths),
            forms=encoded.forms.take(different),
            columns=_columns(encoded, chosen, flat)
            if columns and rows
            else torch.zeros(steps, rows, columns, dtype=torch.int64),
        )

    def _targets(self, chosen: Array, flat: Array) -> Tensor:
        tags = self._encoded.tags
        if tags is None:
            return torch.full((flat.shape[1], flat.shape[0]), IGNORED)
        given = np.concatenate([np.zeros(0, np.int64), *(tags[index] for index in chosen)])
        return _laid_out(given, flat, IGNORED)


def _laid_out(values: Array, flat: Array, padding: int) -> Tensor:
    """Return [T, B] of values that lie one row after the other; `flat` [B, T] says where there are any."""
    found = np.full(flat.shape, padding, np.int64)
    found[flat] = values
    return torch.from_numpy(np.ascontiguousarray(found.T))


def _columns(encoded: Encoded, chosen: Array, flat: Array) -> Tensor:
    values = np.concatenate([encoded.columns[index] for index in chosen])
    found = np.zeros((*flat.shape, values.shape[1]), np.int64)
    found[flat] = values
    return torch.from_numpy(np.ascontiguousarray(found.swapaxes(0, 1)))
