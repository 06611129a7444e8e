"""One hypothesis profile for the house: the same examples every time, and no timed assertion.

To look further, `pytest --hypothesis-profile=explore` draws anew.
"""

from __future__ import annotations

import base64
import contextlib
import inspect
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as `nohup` and background jobs hand it on
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("house", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("house")

POINT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP4////fwAJ+wP9KobjigAAAABJRU5ErkJggg=="
)


@contextlib.contextmanager
def _brief() -> Iterator[None]:
    """Within, reports have samples of 40 symbols and pictures of one point: nine tenths of a tiny run's time.

    Everything around stays: what is drawn is computed, each call must fit the real signature, and files are
    replaced as always.
    """
    from unrolled import figures, files
    from unrolled.probe.page import document
    from unrolled.tasks.language import report

    def instead(draw: Callable[..., None]) -> Callable[..., None]:
        takes = inspect.signature(draw)

        def point(path: str | Path, **drawn: Any) -> None:
            takes.bind(path, **drawn)
            files.replace(path, POINT)

        return point

    with pytest.MonkeyPatch.context() as patch:
        for name in ("loss", "strips", "families", "confusion", "reliability", "error_by", "slices"):
            patch.setattr(figures, name, instead(getattr(figures, name)))
        patch.setattr(report, "SAMPLE_TOKENS", 40)
        patch.setattr(document, "_drawn", lambda *_: POINT)
        yield


@pytest.fixture(scope="session")
def brief() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Runs whose reports nobody looks at: `with brief(): run(...)`."""
    return _brief


@pytest.fixture
def in_brief() -> Iterator[None]:
    """The same for all of a test."""
    with _brief():
        yield
