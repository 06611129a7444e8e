"""A scaler step by step: what `Scaler.transform` gives for whole sequences, of many streams at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import DataError, StateError, expected
from unrolled.files import quoted
from unrolled.schema.scaling import BOUND, MOST_TIME, Scaler

__all__ = ["RunningScaler", "ScalerState"]

Array: TypeAlias = npt.NDArray[Any]


class ScalerState(NamedTuple):
    """What N streams of C channels, M of them with a mask, remember. Never changed in place."""

    steps: Array  # [N] int64: that were read; 0: none, or left out
    timed: Array  # [N] int64: 1 where they had times
    time: Array  # [N] float64: of the last step
    clock: Array  # [N] float64: typical steps since the first step
    marked: Array  # [N, M] float64: the clock at each channel's last value
    last: Array  # [N, C] float64: each channel's last value, standardised


class RunningScaler:
    """`Scaler.transform` step by step: row t of a sequence with the same bits, from rows up to t.

    Args:
        scaler: that training has fitted.
    """

    def __init__(self, scaler: Scaler) -> None:
        self.scaler = scaler
        self._mean, self._scale = np.array(scaler.mean), np.array(scaler.scale)
        self._masked = np.array([name in scaler.masked for name in scaler.channels])
        self._every = bool(self._masked.all())

    def start(self, count: int) -> ScalerState:
        """Return the state of `count` streams before their first step."""
        channels, masked = len(self.scaler.channels), len(self.scaler.masked)
        whole = np.zeros(count, np.int64)
        real = np.zeros(count)
        return ScalerState(whole, whole, real, real, np.zeros((count, masked)), np.zeros((count, channels)))

    def step(
        self, state: ScalerState, x: Array, times: npt.NDArray[np.float64] | None = None
    ) -> tuple[Array, npt.NDArray[np.bool_], ScalerState]:
        """Read one step of each stream.

        Args:
            x: [N, C] float32, NaN where missing. times: [N], later than those of the step before.
        Returns:
            [N, C'] float32, which rows [N] are a step (others were left out, "drop"), and the state after.
        Raises:
            DataError: a value is infinite, or missing where it must not be; times are missing, unexpected, or
            do not rise.
        """
        scaler = self.scaler
        _check_finite(scaler.channels, x)
        has = ~np.isnan(x)
        full = bool(has.all())
        kept: Array = np.ones(len(x), np.bool_)
        if scaler.missing == "drop" and not full:
            kept = np.logical_and.reduce(has, axis=1)
        if not (full or scaler.missing == "drop" or self._every):
            self._check_missing(has)
        passed = self._passed(state, times)
        clock = state.clock + passed
        values = (x.astype(np.float64) - self._mean) / self._scale
        if not full:
            values = np.where(has, values, state.last)
        parts = [np.clip(values, -BOUND, BOUND)]
        marked = state.marked
        if scaler.masked:
            chosen = has[:, self._masked]
            parts += [chosen, np.log1p(clock[:, None] - marked)]
            marked = np.where(chosen, clock[:, None], marked)
        if scaler.gaps:
            parts.append(np.log1p(passed)[:, None])
        after = ScalerState(
            state.steps + 1,
            np.full(len(x), int(times is not None)),
            state.time if times is None else times,
            clock,
            marked,
            values,
        )
        found = np.ascontiguousarray(np.hstack(parts), np.float32)
        if not kept.all():
            pairs = zip(state, after, strict=True)
            after = ScalerState(*(np.where(_beside(kept, new), new, old) for old, new in pairs))
        return found, kept, after

    def _passed(self, state: ScalerState, times: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        """Return the typical steps [N] since the step before: 0 for a first one."""
        begun = state.steps > 0
        if times is None:
            if self.scaler.gaps or (begun & (state.timed == 1)).any():
                raise DataError(expected("time", "a time, as for the steps before", "none"))
            return begun.astype(np.float64)
        far = ~(np.abs(times) < MOST_TIME)
        if far.any():
            at = int(np.argmax(far))
            want = f"a number within ±{MOST_TIME:.2g}" if np.isfinite(times[at]) else "a finite number"
            raise DataError(expected("time", want, f"{times[at]:g}"))
        if (begun & (state.timed == 0)).any():
            raise DataError(expected("time", "none, as the steps before had none", f"{times[0]:.12g}"))
        late = begun & ~(times > state.time)
        if late.any():
            at = int(np.argmax(late))
            want = f"more than that of the step before, {state.time[at]:.12g}"
            raise DataError(expected("time", want, f"{times[at]:.12g}"))
        if self.scaler.step is None:
            return begun.astype(np.float64)
        return np.where(begun, times - state.time, 0.0) / self.scaler.step

    def _check_missing(self, has: npt.NDArray[np.bool_]) -> None:
        absent = (~has & ~self._masked).any(axis=0)
        if absent.any():
            name = self.scaler.channels[int(np.argmax(absent))]
            raise DataError(expected(f"channel {quoted(name)}", "a value, as in training", "a missing one"))

    def check(self, state: ScalerState) -> None:
        """Raise StateError where a state that came as bytes is none that `step` gives."""
        whole = (state.steps >= 0) & (state.steps < 2**53) & ((state.timed == 0) | (state.timed == 1))
        clock = state.clock[:, None]
        real = np.isfinite(state.clock) & (state.clock >= 0) & (np.abs(state.time) < MOST_TIME)
        marked = ((state.marked >= 0) & (state.marked <= clock)).all() and np.isfinite(state.last).all()
        if not (whole.all() and real.all() and marked):
            raise StateError(expected("state", "what reading steps leaves", "other numbers"))


def _beside(kept: Array, part: Array) -> Array:
    return kept.reshape(-1, *[1] * (part.ndim - 1))


def _check_finite(channels: tuple[str, ...], x: Array) -> None:
    if np.isinf(x).any():
        name = channels[int(np.argmax(np.isinf(x).any(axis=0)))]
        want = "finite float32 numbers, or NaN for a missing one"
        raise DataError(expected(f"channel {quoted(name)}", want, "an infinite one"))
