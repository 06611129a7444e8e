"""Where the text comes from, how it is cut into symbols, and how it is batched."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from unrolled.errors import ConfigError, expected
from unrolled.spec.fields import check, setting

__all__ = ["LARGEST_BPE", "SMALLEST_BPE", "DataConfig", "bpe_size"]

SMALLEST_BPE, LARGEST_BPE = 258, 65_536  # symbols; the 256 bytes are among them


@dataclass(frozen=True)
class DataConfig:
    """A text and how it is cut: `DataConfig("book.txt")`."""

    source: str = setting(
        MISSING,
        "sentences or stdlib (both built in), a text file, a .gz of one, a directory of text files, or - for "
        "standard input",
        flag="SOURCE",
    )
    shape: str = setting(
        "auto",
        "how the text is cut; lines: each line is a sequence of its own; stream: one long text; auto: lines "
        "for a single file without blank lines, of at most 1,000,000 characters and no line over 1,000, "
        "else stream",
        flag="--as",
        choices=("auto", "lines", "stream"),
    )
    tokens: str = setting(
        "auto",
        "what a symbol is; auto: a character, or a byte where the text has more than 512 different "
        "characters; bpe:N: byte-pair encoding with at most N symbols",
        flag="--tokens",
        choices=("auto", "char", "byte", "word", "bpe:N"),
    )
    max_words: int | None = setting(
        None,
        "size of the vocabulary of --tokens word; rarer words become <unk>; default: 10,000",
        flag="--max-words",
        minimum=2,
    )
    validation_share: float | None = setting(
        None,
        "share of the text that is held out for validation: the end of a stream, or randomly chosen lines; "
        "default: 0.1",
        flag="--validation",
        above=0,
        below=1,
    )
    as_text: bool = setting(
        False,
        "train on the text of a table, of tagged words or of a folder of classes, which is refused otherwise",
        flag="--as-text",
    )

    def __post_init__(self) -> None:
        check(self)
        if "\0" in self.source:
            raise ConfigError(expected("source", "a path", repr(self.source)))
        bpe_size(self.tokens)
        if self.max_words is not None and self.tokens != "word":
            raise ConfigError(expected("max_words", "`tokens` word", f"`tokens` {self.tokens}"))


def bpe_size(tokens: str) -> int | None:
    """Return the N of "bpe:N", None for another kind. Raises ConfigError: N is not in 258 … 65,536."""
    kind, colon, number = tokens.partition(":")
    if (kind, colon) != ("bpe", ":"):
        return None
    size = int(number) if number.isdecimal() and len(number) <= len(str(LARGEST_BPE)) else 0
    if not SMALLEST_BPE <= size <= LARGEST_BPE or number != str(size):
        wanted = f"bpe:N with N from {SMALLEST_BPE} to {LARGEST_BPE}"
        raise ConfigError(expected("tokens", wanted, repr(tokens)))
    return size
