"""What identifies the ids of a corpus, in a line that a checkpoint keeps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from unrolled.data.corpus import CORPUS_FILE, stored_fields
from unrolled.errors import DataError, expected

__all__ = ["identity"]


def identity(directory: Path) -> str:
    """Return the sha256 of a corpus's shape and of its files' digests; not of its name, which a move changes.

    Args:
        directory: RUN/data, as `prepare` left it or `reopen` verified it.
    Raises:
        DataError: there is no corpus.
    """
    path = directory / CORPUS_FILE
    stored = stored_fields(path)
    if not {"shape", "files"} <= set(stored):
        raise DataError(expected(str(path), "a corpus", "another JSON"))
    what = [stored["shape"], stored["files"]]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode("ascii")).hexdigest()
