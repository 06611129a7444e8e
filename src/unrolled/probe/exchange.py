"""Exchanged inputs: copies of samples in which some steps or columns are those of other samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.errors import NonFiniteError, ShapeError, expected
from unrolled.probe.result import Floats
from unrolled.tasks import Answers

WORK = 3e9  # multiplications of a run of the network: fewer rows are taken of long samples and large networks
FEWEST, MOST = 16, 256  # rows
RESAMPLED = 100  # draws of rows, with replacement, that intervals are taken from
SEED = 0

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Exchange:
    """Samples of a task, ready to be exchanged: every sample has a partner, another one.

    Attributes:
        answers: of the task, of as many rows as are taken. weights: parameters of the network.
    """

    answers: Answers
    weights: int = 0

    @classmethod
    def of(cls, answers: Answers, weights: int) -> Exchange:
        """Take as many rows as the work allows. Raises ShapeError: fewer than two, which have no partner."""
        steps, rows = next(iter(answers.columns.values())).shape[:2]
        if rows < 2:
            raise ShapeError(expected("samples", "at least 2, to exchange their inputs", rows))
        count = int(np.clip(WORK / max(steps * weights, 1), FEWEST, MOST))
        return cls(answers, weights).first(count)

    def first(self, count: int) -> Exchange:
        """Return the same of the first rows."""
        given = self.answers
        columns = {name: column[:, :count] for name, column in given.columns.items()}
        lengths = None if given.lengths is None else given.lengths[:count]
        return Exchange(replace(given, columns=columns, lengths=lengths), self.weights)

    @cached_property
    def lengths(self) -> Indices:
        """[B] the steps of each row."""
        steps, rows = next(iter(self.answers.columns.values())).shape[:2]
        given = self.answers.lengths
        return np.full(rows, steps) if given is None else given.numpy().astype(np.int64)

    @property
    def rows(self) -> int:
        """How many samples."""
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Steps of the longest sample, without its edges."""
        return int(self.lengths.max()) - sum(self.answers.edges)

    @property
    def last(self) -> Indices:
        """[B] the number of each sample's last step."""
        found: Indices = self.lengths - 1 - self.answers.edges[1]
        return found

    @cached_property
    def plain(self) -> Floats:
        """The answers to the samples as they are, [B, …] or [T, B, …]."""
        return self._asked(self.answers.columns, self.answers.lengths)

    def partners(self, repeat: int) -> Indices:
        """Return [B] a partner for each row, never itself; another draw for each repeat."""
        order = np.random.default_rng([SEED, repeat]).permutation(self.rows)
        found = np.empty(self.rows, np.int64)
        found[order] = np.roll(order, 1)
        return found

    def resamples(self) -> Indices:
        """Return [RESAMPLED, B] rows drawn with replacement."""
        return np.random.default_rng([SEED, 2**20]).integers(0, self.rows, (RESAMPLED, self.rows))

    def own(self) -> Indices:
        """Return [T, B] the places of the steps as they are, as `answered` takes them."""
        return self._places(np.arange(self.lengths.max())[:, None], np.arange(self.rows))

    def same_place(self, partners: Indices) -> Indices:
        """Return [T, B] the places of the partner's steps at the same distance from the end.

        A partner that is shorter begins again at its end. Edges stay.
        """
        edges = sum(self.answers.edges)
        back = self.last - np.arange(self.lengths.max())[:, None]
        inside = (back >= 0) & (back < self.lengths - edges)
        other = self._places(self.last[partners] - back % (self.lengths[partners] - edges), partners)
        return np.where(inside, other, self.own())

    def with_other_past(self, kept: int, partners: Indices) -> tuple[Indices, Indices]:
        """Return the places [T', B] and lengths [B] of rows that keep their last steps alone.

        Before them stands what the partner has before as many; so a row is as long as its partner where it
        has as many as are kept.
        """
        first, end = self.answers.edges
        before = np.maximum(self.lengths[partners] - kept - end, first)
        own = np.minimum(self.lengths - first, kept + end)
        at = np.arange(int((before + own).max()))[:, None]
        far = self._places(at, partners)
        near = self._places(self.lengths - own + at - before, np.arange(self.rows))
        return np.where(at < before, far, near), before + own

    def with_other_future(self, kept: int, partners: Indices) -> tuple[Indices, Indices]:
        """Return the places [T', B] and lengths [B] of rows that keep their first steps alone."""
        first, end = self.answers.edges
        own = np.minimum(self.lengths - end, kept + first)
        steps = self.lengths[partners]
        after = np.maximum(steps - kept - first, end)
        at = np.arange(int((own + after).max()))[:, None]
        near = self._places(at, np.arange(self.rows))
        far = self._places(steps - after + at - own, partners)
        return np.where(at < own, near, far), own + after

    def beginning(self, kept: int) -> tuple[Indices, Indices]:
        """Return the places [T', B] and lengths [B] of rows that are their first steps."""
        first, end = self.answers.edges
        own = np.minimum(self.lengths - end, kept + first)
        at = np.arange(int(own.max()) + end)[:, None]
        steps = np.where(at < own, at, self.lengths - end + at - own)
        return self._places(steps, np.arange(self.rows)), own + end

    def answered(self, places: Indices | Mapping[str, Indices], lengths: Indices | None = None) -> Floats:
        """Return the answers to rows that are made of other steps.

        Args:
            places: [T', B] numbers of steps, t·B + b, for all columns or by column; those not named stay.
            lengths: [B]; default as they were.
        """
        own = self.own() if isinstance(places, Mapping) else None
        columns: dict[str, Tensor] = {}
        for name, column in self.answers.columns.items():
            taken = places.get(name, own) if isinstance(places, Mapping) else places
            columns[name] = column.flatten(0, 1)[torch.from_numpy(np.ascontiguousarray(taken))]
        given = self.answers.lengths
        if lengths is not None and (
            given is not None or (lengths != len(next(iter(columns.values())))).any()
        ):
            given = torch.from_numpy(lengths)
        return self._asked(columns, given)

    def difference(self, other: Floats) -> Floats:
        """Return [B] the squared difference of [B, …] answers to the plain ones, summed over their parts."""
        found: Floats = np.square(other - self.plain).reshape(self.rows, -1).sum(1)
        return found

    def _places(self, steps: Indices, rows: Indices) -> Indices:
        steps = np.clip(steps, 0, self.lengths[rows] - 1)
        found: Indices = steps * self.rows + rows
        return found

    def _asked(self, columns: Mapping[str, Tensor], lengths: Tensor | None) -> Floats:
        with torch.no_grad():
            found = np.asarray(self.answers.answer(columns, lengths), np.float64)
        if not np.isfinite(found).all():
            raise NonFiniteError(expected("answers", "finite values", "NaN or infinity"))
        return found


def share_interval(parts: Floats, whole: Floats, drawn: Indices) -> tuple[Floats, Floats, Floats]:
    """Return the share of sums over rows, and its 95 % interval over draws of rows.

    Args:
        parts: [B, …] of each row. whole: [B]. drawn: [D, B] rows.
    """
    total = float(whole.sum())
    if total <= 0:
        nothing = np.zeros(parts.shape[1:])
        return nothing, nothing, nothing
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.stack([parts[rows].sum(0) / whole[rows].sum() for rows in drawn])
    low, high = np.nanpercentile(found, [2.5, 97.5], axis=0)
    return parts.sum(0) / total, low, high
