"""How series are divided in time, and from how many steps a forecast is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import DataError, counted, expected
from unrolled.files import quoted
from unrolled.spec import ForecastData

__all__ = ["Plan", "plan", "segment_of"]

Array: TypeAlias = npt.NDArray[Any]
TEST_SHARE = 0.2
SEASONS, LONG_SEASON, FEW_SEASONS = 4, 31, 2  # that a window has, and of a season longer than that
WITHOUT_SEASON = 3  # horizons
SHORTEST = 16
ROOM = 0.75  # of the training rows of a typical series, without the horizon, that a window may take
LONGEST_SEGMENT = 48
NAMED = 3  # series of which a message gives the name


class Plan(NamedTuple):
    """A window, and the rows at which the parts of each series end."""

    window: int
    borders: npt.NDArray[np.int64]  # [N, 3]: training, validation, test
    notes: list[str]


def plan(ids: Sequence[str], lengths: Sequence[int], season: int, data: ForecastData) -> Plan:
    """Divide series in time: first training, then validation, then the test part.

    A part that is held out has at least a horizon. A series that is too short for three parts trains; one
    that is too short for a single window is left out.

    Raises:
        DataError: no series is long enough to train on, or none to hold anything out.
    """
    steps = np.array(lengths, np.int64)
    tested = _test_rows(steps, data)
    held = np.maximum(np.round(data.validation_share * steps), data.horizon).astype(np.int64)
    window = data.window or choose_window(steps - held - tested, season, data.horizon)
    need = window + data.horizon
    train = steps - held - tested
    borders = np.stack([train, train + held, steps], 1)
    whole = train < need
    borders[whole] = steps[whole, None]
    short = steps < need
    borders[short] = 0
    notes = []
    if short.any():
        named = ", ".join(quoted(ids[n]) for n in np.flatnonzero(short)[:NAMED])
        notes.append(
            f"{counted(int(short.sum()), 'series', 'series')} shorter than window + horizon, {window} + "
            f"{data.horizon} steps, left out: {named}{' …' if short.sum() > NAMED else ''}"
        )
    if short.all():
        longest = int(steps.max(initial=0))
        want = f"a series of at least {need} steps, a window of {window} and a horizon of {data.horizon}"
        raise DataError(expected("horizon", want, f"{longest} in the longest"))
    undivided = whole & ~short
    if (undivided | short).all():
        parts = "training, validation and test" if tested.any() else "training and validation"
        least = int((need + held + tested)[~short].min())
        want = f"a series of at least {least} steps to be divided into {parts}"
        raise DataError(expected("horizon", want, f"{int(steps.max())} in the longest"))
    if undivided.any():
        notes.append(
            f"{counted(int(undivided.sum()), 'series', 'series')} too short to be divided, "
            "used for training alone"
        )
    return Plan(window, borders, notes)


def _test_rows(steps: Array, data: ForecastData) -> Array:
    if data.backtest:
        return np.full_like(steps, data.backtest * data.horizon)
    share = data.test_share
    if share is None:
        share = 0.0 if data.test is not None else TEST_SHARE
    if not share:
        return np.zeros_like(steps)
    found: Array = np.maximum(np.round(share * steps), data.horizon).astype(np.int64)
    return found


def choose_window(train: Array, season: int, horizon: int) -> int:
    """Return how many steps a forecast is made from, by rule.

    Four seasons, of a long one two, or three horizons where there is no season; at least a horizon; at most
    three quarters of what a typical series has for training beside the horizon; whole segments of
    `segment_of`, so that a season stands at one place.
    """
    if season > 1:
        wanted = season * (SEASONS if season <= LONG_SEASON else FEW_SEASONS)
    else:
        wanted = max(WITHOUT_SEASON * horizon, SHORTEST)
    wanted = max(wanted, horizon)
    room = int(ROOM * (np.median(train[train > 0]) - horizon)) if (train > 0).any() else 1
    window = max(1, min(wanted, room))
    size = _segment(window, season)
    return max(size, -(-window // size) * size if window == wanted else window // size * size)


def _segment(window: int, season: int) -> int:
    """Return how many steps are read at once, where the window is not fixed."""
    if 1 < season <= window:
        return max(n for n in range(1, LONGEST_SEGMENT + 1) if season % n == 0)
    return max(1, min(LONGEST_SEGMENT, window // 4))


def segment_of(window: int, season: int) -> int:
    """Return how many steps are read at once: a season or a divisor of it, which divides the window."""
    wanted = _segment(window, season)
    return max(n for n in range(1, wanted + 1) if window % n == 0)
