"""The text: paragraphs of the standard library's source, and the same files as one long text."""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.data import Document, Split, encode_text, read
from unrolled.errors import DataError, expected
from unrolled.tokens import CharTokens

__all__ = ["Texts", "texts"]

SHORTEST = 8  # characters of a paragraph that is kept
BLANK = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, eq=False)
class Texts:
    """Two texts to train on, and two held out, of other files."""

    tokens: CharTokens
    paragraphs: Split  # each a sequence from the zero state
    long_text: Split  # one sequence
    held_paragraphs: Split
    held_long_text: Split


@functools.cache
def texts(train_targets: int, held_targets: int, longest: int) -> Texts:
    """Return texts of about so many targets (exactly so many, of long text), the same on each call.

    Args:
        longest: characters of a paragraph; longer ones are left out.
    Raises:
        DataError: the standard library's source is not there, or holds too little.
    """
    tokens = CharTokens.build([string.printable])
    sources = [document.text for document in read("stdlib").documents if isinstance(document.text, str)]
    files = [text for text in sources if set(text) <= set(string.printable)]
    order = np.random.default_rng(0).permutation(len(files))
    train, held = ([files[i] for i in order[first::2]] for first in (0, 1))
    return Texts(
        tokens,
        _paragraphs(train, tokens, train_targets, longest),
        _long_text(train, tokens, train_targets),
        _paragraphs(held, tokens, held_targets, longest),
        _long_text(held, tokens, held_targets),
    )


def _paragraphs(files: Iterable[str], tokens: CharTokens, targets: int, longest: int) -> Split:
    kept = (p for text in files for p in BLANK.split(text) if SHORTEST <= len(p) <= longest)
    found, size = [], 0
    while size < targets and (paragraph := next(kept, None)) is not None:
        found.append(Document("paragraph", paragraph))
        size += len(paragraph) + 1
    _check(size, targets)
    return encode_text(found, tokens, "stream")


def _long_text(files: Sequence[str], tokens: CharTokens, targets: int) -> Split:
    text = "".join(files)[: targets + 1]
    _check(len(text), targets)
    return encode_text([Document("long text", text)], tokens, "stream").head(targets)


def _check(size: int, targets: int) -> None:
    if size < targets:
        wanted = f"at least {targets} characters of source"
        raise DataError(expected("standard library", wanted, size))
