"""A network whose read-out may stand behind a pooling: answers after each step, of streams and of batches.

Everything that stands around the recurrent layers is computed here in one order, whichever way the steps
come: sums over the steps so far in the order of the steps, the read-out in the order of its inputs. So the
answer after the last step of a stream has the bits of the answer for the whole sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, StateError, expected
from unrolled.spec import Steps
from unrolled.stream.network import Packed
from unrolled.stream.session import Pool, Session
from unrolled.stream.weights import Floats, Weight

__all__ = ["AnswerNetwork", "PoolingState", "Running"]

POOLINGS = (None, "mean+max")
HELD = 2**20  # products of the read-out that are held at once
MOST_STEPS = 2**53
MOST_POOLED = 1e30  # of a sum or a maximum of h: far from what float32 cannot add to

Array = npt.NDArray[Any]


class PoolingState(NamedTuple):
    """What N streams remember beside h. Never changed in place."""

    before: Array  # [N, neighbours, C] float32: the steps before; zeros before the first one
    total: Array  # [N, P] float32: the sum of h; no columns without a pooling
    most: Array  # [N, P] float32: its maximum; of no use before the first step
    steps: Array  # [N] int64: how many there were


class AnswerNetwork(Packed):
    """Layers, a pooling and a read-out; on what a schema has made of inputs: ids, or [C] numbers.

    Attributes:
        answer_size: K, the numbers of an answer.
        takes_ids: whether its input is a symbol's id.
        width: C, the numbers of an input; of symbols, those of an embedding.
    """

    def __init__(self, tensors: Mapping[str, Weight], steps: Steps, weights: str = "float32") -> None:
        if steps.pooling not in POOLINGS:
            raise ConfigError(expected("pooling", "one that streams: last, mean+max", steps.pooling))
        super().__init__(tensors, steps, weights)
        self.takes_ids = steps.embedding is not None
        self.reach, self.pools = steps.neighbours, steps.pooling is not None
        self.table = None
        if self.reach and steps.embedding is not None:
            self.table = np.array(tensors[steps.embedding].data)
        self.width = self.input_size // (1 + self.reach)
        self.answer_size = self.output_size
        if self.pools:
            assert steps.head is not None  # by every task with a pooling
            self.weight = tensors[steps.head].data.astype(np.float64)  # [K, 2P]
            bias = None if steps.head_bias is None else tensors[steps.head_bias].data
            self.bias = np.zeros(len(self.weight)) if bias is None else bias.astype(np.float64)
            self.answer_size = len(self.weight)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats], steps: Steps) -> AnswerNetwork:
        """Return the network of float32 tensors, which are copied."""
        return cls({name: Weight(np.ascontiguousarray(array)) for name, array in arrays.items()}, steps)

    @property
    def symbols(self) -> int:
        """V, of a network that takes ids."""
        return self.vocab_size or (0 if self.table is None else len(self.table))

    def start(self, count: int) -> PoolingState:
        """Return the state of `count` streams before their first step."""
        width = self.output_size if self.pools else 0
        empty = np.zeros((count, width), np.float32)
        before = np.zeros((count, self.reach, self.width if self.reach else 0), np.float32)
        return PoolingState(before, empty, empty, np.zeros(count, np.int64))

    def per_step(self, inputs: Array) -> Floats:
        """Return the answers [T, K] after each step of one sequence, ids [T] or [T, C] float32."""
        y = Session(self).run(self.seen(inputs))
        if not self.pools:
            return y
        y = y + np.float32(0)  # no zero below zero
        counts = np.arange(1, len(y) + 1, dtype=np.float32)[:, None]
        total, most = np.add.accumulate(y, axis=0), np.maximum.accumulate(y, axis=0)
        return self._read(np.concatenate([total / counts, most], axis=1))

    def answers(self, sequences: Iterable[Array]) -> Floats:
        """Return the answers [N, K] after the last step of each sequence."""
        session, found = Session(self), []
        for each in sequences:
            session.reset()
            found.append(self._answer(session, each))
        return np.stack(found) if found else np.zeros((0, self.answer_size), np.float32)

    def _answer(self, session: Session, inputs: Array) -> Floats:
        if not self.pools:
            return session.run(self.seen(inputs), last=True)
        y = session.run(self.seen(inputs)) + np.float32(0)
        mean = np.add.accumulate(y, axis=0)[-1] / np.float32(len(y))
        found: Floats = self._read(np.concatenate([mean, y.max(axis=0)])[None])[0]
        return found

    def seen(self, inputs: Array) -> Array:
        """Return what the first layer reads: [T] ids, or [T, (1 + neighbours) · C], the earliest first."""
        if not self.reach:
            return np.ascontiguousarray(inputs)
        rows = self._rows(inputs)
        padded = np.concatenate([np.zeros((self.reach, self.width), np.float32), rows])
        return np.concatenate([padded[k : k + len(rows)] for k in range(self.reach + 1)], axis=1)

    def _rows(self, inputs: Array) -> Floats:
        """Return inputs as numbers [N, C]: ids are looked up."""
        found: Floats = inputs if self.table is None else self.table[inputs]
        return found

    def _read(self, pooled: Floats) -> Floats:
        """Return the read-out [N, K] of pooled [N, 2P]: a sum in order, in float64."""
        out = np.empty((len(pooled), len(self.weight)), np.float32)
        rows = max(1, HELD // self.weight.size)
        for begin in range(0, len(pooled), rows):
            products = self.weight * pooled[begin : begin + rows, None, :]
            out[begin : begin + rows] = self.bias + np.add.accumulate(products, axis=-1)[..., -1]
        return out

    def check(self, state: PoolingState) -> None:
        """Raise StateError where a state that came as bytes is none that steps give."""
        finite = np.isfinite(state.before).all()
        pooled = all((np.abs(part) <= MOST_POOLED).all() for part in (state.total, state.most))
        if not (finite and pooled) or ((state.steps < 0) | (state.steps >= MOST_STEPS)).any():
            raise StateError(expected("state", "what steps leave", "other numbers"))


class Running:
    """N streams of an `AnswerNetwork`, at zero: h and c in the engine, the rest beside it."""

    def __init__(self, network: AnswerNetwork, count: int, threads: int = 1) -> None:
        self.network, self.count = network, count
        self.pool = Pool(network, count, threads)
        self.state = network.start(count)

    def step(self, x: Array, active: npt.NDArray[np.bool_] | None = None) -> Floats:
        """Advance the active streams, default all; return answers [N, K], zeros of those that are not.

        Args:
            x: [N] ids as int64, or [N, C] float32.
        Raises:
            As `Pool.step`; after an error all states are what they were before.
        """
        network, state = self.network, self.state
        seen, before = x, state.before
        if network.reach:
            rows = network._rows(x)
            joined = np.concatenate([before, rows[:, None]], axis=1)
            seen, before = joined.reshape(self.count, -1), joined[:, 1:]
        y = self.pool.step(seen, active)
        if not network.pools:
            self._keep(PoolingState(before, state.total, state.most, state.steps + 1), active)
            return y
        y = y + np.float32(0)
        count, first = state.steps + 1, (state.steps == 0)[:, None]
        total = np.where(first, y, state.total + y)
        most = np.where(first, y, np.maximum(state.most, y))
        self._keep(PoolingState(before, total, most, count), active)
        return network._read(np.concatenate([total / count[:, None].astype(np.float32), most], axis=1))

    def _keep(self, after: PoolingState, active: npt.NDArray[np.bool_] | None) -> None:
        if active is not None and not active.all():
            pairs = zip(self.state, after, strict=True)
            after = PoolingState(*(np.where(_beside(active, new), new, old) for old, new in pairs))
        self.state = after

    def reset(self, streams: Iterable[int]) -> None:
        """Set some streams to zero."""
        fresh = self.network.start(1)
        for stream in streams:
            self.put(stream, None, fresh)

    def put(self, stream: int, flat: Floats | None, state: PoolingState) -> None:
        """Set a stream's state: h and c as the engine holds them, None for zeros; the rest is one row."""
        self.pool._check(self.pool._streams.write(stream, flat))
        parts = [part.copy() for part in self.state]
        for part, row in zip(parts, state, strict=True):
            part[stream] = row[0]
        self.state = PoolingState(*parts)


def _beside(active: npt.NDArray[np.bool_], part: Array) -> npt.NDArray[np.bool_]:
    return active.reshape(-1, *[1] * (part.ndim - 1))
