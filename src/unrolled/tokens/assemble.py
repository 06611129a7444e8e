"""Build the part of a BPE vocabulary that merges, with the `tokenizers` library.

`bpe.py` runs this file as a script, in a child process with limits, before a vocabulary from an untrusted
file is built in this one. So nothing of the package is imported here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["DONE", "assemble"]

DONE = "built"
PROBE = "a line of text\n\xc3\xa9 0123\t.\x00\xff"


def assemble(merges: Sequence[Sequence[int]]) -> Any:
    """Return the library's model of a vocabulary, to which a byte is a character.

    Args:
        merges: pairs of ids in their order; a pair makes the next id, unless its bytes have one already.
    Raises:
        ImportError: the library is not installed. Whatever the library raises.
    """
    from tokenizers import models

    parts = [chr(i) for i in range(256)]
    ids = {part: i for i, part in enumerate(parts)}
    for left, right in merges:
        joined = parts[left] + parts[right]
        if joined not in ids:
            ids[joined] = len(parts)
            parts.append(joined)
    return models.BPE(vocab=ids, merges=[(parts[left], parts[right]) for left, right in merges])


def main(seconds: int, memory: int, parent: int) -> None:
    """Build what standard input describes and say DONE, or why not, in a line."""
    try:
        _limit(seconds, memory, parent)
        given = json.load(sys.stdin)
        sys.path[:] = given["path"]
        model = assemble(given["merges"])
        back = "".join(token.value for token in model.tokenize(PROBE))
        print(DONE if back == PROBE else "it changes a text")
    except BaseException as error:  # a panic of the library is not an Exception
        print(" ".join(f"{type(error).__name__}: {error}".split())[:200])


def _limit(seconds: int, memory: int, parent: int) -> None:
    """Limit the time and memory of this process, and let it end when its parent does."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone
        return
    limits = (
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_CPU, seconds, seconds + 1),  # SIGXCPU first, which says why
        (resource.RLIMIT_CORE, 0, 0),
    )
    for which, soft, hard in limits:
        most = resource.getrlimit(which)[1]  # nothing may exceed it
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(which, (soft, hard))
    signal.alarm(2 * seconds)  # also when the parent no longer waits
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
