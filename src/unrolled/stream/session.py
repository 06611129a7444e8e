"""Streams of a model: a session is one, a pool is many that share a call. State and nothing else."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from unrolled import kernels
from unrolled.errors import (
    ConfigError,
    DtypeError,
    NonFiniteError,
    ShapeError,
    StateError,
    TokenError,
    UnrolledError,
    expected,
)
from unrolled.files import memory_limit
from unrolled.kernels import Outcome
from unrolled.stream.health import Health, health_of
from unrolled.stream.network import Packed
from unrolled.stream.state import State, pack_blob
from unrolled.stream.weights import Floats, as_array

__all__ = ["Pool", "Session"]


class _Streams:
    """What a session and a pool have in common."""

    def __init__(self, model: Packed, count: int, threads: int) -> None:
        self.model = model
        self._check_room(count)
        self._streams = kernels.Streams(model.network, count, threads)

    def close(self) -> None:
        """Give up the state: every later call is a StateError. Closing twice is once."""
        self._check(self._streams.close())

    @property
    def closed(self) -> bool:
        return bool(self._streams.closed)

    def __reduce__(self) -> NoReturn:
        want = "`save`, and `open` or `restore` with what it returns"
        raise StateError(expected("session", want, "a copy, which would share the state, or a pickle"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, stream: int) -> Floats:
        flat = np.empty(self.model.layout.size, dtype=np.float32)
        self._check(self._streams.read(stream, flat))
        return flat

    def _write(self, stream: int, state: State) -> None:
        self._check(self._streams.write(stream, self.model.flat_state(state)))

    def _save(self, stream: int) -> bytes:
        return pack_blob(self._read(stream), self.model.digest)

    def _check_room(self, count: int) -> None:
        """Raise ConfigError where the states of so many streams are more than the memory there is."""
        need = 8 * count * self.model.layout.size
        most = memory_limit() if need > 2**26 else None
        if most is not None and need > most:
            raise ConfigError(expected("streams", f"states of at most {most:,} bytes", f"{need:,} bytes"))

    def _check(self, outcome: int) -> None:
        if outcome == Outcome.busy:
            raise StateError(
                expected("session", "one thread at a time", "a call while another thread is in one")
            )
        if outcome == Outcome.closed:
            raise StateError(expected("session", "an open one", "one that is closed"))
        if outcome == Outcome.no_memory:
            raise MemoryError("no memory for a chunk of steps")
        if outcome == Outcome.forked:
            want, got = (
                "one between calls",
                "the copy that a fork made in the middle of another thread's call",
            )
            raise StateError(expected("session", want, got))
        if outcome != Outcome.ok:  # of an argument that this class has made
            raise ValueError(Outcome(outcome).name)

    def _refuse(
        self, outcome: int, x: object, out: object, shapes: tuple[list[Any], list[Any]], at: str
    ) -> NoReturn:
        """Raise what a call's outcome means; `shapes` are those of x and out, `at` names a row or a step."""
        failed = self._streams.failed
        place = f"x[{failed}]" if at else "x"
        if outcome == Outcome.input_not_finite:
            raise NonFiniteError(expected(place, "finite numbers", "NaN or infinity"))
        if outcome == Outcome.state_not_finite:
            raise NonFiniteError(
                expected("state", "finite numbers", f"NaN or infinity after {at or 'step'} {failed}")
            )
        if outcome == Outcome.id_out_of_range:
            got = np.asarray(x).reshape(-1)[failed] if at else x
            raise TokenError(expected(place, f"an id from 0 to {self.model.vocab_size - 1}", got))  # type: ignore[operator]
        if outcome == Outcome.bad_x:
            _refuse_array("x", x, "int64" if self.model.vocab_size else "float32", shapes[0])
        if outcome == Outcome.bad_overlap:
            raise ConfigError(expected("out", "memory of its own", "an array that overlaps x or active"))
        if outcome == Outcome.bad_out:
            _refuse_array("out", out, "float32", shapes[1])
        self._check(outcome)
        raise AssertionError(outcome)


class Session(_Streams):
    """One stream of a model, with its own state. Made by `Model.open`.

    Any thread may use it, one at a time: a call while another thread is in one is a StateError. After an
    error the state is what it was before the call.
    """

    def __init__(self, model: Packed, state: State = None) -> None:
        super().__init__(model, 1, 1)
        if state is not None:
            self._write(0, state)
        self._step = self._streams.step
        self._out_size = model.output_size

    def step(self, x: npt.ArrayLike | int, out: Floats | None = None) -> Floats:
        """Advance by one step.

        Args:
            x: an id, for a model with a vocabulary; else [I] float32, contiguous.
            out: [O] float32 to write to, which may be x; default a new array.
        Returns:
            `out`: the logits [V] of a language model, y [P] of recurrent layers alone.
        Raises:
            TokenError: the id is out of range. ShapeError, DtypeError: x or out has another shape or dtype.
            NonFiniteError: x is not finite, or the state would not be. StateError: the session is closed, or
            another thread is using it.
        """
        if out is None:
            out = np.empty(self._out_size, np.float32)
        outcome = self._step(x, out)
        if outcome:
            self._refuse(outcome, x, out, *self._one_step)
        return out

    @property
    def _one_step(self) -> tuple[tuple[list[Any], list[Any]], str]:
        width: list[Any] = [] if self.model.vocab_size else [self.model.input_size]
        return (width, [self.model.output_size]), ""

    def run(self, x: npt.ArrayLike, out: Floats | None = None, *, last: bool = False) -> Floats:
        """Advance by T steps in one call, with the bits of T calls of `step`.

        Args:
            x: [T] ids as int64, for a model with a vocabulary; else [T, I] float32, contiguous.
            out: [T, O] float32 to write to, or [O] with `last`, apart from x; default a new array.
            last: return the last step's output alone. T must then be at least 1.
        Returns:
            `out`.
        Raises:
            As `step`; after an error the state is what it was before the first step.
        """
        array = as_array("x", x)
        width = () if self.model.vocab_size else (self.model.input_size,)
        if array.shape[1:] != width or array.ndim == 0 or (last and len(array) == 0):
            want = f"[{', '.join(['T', *map(str, width)])}]"
            raise ShapeError(expected("x", want + " with T of at least 1" * last, list(array.shape)))
        if not isinstance(x, np.ndarray) and (array.size == 0 or (width and array.dtype.kind in "fiu")):
            with np.errstate(over="ignore"):  # an infinity is refused below
                array = array.astype(np.float32 if width else np.int64)
        steps, size = len(array), self.model.output_size
        if out is None:
            out = np.empty(size if last else (steps, size), np.float32)
        outcome = self._streams.run(array, out, not last)
        if outcome:
            self._refuse(outcome, array, out, ([steps, *width], [size] if last else [steps, size]), "step")
        return out

    @property
    def state(self) -> dict[str, Floats]:
        """The state, {"h": [L, P], "c": [L, H]} or {"h": [L, P]}: a copy. Assign one, or None for zeros."""
        return self.model.layout.split(self._read(0))

    @state.setter
    def state(self, state: State) -> None:
        self._write(0, state)

    def reset(self) -> None:
        """Set the state to zero."""
        self._write(0, None)

    def save(self) -> bytes:
        """Return the state as bytes for `Model.open`, to the bit; they name the model and are verified."""
        return self._save(0)

    def health(self) -> Health:
        """Return how large the state is and how many units are saturated, beside what training gave."""
        return health_of(self.state, self.model.known_states)


class Pool(_Streams):
    """Many streams of one model, which advance together in one call per tick. Made by `Model.pool`.

    A stream's results have the bits of a session of its own, whichever streams share its calls.
    """

    def __init__(self, model: Packed, streams: int, threads: int) -> None:
        for name, value in (("streams", streams), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**31:
                raise ConfigError(expected(name, "a whole number of at least 1", repr(value)))
        super().__init__(model, streams, min(threads, 1024))
        self._count = streams

    def __len__(self) -> int:
        return self._count

    def step(
        self, x: npt.ArrayLike, active: npt.ArrayLike | None = None, out: Floats | None = None
    ) -> Floats:
        """Advance the active streams by one step.

        Args:
            x: [streams] ids as int64, for a model with a vocabulary; else [streams, I] float32, contiguous.
                Rows of streams that are not active are not looked at.
            active: [streams] bool; default all.
            out: [streams, O] float32 to write to, apart from x; default a new array of zeros.
        Returns:
            `out`; rows of streams that are not active are left as they were.
        Raises:
            As `Session.step`, naming the row; after an error all states are what they were before.
        """
        array = as_array("x", x)
        mask = None if active is None else as_array("active", active)
        shape = (self._count,) if self.model.vocab_size else (self._count, self.model.input_size)
        if array.shape != shape:
            raise ShapeError(expected("x", list(shape), list(array.shape)))
        if mask is not None and mask.dtype != np.bool_:
            raise DtypeError(expected("active", "bool", mask.dtype))
        if mask is not None and mask.shape != (self._count,):
            raise ShapeError(expected("active", [self._count], list(mask.shape)))
        size = [self._count, self.model.output_size]
        if out is None:
            out = np.zeros(size, np.float32)
        outcome = self._streams.step_rows(array, out, None if mask is None else np.ascontiguousarray(mask))
        if outcome:
            self._refuse(outcome, array, out, (list(shape), size), "stream")
        return out

    def state(self, stream: int) -> dict[str, Floats]:
        """Return the state of one stream, as `Session.state`."""
        return self.model.layout.split(self._read(self._index(stream)))

    def reset(self, stream: int | None = None) -> None:
        """Set the state of one stream to zero; default: of all."""
        for index in range(self._count) if stream is None else (self._index(stream),):
            self._write(index, None)

    def save(self, stream: int) -> bytes:
        """Return the state of one stream, as `Session.save`."""
        return self._save(self._index(stream))

    def restore(self, stream: int, state: State) -> None:
        """Set the state of one stream to what `save` returned, or to {"h": …, "c": …}; None for zeros."""
        self._write(self._index(stream), state)

    def health(self, stream: int) -> Health:
        """Return the health of one stream, as `Session.health`."""
        return health_of(self.state(stream), self.model.known_states)

    def _index(self, stream: int) -> int:
        if (
            isinstance(stream, bool)
            or not isinstance(stream, (int, np.integer))
            or not 0 <= stream < self._count
        ):
            raise ConfigError(expected("stream", f"a number from 0 to {self._count - 1}", repr(stream)))
        return int(stream)


def _refuse_array(name: str, given: object, dtype: str, shape: list[Any]) -> NoReturn:
    """Raise what is wrong with an argument that the engine did not take."""
    if name == "x" and dtype == "int64" and not shape:
        got = f"an array of shape {list(given.shape)}" if isinstance(given, np.ndarray) else repr(given)
        raise DtypeError(expected("x", "an id, a whole number", got))
    if not isinstance(given, np.ndarray):
        raise DtypeError(expected(name, f"a numpy array of {dtype}", type(given).__name__))
    if given.dtype != np.dtype(dtype):
        raise DtypeError(expected(name, dtype, given.dtype))
    if list(given.shape) != shape and given.size != np.prod(shape, dtype=int):
        raise ShapeError(expected(name, shape, list(given.shape)))
    if not given.flags.c_contiguous:
        raise ShapeError(expected(name, "a contiguous array", f"one with strides {list(given.strides)}"))
    if not given.flags.aligned:
        raise ShapeError(expected(name, "an aligned array", f"one at the address {given.ctypes.data:#x}"))
    raise UnrolledError(expected(name, "a writable array", "one that cannot be written"))
