"""Byte-level BPE: the ids of frequent sequences of bytes. Merged by Hugging Face's `tokenizers`.

A vocabulary from a stranger's file is tried in a child process before it is built in this one."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, MissingExtraError, TokenError, expected
from unrolled.spec import LARGEST_BPE, SMALLEST_BPE
from unrolled.tokens.assemble import DONE, assemble
from unrolled.tokens.base import Ids, NarrowIds, Tokens, check_ids, id_dtype, next_border, shown
from unrolled.tokens.byte import Utf8Decoder, begin_in, characters_in, utf8

__all__ = ["BpeTokens", "require", "try_out"]

BYTES = 256
NEWLINE = 10
LONGEST = 64  # bytes of a symbol
MOST_BYTES = 2**20  # that all merges make, one after the other; memory is in proportion
FEWEST = 2  # times that a pair must occur in the text to be merged
FED = 2**14  # characters, twice that at most; the library holds 256 such pieces of what it is trained on
MOST_DISTINCT = 3 * 2**19  # bytes of all different pieces that it learns from; each takes it 200
MOST_KNOWN = 2**16  # pieces whose ids are kept

# A text in UTF-8 is read as if each byte were a character (latin-1), and cut into pieces within which symbols
# are merged: a newline, or letters, digits or signs with one blank before them, or blanks; 96 at most. Beyond
# ASCII everything is a letter but three ranges of signs: U+0080-00BF, U+2000-2BFF and U+3000-303F.
# Both engines read the pattern, so its characters stand for themselves.
MOST = "{1,96}"
SIGN = "\xc2[\x80-\xbf]|\xe2[\x80-\xaf][\x80-\xbf]|\xe3\x80[\x80-\xbf]"
PIECE = re.compile(
    f"\n| ?(?>[A-Za-z]{MOST})(?![\x80-\xff])"  # the next one alone would do, slower
    f"| ?(?:[A-Za-z]|(?!{SIGN})[\x80-\xff]){MOST}"
    f"| ?[0-9]{MOST}| ?(?:[^A-Za-z0-9 \t\n\x80-\xff]|{SIGN}){MOST}|[ \t]{MOST}(?![^ \t\n])|[ \t]"
)


class BpeTokens(Tokens):
    """The 256 bytes, then what merging makes of them, in the order of the merges.

    Nothing is unknown, and decoding what was encoded gives the text back. No symbol goes across a newline,
    which is a symbol of its own, or across the place before a blank.
    """

    kind = "bpe"
    boundary = NEWLINE
    unknown = None

    def __init__(
        self, merges: Sequence[Sequence[int]], *, where: str = "merges", trusted: bool = True
    ) -> None:
        """Take pairs of ids in the order in which they are merged; a pair makes the next id.

        Args:
            merges: of ids below the one that it makes; a pair whose bytes an id has already makes that one.
            where: what a message calls it.
            trusted: if not, the library builds it in a child process first.
        Raises:
            TokenError: no such pairs, a symbol over 64 bytes or across a newline, more than 65,536 symbols,
                over 1 MiB of them, or what the library refuses. MissingExtraError: it is not installed.
        """
        self._parts = _replay(merges, where)
        self._merges = [(left, right) for left, right in merges]
        require()
        if not trusted:
            try_out(self._merges, where)
        self._model = assemble(self._merges)
        self._known: dict[str, tuple[int, ...]] = {}

    @classmethod
    def build(cls, texts: Iterable[str], *, size: int) -> BpeTokens:
        """Return a vocabulary of at most `size` ids, trained on the texts.

        It is the same for the same texts, of which it reads on until they hold 1.5 MiB of pieces that differ.
        Raises ConfigError: a size outside 258 … 65,536. MissingExtraError: the library is not installed.
        """
        if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST_BPE <= size <= LARGEST_BPE:
            raise ConfigError(expected("size", f"{SMALLEST_BPE} to {LARGEST_BPE}", repr(size)))
        tokenizers = require()
        learner = tokenizers.Tokenizer(tokenizers.models.BPE())
        cut = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PIECE.pattern), "isolated")
        learner.pre_tokenizer = cut
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=FEWEST,
            initial_alphabet=[chr(i) for i in range(BYTES)],
            max_token_length=LONGEST,
            show_progress=False,
        )
        learner.train_from_iterator(_fed(texts), trainer)
        return cls(_ids_of(json.loads(learner.to_str())["model"]["merges"]))

    @property
    def size(self) -> int:
        return len(self._parts)

    def encode(self, text: str) -> Ids:
        """Return the ids [N] of a text; bytes of the command line that are not UTF-8 are kept as they are.

        Raises TokenError: a lone surrogate.
        """
        return np.fromiter(self._ids(text), np.int64)

    def encode_narrow(self, text: str) -> NarrowIds:
        return np.fromiter(self._ids(text), id_dtype(self.size))

    def border(self, text: str, at: int) -> int:
        return next_border(text, at)

    def decode(self, ids: npt.ArrayLike) -> str:
        found = map(self._parts.__getitem__, check_ids(ids, self.size).tolist())
        return b"".join(found).decode("utf-8", "replace")

    def count_characters(self, ids: npt.ArrayLike) -> int:
        return characters_in(np.asarray(ids), np.array([begin_in(part) for part in self._parts]))

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder(self._parts)

    def _content(self) -> dict[str, Any]:
        return {"merges": [list(pair) for pair in self._merges]}

    def _ids(self, text: str) -> Iterator[int]:
        pieces = PIECE.findall(utf8(text).decode("latin-1"))
        known = self._known
        for piece in set(pieces).difference(known):
            known[piece] = tuple(token.id for token in self._model.tokenize(piece))
        if len(known) > MOST_KNOWN:  # nothing goes from a dictionary that another thread may read
            self._known = {}
        return itertools.chain.from_iterable(map(known.__getitem__, pieces))


def _replay(merges: object, where: str) -> list[bytes]:
    """Return the bytes of each id. Raises TokenError: the merges are not those of a vocabulary."""
    if not isinstance(merges, (list, tuple)):
        raise TokenError(expected(where, "a list", shown(merges)))
    if len(merges) > LARGEST_BPE:
        raise TokenError(expected(where, f"at most {LARGEST_BPE} pairs", len(merges)))
    parts = [bytes([i]) for i in range(BYTES)]
    made = set(parts)
    pairs: set[tuple[int, int]] = set()
    total = 0
    for index, pair in enumerate(merges):
        name = f"{where}[{index}]"
        left, right = _pair(pair, len(parts), name)
        if (left, right) in pairs:
            raise TokenError(expected(name, "each pair once", f"{shown([left, right])} twice"))
        pairs.add((left, right))
        joined = parts[left] + parts[right]
        if len(joined) > LONGEST or NEWLINE in joined:
            raise TokenError(expected(name, f"at most {LONGEST} bytes, none a newline", shown(joined)))
        total += len(joined)
        if total > MOST_BYTES:
            raise TokenError(expected(name, f"symbols of at most {MOST_BYTES} bytes in all", "more"))
        if joined not in made:
            made.add(joined)
            parts.append(joined)
    if len(parts) > LARGEST_BPE:
        raise TokenError(expected(where, f"at most {LARGEST_BPE} symbols", len(parts)))
    return parts


def _pair(pair: object, size: int, where: str) -> tuple[int, int]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise TokenError(expected(where, "a pair of ids", shown(pair)))
    for half in pair:
        if type(half) is not int or not 0 <= half < size:
            raise TokenError(expected(where, f"ids from 0 to {size - 1}", shown(half)))
    return pair[0], pair[1]


def _ids_of(named: Iterable[tuple[str, str]]) -> list[tuple[int, int]]:
    """Return merges that are written with their symbols as pairs of ids, as many as a vocabulary may have."""
    ids = {chr(i): i for i in range(BYTES)}
    merges, total = [], 0
    for left, right in named:
        total += len(left) + len(right)
        if total > MOST_BYTES:
            break
        merges.append((ids[left], ids[right]))
        ids.setdefault(left + right, len(ids))
    return merges


def _fed(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts in small parts, cut where no symbol goes across, until there is too much that differs."""
    known: set[str] = set()
    left = MOST_DISTINCT
    for part in itertools.chain.from_iterable(map(_parts, texts)):
        fresh = set(PIECE.findall(part)).difference(known)
        left -= sum(map(len, fresh))
        if left < 0:
            return
        known |= fresh
        yield part


def _parts(text: str) -> Iterator[str]:
    begin = 0
    while begin < len(text):
        ahead = text[begin : begin + 2 * FED]
        end = next_border(ahead, FED)
        yield utf8(ahead[:end]).decode("latin-1")
        begin += end


def require() -> Any:
    """Return the package tokenizers. Raises MissingExtraError: it is not installed."""
    try:
        import tokenizers
    except ImportError:
        got = "none: pip install 'unrolled[bpe]'"
        raise MissingExtraError(expected("tokens bpe", "an installed package tokenizers", got)) from None
    return tokenizers


SCRIPT = Path(__file__).with_name("assemble.py")
SECONDS = 5  # of processor time; twice that of wall-clock time
MEMORY = 2**30  # bytes of address space
TOO_LONG = "one that takes too long"


def try_out(merges: Sequence[Sequence[int]], where: str) -> None:
    """Build a vocabulary in a child process with limits of time and memory; see `assemble`.

    The child gets its input through a pipe, runs no shell, and ends with this process.

    Raises:
        TokenError: the library refuses the vocabulary, breaks on it, or takes too long or too much memory.
    """
    if not sys.executable:
        raise _refused(where, "no child process to try it in: Python does not know where it lies")
    path = [name for name in sys.path if isinstance(name, str)]  # imports ignore the others
    given = json.dumps({"path": path, "merges": list(merges)}).encode("ascii")
    limits = [str(SECONDS), str(MEMORY), str(os.getpid())]
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(SCRIPT), *limits],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2 * SECONDS,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the child
        )
    except subprocess.TimeoutExpired:
        raise _refused(where, TOO_LONG) from None
    except OSError as error:
        raise _refused(where, f"no child process to try it in: {error.strerror or error}") from None
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode or said != DONE:
        raise _refused(where, said or _ended(done.returncode))


def _ended(code: int) -> str:
    """Say how a child process ended that printed nothing."""
    if code >= 0:
        return f"a child process that ended with {code}"
    if -code in (getattr(signal, "SIGXCPU", 0), getattr(signal, "SIGALRM", 0)):
        return TOO_LONG
    return f"a child process that ended with {signal.Signals(-code).name}"


def _refused(where: str, got: str) -> TokenError:
    return TokenError(expected(where, "a vocabulary that the tokenizers library can build", got))
