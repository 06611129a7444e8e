"""A vocabulary from an untrusted file, built in a child process before it is built in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from unrolled.errors import TokenError, expected
from unrolled.tokens.assemble import DONE

__all__ = ["try_out"]

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
