"""The entry point: errors become one line on standard error, and exit code 2."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence

from unrolled.cli import commands
from unrolled.cli.parser import build, flags_of
from unrolled.cli.ranks import let_rank_0_print, speaker
from unrolled.errors import ConfigError, UnrolledError

__all__ = ["main"]

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
WAITING = {"GOMP_SPINCOUNT": "1000"}  # turns, some 20 µs: about what a sleep and a wake-up cost
WAITS_SAID = ("OMP_WAIT_POLICY", *WAITING)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 after a mistake, 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        argv: the words after `unrolled`; default those of this process.
    """
    _open_closed_streams()
    _take_whatever_comes()
    _wait_asleep()
    let_rank_0_print()
    try:
        return _flushed(_run(argv))
    except BrokenPipeError:
        _silence_output()
        return 0
    except SystemExit as stop:  # of argparse, after a help text or a mistake
        return _flushed(int(stop.code or 0))


def _run(argv: Sequence[str] | None) -> int:
    args = build().parse_args(argv)
    try:
        action = commands.version if args.version else args.action
        return int(action(args))
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as stop:  # of a run: its text, and the signal's exit code
        text = str(stop).replace("go on with: unrolled ", f"go on with: {commands.program(again=True)} ")
        return _ended(_complain(text or "interrupted", getattr(stop, "exit_code", 130), stop), stop)
    except Exception as error:
        line = _in_one_line(error, flags_of(args.configs))
        if line is None or args.debug:
            raise
        return _ended(_complain(line, getattr(error, "exit_code", 2), error), error)


def _ended(code: int, error: BaseException) -> int:
    """Return the exit code; or end at once, where a thread is left that the interpreter stumbles over."""
    if getattr(error, "waits", False):
        _flushed(code)
        os._exit(code)
    return code


def _in_one_line(error: Exception, flags: Mapping[str, str]) -> str | None:
    """Return what to say of an error, or None for one that is a fault of ours and needs its traceback."""
    if isinstance(error, UnrolledError):
        return _with_flags(error, flags)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("unrolled"):
        return f"{error.name}: expected an installed package, got none: pip install 'unrolled[train]'"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the second is torch's
        return "memory: expected enough for this call, got no more; smaller sizes need less"
    if isinstance(error, OSError):  # a full disk, a file that went away: what no room foresaw
        place = error.filename or "a file or standard output"
        return f"{place}: expected to read or write it, got: {error.strerror or error}"
    return None


def _with_flags(error: UnrolledError, flags: Mapping[str, str]) -> str:
    """Return the message of an error, where it names fields with the flags that set them.

    The argument at its beginning is always a field; further on only what cannot be an English word, and what
    stands in backquotes.
    """
    name, colon, rest = str(error).partition(": expected ")
    if isinstance(error, ConfigError):
        rest = re.sub(r"`([a-z_]+)`", lambda found: flags.get(found[1], found[0]), rest)
        rest = re.sub(r"\b[a-z]+_[a-z_]+\b", lambda found: flags.get(found[0], found[0]), rest)
    want, got, came = rest.partition(", got ")  # Python's keyword in what is expected: "or columns= with …"
    rest = re.sub(r"\b([a-z_]+)=(?= )", lambda found: flags.get(found[1], found[0]), want) + got + came
    parts = re.split(r"( and | \+ )", name)  # of a message on two fields
    known = all(part in flags for part in parts[::2])
    return ("".join(flags.get(part, part) for part in parts) if known else name) + colon + rest


def _open_closed_streams() -> None:
    """Put the null device where a standard stream is closed, so that no file takes its place."""
    for number, (name, mode) in enumerate(STREAMS):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                while os.open(os.devnull, os.O_RDWR) < number:
                    pass
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _take_whatever_comes() -> None:
    """Let text that the terminal's encoding lacks come out escaped instead of failing half-way.

    And bytes that are not in the encoding come in as lone surrogates: a line of them is one wrong line.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        with contextlib.suppress(io.UnsupportedOperation):  # a program has read of it before it called `main`
            sys.stdin.reconfigure(errors="surrogateescape")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _wait_asleep() -> None:
    """Let torch's threads go to sleep where they would wait for one another, unless the environment says how.

    They spin for milliseconds otherwise, and where other programs use the cores too, the one that all wait
    for is not running meanwhile: docs/decisions/0010. GNU's OpenMP reads this when torch loads it; a program
    that has loaded torch before it calls `main` keeps what it has.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITS_SAID):
        os.environ.update(WAITING)


def _flushed(code: int) -> int:
    """Write out what standard output holds back and return the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `unrolled sample … | head`
        _silence_output()
    except OSError as error:  # a full disk behind it
        _silence_output()
        if code != 0:  # something has been said already, perhaps this
            return code
        return _complain(f"standard output: expected to write to it, got: {error.strerror or error}", 2)
    return code


def _silence_output() -> None:
    """Send what is left to be written to standard output nowhere, so that the interpreter ends in peace."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str, code: int, error: BaseException | None = None) -> int:
    """Say what is wrong, and return the exit code; of several processes the one says it that should."""
    who = speaker(error)
    with contextlib.suppress(OSError):  # nobody listens any more
        if who is not None:
            print(f"unrolled: {who}{' '.join(text.splitlines())}", file=sys.stderr, flush=True)
    return code
