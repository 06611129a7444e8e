"""What a vocabulary is made from, gathered from a text that comes in pieces."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import IO

import numpy as np
import numpy.typing as npt

__all__ = ["Kinds", "Scratch", "WordCounts"]

Scratch = Callable[[], IO[bytes]]  # makes a file that nobody else sees and that disappears when it is closed

ASCII = bytes(range(128))
BEYOND = bytes(range(128, 256))
CODE_POINTS = 0x110000
MOST_WORDS = 2**18  # kinds of word in memory at a time
MOST_LONG = 2**25  # characters of pieces whose words are long
LONG = 64
LONGEST = 1024  # characters; a longer word is not counted, and so is unknown
MOST_RUNS = 64  # files


class Kinds:
    """The kinds of character in a text."""

    def __init__(self) -> None:
        self._ascii = b""
        self._others: npt.NDArray[np.bool_] | None = None  # [code points], made when one beyond ASCII comes

    def feed(self, text: str) -> None:
        """Take a piece of the text."""
        data = text.encode("utf-8", "surrogatepass")
        self._ascii += bytes(set(data.translate(None, self._ascii + BEYOND)))
        if not text.isascii():
            others = data.translate(None, ASCII).decode("utf-8", "surrogatepass")
            codes = np.frombuffer(others.encode("utf-32-le", "surrogatepass"), "<u4")
            self._table()[codes] = True

    def merge(self, other: Kinds) -> None:
        """Take what another one gathered."""
        self._ascii += other._ascii.translate(None, self._ascii)
        if other._others is not None:
            table = self._table()
            np.logical_or(table, other._others, out=table)

    def symbols(self) -> list[str]:
        """Return the kinds in the order of code points."""
        others = [] if self._others is None else np.flatnonzero(self._others).tolist()
        return [chr(code) for code in (*sorted(self._ascii), *others)]

    def _table(self) -> npt.NDArray[np.bool_]:
        if self._others is None:
            self._others = np.zeros(CODE_POINTS, bool)
        return self._others


class WordCounts:
    """How often each word occurs in a text; spaces, tabs and newlines separate words.

    For a text with very many different words, counts are moved to files, sorted, and merged in the end, so
    that the numbers are exact and memory is bounded. Words of over 1,024 characters are skipped.
    """

    def __init__(self, scratch: Scratch = tempfile.TemporaryFile) -> None:
        self._scratch = scratch
        self._counts: Counter[str] = Counter()
        self._runs: list[IO[bytes]] = []  # lines "word count", in the order of code points
        self._long = 0

    def feed(self, text: str) -> None:
        """Take a piece of the text; no word may go on in the next one."""
        words = text.replace("\n", " ").replace("\t", " ").split(" ")
        size = len(text)
        if len(max(words, key=len)) > LONGEST:
            words = [word for word in words if len(word) <= LONGEST]
            size = sum(map(len, words))
        self._counts.update(words)
        if len(words) * LONG < size:
            self._long += size
        if len(self._counts) > MOST_WORDS or self._long > MOST_LONG:
            self._spill()

    def merge(self, other: WordCounts) -> None:
        """Take over what another one gathered, and leave that one empty."""
        self._runs += other._runs
        self._join_runs()
        self._long += other._long
        if self._counts:
            self._counts.update(other._counts)
        else:
            self._counts = other._counts
        other._counts, other._runs, other._long = Counter(), [], 0
        if len(self._counts) > MOST_WORDS or self._long > MOST_LONG:
            self._spill()

    def top(self, count: int, *, without: Iterable[str] = ()) -> list[str]:
        """Return the most frequent words, ties in the order of code points; then nothing is left here."""
        banned = {"", *without}
        found = ((-times, word) for word, times in self._merged() if word not in banned)
        best = " ".join(word for _, word in heapq.nsmallest(count, found))
        self._close()
        self._runs, self._counts = [], Counter()
        return best.split(" ") if best else []  # fresh: the old ones would hold on to memory all around them

    def _merged(self) -> Iterator[tuple[str, int]]:
        if not self._runs:
            yield from self._counts.items()
            return
        yield from _summed([*map(_read, self._runs), sorted(self._counts.items())])

    def _spill(self) -> None:
        self._runs.append(self._written(sorted(self._counts.items())))
        self._counts, self._long = Counter(), 0
        self._join_runs()

    def _join_runs(self) -> None:
        """Merge many files into one: a process may open only a few hundred."""
        if len(self._runs) < MOST_RUNS:
            return
        joined = self._written(_summed(map(_read, self._runs)))
        self._close()
        self._runs = [joined]

    def _written(self, counts: Iterable[tuple[str, int]]) -> IO[bytes]:
        run = self._scratch()
        run.writelines(f"{word} {times}\n".encode("utf-8", "surrogatepass") for word, times in counts)
        return run

    def _close(self) -> None:
        for run in self._runs:
            run.close()


def _summed(runs: Iterable[Iterable[tuple[str, int]]]) -> Iterator[tuple[str, int]]:
    """Merge counts that are sorted by their words."""
    for word, alike in itertools.groupby(heapq.merge(*runs, key=itemgetter(0)), itemgetter(0)):
        yield word, sum(times for _, times in alike)


def _read(run: IO[bytes]) -> Iterator[tuple[str, int]]:
    run.seek(0)
    for line in run:
        word, _, times = line.decode("utf-8", "surrogatepass").rpartition(" ")
        yield word, int(times)
