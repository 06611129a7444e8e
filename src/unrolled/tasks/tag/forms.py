"""What the network reads of a word: its identity, its characters, its beginning and end, its shape."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["AFFIXES", "AFFIX_BUCKETS", "SHAPES", "Forms", "folded", "forms_of"]

Array: TypeAlias = npt.NDArray[Any]

AFFIXES = (-2, -3, -4, 2, 3)  # lengths: of ends, of beginnings
AFFIX_BUCKETS = 4096
LONGEST = 24  # characters that are read of a word: the first and the last 12 of a longer one
PADDING, UNKNOWN_CHARACTER = 0, 1
UNKNOWN_WORD = 0
DIGITS = re.compile(r"\d")
CASES = 6  # none, lower, upper, capital first, one capital alone, mixed
SHAPES = CASES * 8  # with or without a digit, a hyphen, another sign; `spec.tag` has the same number


@dataclass(frozen=True, eq=False)
class Forms:
    """U different words, as numbers."""

    words: Array  # [U] int64; 0: unknown
    shapes: Array  # [U]
    affixes: Array  # [U, A], numbers of buckets
    characters: Array  # [U, W]; 0: padding
    lengths: Array  # [U], characters of each, from 1

    def take(self, chosen: Array) -> Forms:
        """Return some of them, with no more padding than they need."""
        lengths = self.lengths[chosen]
        width = int(lengths.max(initial=1))
        return Forms(
            self.words[chosen],
            self.shapes[chosen],
            self.affixes[chosen],
            self.characters[chosen, :width],
            lengths,
        )


def folded(word: str) -> str:
    """Return a word as the vocabulary has it: in lower case, every digit a 0."""
    return DIGITS.sub("0", word.lower())


def forms_of(texts: Iterable[str], words: Mapping[str, int], characters: Mapping[str, int]) -> Forms:
    """Return what is read of different words, in their order."""
    given = list(texts)
    read = [_cut(text) for text in given]
    lengths = np.array([len(each) for each in read], np.int64)
    table = np.full((len(read), int(lengths.max(initial=1))), PADDING, np.int64)
    for row, each in enumerate(read):
        table[row, : len(each)] = [characters.get(letter, UNKNOWN_CHARACTER) for letter in each]
    return Forms(
        words=np.array([words.get(folded(text), UNKNOWN_WORD) for text in given], np.int64),
        shapes=np.array([_shape(text) for text in given], np.int64),
        affixes=np.array([_affixes(text.lower()) for text in given], np.int64).reshape(-1, len(AFFIXES)),
        characters=table,
        lengths=lengths,
    )


def _cut(text: str) -> Sequence[str]:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else text[:half] + text[-half:]


def _shape(text: str) -> int:
    """Return the number of a word's shape: how capitals stand, and which other signs there are."""
    letters = [letter for letter in text if letter.isalpha()]
    upper = sum(letter.isupper() for letter in letters)
    if not letters:
        case = 0
    elif upper == 0:
        case = 1
    elif upper == len(letters):
        case = 4 if upper == 1 else 2
    else:
        case = 3 if upper == 1 and text[0].isupper() else 5
    digit = any(letter.isdigit() for letter in text)
    other = any(not letter.isalnum() and letter != "-" for letter in text)
    return case + CASES * (digit + 2 * ("-" in text) + 4 * other)


def _affixes(text: str) -> list[int]:
    """Return the buckets of a word's ends and beginnings; a shorter word has itself, marked as whole."""
    found = []
    for size in AFFIXES:
        part = text[size:] if size < 0 else text[:size]
        whole = "=" if len(text) <= abs(size) else ""
        found.append(zlib.crc32(f"{size}{whole}:{part}".encode("utf-8", "surrogatepass")) % AFFIX_BUCKETS)
    return found
