"""Holding out a part for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unrolled.data.documents import Document
from unrolled.data.encoding import Split, lines_of
from unrolled.tokens import ByteTokens, Tokens

__all__ = ["FEWEST_LINES", "split_lines", "split_stream"]

FEWEST_LINES = 10  # with fewer, none is held out


def split_stream(
    whole: Split, documents: Sequence[Document], tokens: Tokens, share: float
) -> tuple[Split, Split] | None:
    """Cut a stream: the last share of its tokens is for validation, and starts cold at a boundary.

    Of N tokens the first int(N · (1 − share)) are for training. None when either part would have fewer
    than two ids, a boundary and a target.
    """
    kept = int(whole.num_targets * (1 - share))
    first = kept + 1  # the first id that is held out
    ends_document = bool(np.isin(first, whole.starts))
    rest = whole.ids[first:]
    if not ends_document:
        rest = np.concatenate([whole.ids[:1], rest])
    if kept < 1 or len(rest) < 2:
        return None
    moved = whole.starts[whole.starts >= first] - first + (not ends_document)
    starts = moved if ends_document else np.concatenate([np.zeros(1, np.int64), moved])
    characters = _characters_until(kept, whole, documents, tokens)
    train = Split(whole.ids[: kept + 1], whole.starts[whole.starts < kept], characters)
    # a boundary at the cut starts the rest: it is no target of either part
    return train, Split(rest, starts, whole.characters - characters - ends_document)


def split_lines(
    whole: Split, documents: Sequence[Document], share: float, generator: np.random.Generator
) -> tuple[Split, Split] | None:
    """Hold out a random share of the lines, at least one; both parts keep the lines' order.

    None when there are fewer than ten lines.
    """
    lines = len(whole.starts)
    if lines < FEWEST_LINES:
        return None
    count = min(max(1, round(lines * share)), lines - 1)
    held_out = np.zeros(lines, bool)
    held_out[generator.choice(lines, count, replace=False)] = True
    sizes = np.diff(whole.starts, append=whole.num_targets)
    characters = lines_of(documents)
    return _pick(whole, sizes, characters, ~held_out), _pick(whole, sizes, characters, held_out)


def _pick(
    whole: Split,
    sizes: npt.NDArray[np.int64],
    characters: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
) -> Split:
    ids = whole.ids[:-1][np.repeat(chosen, sizes)]
    starts = np.cumsum(sizes[chosen]) - sizes[chosen]
    return Split(np.concatenate([ids, whole.ids[-1:]]), starts, int(characters[chosen].sum()))


def _characters_until(kept: int, whole: Split, documents: Sequence[Document], tokens: Tokens) -> int:
    """Return how many characters the first `kept` targets of a stream stand for."""
    begun = int(np.searchsorted(whole.starts, kept, side="right"))  # documents; the last one perhaps in part
    complete = sum(document.characters + 1 for document in documents[: begun - 1])
    inside = kept - int(whole.starts[begun - 1])
    text = documents[begun - 1].text
    if isinstance(text, bytes) and isinstance(tokens, ByteTokens):
        return complete + tokens.characters_before(text, inside)
    return complete + tokens.characters_before(str(text), inside)
