"""What the ids of a corpus are, in a line that a checkpoint keeps: no other ids are taken for them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from unrolled.data.corpus import CORPUS_FILE
from unrolled.errors import DataError, expected

__all__ = ["identity"]

LARGEST = 2**16  # bytes of a corpus.json


def identity(directory: Path) -> str:
    """Return the sha256 of a corpus's shape and of its files' digests; not of its name, which a move changes.

    Args:
        directory: RUN/data, as `prepare` left it or `reopen` verified it.
    Raises:
        DataError: there is no corpus.
    """
    path = directory / CORPUS_FILE
    try:
        with open(path, "rb") as file:
            stored = json.loads(file.read(LARGEST))
        what = [stored["shape"], stored["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(expected(str(path), "a corpus", error)) from error
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode("ascii")).hexdigest()
