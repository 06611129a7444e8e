"""Numbers for a network: channels standardised by the training rows, and where a value is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, DataError, ShapeError, counted, expected
from unrolled.files import quoted, refusal
from unrolled.schema.names import names_of

__all__ = ["MOST_NUMBER", "MOST_TIME", "Scaler", "a_number", "float32_numbers", "within"]

Numbers: TypeAlias = npt.NDArray[np.float32]
Times: TypeAlias = npt.NDArray[np.float64]

MISSING = ("mask", "drop", "refuse")
BOUND = 1e6  # standard deviations: beyond it a value counts as that far
BLOCK = 2**20  # values that are measured at once
EVEN = 1e-3  # relative: steps that differ by less are of one length
MOST_CHANNELS = 100_000
MOST_NUMBER = 1e100  # of a target: its square, and sums of them, stay within float64
MOST_TIME = 2.0**62  # of a time, as a number: nanoseconds since 1970 fit
LEAST_STEP = 1e-100  # from time to time, typically
FORMAT, VERSION = "unrolled scaler", 1


@dataclass(frozen=True)
class Scaler:
    """Mean and deviation of each channel, and what is done about missing values.

    With missing="mask" a missing value becomes the channel's last one, at first its mean, and every channel
    with missing values in training gets two more, the inputs of GRU-D (Che et al. 2018): "has NAME", 1
    where there is a value, and "since NAME", log(1 + steps since the last value before this step). "drop"
    leaves out steps in which a value is missing, "refuse" takes none. A missing value where training had none
    is refused: the network has not learnt what that means.

    Where times are not even, a last channel "gap" has log(1 + time since the step before, in typical steps).
    Row t of the result depends on rows up to t alone; a value counts as a million deviations at most.
    """

    channels: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]  # the standard deviation; 1 where a channel is constant
    constant: tuple[str, ...]  # channels that have one value in all training rows, or none
    missing: str  # "mask", "drop" or "refuse"
    masked: tuple[str, ...]  # channels with a mask
    step: float | None  # the typical time from step to step; None: times were not known
    gaps: bool  # whether steps are of unlike length, so that there is a channel "gap"

    @classmethod
    def fit(
        cls,
        sequences: Sequence[Numbers],
        channels: Sequence[str] = (),
        *,
        times: Sequence[Times] | None = None,
        missing: str = "mask",
    ) -> Scaler:
        """Measure the training rows; those of no other part may be among them.

        Args:
            sequences: [T_i, C] each, NaN where missing. channels: names; default "0", "1", ….
            times: [T_i] each. missing: "mask", "drop" or "refuse".
        Raises:
            ConfigError: another `missing`. DataError: no rows, or missing values with "refuse".
            ShapeError: unlike channels.
        """
        if missing not in MISSING:
            raise ConfigError(expected("missing", "one of " + ", ".join(MISSING), repr(missing)))
        if not len(sequences):
            raise DataError(expected("sequences", "at least 1 to measure", "none"))
        count = sequences[0].shape[-1]
        names = tuple(channels) or tuple(map(str, range(count)))
        for index, each in enumerate(sequences):
            _check_width(each, names, f"sequences[{index}]")
        blocks = _blocks(sequences)
        absent, lowest, highest = _extent(blocks)
        if missing == "refuse" and absent.any():
            _refuse(names, absent, "training rows")
        mean, scale = _moments(blocks, lowest, highest)
        flat = ~(highest > lowest)
        step, gaps = _step_of(times)
        return cls(
            channels=names,
            mean=tuple(mean.tolist()),
            scale=tuple(np.where(flat, 1.0, scale).tolist()),
            constant=tuple(name for name, is_flat in zip(names, flat, strict=True) if is_flat),
            missing=missing,
            masked=tuple(n for n, a in zip(names, absent, strict=True) if a and missing == "mask"),
            step=step,
            gaps=gaps,
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the C' channels that `transform` gives."""
        masks = (f"has {name}" for name in self.masked)
        since = (f"since {name}" for name in self.masked)
        return (*self.channels, *masks, *since, *(("gap",) if self.gaps else ()))

    def transform(self, sequence: Numbers, times: Times | None = None) -> Numbers:
        """Return a sequence [T, C] as float32 [T, C'] without NaN; T is less where "drop" drops steps.

        Raises:
            ShapeError: other channels. DataError: a missing value that is refused, no step left, or no times
            where training had uneven ones.
        """
        _check_width(sequence, self.channels, "sequence")
        if self.gaps and times is None:
            raise DataError(expected("times", "a time for each step, as in training", "none"))
        _check_times(times, len(sequence))
        has = ~np.isnan(sequence)
        if self.missing == "drop" and not has.all():
            kept = has.all(axis=1)
            if not kept.any():
                raise DataError(expected("sequence", "a step without missing values", "none"))
            sequence, has = sequence[kept], has[kept]
            times = None if times is None else times[kept]
        self._check_missing(has)
        values = (sequence.astype(np.float64) - self.mean) / self.scale
        values = np.clip(_carried(values, has), -BOUND, BOUND)
        return np.ascontiguousarray(np.hstack([values, *self._more(has, times)]), np.float32)

    def _check_missing(self, has: npt.NDArray[np.bool_]) -> None:
        absent = (~has).sum(axis=0)
        if not absent.any():
            return
        known = np.array([name in self.masked for name in self.channels])
        if (absent[~known] > 0).any():
            _refuse(self.channels, np.where(known, 0, absent), "a sequence")

    def _more(self, has: npt.NDArray[np.bool_], times: Times | None) -> list[npt.NDArray[Any]]:
        """Return the further channels: masks, times since the last value, gaps."""
        passed = np.ones(len(has))  # steps since the step before
        if times is not None and self.step is not None:
            passed = np.diff(times, prepend=times[:1]) / self.step
        passed[:1] = 0
        further: list[npt.NDArray[Any]] = []
        if self.masked:
            chosen = np.array([name in self.masked for name in self.channels])
            further = [has[:, chosen], np.log1p(_since(has[:, chosen], passed))]
        return [*further, np.log1p(passed)[:, None]] if self.gaps else further

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes it of again: lists, numbers and texts."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "channels": list(self.channels),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "constant": list(self.constant),
            "missing": self.missing,
            "masked": list(self.masked),
            "step": self.step,
            "gaps": self.gaps,
        }

    @classmethod
    def from_json(cls, obj: object, *, where: str = "scaler") -> Scaler:
        """Return the scaler that `to_json` described; everything about it is checked.

        Args:
            obj: what json read. where: what a message calls it.
        Raises:
            DataError: a wrong type, an unknown or a missing key, or numbers that are no scaler's.
        """
        if not isinstance(obj, Mapping):
            raise refusal(DataError, where, "an object", type(obj).__name__)
        keys = {
            "format",
            "version",
            "channels",
            "mean",
            "scale",
            "constant",
            "missing",
            "masked",
            "step",
            "gaps",
        }
        if set(obj) != keys:
            raise refusal(DataError, where, f"the keys {', '.join(sorted(keys))}", ", ".join(map(str, obj)))
        for key, value in (("format", FORMAT), ("version", VERSION)):
            if type(obj[key]) is not type(value) or obj[key] != value:
                raise refusal(DataError, f"{where}.{key}", repr(value), repr(obj[key]))
        names = _names(obj["channels"], f"{where}.channels")
        if obj["missing"] not in MISSING:
            raise refusal(DataError, f"{where}.missing", "one of " + ", ".join(MISSING), repr(obj["missing"]))
        if not isinstance(obj["gaps"], bool):
            raise refusal(DataError, f"{where}.gaps", "true or false", repr(obj["gaps"]))
        step = obj["step"]
        if not ((_is_positive(step) and step >= LEAST_STEP) or (step is None and not obj["gaps"])):
            raise refusal(DataError, f"{where}.step", f"a number of at least {LEAST_STEP:g}", repr(step))
        chosen = {key: _names(obj[key], f"{where}.{key}", names) for key in ("constant", "masked")}
        if chosen["masked"] and obj["missing"] != "mask":
            raise refusal(
                DataError, f"{where}.masked", f"none with {obj['missing']!r}", len(chosen["masked"])
            )
        mean = _floats(obj["mean"], f"{where}.mean", len(names))
        scale = _floats(obj["scale"], f"{where}.scale", len(names))
        if min(scale) <= 0:
            raise refusal(DataError, f"{where}.scale", "numbers above 0", min(scale))
        return cls(
            channels=names,
            mean=mean,
            scale=scale,
            missing=obj["missing"],
            step=None if step is None else float(step),
            gaps=obj["gaps"],
            **chosen,
        )


def within(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which numbers a target may be: finite ones whose squares are finite too."""
    right: npt.NDArray[np.bool_] = np.abs(np.asarray(numbers, np.float64)) < MOST_NUMBER
    return right


def a_number(value: float) -> str:
    """Return what a message wants in the place of a number that is not `within`."""
    return f"a number within ±{MOST_NUMBER:g}" if np.isfinite(value) else "a finite number"


def float32_numbers(value: float) -> str:
    """Return what a message wants in the place of a number that float32 does not hold."""
    finite = "finite float32 numbers"
    return f"{finite}, within ±{np.finfo(np.float32).max:.2g}" if np.isfinite(value) else finite


def _check_width(sequence: Numbers, names: Sequence[str], where: str) -> None:
    if sequence.ndim != 2 or sequence.shape[1] != len(names):
        raise ShapeError(expected(where, f"[T, {len(names)}]", list(sequence.shape)))


def _check_times(times: Times | None, steps: int) -> None:
    if times is not None and times.shape != (steps,):
        raise ShapeError(expected("times", [steps], list(times.shape)))
    if times is not None and not ((np.abs(times) < MOST_TIME).all() and (np.diff(times) > 0).all()):
        raise DataError(expected("times", f"rising numbers within ±{MOST_TIME:.2g}", "others"))


def _refuse(names: Sequence[str], absent: npt.NDArray[Any], where: str) -> None:
    """Raise DataError for the first channel in which values are missing that must not be."""
    first = int(np.flatnonzero(absent)[0])
    want = f"no missing value in {where}"
    raise refusal(
        DataError, f"channel {quoted(names[first])}", want, counted(int(absent[first]), "missing value")
    )


def _blocks(sequences: Sequence[Numbers]) -> list[Numbers]:
    """Return the rows of all sequences in fewer and larger arrays; a long one stays as it is."""
    blocks: list[Numbers] = []
    short: list[Numbers] = []
    size = 0
    for each in sequences:
        short.append(each)
        size += each.size
        if size >= BLOCK:
            blocks.append(np.concatenate(short) if len(short) > 1 else each)
            short, size = [], 0
    return [*blocks, np.concatenate(short)] if short else blocks


def _extent(sequences: Sequence[Numbers]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return, of each channel, the missing values, the lowest and the highest one; infinite where none is."""
    count = sequences[0].shape[1]
    absent = np.zeros(count, np.int64)
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    for each in sequences:
        gone = np.isnan(each)
        absent += gone.sum(axis=0)
        lowest = np.minimum(lowest, np.where(gone, np.inf, each).min(axis=0, initial=np.inf))
        highest = np.maximum(highest, np.where(gone, -np.inf, each).max(axis=0, initial=-np.inf))
    return absent, lowest, highest


def _moments(
    sequences: Sequence[Numbers], lowest: npt.NDArray[Any], highest: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and deviation of each channel in float64, taken about a value within its range."""
    about = np.where(np.isfinite(lowest), lowest, 0.0)
    number, total, squares = np.zeros_like(about), np.zeros_like(about), np.zeros_like(about)
    for each in sequences:
        number += (~np.isnan(each)).sum(axis=0)
        total += np.nansum(each.astype(np.float64) - about, axis=0)
    number = np.maximum(number, 1)
    mean = about + total / number
    for each in sequences:
        squares += np.nansum((each.astype(np.float64) - mean) ** 2, axis=0)
    constant = ~(highest > lowest)
    return np.where(constant, about, mean), np.sqrt(squares / number)


def _step_of(times: Sequence[Times] | None) -> tuple[float | None, bool]:
    """Return the typical step, and whether steps are of unlike length."""
    steps = np.concatenate([np.diff(each) for each in times]) if times else np.zeros(0)
    if not len(steps):
        return None, False
    typical = float(np.median(steps))
    if not LEAST_STEP <= typical < 2 * MOST_TIME:
        want = f"rising numbers within ±{MOST_TIME:.2g}, mostly at least {LEAST_STEP:g} apart"
        raise DataError(expected("times", want, f"steps of {typical:g}"))
    return typical, bool((np.abs(steps - typical) > EVEN * typical).any())


def _carried(values: npt.NDArray[np.float64], has: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return values with the last one in the place of a missing one; 0, the mean, before the first."""
    if has.all():
        return values
    last = np.maximum.accumulate(np.where(has, np.arange(len(has))[:, None], -1), axis=0)
    found: npt.NDArray[np.float64] = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last < 0, 0.0, found)


def _since(has: npt.NDArray[np.bool_], passed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return [T, C] the time since the last value before each step, counted from the start where none was."""
    clock = np.cumsum(passed)
    steps = np.arange(len(has))[:, None]
    last = np.maximum.accumulate(np.where(has, steps, 0), axis=0)
    before = np.vstack([np.zeros((1, has.shape[1]), np.int64), last[:-1]]) if len(has) else last
    since: npt.NDArray[np.float64] = clock[:, None] - clock[before]
    return since


def _names(value: object, where: str, among: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return a list of different names; `among`: those that there may be."""
    names = names_of(value, where, DataError, most=MOST_CHANNELS)
    if among is None and not names:
        raise refusal(DataError, where, "at least 1 name", "none")
    unknown = sorted(set(names) - set(among)) if among is not None else []
    if unknown:
        raise refusal(DataError, where, "names of channels", unknown[0])
    return names


def _floats(value: object, where: str, number: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != number:
        got = f"{len(value)}" if isinstance(value, list) else type(value).__name__
        raise refusal(DataError, where, f"a list of {counted(number, 'number')}", got)
    for each in value:
        if isinstance(each, bool) or not isinstance(each, (int, float)) or not abs(each) < 1e300:
            raise refusal(DataError, where, "finite numbers", repr(each))
    return tuple(map(float, value))


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e300
