"""What readers of tagged words fill: columns of texts, sentence by sentence, within memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unrolled.data.labelled.source import EXPANSION, most_bytes
from unrolled.errors import DataError
from unrolled.files import refusal
from unrolled.schema import is_unicode

__all__ = ["Asked", "Tokens"]

UNIQUE, SENTENCE, TOKEN = 250, 160, 24  # bytes of memory that one takes, at least
LONGEST = 2**16  # characters of a word
CHECKED = 2**14  # sentences between two looks at the memory


@dataclass(frozen=True)
class Asked:
    """The arguments of `read_sentences`; numbers of columns as texts."""

    tags: str | None = None
    words: str | None = None
    columns: tuple[str, ...] | None = None
    id: str | None = None
    labelled: bool = True
    read_tags: bool = True  # False: whatever the column of tags holds is passed over


@dataclass
class Tokens:
    """Sentences in the making."""

    features: tuple[str, ...] = ()
    tagged: bool = True
    words: list[tuple[str, ...]] = field(default_factory=list)
    columns: list[list[tuple[str, ...]]] = field(default_factory=list)
    tags: list[tuple[str, ...]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("i"))
    line: str = "line"
    notes: list[str] = field(default_factory=list)
    read_as: dict[str, Any] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def begin(self, features: Sequence[str], tagged: bool) -> None:
        """Say what the columns are, before the first sentence."""
        self.features, self.tagged = tuple(features), tagged
        self.columns = [[] for _ in features]

    def add(
        self, words: Iterable[str], columns: Iterable[Iterable[str]], tags: Iterable[str], id: str
    ) -> None:
        """Add a sentence, its columns of equal length. Raises DataError: more than fits into memory."""
        same = self._known.setdefault
        self.words.append(tuple([same(text, text) for text in words]))
        for own, column in zip(self.columns, columns, strict=True):
            own.append(tuple([same(text, text) for text in column]))
        if self.tagged:
            self.tags.append(tuple([same(text, text) for text in tags]))
        self.ids.append(id)
        if len(self.words) % CHECKED == 0:
            self.check()

    def check(self) -> None:
        """Raise DataError where what was read takes more memory than there may be."""
        columns = 1 + len(self.columns) + self.tagged
        cost = UNIQUE * len(self._known) + columns * (SENTENCE * len(self.words) + TOKEN * len(self.lines))
        if cost > most_bytes() * EXPANSION:
            got = f"{len(self.lines)} words in {len(self.words)} sentences, and more"
            raise refusal(DataError, "source", "sentences that fit into memory", got)

    def finish(self) -> None:
        """Raise DataError where all takes too much memory, or a text is too long or none in UTF-8."""
        self.check()
        longest = max(map(len, self._known), default=0)
        if longest > LONGEST:
            raise refusal(DataError, "source", f"words and tags of at most {LONGEST} characters", longest)
        for text in self._known:
            if not is_unicode(text):
                raise refusal(DataError, "source", "words and tags in Unicode", f"half a character: {text!a}")

    def line_numbers(self) -> Any:
        """Return the line of each token, int32."""
        return np.frombuffer(self.lines, np.int32).copy() if self.lines else np.zeros(0, np.int32)
