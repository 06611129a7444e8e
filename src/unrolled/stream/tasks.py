"""Models of tasks step by step: raw numbers or symbols in, the answer so far out; no torch."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from unrolled.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DtypeError,
    NonFiniteError,
    ShapeError,
    StateError,
    TokenError,
    expected,
)
from unrolled.schema import Forecast, Reading, merged, rows_of
from unrolled.spec import Steps
from unrolled.stream.answers import AnswerNetwork, PoolingState, Running
from unrolled.stream.health import Health, health_of
from unrolled.stream.model import Model
from unrolled.stream.state import pack_parts, unpack_parts
from unrolled.stream.weights import Floats, Weight, as_array
from unrolled.tokens import Tokens

__all__ = ["TaskModel", "TaskPool", "TaskSession"]

Array = npt.NDArray[Any]


class TaskModel(AnswerNetwork, Model):
    """A trained model of a task that reads one way: a classifier, a regressor, a forecaster. Made by `load`.

    Attributes:
        reading: what it reads of a raw step, and makes of its outputs.
        schema: its classes, scaling and calibration.
        classes: their names, in the order of probabilities; (): the answer is a number, or a forecast.
        channels: names of the numbers that a step has; (): it is a symbol of a text.
    """

    def __init__(
        self,
        tensors: Mapping[str, Weight],
        steps: Steps,
        weights: str,
        reading: Reading,
        tokens: Tokens | None,
    ) -> None:
        """Pack the weights. Raises CheckpointError: schema, vocabulary and sizes do not fit."""
        super().__init__(tensors, steps, weights)
        self.reading, self.schema, self.tokens = reading, reading.schema, tokens
        self.classes: tuple[str, ...] = getattr(self.schema, "classes", ())
        self.channels = reading.channels
        got, want = (reading.outputs, reading.inputs), (self.answer_size, 0 if self.takes_ids else self.width)
        if got != want:
            told = f"{want[0]} outputs and {want[1]} channels"
            raise CheckpointError(expected("config.json schema", told, f"{got[0]} and {got[1]}"))
        if self.takes_ids and (tokens is None or tokens.size != self.symbols):
            size = "none" if tokens is None else tokens.size
            raise CheckpointError(expected("tokens.json", f"{self.symbols} symbols", size))
        described = reading.described()
        if described is not None:
            text = json.dumps(described, sort_keys=True)
            self.digest = hashlib.sha256(self.digest + text.encode()).digest()

    @classmethod
    def from_task(
        cls, arrays: Mapping[str, Floats], steps: Steps, reading: Reading, tokens: Tokens | None
    ) -> TaskModel:
        """Return the model of float32 tensors, which are copied."""
        weights = {name: Weight(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return cls(weights, steps, "float32", reading, tokens)

    def step_microseconds(self, steps: int = 300) -> float:
        """Return the median time of one step of one stream here, on one thread."""
        scaler = getattr(self.schema, "scaler", None)
        timed = scaler is not None and scaler.gaps
        ids = getattr(self.schema, "ids", ())
        session, took = self.open(series=ids[0] if ids else None), []
        x: Any = 0 if self.tokens is not None else np.zeros(len(self.channels))
        for number in range(steps):
            begin = time.perf_counter_ns()
            session.step(x, time=float(number) if timed else None)
            took.append((time.perf_counter_ns() - begin) / 1000)
        return median(took)

    def open(self, state: bytes | None = None, *, series: str | None = None) -> TaskSession:  # type: ignore[override]
        """Return a stream of its own.

        Args:
            state: bytes that `TaskSession.save` returned; default: before the first step.
            series: of a forecaster of several, the name of the one that comes.
        Raises:
            StateError: the bytes are torn, altered, or of another model or other weights. DataError: training
            had no such series.
        """
        session = TaskSession(self, series)
        if state is not None:
            session.restore(state)
        return session

    def pool(self, streams: int, *, threads: int = 1) -> TaskPool:  # type: ignore[override]
        """Return `streams` streams that advance together. Raises ConfigError: below 1."""
        return TaskPool(self, streams, threads)


class _TaskStreams:
    """What a session and a pool have in common."""

    def __init__(self, model: TaskModel, count: int, threads: int, series: str | None = None) -> None:
        self.model, self._count = model, count
        place = None if series is None else model.reading.place(series)
        self._running = Running(model, count, threads)
        self._read = _placed(model.reading.start(count), place)
        self._outputs = np.zeros((count, model.answer_size), np.float32)
        self._lock = threading.Lock()
        self._begin(np.arange(count))

    @property
    def output(self) -> npt.NDArray[np.float32]:
        """What the network gave [streams, K]: logits, or standardised numbers; NaN before a first step."""
        begun = self._running.state.steps > 0
        return np.where(begun[:, None], self._outputs, np.float32(np.nan))

    def close(self) -> None:
        """Give up the state: every later call is a StateError. Closing twice is once."""
        self._running.pool.close()

    @property
    def closed(self) -> bool:
        return self._running.pool.closed

    def __reduce__(self) -> NoReturn:
        want = "`save`, and `open` or `restore` with what it returns"
        raise StateError(expected("session", want, "a copy, which would share the state, or a pickle"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            want = "one thread at a time"
            raise StateError(expected("session", want, "a call while another thread is in one"))
        try:
            yield
        finally:
            self._lock.release()

    def _begin(self, streams: Array) -> None:
        """Read what starts every text."""
        if self.model.tokens is not None:
            active = np.zeros(self._count, np.bool_)
            active[streams] = True
            self._advance(np.full(self._count, self.model.tokens.boundary), None, active)

    def _advance(self, x: Array, times: Array | None, active: npt.NDArray[np.bool_] | None) -> None:
        """Read one step of the active streams; after an error all is as before."""
        read = self._read
        if self.model.tokens is not None:
            out = self._running.step(x, active)
        else:
            rows, read, active = self._encoded(x, times, active)
            out = self.model.reading.finish(self._running.step(rows, active), rows)
        self._read = read
        self._outputs = out if active is None else np.where(active[:, None], out, self._outputs)

    def _encoded(
        self, x: Array, times: Array | None, active: npt.NDArray[np.bool_] | None
    ) -> tuple[Array, tuple[Array, ...], npt.NDArray[np.bool_] | None]:
        """Return what the network reads of a step, what is remembered after it, and which streams read it."""
        reading, before = self.model.reading, self._read
        if active is None:
            rows, kept, after = reading.step(before, x, times)
        else:
            chosen = np.flatnonzero(active)
            few = None if times is None else times[chosen]
            found, few_kept, few_after = reading.step(rows_of(before, chosen), x[chosen], few)
            rows = np.zeros((self._count, self.model.width), np.float32)
            kept = np.zeros(self._count, np.bool_)
            rows[chosen], kept[chosen] = found, few_kept
            after = merged(before, few_after, chosen)
        left_out = ~kept if active is None else active & ~kept
        if left_out.any():
            if (left_out & (self._running.state.steps == 0)).any():
                raise DataError(expected("x", "a first step without missing values", "a missing one"))
            active = kept
        return rows, after, active

    def _save(self, stream: int) -> bytes:
        with self._claimed():
            parts = self._parts(stream)
        return pack_parts(parts, self.model.digest)

    def _parts(self, stream: int) -> list[Array]:
        """Return all that a stream remembers."""
        flat = self._running.pool._read(stream)
        rest = (self._outputs, *self._running.state, *self._read)
        return [flat, *(part[stream] for part in rest)]

    def _restore(self, stream: int, blob: bytes) -> None:
        model = self.model
        with self._claimed():
            flat, output, *parts = unpack_parts(blob, model.digest, self._parts(stream))
            if not (np.isfinite(flat).all() and np.isfinite(output).all()):
                raise StateError(expected("state", "finite numbers", "NaN or infinity"))
            pooling = PoolingState(*(part[None] for part in parts[:4]))
            model.check(pooling)
            read = tuple(part[None] for part in parts[4:])
            model.reading.check(read)
            self._read = merged(self._read, read, np.array([stream]))
            self._running.put(stream, flat, pooling)
            self._outputs = self._outputs.copy()
            self._outputs[stream] = output

    def _reset(self, streams: Array, series: str | None) -> None:
        reading = self.model.reading
        place = None if series is None else reading.place(series)
        with self._claimed():
            self._running.reset(streams.tolist())
            self._outputs = self._outputs.copy()
            self._outputs[streams] = 0
            fresh = _placed(reading.again(rows_of(self._read, streams)), place)
            self._read = merged(self._read, fresh, streams)
            self._begin(streams)

    def _inputs(self, x: object, shape: tuple[int, ...]) -> Array:
        """Return raw numbers as float32 or ids as int64. Raises ShapeError, DtypeError, TokenError."""
        model = self.model
        array = _numbers(x)
        if model.tokens is not None:
            if array.dtype.kind not in "iu":
                raise DtypeError(expected("x", "ids, whole numbers", array.dtype))
            array = array.astype(np.int64)
            if array.shape == shape and ((array < 0) | (array >= model.symbols)).any():
                raise TokenError(expected("x", f"an id from 0 to {model.symbols - 1}", x))
        else:
            if array.dtype.kind not in "fiub":
                raise DtypeError(expected("x", "numbers, NaN or None where one is missing", array.dtype))
            with np.errstate(over="ignore"):  # an infinity is refused by the scaler
                array = array.astype(model.reading.dtype)
        if array.shape != shape:
            raise ShapeError(expected("x", list(shape), list(array.shape)))
        return array


class TaskSession(_TaskStreams):
    """One stream of a task's model, with its own state. Made by `TaskModel.open`.

    Any thread may use it, one at a time. After an error the state is what it was before the call.
    """

    def __init__(self, model: TaskModel, series: str | None = None) -> None:
        super().__init__(model, 1, 1, series)

    def step(self, x: npt.ArrayLike | str | int, *, time: float | None = None) -> Any:
        """Advance by one step.

        Args:
            x: [C] raw numbers in the order of `model.channels`, NaN or None where one is missing; of texts an
                id, or a piece of text, whose symbols are read one after the other.
            time: of the step, in the unit of training's; needed where training's steps were uneven.
        Returns:
            The answer so far: calibrated probabilities [K] in the order of `model.classes`, or a number in
            the target's unit, or a `Forecast` of the next values, each [H], in their unit. Where training
            left out steps with missing values such a step changes nothing.
        Raises:
            DataError: a value or a time is missing, or not finite, or not as in training. ShapeError,
            DtypeError, TokenError: x is something else. NonFiniteError: the state would not be finite.
            StateError: the session is closed, or another thread is using it.
        """
        with self._claimed():
            if isinstance(x, str):
                self._read_text(x)
            else:
                shape = () if self.model.tokens is not None else (len(self.model.channels),)
                self._advance(self._inputs(x, shape)[None], _times(time, 1), None)
        return self.answer

    def _read_text(self, text: str) -> None:
        tokens = self.model.tokens
        if tokens is None:
            want = f"numbers of {len(self.model.channels)} channels"
            raise DtypeError(expected("x", want, "a text"))
        before = self.held()
        try:
            for token in tokens.encode(text):
                self._advance(np.array([token], np.int64), None, None)
        except NonFiniteError:
            self.put_back(before)
            raise

    @property
    def answer(self) -> Any:
        """The answer so far, as `step` returns it. Raises StateError: no step was read."""
        if not self._running.state.steps[0]:
            raise StateError(expected("answer", "at least one step before it", "none"))
        found = self.model.reading.answers(self._outputs, self._read)
        if isinstance(found, Forecast):
            return Forecast(*(part[0] for part in found))
        return found[0] if np.ndim(found[0]) else float(found[0])

    def at_end(self) -> Any:
        """Return the answer if the sequence ended here: of a text, after its closing boundary."""
        tokens = self.model.tokens
        if tokens is None:
            return self.answer
        with self._claimed():
            before = self.held()
            try:
                self._advance(np.array([tokens.boundary]), None, None)
                return self.answer
            finally:
                self.put_back(before)

    @property
    def steps(self) -> int:
        """The steps that were read; of texts, with the boundary at the start."""
        return int(self._running.state.steps[0])

    @property
    def state(self) -> dict[str, Any]:
        """The state of the recurrent layers, {"h": [L, P], "c": [L, H]}: a copy."""
        return self._running.pool.state(0)

    def reset(self, series: str | None = None) -> None:
        """Return to before the first step; of a forecaster, of that series, default the same one."""
        self._reset(np.array([0]), series)

    def save(self) -> bytes:
        """Return all that the stream remembers as bytes, to the bit; they name the model and are verified."""
        return self._save(0)

    def restore(self, state: bytes) -> None:
        """Take what `save` returned. Raises as `TaskModel.open`; then nothing has changed."""
        self._restore(0, state)

    def health(self) -> Health:
        """Return how large the state is and how many units are saturated, beside what training gave."""
        return health_of(self.state, self.model.known_states)

    def held(self) -> tuple[Any, ...]:
        """Return what `put_back` takes: all that the stream remembers, as it lies in memory."""
        return self._running.pool._read(0), self._running.state, self._read, self._outputs

    def put_back(self, held: tuple[Any, ...]) -> None:
        """Return to the moment at which `held` was called."""
        flat, pooling, self._read, self._outputs = held
        self._running.put(0, flat, pooling)


class TaskPool(_TaskStreams):
    """Many streams of one model, which advance together in one call per tick. Made by `TaskModel.pool`.

    A stream's answers have the bits of a session of its own, whichever streams share its calls.
    """

    def __init__(self, model: TaskModel, streams: int, threads: int) -> None:
        if isinstance(streams, bool) or not isinstance(streams, int) or streams < 1:
            raise ConfigError(expected("streams", "a whole number of at least 1", repr(streams)))
        super().__init__(model, streams, threads)

    def __len__(self) -> int:
        return self._count

    def step(
        self, x: npt.ArrayLike, *, time: npt.ArrayLike | None = None, active: npt.ArrayLike | None = None
    ) -> Any:
        """Advance the active streams by one step.

        Args:
            x: [streams, C] raw numbers, or [streams] ids; rows that are not active are not looked at.
            time: [streams], or one for all. active: [streams] bool; default all.
        Returns:
            The answers so far, [streams, K] probabilities, [streams] numbers or a `Forecast` of [streams, H];
            NaN before a first step.
        Raises:
            As `TaskSession.step`; after an error all streams are what they were before.
        """
        mask = None if active is None else as_array("active", active)
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != (self._count,)):
            raise ShapeError(expected("active", f"[{self._count}] bool", f"{list(mask.shape)} {mask.dtype}"))
        shape = (self._count,) if self.model.tokens is not None else (self._count, len(self.model.channels))
        array = _numbers(x)
        if mask is not None and array.shape[:1] == (self._count,):
            array = np.where(mask.reshape(-1, *[1] * (array.ndim - 1)), array, np.zeros((), array.dtype))
        with self._claimed():
            self._advance(self._inputs(array, shape), _times(time, self._count), mask)
        return self.answers

    @property
    def answers(self) -> Any:
        """The answers so far, as `step` returns them."""
        return self.model.reading.answers(self.output, self._read)

    def reset(self, stream: int | None = None, *, series: str | None = None) -> None:
        """Return one stream, default all, to before the first step; of a forecaster, of that series."""
        streams = np.arange(self._count) if stream is None else np.array([self._index(stream)])
        self._reset(streams, series)

    def save(self, stream: int) -> bytes:
        """Return what one stream remembers, as `TaskSession.save`."""
        return self._save(self._index(stream))

    def restore(self, stream: int, state: bytes) -> None:
        """Set one stream to what `save` returned."""
        self._restore(self._index(stream), state)

    def _index(self, stream: int) -> int:
        return self._running.pool._index(stream)


def _placed(read: tuple[Array, ...], place: int | None) -> tuple[Array, ...]:
    """Return what readers remember, of the series at a place among those of training."""
    return read if place is None else (np.full(len(read[0]), place), *read[1:])


def _numbers(x: object) -> Array:
    """Return an argument as an array, with NaN for None."""
    array = as_array("x", x)  # type: ignore[arg-type]
    if array.dtype.kind != "O":
        return array
    return as_array("x", np.where(array == None, np.nan, array).tolist())  # noqa: E711


def _times(time: npt.ArrayLike | None, count: int) -> npt.NDArray[np.float64] | None:
    """Return times [count]. Raises DtypeError, ShapeError."""
    if time is None:
        return None
    array = as_array("time", time)
    if array.dtype.kind not in "fiu":
        raise DtypeError(expected("time", "a number", array.dtype))
    if array.shape not in ((), (count,)):
        raise ShapeError(expected("time", [count], list(array.shape)))
    return np.array(np.broadcast_to(array.astype(np.float64), (count,)))
