"""A linear-chain conditional random field on sparse features, by AdaGrad, in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Chain", "fit_chain"]

Array: TypeAlias = npt.NDArray[Any]
SENTENCES = 48  # at a time
EPOCHS = 12
RATE = 0.25
PENALTY = 0.3  # of the squared weights, against a sum over sentences
MOST_CELLS = 2**22  # numbers in one step of Viterbi


@dataclass(frozen=True, eq=False)
class Batch:
    """Sentences side by side, longest first: first words of all, then second words of those that have one."""

    tokens: Array  # numbers of the words among all, in this order
    sizes: Array  # sentences that have a word number t
    begins: Array  # of the words number t in `tokens`, and the end

    @property
    def borders(self) -> list[tuple[int, int]]:
        """Where the words number t begin and end."""
        ends = self.begins.tolist()
        return list(itertools.pairwise(ends))

    @property
    def before(self) -> Array:
        """The place of the word before, for each word that is not the first of its sentence."""
        found: Array = np.arange(self.begins[1], self.begins[-1])
        found -= np.repeat(self.sizes[:-1], self.sizes[1:])
        return found

    @property
    def lasts(self) -> Array:
        """The place of the last word of each sentence."""
        more = np.append(self.sizes[1:], 0)
        runs = zip(self.begins[:-1] + more, self.begins[1:], strict=True)
        return np.concatenate([np.arange(*run) for run in runs])

    @classmethod
    def of(cls, chosen: Array, begins: Array) -> Batch:
        """Lay out some sentences; `begins`: of all sentences among their words."""
        lengths = begins[chosen + 1] - begins[chosen]
        chosen = chosen[np.argsort(-lengths, kind="stable")]
        lengths = np.sort(lengths)[::-1]
        sizes = np.array([int((lengths > t).sum()) for t in range(int(lengths[0]))])
        tokens = np.concatenate([begins[chosen[:size]] + t for t, size in enumerate(sizes)])
        return cls(tokens, sizes, np.concatenate([[0], np.cumsum(sizes)]))


@dataclass(frozen=True, eq=False)
class Chain:
    """Weights of features by tag, and of one tag after another."""

    weights: Array  # [R, K]; row 0 is 0
    bias: Array  # [K]
    follows: Array  # [K, K] from, to
    first: Array  # [K]
    last: Array  # [K]

    @property
    def parameters(self) -> int:
        """The number of weights."""
        parts = (self.weights[1:], self.bias, self.follows, self.first, self.last)
        return sum(each.size for each in parts)

    def decode(self, rows: Array, begins: Array) -> Array:
        """Return the best tag of each word [tokens] by Viterbi."""
        found = np.zeros(len(rows), np.int64)
        together = max(1, min(256, MOST_CELLS // self.bias.size**2))
        for batch in batches(begins, together):
            found[batch.tokens] = self._best(_scores(self.weights, rows[batch.tokens]) + self.bias, batch)
        return found

    def _best(self, scores: Array, batch: Batch) -> Array:
        begins, sizes = batch.begins, batch.sizes
        best = self.first + scores[: begins[1]]
        came: list[Array] = []
        ends = np.empty_like(best)
        for t in range(1, len(sizes)):
            ends[sizes[t] : sizes[t - 1]] = best[sizes[t] :]
            paths = best[: sizes[t], :, None] + self.follows
            came.append(paths.argmax(1))
            best = np.take_along_axis(paths, came[-1][:, None], 1)[:, 0] + scores[begins[t] : begins[t + 1]]
        ends[: len(best)] = best
        now = (ends + self.last).argmax(1)
        found = np.empty(len(scores), np.int64)
        for t in range(len(sizes) - 1, -1, -1):
            size = sizes[t]
            found[begins[t] : begins[t + 1]] = now[:size]
            if t:
                now[:size] = came[t - 1][np.arange(size), now[:size]]
        return found


def batches(begins: Array, together: int) -> list[Batch]:
    """Return all sentences, those of like length together."""
    order = np.argsort(np.diff(begins), kind="stable")
    return [Batch.of(order[at : at + together], begins) for at in range(0, len(order), together)]


def _scores(weights: Array, rows: Array) -> Array:
    """Return the sum of each word's rows of weights [N, K]."""
    total = weights[rows[:, 0]]
    for index in range(1, rows.shape[1]):
        total += weights[rows[:, index]]
    return total


def fit_chain(
    rows: Array, begins: Array, targets: Array, count: int, tags: int, *, seed: int = 0, epochs: int = EPOCHS
) -> Chain:
    """Train on words with rows [tokens, F] of `count` features each and targets [tokens].

    Each batch's gradient is that of −log p of its sentences; the penalty is applied to a row when it is used.
    Source: Lafferty, McCallum & Pereira 2001; Duchi, Hazan & Singer 2011.
    """
    generator = np.random.default_rng(seed)
    weights = np.zeros((count, tags), np.float32)
    small = [np.zeros(shape, np.float32) for shape in (tags, (tags, tags), tags, tags)]
    squares = [np.full(each.shape, 1e-6, np.float32) for each in small]
    row_squares = np.full((count, tags), 1e-6, np.float32)
    seen = np.zeros(count, np.int64)
    parts = [(_Turned.of(batch, rows), batch) for batch in batches(begins, SENTENCES)]
    step = 0
    for epoch in range(epochs):
        rate = np.float32(RATE * (1 - epoch / epochs))
        for index in generator.permutation(len(parts)):
            turned, batch = parts[index]
            step += 1
            scores = _scores(weights, rows[batch.tokens])
            error, gradients = _gradients(scores, targets[batch.tokens], batch, small)
            used = turned.used
            penalty = np.float32(PENALTY / len(parts)) * (step - seen[used])[:, None].astype(np.float32)
            seen[used] = step
            own = weights[used]
            gradient = turned.gathered(error) + np.minimum(penalty, 1) * own
            grown = row_squares[used] + gradient**2
            row_squares[used] = grown
            weights[used] = own - rate * gradient / np.sqrt(grown)
            weights[0] = 0
            for value, square, change in zip(small, squares, gradients, strict=True):
                square += change**2
                value -= rate * change / np.sqrt(square)
    return Chain(weights, *small)


@dataclass(frozen=True, eq=False)
class _Turned:
    """Which words of a batch have each feature."""

    used: Array  # the features, rising
    words: Array  # of the batch, feature by feature
    begins: Array

    @classmethod
    def of(cls, batch: Batch, rows: Array) -> _Turned:
        own = rows[batch.tokens]
        flat = own.ravel()
        order = np.argsort(flat, kind="stable")
        begins = np.flatnonzero(np.diff(flat[order], prepend=-1))
        return cls(flat[order][begins], (order // own.shape[1]).astype(np.int32), begins)

    def gathered(self, error: Array) -> Array:
        """Return the sum of the words' errors for each feature."""
        total: Array = np.add.reduceat(error[self.words], self.begins, axis=0)
        return total


def _gradients(
    scores: Array, targets: Array, batch: Batch, small: Sequence[Array]
) -> tuple[Array, list[Array]]:
    """Return the gradient of −log p for scores [N, K], and for bias, follows, first and last."""
    bias, follows, first, last = small
    scores = scores + bias
    scores[: batch.begins[1]] += first
    given, moves = np.exp(scores - scores.max(1, keepdims=True)), np.exp(follows - follows.max())
    forward, scale = _forward(given, moves, batch)
    backward = _backward(given / scale, moves, np.exp(last - last.max()), batch)
    error = forward * backward
    error /= error.sum(1, keepdims=True)
    before, after = batch.before, slice(batch.begins[1], None)
    meets = given[after] * backward[after] / scale[after]
    meets /= ((forward[before] @ moves) * meets).sum(1, keepdims=True)
    pairs = moves * (forward[before].T @ meets)
    error[np.arange(len(targets)), targets] -= 1
    np.subtract.at(pairs, (targets[before], targets[after]), 1)
    return error, [error.sum(0), pairs, error[: batch.begins[1]].sum(0), error[batch.lasts].sum(0)]


def _forward(given: Array, moves: Array, batch: Batch) -> tuple[Array, Array]:
    """Return the forward variables, divided by their sum for each word (Rabiner 1989), and these sums."""
    forward, scale = np.empty_like(given), np.empty((len(given), 1), given.dtype)
    for t, (begin, end) in enumerate(batch.borders):
        here = given[begin:end]
        if t:
            earlier = batch.begins[t - 1]
            here = here * (forward[earlier : earlier + end - begin] @ moves)
        scale[begin:end] = here.sum(1, keepdims=True)
        np.divide(here, scale[begin:end], out=forward[begin:end])
    return forward, scale


def _backward(scaled: Array, moves: Array, ending: Array, batch: Batch) -> Array:
    """Return the backward variables, divided as the forward ones were."""
    backward = np.empty_like(scaled)
    into = np.ascontiguousarray(moves.T)
    following: Array = scaled[:0]
    for begin, end in reversed(batch.borders):
        backward[begin : begin + len(following)] = following @ into
        backward[begin + len(following) : end] = ending
        following = scaled[begin:end] * backward[begin:end]
    return backward
