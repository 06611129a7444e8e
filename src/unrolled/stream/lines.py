"""Lines in, an answer per line out: what `unrolled stream` does with a language model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

import numpy as np

from unrolled.errors import ConfigError, DataError, UnrolledError, expected
from unrolled.files import parse_json, quoted
from unrolled.stream.model import Model
from unrolled.stream.scoring import nats_of, pieces
from unrolled.stream.session import Session
from unrolled.stream.weights import Floats
from unrolled.tokens import Tokens, normalised

__all__ = ["LONGEST", "LineReader", "Reader", "answer_lines", "json_line", "switch", "whole_line"]

PIECE = 2**16  # characters of a line that are read at once
LONGEST = 2**24  # characters of a line of JSON
PARSED = 2**27  # bytes that it may take in memory
KEYS = ("text", "ids", "reset", "save")


class Reader(Protocol):
    """What answers lines one by one; `LineReader` of text, `StepReader` of a task's steps."""

    by_step: bool  # whether a line is read at once, whatever its form

    def whole(self) -> AbstractContextManager[None]:
        """Within, whatever is raised leaves the state as it was."""
        ...

    def answer(
        self,
        number: int,
        line: Iterator[str],
        *,
        as_json: bool,
        top: int,
        save: Callable[[], object] | None,
    ) -> str | None:
        """Read a line, which comes in pieces, and return its answer; None where it has none."""
        ...


@dataclass
class Read:
    """What has been read of a line."""

    tokens: int = 0  # read
    scored: int = 0  # of these, predicted: the first one after an opened state is not
    nats: float = 0.0
    unknown: int = 0

    @property
    def nats_per_token(self) -> float | None:
        return self.nats / self.scored if self.scored else None


class LineReader:
    """Feeds text to a session and keeps what it expects next.

    A model of a stream carries its state from line to line, and a newline is part of the text. One of lines
    starts each line from zero.

    Args:
        model: a language model.
        session: one of its streams; it may hold a state that was saved.
        fresh: whether that state is zero, so that the text begins here.
    Raises:
        ConfigError: the model has no vocabulary.
    """

    by_step = False

    def __init__(self, model: Model, session: Session, *, fresh: bool = True) -> None:
        if model.tokens is None:
            raise ConfigError(expected("run", "a model of text", "one without a vocabulary"))
        data = model.config.get("data")
        self.model, self.session, self.tokens = model, session, model.tokens
        self.by_line = isinstance(data, dict) and data.get("shape") == "lines"
        self._logits: Floats | None = None
        if fresh:
            self.restart()

    def restart(self) -> None:
        """Set the state to zero, and read what starts every text."""
        self.session.reset()
        self._logits = self.session.step(self.tokens.boundary)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Within, whatever is raised leaves the state as it was: a line is read completely or not at all."""
        state, logits = self.session.state, self._logits
        try:
            yield
        except BaseException:
            self.session.state, self._logits = state, logits
            raise

    def feed(self, ids: np.ndarray[Any, Any], read: Read) -> None:
        """Read ids [N], each of the vocabulary, and add their loss to `read`."""
        for begin, end in pieces(self.model, len(ids)):
            piece = np.ascontiguousarray(ids[begin:end], np.int64)
            after = self.session.run(piece)
            known = [] if self._logits is None else [self._logits[None]]  # what was expected of the first one
            expecting = np.concatenate([*known, after[:-1]])
            targets = piece[len(piece) - len(expecting) :]
            read.nats += nats_of(expecting, targets) if len(targets) else 0.0
            read.scored += len(targets)
            read.tokens += len(piece)
            read.unknown += self.tokens.count_unknown(piece)
            self._logits = after[-1]

    def answer(
        self,
        number: int,
        line: Iterator[str],
        *,
        as_json: bool,
        top: int,
        save: Callable[[], object] | None,
    ) -> str:
        """Read a line and return its answer. Raises UnrolledError: it is not fit."""
        if as_json:
            return _as_json(number, _object(self, line, save), self.next(top))
        return _as_text(_text(self, line), self.next(top))

    def next(self, top: int) -> list[tuple[str, int, float]]:
        """Return the `top` likeliest next symbols: (text, id, probability), likeliest first."""
        if self._logits is None:
            return []
        values = np.exp(self._logits.astype(np.float64) - self._logits.max())
        values /= values.sum()
        order = np.argsort(-values, kind="stable")[:top]
        return [(self.tokens.decode([int(i)]), int(i), float(values[i])) for i in order]


def answer_lines(
    reader: Reader,
    source: TextIO,
    answer: Callable[[str], object],
    *,
    as_json: bool = False,
    top: int = 5,
    save: Callable[[], object] | None = None,
) -> None:
    """Answer every line of `source`, in order, as soon as it is complete.

    A line of text is answered by its loss and by the likeliest next symbols. With `as_json` a line is an
    object, {"text": …} or {"ids": […]}, with {"reset": true} to start from zero before it and {"save": true}
    to call `save` after it; so is the answer. Lines of a classifier or a regressor: see `StepReader`. A line
    that is not fit is answered by what is wrong with it, and the state stays as it was. So it does where
    Ctrl-C, say, comes while a line is read.

    Args:
        reader: of a model, a `LineReader` or a `StepReader`.
        source: open for reading text.
        answer: takes each answer, one line without its end.
        top: how many of the likeliest next symbols to tell.
        save: keeps the reader's state; None where it is not kept.
    """
    piece = LONGEST if as_json or reader.by_step else PIECE
    for number, line in enumerate(_lines(source, piece), start=1):
        try:
            with reader.whole():
                told = reader.answer(number, line, as_json=as_json, top=top, save=save)
        except UnrolledError as error:
            wrong = {"line": number, "error": str(error)}
            answer(json.dumps(wrong) if as_json else f"line {number}: {error}")
            for _ in line:  # what is left of it
                pass
            continue
        if told is not None:
            answer(told)


def _text(reader: LineReader, line: Iterator[str]) -> Read:
    read = Read()
    if reader.by_line:
        reader.restart()
    for piece in _uncut(reader.tokens, line):
        text = normalised(piece)
        reader.feed(reader.tokens.encode(text.rstrip("\n") if reader.by_line else text), read)
    return read


def _uncut(tokens: Tokens, line: Iterator[str]) -> Iterator[str]:
    """Yield the pieces of a line, cut where no token goes on: what comes after such a place waits.

    Where the second half of a piece has none, as in one very long word, it is cut at its end.
    """
    held = ""
    for piece in line:
        text = held + piece
        cut = len(text) if text.endswith("\n") else tokens.border(text, len(text) // 2)
        yield text[:cut]
        held = text[cut:]
    if held:
        yield held


def _object(reader: LineReader, line: Iterator[str], save: Callable[[], object] | None) -> Read:
    given = json_line(whole_line(line))
    unknown = [key for key in given if key not in KEYS]
    if unknown or ("text" in given and "ids" in given):
        got = quoted(unknown[0]) if unknown else "both"
        raise DataError(expected("line", '"text" or "ids", and perhaps "reset" or "save"', got))
    ids = _ids(reader.tokens, given)
    reset, saves = switch(given, "reset"), switch(given, "save")
    if saves and save is None:
        raise DataError(expected('"save"', "a file for the state, by --state FILE", "none"))
    if reset or reader.by_line:
        reader.restart()
    read = Read()
    reader.feed(ids, read)
    if saves and save is not None:
        save()
    return read


def whole_line(line: Iterator[str]) -> str:
    """Return a line whose pieces have `LONGEST` characters. Raises DataError: it has more."""
    whole = next(line)
    if not whole.endswith("\n") and next(line, None) is not None:
        raise DataError(expected("line", f"at most {LONGEST:,} characters of JSON", "a longer one"))
    return whole


def json_line(text: str) -> dict[str, Any]:
    """Return the object of a line. Raises DataError: it is none, or holds bytes that are not UTF-8.

    Such bytes are read as lone surrogates, as Python does with file names, and become themselves again here.
    """
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that was no byte
        raw = text.encode("utf-8", "surrogatepass")
    return parse_json(raw, "line", DataError, most=PARSED, ascii_only=False)


def switch(given: dict[str, Any], name: str) -> bool:
    """Return a truth value of an object, false where it has none of that name. Raises DataError."""
    value = given.get(name, False)
    if type(value) is not bool:
        raise DataError(expected(f'"{name}"', "true or false", quoted(str(value))))
    return value


def _ids(tokens: Tokens, given: dict[str, Any]) -> np.ndarray[Any, Any]:
    if "text" in given:
        if not isinstance(given["text"], str):
            raise DataError(expected('"text"', "a text", type(given["text"]).__name__))
        return tokens.encode(normalised(given["text"]))
    ids = given.get("ids", [])
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < tokens.size for i in ids):
        want = f"a list of whole numbers from 0 to {tokens.size - 1}"
        raise DataError(expected('"ids"', want, "something else"))
    return np.array(ids, dtype=np.int64)


def _as_text(read: Read, told: list[tuple[str, int, float]]) -> str:
    loss = "     -     " if read.nats_per_token is None else f"{read.nats_per_token:.4f} nats"
    symbols = ", ".join(f"{text!r} {share:.0%}" for text, _, share in told)
    unknown = f", {read.unknown} unknown" if read.unknown else ""
    return f"{loss} per token over {read.tokens}{unknown}" + (f"; next {symbols}" if told else "")


def _as_json(number: int, read: Read, told: list[tuple[str, int, float]]) -> str:
    expecting = [{"symbol": text, "id": i, "probability": round(share, 6)} for text, i, share in told]
    return json.dumps(
        {
            "line": number,
            "tokens": read.tokens,
            "unknown": read.unknown,
            "nats_per_token": read.nats_per_token,
            "next": expecting,
        }
    )


def _lines(source: TextIO, piece: int) -> Iterator[Iterator[str]]:
    """Yield each line as an iterator of pieces, the last of which holds its end, if it has one."""
    while first := source.readline(piece):
        yield _pieces(source, first, piece)


def _pieces(source: TextIO, text: str, piece: int) -> Iterator[str]:
    while text:
        yield text
        if text.endswith("\n"):
            return
        text = source.readline(piece)
