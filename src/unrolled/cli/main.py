"""The entry point: errors become one line on standard error, and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from unrolled.cli.parser import build
from unrolled.errors import UnrolledError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after `unrolled`; default those of this process.
    """
    parser = build()
    args = parser.parse_args(argv)
    if args.version:
        from unrolled import __version__

        print(f"unrolled {__version__}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return int(args.action(args))
    except UnrolledError as error:
        if args.debug:
            raise
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # `unrolled sample … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _complain(text: str, code: int) -> int:
    print(f"unrolled: {' '.join(text.split())}", file=sys.stderr)
    return code
