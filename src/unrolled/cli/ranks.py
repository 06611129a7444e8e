"""Which of several processes prints: rank 0, and of what goes wrong the one that knows it."""

from __future__ import annotations

import os
import sys
import time

from unrolled.errors import ConfigError
from unrolled.spec import Launch

__all__ = ["let_rank_0_print", "speaker"]

FIRST = 5.0  # seconds that rank 0 and the launcher have, to say why and to end the other processes


def let_rank_0_print() -> None:
    """Send what the other processes of a run print nowhere, and let torch log nothing beside our one line."""
    launch = _launch()
    if launch.alone:
        return
    if launch.rank:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if "torch" not in sys.modules:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a reason is said in one line


def speaker(error: BaseException | None = None) -> str | None:
    """Return what a complaint begins with, "rank 1: " say; None: another process says it.

    Before the processes have met, rank 0 has most likely the same to say, and the launcher ends the others.
    """
    launch, elsewhere = _launch(), getattr(error, "elsewhere", None)
    if elsewhere:
        return None
    if launch.rank and elsewhere is None:
        time.sleep(FIRST)
    return f"rank {launch.rank}: " if launch.rank else ""


def _launch() -> Launch:
    try:
        return Launch.found()
    except ConfigError:  # which `train` says
        return Launch()
