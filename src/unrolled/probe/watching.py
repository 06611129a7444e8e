"""A progress bar for a report: on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from unrolled.errors import MissingExtraError, expected
from unrolled.probe.report import MEASUREMENTS, Watch

__all__ = ["watching"]


@contextmanager
def watching() -> Iterator[Watch]:
    """Give what `report` and `examine` take as `progress`: a bar of all measurements, and which one runs.

    Raises:
        MissingExtraError: rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError as error:
        want = "rich, from the extra: pip install 'unrolled[train]'"
        raise MissingExtraError(expected("progress", want, "none")) from error
    console = Console(file=sys.stderr, highlight=False)
    columns = (TextColumn("{task.description:<15}"), BarColumn(bar_width=None), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(MEASUREMENTS))

        def watch(name: str, done: int, total: int) -> None:
            at = MEASUREMENTS.index(name) + done / max(total, 1)
            bar.update(task, completed=at, description=name.replace("_", " "))

        yield watch
