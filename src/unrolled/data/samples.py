"""Samples: sequences of numbers or texts, each with a label, a group and times where there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from unrolled.data.columns import Column, examples_of, of_channels
from unrolled.errors import DataError, DtypeError, ShapeError, counted, expected
from unrolled.files import printable, shortened
from unrolled.schema import MOST_TIME, a_number, float32_numbers, within

__all__ = ["Numbers", "Samples", "infinite_at", "labels_of", "several_of", "sha256_of", "steps_of"]

Array: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float32]
FLAT = 2  # times as many channels as steps, from where the axes are taken for exchanged


@dataclass(frozen=True, eq=False)
class Samples:
    """N sequences, with what is known of each."""

    inputs: Sequence[Numbers] | Sequence[str]  # [T_i, C] float32 each, NaN where missing; or texts
    channels: tuple[str, ...]  # names of the C columns; () for texts
    ids: tuple[str, ...]  # one each, no two alike: for messages and predictions
    # [N] of str: classes; [N] float64: numbers; [N, K] of bool: which of K labels; [N, K] float64: K numbers
    labels: Array | None  # None: not known, or `step_labels`
    groups: Array | None  # [N] of str: what must not be on both sides of a split
    times: Sequence[npt.NDArray[np.float64]] | None  # [T_i] each, in seconds, or in steps without a clock
    name: str  # on one line, for people
    sha256: str  # of the source
    notes: tuple[str, ...] = ()  # what was found on the way: counts of missing values, dropped samples, …
    test: Samples | None = None  # the test part that the same source holds
    read_as: Mapping[str, Any] = field(
        default_factory=dict
    )  # what `read_samples` reads another file alike with
    label_names: tuple[str, ...] = ()  # of the K columns of labels [N, K]
    step_labels: Sequence[Array] | None = None  # [T_i] each of str or float64: of every step; "", NaN: none
    columns: tuple[Column, ...] = ()  # of the source, where it is a table; see `described`

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def is_text(self) -> bool:
        """Whether the inputs are texts."""
        return not self.channels

    @property
    def per_step(self) -> bool:
        """Whether every step has a label of its own."""
        return self.step_labels is not None

    @property
    def of_numbers(self) -> bool:
        """Whether labels are numbers and no classes."""
        labels = self.labels if self.step_labels is None else self.step_labels[0]
        return labels is not None and _are_numbers(labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different labels in order, or `label_names`; () where labels are numbers or unknown."""
        if self.of_numbers or (self.labels is None and self.step_labels is None):
            return ()
        if self.step_labels is not None:
            return tuple(sorted({name for each in self.step_labels for name in set(each.tolist())} - {""}))
        assert self.labels is not None
        return self.label_names if self.labels.ndim == 2 else tuple(sorted(set(self.labels.tolist())))

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """The length of each sample [N]: steps, or characters."""
        return np.array([len(each) for each in self.inputs], np.int64)

    @property
    def missing(self) -> int:
        """The number of values that are missing."""
        return 0 if self.is_text else sum(int(np.isnan(each).sum()) for each in self.inputs)

    def described(self) -> tuple[Column, ...]:
        """Return what the columns of the source are, or the channels and what else is known of samples."""
        if self.columns:
            return self.columns
        found = of_channels(self.channels, self.inputs)
        labels = self.labels if self.step_labels is None else np.concatenate(self.step_labels)
        if labels is not None:
            kind = ("number", "target") if self.of_numbers else ("text", "label")
            columns = labels.T if labels.ndim == 2 else [labels]
            for name, each in zip(self.label_names or ("label",), columns, strict=True):
                found.append(Column(name, *kind, examples_of(each.tolist())))
        if self.groups is not None:
            found.append(Column("group", "text", "group", examples_of(self.groups.tolist())))
        if self.times is not None:
            found.append(Column("time", "time", "time", examples_of(self.times[0].tolist())))
        return tuple(found)

    def take(self, indices: Array) -> Samples:
        """Return some of the samples, in the order of the indices; without `test`."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            inputs=cast(Any, [self.inputs[index] for index in chosen]),
            ids=tuple(self.ids[index] for index in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            times=None if self.times is None else [self.times[index] for index in chosen],
            step_labels=None if self.step_labels is None else [self.step_labels[i] for i in chosen],
            test=None,
        )

    def digests(self) -> list[bytes]:
        """Return a digest of each input: two are equal where the inputs are, byte for byte."""
        return [_digest(each) for each in self.inputs]

    @classmethod
    def from_arrays(
        cls,
        sequences: Sequence[Any] | Array,
        labels: Sequence[Any] | Array | None = None,
        groups: Sequence[Any] | Array | None = None,
        channels: Sequence[str] | None = None,
        *,
        ids: Sequence[Any] | None = None,
        times: Sequence[Any] | None = None,
        label_names: Sequence[str] | None = None,
        step_labels: Sequence[Any] | None = None,
        name: str = "arrays",
    ) -> Samples:
        """Make samples of what Python holds.

        Args:
            sequences: arrays [T_i, C] or [T_i], one array [N, T, C], or texts. NaN: missing.
            labels: [N]. Texts, whole numbers and truth values are classes, floating-point ones numbers. An
                array [N, K] of truth values, or of 0 and 1, says which of K labels a sample has; of
                floating-point numbers it is K numbers for each.
            groups: [N], such as the person that a sample is of.
            channels: names of the columns; default "0", "1", …. With them, as many columns as steps or
                more are taken as they are.
            ids: [N]; default "0", "1", ….
            times: [T_i] each, rising.
            label_names: of the K columns of labels [N, K]; default "0", "1", ….
            step_labels: instead of labels, [T_i] for each sample: a label of every step, None or NaN where
                it is not known.
        Raises:
            ShapeError: axes or counts disagree, or look exchanged ([N, C, T]). DtypeError: no numbers.
            DataError: no sample, an empty one, an infinite value, a label that is missing.
        """
        inputs, count = _inputs(sequences, channels)
        names = () if _is_text(inputs) else _channel_names(channels, count)
        number = len(inputs)
        found, several = _labels(labels, label_names, number)
        every = None if step_labels is None else steps_of(step_labels, inputs, "step_labels")
        if found is not None and every is not None:
            raise DataError(expected("labels and step_labels", "one of the two", "both"))
        clock = None if times is None else _times(times, inputs)
        known = tuple(map(str, range(number) if ids is None else _as_column("ids", ids, number)))
        if len(set(known)) < len(known):
            raise DataError(
                expected("ids", "no duplicates", counted(len(known) - len(set(known)), "duplicate"))
            )
        return cls(
            inputs=inputs,
            channels=names,
            ids=known,
            labels=found,
            groups=None if groups is None else _groups(_as_column("groups", groups, number)),
            times=clock,
            name=printable(name),
            sha256=_sha256(inputs, [*(() if found is None else found.tolist()), *(every or ())]),
            label_names=several,
            step_labels=every,
        )


def _inputs(sequences: Any, channels: Sequence[str] | None) -> tuple[Any, int]:
    """Return the inputs and the number of their channels."""
    if hasattr(sequences, "columns"):  # which would be read as the texts of its names
        want = "a list of sequences; of a data frame data.read_samples makes samples"
        raise DtypeError(expected("sequences", want, f"a {type(sequences).__name__}"))
    if hasattr(sequences, "__array__") and not hasattr(sequences, "__len__"):
        sequences = np.asarray(sequences)
    if isinstance(sequences, str) or not hasattr(sequences, "__len__"):
        raise DtypeError(expected("sequences", "a list of sequences", type(sequences).__name__))
    if len(sequences) == 0:
        raise DataError(expected("sequences", "at least 1 sample", "none"))
    if all(isinstance(each, str) for each in sequences):
        return _texts(sequences), 0
    arrays = [_array(each, f"sequences[{index}]") for index, each in enumerate(sequences)]
    widths = {each.shape[1] for each in arrays}
    _check_axes(arrays, widths, channels)
    if len(widths) > 1:
        index = next(i for i, each in enumerate(arrays) if each.shape[1] != arrays[0].shape[1])
        want = f"[T, {arrays[0].shape[1]}] as sequences[0] has"
        raise ShapeError(expected(f"sequences[{index}]", want, list(arrays[index].shape)))
    return arrays, widths.pop()


def _texts(sequences: Sequence[str]) -> list[str]:
    for index, text in enumerate(sequences):
        if not text:
            raise DataError(expected(f"sequences[{index}]", "at least 1 character", "an empty text"))
    return list(sequences)


def _array(each: Any, where: str) -> Numbers:
    """Return one sequence as float32 [T, C]."""
    try:
        given = np.asarray(each)
    except ValueError as reason:  # rows of unlike length
        raise ShapeError(expected(where, "an array [T, C] or [T]", "rows of unlike length")) from reason
    if given.dtype.kind not in "biuf":
        raise DtypeError(
            expected(where, "numbers, as in the other samples", f"{given.dtype} of {each!r:.60}")
        )
    if given.ndim not in (1, 2):
        raise ShapeError(expected(where, "[T, C] or [T]", list(given.shape)))
    if given.shape[0] == 0 or given.size == 0:
        raise DataError(expected(where, "at least 1 step and 1 channel", list(given.shape)))
    with np.errstate(over="ignore"):  # beyond float32: infinite, and refused below
        array: Numbers = np.ascontiguousarray(given.reshape(len(given), -1), np.float32)
    found = infinite_at(array)
    if found is not None:
        step, channel = found
        value = given.reshape(len(given), -1)[step, channel]
        got = f"{value} at step {step}, channel {channel}"
        raise DataError(expected(where, f"{float32_numbers(value)}, or NaN for a missing one", got))
    return array


def infinite_at(array: Numbers) -> tuple[int, int] | None:
    """Return (step, channel) of the first infinite value, if there is one."""
    infinite = np.isinf(array)
    if not infinite.any():
        return None
    step, channel = np.argwhere(infinite)[0]
    return int(step), int(channel)


def _check_axes(arrays: Sequence[Numbers], widths: set[int], channels: Sequence[str] | None) -> None:
    """Refuse what looks like [C, T]: channels of as many steps, or far more columns than rows."""
    heights = {len(each) for each in arrays}
    if channels is not None and widths == {len(channels)}:
        return
    exchanged = len(heights) == 1 and (len(widths) > 1 or min(widths) >= FLAT * max(heights))
    named = channels is not None and heights == {len(channels)}
    if not (exchanged or named):
        return
    rows = max(heights)
    columns = str(min(widths)) if len(widths) == 1 else f"{min(widths)} to {max(widths)}"
    got = f"[N, {rows}, {columns}], which looks like [N, C, T] with {counted(rows, 'channel')}"
    remedy = "transpose the last two axes, or name the columns with channels="
    raise ShapeError(expected("sequences", "axes (N, T, C), time before channels", f"{got}: {remedy}"))


def _channel_names(channels: Sequence[str] | None, count: int) -> tuple[str, ...]:
    names = tuple(map(str, range(count))) if channels is None else tuple(map(str, channels))
    if len(names) != count:
        raise ShapeError(expected("channels", counted(count, "name"), len(names)))
    if len(set(names)) < count:
        raise DataError(expected("channels", "no duplicates", list(names)))
    return names


def _as_column(argument: str, values: Any, number: int) -> list[Any]:
    """Return one value of each sample."""
    if hasattr(values, "ndim") and values.ndim != 1:
        raise ShapeError(expected(argument, f"[{number}]", list(values.shape)))
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    if len(found) != number:
        raise ShapeError(expected(argument, f"[{number}], one for each sample", f"[{len(found)}]"))
    return found


def labels_of(values: Sequence[Any], where: str) -> Array:
    """Return labels [N] of str where all are texts, whole numbers or truth values; else float64.

    Raises DataError: one is missing or infinite, or texts stand among numbers. `where` names the column.
    """
    kinds = [_kind_of(value) for value in values]
    if None in kinds:
        bad = kinds.index(None)
        raise DataError(expected(f"{where}[{bad}]", "a text or a number", shortened(repr(values[bad]))))
    if "text" in kinds and set(kinds) != {"text"}:
        bad = next(i for i, kind in enumerate(kinds) if kind != "text")
        raise DataError(expected(f"{where}[{bad}]", "a text, as other labels are", repr(values[bad])))
    if "number" not in kinds:
        return np.array([str(value) for value in values])
    numbers = np.array([_number(value) for value in values])
    right = within(numbers)
    if not right.all():
        bad = int(np.argmin(right))
        raise DataError(expected(f"{where}[{bad}]", a_number(numbers[bad]), numbers[bad]))
    return numbers


def _number(value: Any) -> float:
    """Return a number in float64; infinity where it is too large an int."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _labels(labels: Any, names: Sequence[str] | None, number: int) -> tuple[Array | None, tuple[str, ...]]:
    """Return labels [N], or [N, K] with K names."""
    if labels is None:
        return None, ()
    if getattr(labels, "ndim", 1) != 2 or labels.shape[1] == 1:
        return labels_of(_as_column("labels", labels, number), "labels"), ()
    found = several_of(np.asarray(labels), "labels")
    if len(found) != number:
        raise ShapeError(expected("labels", f"[{number}, K], a row for each sample", list(found.shape)))
    several = tuple(map(str, range(found.shape[1]) if names is None else names))
    if len(several) != found.shape[1] or len(set(several)) < len(several):
        raise DataError(expected("label_names", f"{found.shape[1]} different names", list(several)))
    return found, several


def several_of(given: Array, where: str) -> Array:
    """Return labels [N, K]: bool of truth values and of whole numbers 0 and 1; else float64.

    Raises DataError: other whole numbers, or a number that is missing or infinite.
    """
    if given.dtype.kind in "biu":
        if given.dtype.kind != "b" and given.size and not np.isin(given, (0, 1)).all():
            wrong = given[~np.isin(given, (0, 1))][0]
            raise DataError(expected(where, "0 and 1 in several columns of labels, or fractions", wrong))
        return given.astype(bool)
    if given.dtype.kind != "f":
        raise DataError(expected(where, "numbers, or 0 and 1, in several columns", given.dtype))
    if not within(given).all():
        row, column = np.argwhere(~within(given))[0]
        want = a_number(given[row, column])
        raise DataError(expected(f"{where}[{row}, {column}]", want, given[row, column]))
    return given.astype(np.float64)


def steps_of(given: Sequence[Any], inputs: Sequence[Any], where: str) -> list[Array]:
    """Return the labels of every step, [T_i] each: of str, "" where there is none, or float64 with NaN.

    Raises ShapeError: counts disagree. DataError: one is infinite, or texts stand among numbers.
    """
    if len(given) != len(inputs):
        raise ShapeError(expected(where, f"[{len(inputs)}], one for each sample", f"[{len(given)}]"))
    values: list[Any] = []
    for index, (each, sequence) in enumerate(zip(given, inputs, strict=True)):
        own = each.tolist() if hasattr(each, "tolist") else list(each)
        if isinstance(sequence, str):
            raise DataError(expected(where, "series, as a text has no steps with labels", "texts"))
        if len(own) != len(sequence):
            raise ShapeError(
                expected(f"{where}[{index}]", f"[{len(sequence)}], one for each step", f"[{len(own)}]")
            )
        values += own
    known = [index for index, value in enumerate(values) if value is not None and value == value]
    if not known:
        raise DataError(expected(where, "a label of at least 1 step", "none"))
    found = labels_of([values[index] for index in known], where)
    if _are_numbers(found):
        flat = np.full(len(values), np.nan)
    else:
        flat = np.full(len(values), "", f"<U{max(1, found.dtype.itemsize // 4)}")
    flat[known] = found
    return np.split(flat, np.cumsum([len(each) for each in inputs])[:-1])


def _kind_of(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (bool, int, np.bool_, np.integer)):
        return "whole"
    return "number" if isinstance(value, (float, np.floating)) else None


def _groups(values: Sequence[Any]) -> Array:
    """Return groups [N] of str. Raises DataError: one is missing."""
    for index, value in enumerate(values):
        if _kind_of(value) is None or value != value or value == "":
            raise DataError(expected(f"groups[{index}]", "a name or a number", shortened(repr(value))))
    return np.array([str(value) for value in values])


def _times(times: Sequence[Any], inputs: Any) -> list[npt.NDArray[np.float64]]:
    """Return the times of each sample's steps. Raises DataError: they do not rise."""
    if len(times) != len(inputs):
        raise ShapeError(expected("times", f"[{len(inputs)}], one for each sample", f"[{len(times)}]"))
    clock = [np.asarray(each, np.float64) for each in times]
    for index, (each, sequence) in enumerate(zip(clock, inputs, strict=True)):
        if each.shape != (len(sequence),):
            raise ShapeError(expected(f"times[{index}]", [len(sequence)], list(each.shape)))
        far = ~(np.abs(each) < MOST_TIME)
        if far.any():
            step = int(np.argmax(far))
            if not np.isfinite(each[step]):
                raise DataError(expected(f"times[{index}]", "finite numbers", "NaN or infinity"))
            got = f"{each[step]:g} at step {step}"
            raise DataError(expected(f"times[{index}]", f"numbers within ±{MOST_TIME:.2g}", got))
        if not (np.diff(each) > 0).all():
            step = int(np.argmin(np.diff(each) > 0)) + 1
            got = f"{each[step]:g} after {each[step - 1]:g} at step {step}"
            raise DataError(expected(f"times[{index}]", "rising times", got))
    return clock


def _is_text(inputs: Sequence[Any]) -> bool:
    return isinstance(inputs[0], str)


def _are_numbers(labels: Array) -> bool:
    return bool(labels.dtype.kind == "f")


def _digest(each: Numbers | str) -> bytes:
    if isinstance(each, str):
        return hashlib.sha256(each.encode("utf-8", "surrogatepass")).digest()
    return hashlib.sha256(repr(each.shape).encode() + np.ascontiguousarray(each).tobytes()).digest()


def sha256_of(samples: Samples) -> str:
    """Return one digest of the inputs and labels of samples."""
    labels = () if samples.labels is None else samples.labels.tolist()
    return _sha256(samples.inputs, [*labels, *(samples.step_labels or ())])


def _sha256(inputs: Sequence[Any], labels: Sequence[Any]) -> str:
    """Return one digest of inputs and labels."""
    total = hashlib.sha256()
    for each in inputs:
        total.update(_digest(each))
    for label in labels:
        if isinstance(label, np.ndarray):
            label = label.tolist()
        total.update(hashlib.sha256(repr(label).encode()).digest())
    return total.hexdigest()
