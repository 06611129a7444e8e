"""Where the text comes from, how it is cut into symbols, and how it is batched."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from unrolled.errors import ConfigError, expected
from unrolled.spec.fields import check, setting

__all__ = ["DataConfig"]


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
        "what a symbol is; auto: char, or byte when the text has more than 512 kinds of character",
        flag="--tokens",
        choices=("auto", "char", "byte", "word"),
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
        if self.max_words is not None and self.tokens != "word":
            raise ConfigError(expected("max_words", "tokens word", f"tokens {self.tokens}"))
