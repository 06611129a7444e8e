"""Build the part of a BPE vocabulary that merges, with the `tokenizers` library.

`trial.py` runs this file as a script, in a child process with limits, before a vocabulary from a stranger's
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


def assemble(parts: Sequence[str], merges: Sequence[tuple[str, str]]) -> Any:
    """Return the library's model of a vocabulary.

    Args:
        parts: what each id stands for, a character for a byte. merges: pairs of these, in their order.
    Raises:
        ImportError: the library is not installed. Whatever the library raises.
    """
    from tokenizers import models

    return models.BPE(vocab={part: i for i, part in enumerate(parts)}, merges=list(merges))


def main(seconds: int, memory: int, parent: int) -> None:
    """Build what standard input describes and say DONE, or why not, in a line."""
    _limit(seconds, memory, parent)
    try:
        given = json.load(sys.stdin)
        sys.path[:] = given["path"]
        model = assemble(given["parts"], [(left, right) for left, right in given["merges"]])
        back = "".join(token.value for token in model.tokenize(PROBE))
        print(DONE if back == PROBE else "it changes a text")
    except BaseException as error:  # the library's panics are no Exceptions
        print(" ".join(f"{type(error).__name__}: {error}".split())[:200])


def _limit(seconds: int, memory: int, parent: int) -> None:
    """Hold this process to so much time and memory, and let it end when its parent does."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU first, which says why
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(2 * seconds)  # also when nobody waits any more
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
