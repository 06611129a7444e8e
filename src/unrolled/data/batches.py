"""Batches for a network: lines side by side, streams in windows, and windows for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.data.encoding import Split
from unrolled.errors import ConfigError, DtypeError, ShapeError, expected

__all__ = [
    "IGNORED",
    "Batch",
    "Batches",
    "LineBatches",
    "StreamBatches",
    "carried_windows",
    "check_place",
    "cold_windows",
    "gather",
    "to_tensor",
    "whole_number",
]

IGNORED = -100  # a target that is not scored; torch's


@dataclass(frozen=True, eq=False)
class Batch:
    """T steps of B rows: predict `targets` from `inputs`, a target for each step or one for each row.

    `per_row` says which; left None, targets [B] are of rows and all others of steps, so that several values
    for each row, [B, K], need it.

    Raises ShapeError: the axes disagree. DtypeError: an element type that none of them has.
    """

    inputs: Tensor  # [T, B] int64 ids, or [T, B, I] floating point
    targets: Tensor  # [T, B] or [T, B, …]: of each step; [B] or [B, …]: of each row. int64 or floating point
    lengths: Tensor | None = None  # [B] int64, valid steps of each row; None: all T
    resets: Tensor | None = None  # [T, B] bool, the state is zero before this step; None: nowhere
    # whether there is one target for each row, and not one for each step
    per_row: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        guessed = self.per_row is None
        if guessed:
            object.__setattr__(self, "per_row", self.targets.ndim == 1)
        ids = not self.inputs.is_floating_point()
        if self.inputs.ndim != (2 if ids else 3):
            want = "[T, B] of ids" if ids else "[T, B, I] of numbers"
            raise ShapeError(expected("inputs", want, list(self.inputs.shape)))
        steps, rows = self.inputs.shape[:2]
        axes = [rows] if self.per_row else [steps, rows]
        if list(self.targets.shape[: len(axes)]) != axes:
            want = f"[{rows}, …]" if self.per_row else f"[{steps}, {rows}, …]"
            want = f"[{steps}, {rows}, …] or [{rows}]" if guessed else want
            raise ShapeError(expected("targets", want, list(self.targets.shape)))
        for name, given in (("inputs", self.inputs), ("targets", self.targets), ("lengths", self.lengths)):
            whole = given is None or given.dtype == torch.int64
            if not whole and (name == "lengths" or not given.is_floating_point()):  # type: ignore[union-attr]
                want = "int64" if name == "lengths" else "int64 or floating point"
                raise DtypeError(expected(name, want, given.dtype))  # type: ignore[union-attr]
        if self.lengths is not None and list(self.lengths.shape) != [rows]:
            raise ShapeError(expected("lengths", [rows], list(self.lengths.shape)))
        if self.resets is not None and list(self.resets.shape) != [steps, rows]:
            raise ShapeError(expected("resets", [steps, rows], list(self.resets.shape)))
        if self.resets is not None and self.resets.dtype != torch.bool:
            raise DtypeError(expected("resets", "bool", self.resets.dtype))

    def valid(self) -> Tensor:
        """Return which predictions are scored: [T, B] bool, or [B] where targets are of rows.

        Padding is not, nor is an id that is `IGNORED`, as in torch's cross entropy, nor NaN, of a step.
        """
        scored = torch.ones(self.targets.shape[: 1 if self.per_row else 2], dtype=torch.bool)
        if self.lengths is not None and not self.per_row:
            scored = torch.arange(len(self.inputs)).unsqueeze(1) < self.lengths
        if not self.targets.is_floating_point() and self.targets.ndim == scored.ndim:
            scored = scored & (self.targets != IGNORED)
        elif self.targets.ndim == scored.ndim == 2:
            scored = scored & ~self.targets.isnan()
        return scored

    def part(self, begin: int, steps: int, rows: slice | Tensor = slice(None)) -> Batch:
        """Return so many steps from one on, of some of the rows; targets of rows are whole."""
        span = slice(begin, begin + steps)
        targets = self.targets[rows] if self.per_row else self.targets[span, rows]
        lengths = None if self.lengths is None else (self.lengths[rows] - begin).clamp(0, steps)
        resets = None if self.resets is None else self.resets[span, rows]
        return Batch(self.inputs[span, rows], targets, lengths, resets, per_row=self.per_row)

    @property
    def count(self) -> int:
        """The number of predictions to be scored; one of several values (a vector) is one."""
        return int(self.valid().sum())


class Batches(Protocol):
    """What a trainer reads: epochs of batches, in an order that its arguments alone decide."""

    carries_state: bool  # a batch goes on where the one before it ended; an epoch starts from the zero state
    rows: int  # in a full batch, all ranks together

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield the batches of epoch n from number `start` on, with the rows rank::world_size."""

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch; the same for every rank."""

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""


def to_tensor(array: npt.NDArray[Any]) -> Tensor:
    """Return a copy of an array as a contiguous tensor: int64, float32, or bool of truth values."""
    dtype = {"b": np.bool_, "f": np.float32}.get(array.dtype.kind, np.int64)
    return torch.from_numpy(np.array(array, dtype, order="C", copy=True))


def whole_number(name: str, value: object, minimum: int) -> int:
    """Return a whole number of at least `minimum`, or raise ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(expected(name, f"a whole number of at least {minimum}", repr(value)))
    return value


def check_place(start: int, batches: int, rank: int, world_size: int) -> None:
    """Raise ConfigError unless `start` lies in an epoch and `rank` in the world."""
    whole_number("world_size", world_size, 1)
    if not 0 <= rank < world_size:
        raise ConfigError(expected("rank", f"0 to {world_size - 1}", rank))
    if not 0 <= start <= batches:
        raise ConfigError(expected("start", f"0 to {batches}, the batches of the epoch", start))


LineNumbers = npt.NDArray[Any]  # uint32 where that is enough

CHUNK = 50  # batches within which lines are sorted by length: little padding, and much of the shuffle left


class LineBatches:
    """Each line is a sequence from the zero state; all are read once an epoch.

    Lines are shuffled, sorted by length inside chunks of 50 batches, cut into batches (the last one of an
    epoch's sorting may be smaller), and the batches are shuffled. The order is a function of seed and epoch.
    """

    carries_state = False

    def __init__(self, split: Split, *, batch_size: int, seed: int) -> None:
        """Take a split whose starts are those of lines, rows per batch, and the seed of the order.

        Raises ConfigError: batch_size below 1, a negative seed.
        """
        self._split = split
        self._seed = whole_number("seed", seed, 0)
        self._count = len(split.starts)
        self.rows = max(1, min(whole_number("batch_size", batch_size, 1), self._count))

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield batches [T, B] with `lengths` [B] of epoch n from number `start` on; `resets` is None.

        T is the longest line of the rank's rows, which are rank::world_size of the batch; padding is the
        boundary id. Raises ConfigError: start, rank or world_size out of range.
        """
        check_place(start, self.len_of(n), rank, world_size)
        lines, order = self._order(n)
        firsts = (int(number) * self.rows for number in order[start:])
        return (self._batch(lines[first : first + self.rows][rank::world_size]) for first in firsts)

    def len_of(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-self._count // self.rows)

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""
        return self._split.num_targets

    def _order(self, epoch: int) -> tuple[LineNumbers, npt.NDArray[np.int64]]:
        """Return the lines, batch after batch, and the order of the batches; takes four bytes per line."""
        generator = np.random.default_rng([self._seed, whole_number("epoch", epoch, 0)])
        lines: LineNumbers = np.arange(self._count, dtype=np.uint32 if self._count <= 2**32 else np.uint64)
        generator.shuffle(lines)
        for first in range(0, self._count, CHUNK * self.rows):
            chunk = lines[first : first + CHUNK * self.rows]
            chunk[:] = chunk[np.argsort(self._lengths(chunk), kind="stable")]
        return lines, generator.permutation(self.len_of(epoch))

    def _lengths(self, lines: LineNumbers) -> npt.NDArray[np.int64]:
        return self._split.lengths(lines.astype(np.int64))

    def _batch(self, rows: LineNumbers) -> Batch:
        return gather(self._split, self._split.starts[rows], self._lengths(rows))


def gather(split: Split, firsts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Batch:
    """Return the batch whose row b starts at input firsts[b] and has lengths[b] steps, the rest padding."""
    steps = np.arange(lengths.max(initial=0))[:, None]
    valid = steps < lengths
    where = np.where(valid, firsts + steps, 0)  # the split's first id is the boundary
    return Batch(to_tensor(split.ids[where]), to_tensor(split.ids[where + valid]), to_tensor(lengths))


class StreamBatches:
    """A split cut into rows of equal length, read side by side in windows.

    Row b holds the targets b · L … (b + 1) · L − 1, L = N // rows, so at most rows − 1 tokens at the end
    are left out of training. `rows` is batch_size, or less: at most N // 2, so that a row has two steps.
    In epochs after the first, the first window is shorter by a seeded random amount, so that windows end
    elsewhere.
    The state is carried from batch to batch, and is zero at the start of an epoch. With `restart_share`, a
    seeded choice of rows starts from the zero state at each window too: a network that is trained on carried
    states alone meets the zero state B times per epoch, and may diverge from it (docs/decisions/0006).
    """

    carries_state = True

    def __init__(
        self, split: Split, *, batch_size: int, bptt_steps: int, seed: int, restart_share: float = 0.0
    ) -> None:
        """Take a split, rows per batch, steps per window, the seed, and the mean share of rows that restart.

        Raises ConfigError: batch_size or bptt_steps below 1, a negative seed, restart_share not in [0, 1].
        """
        if not 0 <= restart_share <= 1:
            raise ConfigError(expected("restart_share", "0 to 1", restart_share))
        self._restart_share = restart_share
        self._split = split
        self._bptt_steps = whole_number("bptt_steps", bptt_steps, 1)
        self._seed = whole_number("seed", seed, 0)
        self.rows = max(1, min(whole_number("batch_size", batch_size, 1), split.num_targets // 2))
        self._steps = split.num_targets // self.rows
        used = self.rows * self._steps
        self._inputs = split.ids[:used].reshape(self.rows, self._steps)  # views: nothing is read yet
        self._targets = split.ids[1 : used + 1].reshape(self.rows, self._steps)
        starts = split.starts[split.starts < used]
        by_step = np.argsort(starts % self._steps, kind="stable")
        self._start_steps = (starts % self._steps)[by_step]
        self._start_rows = (starts // self._steps)[by_step]

    def epoch(self, n: int, *, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield windows [T, B] of epoch n from number `start` on; `lengths` is None.

        `resets` is true where a document starts, and None in a window where none does. The rows of a rank
        are rank::world_size. Raises ConfigError: start, rank or world_size out of range.
        """
        borders = self._borders(n)
        check_place(start, len(borders) - 1, rank, world_size)
        mine = slice(rank, None, world_size)
        windows = zip(range(start, len(borders) - 1), borders[start:-1], borders[start + 1 :], strict=True)
        return (self._window(first, last, mine, self._restarts(n, index)) for index, first, last in windows)

    def len_of(self, epoch: int) -> int:
        """Return the number of windows in an epoch; it may differ by one between epochs."""
        return 1 + max(0, -(-(self._steps - self._first_window(epoch)) // self._bptt_steps))

    def tokens_of(self, epoch: int) -> int:
        """Return the number of targets in an epoch, all ranks together."""
        return self.rows * self._steps

    def _borders(self, epoch: int) -> list[int]:
        """Return the steps at which windows start, and the end."""
        return [0, *range(self._first_window(epoch), self._steps, self._bptt_steps), self._steps]

    def _first_window(self, epoch: int) -> int:
        """Return the steps of an epoch's first window."""
        whole_number("epoch", epoch, 0)
        size = self._bptt_steps
        return size - int(np.random.default_rng([self._seed, epoch]).integers(size)) if epoch else size

    def _window(self, first: int, last: int, mine: slice, restarts: npt.NDArray[np.bool_]) -> Batch:
        return Batch(
            to_tensor(self._inputs[mine, first:last].T),
            to_tensor(self._targets[mine, first:last].T),
            resets=self._resets(first, last, mine, restarts),
        )

    def _resets(self, first: int, last: int, mine: slice, restarts: npt.NDArray[np.bool_]) -> Tensor | None:
        """Return where a document starts or a row restarts, [T, B] of a rank's rows; None for nowhere."""
        lo, hi = np.searchsorted(self._start_steps, [first, last])
        if lo == hi and not restarts.any():
            return None
        resets: npt.NDArray[np.bool_] = np.zeros((last - first, self.rows), bool)
        resets[self._start_steps[lo:hi] - first, self._start_rows[lo:hi]] = True
        resets[0] |= restarts
        return to_tensor(resets[:, mine]) if resets[:, mine].any() else None

    def _restarts(self, epoch: int, index: int) -> npt.NDArray[np.bool_]:
        """Return which rows [B] start window `index` of an epoch from the zero state."""
        if not self._restart_share:
            return np.zeros(self.rows, bool)
        return np.random.default_rng([self._seed, epoch, index]).random(self.rows) < self._restart_share


def carried_windows(split: Split, window: int = 1024) -> Iterator[Batch]:
    """Yield a split in windows [T, 1] of at most `window` steps, for a state carried through all of it.

    `resets` is true where a document or a line starts. Raises ConfigError: window below 1.
    """
    whole_number("window", window, 1)
    return (_carried(split, first, window) for first in range(0, split.num_targets, window))


def cold_windows(split: Split, size: int = 256, rows: int = 64) -> Iterator[Batch]:
    """Yield a split in windows that do not overlap, each from the zero state, as batches [T, B].

    B is at most `rows`. Every window has `size` steps but the last, for which its batch has `lengths`.
    `resets` is true where a document or a line starts. Raises ConfigError: size or rows below 1.
    """
    whole_number("size", size, 1)
    whole_number("rows", rows, 1)
    firsts = range(0, split.num_targets, size * rows)
    return (_cold(split, first, size, rows) for first in firsts)


def _carried(split: Split, first: int, window: int) -> Batch:
    last = min(first + window, split.num_targets)
    resets = _starts_between(split, first, last)
    return Batch(
        to_tensor(split.ids[first:last, None]),
        to_tensor(split.ids[first + 1 : last + 1, None]),
        resets=to_tensor(resets[:, None]) if resets.any() else None,
    )


def _cold(split: Split, first: int, size: int, rows: int) -> Batch:
    last = min(first + size * rows, split.num_targets)
    firsts = np.arange(first, last, size)
    lengths = np.minimum(size, last - firsts)
    batch = gather(split, firsts, lengths)
    steps = len(batch.inputs)
    padded = np.zeros(steps * len(firsts), bool)
    padded[: last - first] = _starts_between(split, first, last)
    resets = padded.reshape(len(firsts), steps).T
    return Batch(
        batch.inputs,
        batch.targets,
        batch.lengths if lengths[-1] < steps else None,
        to_tensor(resets) if resets.any() else None,
    )


def _starts_between(split: Split, first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = np.zeros(last - first, bool)
    lo, hi = np.searchsorted(split.starts, [first, last])
    found[split.starts[lo:hi] - first] = True
    return found
