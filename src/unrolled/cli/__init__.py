"""The command line: parse, call, print. What it does, a function call does too."""

from unrolled.cli.main import main

__all__ = ["main"]
