"""What a task's model reads of a raw step, and makes of the network's outputs: of many streams at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import CheckpointError, ConfigError, DataError, StateError, expected
from unrolled.files import quoted
from unrolled.schema.distributions import rising
from unrolled.schema.forecasts import ForecastSchema
from unrolled.schema.running import RunningScaler, ScalerState
from unrolled.schema.scaling import a_number, within
from unrolled.schema.sequences import CLIP, SequenceSchema

__all__ = ["Forecast", "Reading", "SequenceReading", "SeriesReading", "forecasts_of", "merged", "rows_of"]

Array: TypeAlias = npt.NDArray[Any]
State: TypeAlias = tuple[Array, ...]
PARAMETERS = {"point": 1, "gaussian": 2, "student-t": 3}  # of one forecast value; quantiles: one each
FARTHEST = 1e4  # standard deviations of a forecaster's values: one further away counts as that far


class Reading(Protocol):
    """The torch-free half of a task. States are tuples of arrays [N, …], never changed in place."""

    channels: tuple[str, ...]  # names of the raw numbers of a step; (): it is a symbol of a text
    inputs: int  # C', the numbers that the network reads of it; 0 of a symbol
    outputs: int  # K, the numbers that the network gives
    dtype: type[np.floating[Any]]  # in which raw numbers are taken, as training read them
    schema: Any  # of config.json

    def start(self, count: int) -> State:
        """Return the state of `count` streams before their first step."""
        ...

    def step(self, state: State, x: Array, times: Array | None) -> tuple[Array, Array, State]:
        """Return what the network reads [N, C'] of raw x [N, C], which rows are a step, the state after."""
        ...

    def finish(self, outputs: Array, rows: Array) -> Array:
        """Return outputs [N, K] with what was taken off the step's inputs put back."""
        ...

    def again(self, state: State) -> State:
        """Return the state of the same streams before their first step."""
        ...

    def place(self, series: str | None) -> int:
        """Return the place of a series among those of training. Raises DataError: it had no such series."""
        ...

    def answers(self, outputs: Array, state: State) -> Any:
        """Return the answers of finished outputs [N, K]; a row depends on that row alone, to the bit."""
        ...

    def check(self, state: State) -> None:
        """Raise StateError where a state that came as bytes is none that `step` gives."""
        ...

    def described(self) -> Any:
        """Return, as JSON, what a saved state depends on."""
        ...


def rows_of(state: State, chosen: Array) -> State:
    """Return the state of some streams."""
    return tuple(part[chosen] for part in state)


def merged(state: State, rows: State, chosen: Array) -> State:
    """Return a state with the rows of `chosen` streams in place of its own."""
    parts = []
    for part, new in zip(state, rows, strict=True):
        copy = part.copy()
        copy[chosen] = new
        parts.append(copy)
    return tuple(parts)


class SequenceReading:
    """Of a classifier or a regressor."""

    dtype: type[np.floating[Any]] = np.float32

    def __init__(self, schema: SequenceSchema) -> None:
        self.schema, self.outputs = schema, schema.outputs
        self._scaler = None if schema.scaler is None else RunningScaler(schema.scaler)
        self.channels = () if schema.scaler is None else schema.scaler.channels
        self.inputs = 0 if schema.scaler is None else len(schema.scaler.outputs)

    def start(self, count: int) -> State:
        """Return the state of `count` streams before their first step; of symbols nothing is remembered."""
        return () if self._scaler is None else self._scaler.start(count)

    def step(self, state: State, x: Array, times: Array | None) -> tuple[Array, Array, State]:
        """Read a step; see `RunningScaler.step`."""
        assert self._scaler is not None  # symbols are not read here
        rows, kept, after = self._scaler.step(ScalerState(*state), x, times)
        return np.clip(rows, -CLIP, CLIP), kept, after

    def finish(self, outputs: Array, rows: Array) -> Array:
        """Return the outputs as they are."""
        return outputs

    def again(self, state: State) -> State:
        """Return the state before the first step."""
        return self.start(len(state[0]) if state else 0)

    def place(self, series: str | None) -> int:
        """Raise DataError where a series was named."""
        if series is not None:
            raise DataError(expected("series", "none, as the task has no series", quoted(series)))
        return -1

    def answers(self, outputs: Array, state: State) -> Array:
        """Return probabilities or numbers."""
        return self.schema.answers(outputs)

    def check(self, state: State) -> None:
        """Check what came as bytes."""
        if self._scaler is not None:
            self._scaler.check(ScalerState(*state))

    def described(self) -> Any:
        """Return the scaler, on which a saved state depends."""
        return None if self.schema.scaler is None else self.schema.scaler.to_json()


class Forecast(NamedTuple):
    """Forecasts of one series or of N, in their unit."""

    point: Array  # […, H], the median
    lower: Array  # […, L, H] of intervals, the narrowest first
    upper: Array  # […, L, H]


def forecasts_of(given: Array, distribution: str, offset: Array | None) -> Array:
    """Return what a forecaster gives for each value, float32 [N, H, O], of its read-out [N, H, O].

    Args:
        offset: [N] the last values, which were taken off: of a distribution its middle is moved by them.
    """
    if distribution == "quantiles":
        given = rising(given)
    if offset is not None:
        moved = given.shape[-1] if distribution in ("point", "quantiles") else 1
        shifted = given[..., :moved] + offset.astype(np.float64)[:, None, None]
        given = np.concatenate([shifted, given[..., moved:]], axis=-1)
    return given.astype(np.float32)


class SeriesReading:
    """Of a forecaster that reads step by step: the value, then the columns that are known up to the present.

    Its state: the place of each stream's series among those of training, −1 where it was not said; how many
    steps there were; the last value, standardised, and the steps since it; then what the scaler of the past
    columns remembers.
    """

    dtype: type[np.floating[Any]] = np.float64

    def __init__(self, schema: ForecastSchema, *, outputs: int, normalise: str) -> None:
        """Read as the schema says. Raises ConfigError: the network reads what no step has."""
        if schema.known is not None or schema.static is not None:
            got = "columns known ahead" if schema.known is not None else "numbers of each series"
            raise ConfigError(expected("network", "a forecaster of values and past columns alone", got))
        if not schema.keeps_series:
            want = "a forecaster whose checkpoint has the scale of each series, to read it step by step"
            raise ConfigError(expected("network", want, "one of too many series, which are not stored"))
        wanted = PARAMETERS.get(schema.distribution, len(schema.quantiles))
        if wanted != outputs or schema.distribution == "negative-binomial":
            want = f"{wanted} numbers for a value of {schema.distribution}"
            raise CheckpointError(expected("config.json schema", want, outputs))
        self.schema, self._per, self._last = schema, outputs, normalise == "last"
        self.outputs = schema.horizon * outputs
        self._past = None if schema.past is None else RunningScaler(schema.past)
        target = (schema.read_as or {}).get("target")
        names = [target] if isinstance(target, str) else target if isinstance(target, list) else ["y"]
        own = str(names[0]) if len(names) == 1 else "y"
        self.channels = (own, *(() if schema.past is None else schema.past.channels))
        self.inputs = len(schema.channels)
        self._mean, self._scale = np.array([*schema.mean, 0.0]), np.array([*schema.scale, 1.0])
        self._places = {name: place for place, name in enumerate(schema.ids)}

    def place(self, series: str | None) -> int:
        """Return the place of a series. Raises DataError: training had none of that name."""
        if series is None:
            return 0 if len(self._places) == 1 else -1
        if series not in self._places:
            names = ", ".join(map(quoted, list(self._places)[:3]))
            raise DataError(expected("series", f"one of training's, such as {names}", quoted(series)))
        return self._places[series]

    def start(self, count: int) -> State:
        """Return the state before the first step; the series is known where training had one."""
        whole = np.zeros(count, np.int64)
        past = () if self._past is None else self._past.start(count)
        return (np.full(count, self.place(None)), whole, np.zeros(count), whole, *past)

    def step(self, state: State, x: Array, times: Array | None) -> tuple[Array, Array, State]:
        """Read a step; one that is missing altogether is one of missing values. Times are not looked at."""
        series, steps, last, since = state[:4]
        if (series < 0).any():
            raise DataError(expected("series", "the name of one of training's", "none"))
        far = ~(np.isnan(x[:, 0]) | within(x[:, 0]))
        if far.any():
            got = x[int(np.argmax(far)), 0]
            raise DataError(expected(self.channels[0], f"{a_number(got)}, NaN where missing", f"{got:g}"))
        value = (x[:, 0].astype(np.float64) - self._mean[series]) / self._scale[series]
        value = np.clip(value, -FARTHEST, FARTHEST)
        has = ~np.isnan(value)
        if not (self.schema.masked or has.all()):
            raise DataError(expected(self.channels[0], "a value, as in training", "a missing one"))
        last = np.where(has, value, last)
        since = np.where(has | (steps == 0), 0, since + 1)
        parts = [last, has, np.log1p(since)] if self.schema.masked else [last]
        rows = np.stack(parts, axis=1)
        past: State = ()
        if self._past is not None:
            found, _, past = self._past.step(ScalerState(*state[4:]), x[:, 1:].astype(np.float32), None)
            rows = np.hstack([rows, np.clip(found, -FARTHEST, FARTHEST)])
        after = (series, steps + 1, last, since, *past)
        return rows.astype(np.float32), np.ones(len(x), np.bool_), after

    def finish(self, outputs: Array, rows: Array) -> Array:
        """Return outputs with the last value put back; quantiles rise."""
        offset = rows[:, 0] if self._last else None
        given = outputs.reshape(len(outputs), -1, self._per)
        return forecasts_of(given, self.schema.distribution, offset).reshape(outputs.shape)

    def again(self, state: State) -> State:
        """Return the state before the first step, of the same series."""
        return (state[0], *self.start(len(state[0]))[1:])

    def answers(self, outputs: Array, state: State) -> Forecast:
        """Return forecasts in the unit of each stream's series."""
        mean, scale = self._mean[state[0]][:, None], self._scale[state[0]][:, None]
        given = outputs.reshape(len(outputs), -1, self._per)
        point, *sides = self.schema.forecasts(given, scale)
        lower, upper = (side * scale[..., None] + mean[..., None] for side in sides)
        return Forecast(point * scale + mean, lower, upper)

    def check(self, state: State) -> None:
        """Check what came as bytes."""
        series, steps, last, since = state[:4]
        right = (series >= -1) & (series < len(self._places)) & (steps >= 0) & (since >= 0) & (since <= steps)
        if not (right & (steps < 2**53) & (np.abs(last) <= FARTHEST)).all():
            raise StateError(expected("state", "what reading steps leaves", "other numbers"))
        if self._past is not None:
            self._past.check(ScalerState(*state[4:]))

    def described(self) -> Any:
        """Return the schema, on which a saved state depends."""
        return self.schema.to_json()
