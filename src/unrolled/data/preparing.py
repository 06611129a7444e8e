"""From a source to a corpus in a directory: surveyed, encoded, split, written and memory-mapped."""

from __future__ import annotations

import contextlib
import ctypes
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from unrolled.data.corpus import CORPUS_FILE, Corpus, identity_of, write
from unrolled.data.encoding import Part, Split, fill_lines, fill_stream
from unrolled.data.sources import Scratch, name_of
from unrolled.data.survey import Survey, survey
from unrolled.data.text import block_end
from unrolled.errors import DataError, RunError, expected
from unrolled.spec import DataConfig, bpe_size
from unrolled.tokens import BpeTokens, Tokens, from_counts, require

__all__ = ["FEWEST_LINES", "choose_lines", "encode_source", "prepare", "training_characters"]

FEWEST_LINES = 10  # with fewer, none is held out


def choose_lines(lines: int, share: float, generator: np.random.Generator) -> npt.NDArray[np.bool_] | None:
    """Choose a random share of the lines, at least one: [lines], true where one is held out.

    None when there are fewer than ten lines.
    """
    if lines < FEWEST_LINES:
        return None
    chosen = np.zeros(lines, bool)  # one byte per line; Generator.choice would take eight
    chosen[: min(max(1, round(lines * share)), lines - 1)] = True
    generator.shuffle(chosen)
    return chosen


def training_characters(characters: int, share: float) -> int:
    """Return how many of a stream's characters, the newlines between documents included, are for training.

    int(N · (1 − share)); the cut is at the first place from there on that splits no token.
    """
    return int(characters * (1 - share))


VALIDATION_SHARE = 0.1  # when nobody says
MOST_WORDS = 10_000  # of a word vocabulary, when nobody says
LEARNT_FROM = 64 * 2**20  # bytes that BPE is trained on, at most


def prepare(config: DataConfig, directory: Path, *, seed: int) -> Corpus:
    """Make a corpus of a source, in two passes over it (three for BPE) and in memory of a fixed size.

    Writes train.npy, val.npy (ids in the smallest unsigned type), train_starts.npy and val_starts.npy (int64)
    and maps them; then corpus.json, which `reopen` reads. All are synced to the disk; each file appears
    completely or not at all.

    Args:
        config: the source and how it is cut. directory: where the files go (RUN/data), made if missing.
        seed: of the choice of held-out lines; a stream holds out its end.
    Raises:
        DataError: the source, see `read`; it changes meanwhile; or nothing in it can be predicted.
        RunError: the directory cannot be written. MissingExtraError: BPE without the package tokenizers.
    """
    if bpe_size(config.tokens) is not None:
        require()  # before a corpus is read
    with _writing(directory), contextlib.ExitStack() as files:
        found = survey(config, scratch=_scratch(files, directory))
        tokens = _vocabulary(config, found)
        _give_back()
        directory.mkdir(parents=True, exist_ok=True)
        train, held = (Part(files, directory, name, tokens) for name in ("train", "val"))
        held_out = _fill(config, found, tokens, seed, train, held)
        if train.ids.count < 2:
            wanted = "a line that is not blank" if found.shape == "lines" else "a word"
            raise DataError(expected("source", wanted, f"only white space in {name_of(config.source)}"))
        entries = train.finish() | held.finish()
        (directory / CORPUS_FILE).unlink(missing_ok=True)  # of another corpus, whose files these replace
        corpus = Corpus(
            name=name_of(config.source),
            shape=found.shape,
            tokens=tokens,
            tokens_setting=tokens.kind if bpe_size(config.tokens) is None else config.tokens,
            train=train.place(),
            validation=held.place(),
            validation_is_train=not held_out,
            sha256=found.sha256,
            characters=found.characters,
            documents=len(found.documents),
            left_out=found.left_out,
            identity=identity_of(found.shape, entries),
        )
        _give_back()
        write(corpus, entries, directory / CORPUS_FILE)
        return corpus


def encode_source(source: str, tokens: Tokens, shape: str, directory: Path) -> Split:
    """Encode a source with a vocabulary that exists, in two passes and in memory of a fixed size.

    Args:
        source: see `read`. tokens: what it lacks becomes `unknown`. shape: "stream" or "lines".
        directory: where the ids go, in text.npy and text_starts.npy; they are mapped from there.
    Returns:
        What `encode_text` returns; its N may be 0.
    Raises:
        DataError: the source, see `read`; or it changes meanwhile. RunError: the directory cannot be written.
    """
    config = DataConfig(source, shape=shape, tokens="byte" if tokens.kind == "byte" else "auto")
    with _writing(directory), contextlib.ExitStack() as files:
        found = survey(config, scratch=_scratch(files, directory), counted=False)
        directory.mkdir(parents=True, exist_ok=True)
        part = Part(files, directory, "text", tokens)
        if shape == "lines":
            fill_lines(found.documents, tokens, None, part, None)
        else:
            fill_stream(found.documents, tokens, found.characters, part, None)
        part.finish()
        return part.place()


def _scratch(files: contextlib.ExitStack, directory: Path) -> Scratch:
    """Return what makes files without a name in a directory; they go with `files`."""

    def make() -> IO[bytes]:
        directory.mkdir(parents=True, exist_ok=True)
        return files.enter_context(tempfile.TemporaryFile(dir=directory))

    return make


def _vocabulary(config: DataConfig, found: Survey) -> Tokens:
    size = bpe_size(config.tokens)
    if size is not None:
        return BpeTokens.build(_spread(found), size=size)
    return from_counts(config.tokens, found.counts, max_words=config.max_words or MOST_WORDS)


def _spread(found: Survey, most: int | None = None) -> Iterator[str]:
    """Yield at most `most` bytes of the corpus in whole lines, from everywhere in it alike."""
    left = LEARNT_FROM if most is None else most
    share = min(1.0, left / found.size)
    for document in found.documents:
        for block in document.blocks():
            limit = int(share * len(block))
            text = block if share == 1 else block[: block_end(block, 0, limit)] if limit else ""
            left -= len(text.encode("utf-8"))
            if left >= 0:
                yield text


def _fill(config: DataConfig, found: Survey, tokens: Tokens, seed: int, train: Part, held: Part) -> bool:
    """Write both parts; return whether one is held out."""
    share = VALIDATION_SHARE if config.validation_share is None else config.validation_share
    by_heart = config.source == "sentences"
    if found.shape == "lines":
        chosen = None if by_heart else choose_lines(found.lines, share, np.random.default_rng(seed))
        return fill_lines(found.documents, tokens, chosen, train, held)
    whole = found.characters + len(found.documents) - 1
    kept = whole if by_heart else training_characters(whole, share)
    return fill_stream(found.documents, tokens, kept, train, held)


def _give_back() -> None:
    """Return freed memory to the system: after a pass glibc may keep 200 MB, and training comes on top."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turn what the operating system says (disk full, read-only, …) into a one-line RunError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RunError):
            raise
        reason = f"{directory}: {(error.strerror or type(error).__name__).lower()}"
        raise RunError(expected("run", "a directory that can be written", reason)) from None
