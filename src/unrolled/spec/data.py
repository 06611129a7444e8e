"""Where the text comes from, how it is cut into symbols, and how it is batched."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from unrolled.errors import ConfigError, expected
from unrolled.spec.fields import check, setting

__all__ = ["LARGEST_BPE", "SMALLEST_BPE", "DataConfig", "bpe_size"]

SMALLEST_BPE, LARGEST_BPE = 258, 65_536  # symbols; the 256 bytes are among them


@dataclass(frozen=True)
class DataConfig:
    """A corpus and its shape."""

    source: str = setting(
        MISSING, "sentences | stdlib | a text file, .gz, directory of text files, or - for standard input"
    )
    shape: str = setting(
        "auto",
        "lines: each line is a sequence; stream: one long text; auto: lines for one file without blank "
        "lines, of at most 1,000,000 characters and no line over 1,000; else stream",
        flag="--as",
        choices=("auto", "lines", "stream"),
    )
    tokens: str = setting(
        "auto",
        "what a symbol is; auto: char, or byte when the text has more than 512 kinds of character; bpe:1000: "
        "at most 1,000 symbols, learnt by byte-pair encoding",
        flag="--tokens",
        choices=("auto", "char", "byte", "word", "bpe:N"),
    )
    max_words: int | None = setting(
        None,
        "vocabulary of --tokens word; rarer words become <unk>; default 10,000",
        flag="--max-words",
        minimum=2,
    )
    validation_share: float | None = setting(
        None,
        "held-out share: the end of a stream, or a seeded choice of lines; default 0.1",
        flag="--validation",
        above=0,
        below=1,
    )

    def __post_init__(self) -> None:
        check(self)
        bpe_size(self.tokens)
        if self.max_words is not None and self.tokens != "word":
            raise ConfigError(expected("max_words", "tokens word", f"tokens {self.tokens}"))


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
