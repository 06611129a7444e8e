"""The entry point: errors become one line on standard error, and exit code 2."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from unrolled.cli.parser import build
from unrolled.errors import UnrolledError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 after a mistake, 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        argv: the words after `unrolled`; default those of this process.
    """
    parser = build()
    args = parser.parse_args(argv)
    _print_whatever_comes()
    if args.version:
        from unrolled import __version__

        print(f"unrolled {__version__}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    try:
        code = int(args.action(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `unrolled sample … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:  # of a run: its text, and the signal's exit code
        return _complain(str(stop) or "interrupted", getattr(stop, "exit_code", 130))
    except Exception as error:
        line = _in_one_line(error)
        if line is None or args.debug:
            raise
        return _complain(line, 2)


def _in_one_line(error: Exception) -> str | None:
    """Return what to say of an error, or None for one that is a fault of ours and needs its traceback."""
    if isinstance(error, UnrolledError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("unrolled"):
        return f"{error.name}: expected an installed package, got none: pip install 'unrolled[train]'"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the second is torch's
        return "memory: expected enough for this call, got no more; smaller sizes need less"
    if isinstance(error, OSError):  # a full disk, a file that went away: what no room foresaw
        return f"{error.filename or 'a file'}: expected to read or write it, got: {error.strerror or error}"
    return None


def _print_whatever_comes() -> None:
    """Let text that the terminal's encoding lacks come out escaped instead of failing half-way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody listens any more
        print(f"unrolled: {' '.join(text.splitlines())}", file=sys.stderr, flush=True)
    return code
