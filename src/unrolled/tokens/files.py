"""Making a vocabulary: from texts, or from its file, which is not trusted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import Any

from unrolled.errors import ConfigError, TokenError, expected
from unrolled.files import parse_json
from unrolled.spec import bpe_size
from unrolled.tokens.base import FORMAT, VERSION, Tokens, shown
from unrolled.tokens.bpe import BpeTokens
from unrolled.tokens.byte import ByteTokens
from unrolled.tokens.char import CharTokens
from unrolled.tokens.counting import Kinds, Scratch, WordCounts
from unrolled.tokens.word import WordTokens

__all__ = [
    "KINDS",
    "LARGEST_FILE",
    "MOST_CHARACTERS",
    "build",
    "from_counts",
    "from_json",
    "gatherer",
    "load",
]

MOST_PARSED = 36 * 2**20  # bytes that a file may take once parsed; as of a checkpoint's vocabulary
LARGEST_FILE = 2**24  # bytes, as in a checkpoint
MOST_CHARACTERS = 512  # kinds; "auto" takes bytes beyond
KINDS = ("char", "byte", "word", "bpe")


def build(kind: str, texts: Iterable[str], *, max_words: int = 10_000) -> Tokens:
    """Return the vocabulary of some texts, which are read once.

    Args:
        kind: "char", "byte", "word", "bpe:1000" (that many symbols at most), or "auto": char, or byte for
            more than 512 kinds of character.
        texts: the whole corpus, document by document; not read for "byte".
        max_words: for "word": the largest vocabulary, `<unk>` and newline included.
    Raises:
        ConfigError: another kind, or max_words below 2. TokenError: a text holds a lone surrogate.
        MissingExtraError: "bpe:1000" without the package tokenizers.
    """
    if (size := bpe_size(kind)) is not None:
        return BpeTokens.build(texts, size=size)
    counts = gatherer(kind)
    if counts is not None:
        for text in texts:
            counts.feed(text)
    return from_counts(kind, counts, max_words=max_words)


def gatherer(kind: str, scratch: Scratch = tempfile.TemporaryFile) -> Kinds | WordCounts | None:
    """Return what gathers, from a text that comes in pieces, all that a kind of vocabulary is made from.

    None for "byte" and "bpe:1000". `scratch` makes the files of counts that memory should not hold.
    Raises ConfigError: another kind.
    """
    if kind == "byte" or bpe_size(kind) is not None:
        return None
    if kind == "word":
        return WordCounts(scratch)
    if kind not in ("char", "auto"):
        raise ConfigError(expected("tokens", "one of auto, char, byte, word, bpe:N", repr(kind)))
    return Kinds()


def from_counts(kind: str, counts: Kinds | WordCounts | None, *, max_words: int) -> Tokens:
    """Return the vocabulary of what `gatherer` gathered; of any kind but BPE, which is trained."""
    if isinstance(counts, WordCounts):
        return WordTokens.of(counts, max_words=max_words)
    if counts is None:
        return ByteTokens()
    tokens = CharTokens.of(counts)
    return ByteTokens() if kind == "auto" and tokens.size - 2 > MOST_CHARACTERS else tokens


def from_json(obj: object, *, where: str = "tokens") -> Tokens:
    """Return the vocabulary that `Tokens.to_json` described; everything about it is checked.

    Args:
        obj: what json read. where: what a message calls it.
    Raises:
        TokenError: a wrong type, format or version, an unknown or a missing key, or symbols or merges that
            are not a vocabulary. MissingExtraError: BPE without the package tokenizers.
    """
    if not isinstance(obj, dict):
        raise TokenError(expected(where, "an object", type(obj).__name__))
    fixed: tuple[tuple[str, object], ...] = (("format", FORMAT), ("version", VERSION))
    for key, value in fixed:
        if key not in obj or type(obj[key]) is not type(value) or obj[key] != value:
            raise TokenError(expected(f"{where}.{key}", repr(value), _got(obj, key)))
    kind = obj.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise TokenError(expected(f"{where}.kind", "one of " + ", ".join(KINDS), _got(obj, "kind")))
    own = {"byte": [], "bpe": ["merges"]}.get(kind, ["symbols"])
    keys = ["format", "version", "kind", *own]
    unknown = sorted(shown(key) for key in obj.keys() - set(keys))
    if unknown:
        raise TokenError(expected(where, "the keys " + ", ".join(keys), f"unknown key {unknown[0]}"))
    if kind == "byte":
        return ByteTokens()
    (key,) = own
    if not isinstance(obj.get(key), list):
        raise TokenError(expected(f"{where}.{key}", "a list", _got(obj, key)))
    if kind == "bpe":
        return BpeTokens(obj[key], where=f"{where}.{key}", trusted=False)
    return (CharTokens if kind == "char" else WordTokens)(obj[key], where=f"{where}.{key}")


def load(path: str | os.PathLike[str]) -> Tokens:
    """Return the vocabulary that `Tokens.save` wrote; nothing in the file is executed.

    Raises:
        TokenError: the file is missing, unreadable, over 16 MiB, not JSON, too much once parsed, or not a
            vocabulary.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise TokenError(expected(name, "a token file", error.strerror or type(error).__name__)) from None
    if len(data) > LARGEST_FILE:
        raise TokenError(expected(name, f"at most {LARGEST_FILE} bytes", "a longer file"))
    return from_json(parse_json(data, name, TokenError, most=MOST_PARSED), where=name)


def _got(obj: dict[str, Any], key: str) -> str:
    return shown(obj[key]) if key in obj else "nothing"
