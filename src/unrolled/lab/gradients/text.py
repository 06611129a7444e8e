"""The text: the beginning of this Python's standard library, which needs no file of the user's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch

from unrolled.data import Batch, Document, Split, encode_text, read
from unrolled.tokens import CharTokens

__all__ = ["Text", "fingerprint", "text"]

SOURCE = "stdlib"
HELD_OUT = 0.1  # of the characters, at the end: what gradients are measured on
MEASURED_ROWS = 8


@dataclass(frozen=True, eq=False)
class Text:
    """Characters to train on, and a batch that is not among them."""

    tokens: CharTokens
    train: Split
    measured: Batch  # rows of one length, without resets


def fingerprint(characters: int) -> str:
    """Return the sha256 of the first characters of the source. Raises DataError: there is none."""
    return hashlib.sha256(_beginning(characters).encode()).hexdigest()


def text(characters: int, steps: int) -> Text:
    """Return the first characters of the source; `measured` has rows of `steps`."""
    whole = _beginning(characters)
    tokens = CharTokens.build([whole])
    split = encode_text([Document(SOURCE, whole)], tokens, "stream")
    kept = int(split.num_targets * (1 - HELD_OUT))
    ids = torch.from_numpy(split.ids[kept : kept + MEASURED_ROWS * steps + 1].astype("int64"))
    inputs, targets = (part.view(MEASURED_ROWS, steps).T.contiguous() for part in (ids[:-1], ids[1:]))
    return Text(tokens, split.head(kept), Batch(inputs, targets))


@lru_cache(maxsize=2)
def _beginning(characters: int) -> str:
    parts: list[str] = []
    for document in read(SOURCE).documents:
        parts.append(str(document.text))
        if sum(map(len, parts)) >= characters:
            break
    return "\n".join(parts)[:characters]
