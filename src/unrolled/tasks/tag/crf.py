"""Linear-chain conditional random field: log-partition, marginals and best path, for ragged batches.

A path of tags y_1 … y_T scores Σ_t e[t, y_t] + A[start, y_1] + Σ_t A[y_{t−1}, y_t] + A[y_T, end], and its
probability is exp(score − log Z) (Lafferty et al. 2001). Numbers are float64 inside, in numpy: with some
tens of tags a step of the recursion is so small that calls cost more than arithmetic. Rows are sorted by
length, so that at step t a prefix of them is still running, and padding costs nothing.

The forward variables are kept as probabilities, normalised at every step (Rabiner 1989); the gradient of
log Z is the marginals, by one backward recursion, instead of a graph of T small operations. Where a row
underflows, as scores lie more than some 700 nats apart, all are computed anew from logarithms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.errors import DataError, ShapeError, expected

__all__ = ["best_paths", "log_partition", "marginals", "negative_log_likelihood"]

Array: TypeAlias = npt.NDArray[Any]
MOST_NUMBERS = 2**22  # of all pairs of tags, for some rows at a step


def negative_log_likelihood(emissions: Tensor, transitions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
    """Return −log probability [B] of the tags of each row, differentiable by emissions and transitions.

    Args:
        emissions: [T, B, K] scores. transitions: [K + 2, K + 2], row before, column after; K is the start,
            K + 1 the end; −inf bars one. tags: [T, B] int64, read within lengths. lengths: [B] int64, from 1.
    Raises:
        ShapeError: axes disagree.
    """
    _check(emissions, transitions, lengths)
    if tags.shape != emissions.shape[:2]:
        raise ShapeError(expected("tags", list(emissions.shape[:2]), list(tags.shape)))
    found: Tensor = _Partition.apply(emissions, transitions, lengths, tags)  # type: ignore[no-untyped-call]
    return found


def log_partition(emissions: Tensor, transitions: Tensor, lengths: Tensor) -> Tensor:
    """Return log Z [B]: over all paths of each row, differentiable; see `negative_log_likelihood`."""
    _check(emissions, transitions, lengths)
    found: Tensor = _Partition.apply(emissions, transitions, lengths, None)  # type: ignore[no-untyped-call]
    return found


def marginals(emissions: Tensor, transitions: Tensor, lengths: Tensor) -> Array:
    """Return the probability [T, B, K] of each tag at each step, float64; 0 past a row's length."""
    _check(emissions, transitions, lengths)
    return _Chain(emissions, transitions, lengths).backward().of_tags


def best_paths(emissions: Tensor, transitions: Tensor, lengths: Tensor) -> Array:
    """Return the most probable path of each row [T, B] int64 (Viterbi 1967); 0 past its length.

    Raises:
        DataError: a row has no path that is not barred.
    """
    _check(emissions, transitions, lengths)
    scores, matrix = _numbers(emissions), _numbers(transitions)
    steps, rows, count = scores.shape
    order, running = _sorted_rows(lengths, steps)
    scores = scores[:, order]
    into = np.ascontiguousarray(matrix[:count, :count].T)  # column after, row before
    final = np.empty((rows, count))
    back = np.zeros((steps, rows, count), np.int64)
    best = matrix[count, :count] + scores[0] if steps else final
    for step in range(steps):
        if step:
            best = best[: running[step]].copy()
            for some in _blocks(int(running[step]), count):
                candidates = best[some, None, :] + into
                back[step, some] = candidates.argmax(-1)
                best[some] = candidates.max(-1) + scores[step, some]
        final[: running[step]] = best
    final += matrix[:count, count + 1]
    if rows and not np.isfinite(final.max(-1)).all():
        raise DataError(expected("transitions", "at least one path for every row", "none"))
    return _walked(back, final, running, order)


def _walked(back: Array, final: Array, running: Array, order: Array) -> Array:
    """Follow the pointers back from the best last tag of each row."""
    steps, rows = back.shape[:2]
    found = np.zeros((steps, rows), np.int64)
    last = final.argmax(-1) if rows else np.zeros(0, np.int64)
    at, columns = last.copy(), np.arange(rows)
    for step in reversed(range(steps)):
        now = running[step]
        found[step, order[:now]] = at[:now]
        at[:now] = back[step, columns[:now], at[:now]]
    return found


class _Expected(NamedTuple):
    """What a backward recursion gives; rows in the order that they were given in."""

    of_tags: Array  # [T, B, K]
    before: Array  # [T, B, K]: forward variables of the step before, sorted rows
    after: Array  # [T, B, K]: what they meet at the step, sorted rows


class _Chain:
    """The forward recursion of a batch, and the backward one on demand."""

    def __init__(self, emissions: Tensor, transitions: Tensor, lengths: Tensor) -> None:
        scores, matrix = _numbers(emissions), _numbers(transitions)
        self.steps, self.rows, self.count = scores.shape
        self.order, self.running = _sorted_rows(lengths, self.steps)
        self.last = lengths.numpy()[self.order] - 1
        self.columns = np.arange(self.rows)
        scores = scores[:, self.order]
        self.scores, self.matrix = scores, matrix
        peaks = scores.max(-1)
        within = np.arange(self.steps)[:, None] <= self.last
        shift = np.where(np.isfinite(matrix), matrix, -np.inf).max() if matrix.size else 0.0
        self.weights = np.exp(matrix - shift)
        self.local = np.exp(scores - peaks[..., None])
        with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
            self._forward()
            logs = np.where(within, np.log(self.sums) + peaks, 0.0).sum(0)
            total = logs + np.log(self.end_sum) + shift * (self.last + 2)
        self.in_logs = not np.isfinite(total).all()
        if self.in_logs:
            total = self._forward_in_logs()
        self.total = np.empty(self.rows)
        self.total[self.order] = total

    def _forward(self) -> None:
        count, running = self.count, self.running
        inner, local = self.weights[:count, :count], self.local
        self.forward = np.zeros(local.shape)
        self.sums = np.ones(local.shape[:2])
        for step in range(self.steps):
            now = running[step]
            here = self.forward[step, :now]
            if step:
                np.matmul(self.forward[step - 1, :now], inner, out=here)
                here *= local[step, :now]
            else:
                np.multiply(self.weights[count, :count], local[0], out=here)
            total = here.sum(-1)
            here /= total[:, None]
            self.sums[step, :now] = total
        ending = self.weights[:count, count + 1]
        self.end_sum = self.forward[self.last, self.columns] @ ending

    def _forward_in_logs(self) -> Array:
        """Return log Z of sorted rows, and keep the logarithms of the forward variables."""
        count = self.count
        logs = np.full(self.scores.shape, -np.inf)
        logs[0] = self.matrix[count, :count] + self.scores[0]
        for step in range(1, self.steps):
            now = self.running[step]
            for some in _blocks(int(now), count):
                paths = logs[step - 1, some, :, None] + self.matrix[:count, :count]
                logs[step, some] = _log_sum(paths, 1) + self.scores[step, some]
        self.logs = logs
        return _log_sum(logs[self.last, self.columns] + self.matrix[:count, count + 1], 1)

    def backward(self) -> _Expected:
        """Return the marginals and what the expected transitions are made of."""
        if self.in_logs:
            return self._backward_in_logs()
        count, running = self.count, self.running
        ending, back = self.weights[:count, count + 1], np.ascontiguousarray(self.weights[:count, :count].T)
        beta = np.zeros(self.forward.shape)
        meets = np.zeros(self.forward.shape)
        beta[self.last, self.columns] = ending / self.end_sum[:, None]
        scale = self.local / self.sums[..., None]
        for step in range(self.steps - 1, 0, -1):
            now = running[step]
            np.multiply(beta[step, :now], scale[step, :now], out=meets[step, :now])
            np.matmul(meets[step, :now], back, out=beta[step - 1, :now])
        of_tags = np.empty(beta.shape)
        of_tags[:, self.order] = self.forward * beta
        return _Expected(of_tags, self.forward, meets)

    def transitions_expected(self, found: _Expected, weight: Array) -> Array:
        """Return Σ over rows of weight [B] · expected transitions, as [K + 2, K + 2]."""
        count, w = self.count, weight[self.order]
        counts = np.zeros((count + 2, count + 2))
        if self.in_logs:
            counts[:count, :count] = self._pairs_in_logs(found, w)
        else:
            before = (found.before[:-1] * w[:, None]).reshape(-1, count)
            counts[:count, :count] = before.T @ found.after[1:].reshape(-1, count)
            counts[:count, :count] *= self.weights[:count, :count]
        if self.steps:
            counts[count, :count] = weight @ found.of_tags[0]
            lasts = found.of_tags[self.last, self.order]
            counts[:count, count + 1] = w @ lasts
        return counts

    def _backward_in_logs(self) -> _Expected:
        count, matrix = self.count, self.matrix
        total = self.total[self.order]
        beta = np.full(self.logs.shape, -np.inf)
        beta[self.last, self.columns] = matrix[:count, count + 1]
        for step in range(self.steps - 1, 0, -1):
            for some in _blocks(int(self.running[step]), count):
                meets = self.scores[step, some] + beta[step, some]
                beta[step - 1, some] = _log_sum(matrix[:count, :count] + meets[:, None, :], 2)
        of_tags = np.empty(beta.shape)
        of_tags[:, self.order] = np.exp(self.logs + beta - total[:, None])
        return _Expected(of_tags, self.logs, beta)

    def _pairs_in_logs(self, found: _Expected, weight: Array) -> Array:
        """Return Σ over rows of weight [B], sorted, · expected transitions between tags [K, K]."""
        count, total = self.count, self.total[self.order]
        counts = np.zeros((count, count))
        for step in range(1, self.steps):
            for some in _blocks(int(self.running[step]), count):
                meets = self.scores[step, some] + found.after[step, some] - total[some, None]
                joint = found.before[step - 1, some, :, None] + self.matrix[:count, :count] + meets[:, None]
                counts += np.tensordot(weight[some], np.exp(joint), 1)
        return counts


class _Partition(torch.autograd.Function):
    """log Z of each row, or with tags −log probability, with gradients by the backward recursion."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, lengths: Tensor, tags: Tensor | None
    ) -> Tensor:
        chain = _Chain(emissions.detach(), transitions.detach(), lengths)
        ctx.chain, ctx.tags = chain, None if tags is None else tags.numpy()
        ctx.dtypes = emissions.dtype, transitions.dtype
        total = chain.total
        if ctx.tags is not None:
            total = total - _scores(chain, ctx.tags)
        return torch.from_numpy(total).to(torch.promote_types(emissions.dtype, torch.float32))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, None, None]:
        chain, weight = ctx.chain, _numbers(given)
        found = chain.backward()
        counts = chain.transitions_expected(found, weight)
        by_tags = found.of_tags
        if ctx.tags is not None:
            by_tags = by_tags.copy()
            _take_path(by_tags, counts, chain, ctx.tags, weight)
        by_tags = by_tags * weight[:, None]
        first, second = ctx.dtypes
        return torch.from_numpy(by_tags).to(first), torch.from_numpy(counts).to(second), None, None


def _path(chain: _Chain, tags: Array) -> tuple[Array, Array]:
    """Return the tags [T + 1, B] before and after each border of sorted rows; K: start, K + 1: end."""
    count, given = chain.count, tags[:, chain.order]
    start = np.full((1, chain.rows), count)
    before, after = np.concatenate([start, given]), np.concatenate([given, start])
    after[chain.last + 1, chain.columns] = count + 1
    return before, after


def _scores(chain: _Chain, tags: Array) -> Array:
    """Return the score of one path in each row, in the order that rows were given in."""
    before, after = _path(chain, tags)
    steps = np.arange(chain.steps + 1)[:, None]
    moves = np.where(steps <= chain.last + 1, chain.matrix[before, after], 0.0).sum(0)
    held = np.take_along_axis(chain.scores, tags[:, chain.order, None], 2)[..., 0]
    stays = np.where(steps[:-1] <= chain.last, held, 0.0).sum(0)
    found = np.empty(chain.rows)
    found[chain.order] = moves + stays
    return found


def _take_path(by_tags: Array, counts: Array, chain: _Chain, tags: Array, weight: Array) -> None:
    """Subtract what one path in each row holds from what is expected of all."""
    before, after = _path(chain, tags)
    borders = np.arange(chain.steps + 1)[:, None] <= chain.last + 1
    size = chain.count + 2
    w = np.broadcast_to(weight[chain.order], borders.shape)[borders]
    flat = np.bincount((before * size + after)[borders], weights=w, minlength=size * size)
    counts -= flat.reshape(size, size)
    step, row = np.nonzero(borders[:-1] & (np.arange(chain.steps)[:, None] <= chain.last))
    by_tags[step, chain.order[row], tags[step, chain.order[row]]] -= 1.0


def _blocks(rows: int, count: int) -> Iterator[slice]:
    """Cut rows so that K² numbers for each take bounded memory."""
    together = max(1, MOST_NUMBERS // count**2)
    for begin in range(0, rows, together):
        yield slice(begin, min(rows, begin + together))


def _sorted_rows(lengths: Tensor, steps: int) -> tuple[Array, Array]:
    """Return the rows, the longest first, and how many are running at each step."""
    given = lengths.numpy()
    order = np.argsort(-given, kind="stable")
    return order, (given[None] > np.arange(steps)[:, None]).sum(1)


def _log_sum(values: Array, axis: int) -> Array:
    peak = values.max(axis, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        found: Array = np.log(np.exp(values - peak).sum(axis)) + peak.squeeze(axis)
    return found


def _numbers(tensor: Tensor) -> Array:
    return tensor.detach().to(torch.float64).numpy()


def _check(emissions: Tensor, transitions: Tensor, lengths: Tensor) -> None:
    if emissions.dim() != 3:
        raise ShapeError(expected("emissions", "[T, B, K]", list(emissions.shape)))
    steps, rows, count = emissions.shape
    if list(transitions.shape) != [count + 2, count + 2]:
        raise ShapeError(expected("transitions", [count + 2, count + 2], list(transitions.shape)))
    if list(lengths.shape) != [rows] or (rows and not 1 <= int(lengths.min()) <= int(lengths.max()) <= steps):
        raise ShapeError(expected("lengths", f"[{rows}], from 1 to {steps}", lengths.tolist()))
