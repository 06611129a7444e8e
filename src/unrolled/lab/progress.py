"""The progress of the lab on standard error: a bar on a terminal, a line a cell elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from unrolled.errors import MissingExtraError, expected
from unrolled.train import unless_lost

__all__ = ["Bar", "shown"]


class Bar:
    """Counts cells. Where standard error goes away it falls silent."""

    def __init__(self, console: Any, total: int) -> None:
        self._console, self._total, self._count = console, total, 0
        self._bar: Any = None
        self._task: Any = None

    def begin(self, key: str) -> None:
        """Show the cell that is about to run."""
        if self._bar is not None:
            with unless_lost():
                self._bar.update(self._task, key=key)

    def kept(self, count: int) -> None:
        """Pass over cells that were done before."""
        self._count += count
        self._advance()
        if count:
            self.note(f"{count} of {self._total} cells are done already")

    def end(self, key: str, seconds: float) -> None:
        """Count a cell."""
        self._count += 1
        self._advance()
        self.note(f"[{self._count}/{self._total}] {key}  {seconds:.1f} s")

    def note(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        with unless_lost():
            self._console.print(text, markup=False)

    def start(self) -> None:
        """Draw the bar, on a terminal."""
        if not self._console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("cell {task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[key]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("lab", total=self._total, key="")
        with unless_lost():
            self._bar.start()

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            with unless_lost():
                self._bar.stop()

    def _advance(self) -> None:
        if self._bar is not None:
            with unless_lost():
                self._bar.update(self._task, completed=self._count)


@contextlib.contextmanager
def shown(total: int) -> Iterator[Bar]:
    """Show a bar of so many cells. Raises MissingExtraError: rich is not installed."""
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            expected("progress", "rich, from the extra: pip install 'unrolled[train]'", "none")
        ) from error
    bar = Bar(Console(file=sys.stderr, highlight=False, soft_wrap=True), total)
    bar.start()
    try:
        yield bar
    finally:
        bar.stop()
