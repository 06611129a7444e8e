"""A forecaster in scikit-learn's conventions, with the columns that Nixtla's packages use."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy.typing as npt

from unrolled import stream as streaming
from unrolled.data import Series
from unrolled.errors import ConfigError, DataError, expected
from unrolled.files import quoted, refusal
from unrolled.spec import FORECAST, ForecastData
from unrolled.tasks.estimators.base import Estimator
from unrolled.tasks.forecast import ForecastNetwork, Upcoming, backtested, write_series

__all__ = ["Forecaster"]

Array: TypeAlias = npt.NDArray[Any]
OF_DATA = (
    "season",
    "window",
    "distribution",
    "normalise",
    "missing",
    "causal",
    "validation_share",
    "controls",
)
NAMES = ("known", "static", "columns")


class Forecaster(Estimator):
    """Forecasts time series: `Forecaster(h=96, freq="h", level=[80, 95]).fit(df).predict()`.

    A data frame (of pandas, polars, pyarrow, …) has a row for each step of each series, with the columns
    unique_id, ds and y, or those that `id`, `time` and `target` name. The end of each series is held out to
    choose the best network and to correct intervals. Parameters that are None are chosen by the series.

    Args:
        h: number of steps to forecast. freq: time between two steps, such as "h", "15min", "D", "W" or "MS";
            default: inferred from the times. level: levels of prediction intervals, in percent.
            season: number of steps in the main season; default: by `freq`.
        id, time, target: names of columns; default: found by their names.
        known: columns whose future values are known. static: columns with one value for each series.
            columns: further inputs, whose values are known up to the present.
        window: number of past steps that a forecast is made from.
        distribution: "auto" (quantiles where there are levels, else a point), "point", "quantiles",
            "gaussian", "student-t" or "negative-binomial".
        normalise: "last", "instance" or "none". missing: "mask", "drop" or "refuse".
        causal: read step by step, with one state that is carried through the series, so that the fitted model
            can be streamed.
        validation_share: share at the end of each series that is held out.
        controls: also fit simple models, for `evaluation_`.
        cell, minutes, epochs, steps, hidden_size, num_layers, dropout, batch_size, learning_rate, bptt_steps,
            weight_decay, threads: as in `spec.TrainConfig`; default: by the number of windows.
        run: a directory to keep the run in, with its report and pictures. random_state: a seed, or numpy's
            RandomState or Generator; None: 0.
    Attributes:
        network_: the trained `ForecastNetwork`. evaluation_: its scores on what was held out, a
            `ForecastEvaluation`. n_iter_: optimizer steps of the network that was kept.
    """

    kind = FORECAST
    network_: ForecastNetwork
    h: int
    freq: str | None
    level: Sequence[float] | None
    season: int | None
    id: str | None
    time: str | None
    target: str | None
    known: Sequence[str]
    static: Sequence[str]
    columns: Sequence[str]
    _series: Series | None
    _upcoming: Upcoming | None
    _frame: Any  # an empty one, of the library that answers are frames of; None: a dictionary

    def __init__(
        self,
        h: int = 1,
        *,
        freq: str | None = None,
        level: Sequence[float] | None = None,
        season: int | None = None,
        id: str | None = None,
        time: str | None = None,
        target: str | None = None,
        known: Sequence[str] = (),
        static: Sequence[str] = (),
        columns: Sequence[str] = (),
        window: int | None = None,
        distribution: str = "auto",
        normalise: str = "last",
        missing: str = "mask",
        causal: bool = False,
        cell: str = "gru",
        minutes: float | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        hidden_size: int | None = None,
        num_layers: int | None = None,
        dropout: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        bptt_steps: int | None = None,
        weight_decay: float = 0.01,
        validation_share: float = 0.2,
        controls: bool = False,
        threads: int | None = None,
        run: str | None = None,
        random_state: Any = 0,
    ) -> None:
        self._keep(locals())

    def fit(self, df: Any) -> Self:
        """Train, and return the estimator.

        Args:
            df: a data frame, or a `data.Series`.
        Raises:
            ConfigError, DataError, DtypeError: a parameter or the data are invalid.
        """
        self._fit(self._series_of(df))
        self._frame = None if isinstance(df, Series) else df[:0]  # for the library that answers are frames of
        return self

    def predict(self, df: Any = None, X_df: Any = None) -> Any:  # noqa: N803 (Nixtla's name)
        """Forecast the h steps after the last value of each series.

        Args:
            df: the series to forecast, up to their last values; default: those that `fit` was given.
            X_df: rows with future values of the `known` columns, where `df` has none after the last value.
        Returns:
            a frame of the library that `df` is of, a row for each step: unique_id, ds, Unrolled, and
            Unrolled-lo-80, Unrolled-hi-80, … of each level. Of a `Series`, a dictionary of arrays.
        Raises:
            DataError: other columns than in training, rows that are missing, or a series that is too short.
        """
        network = self._fitted()
        if df is None and X_df is None:
            if self._upcoming is None:
                self._upcoming = Upcoming(network, self._known_series())
            return self._framed(self._upcoming.forecast(), self._frame)
        series = self._known_series() if df is None else self._alike(df)
        if X_df is not None:
            series = series.with_future(self._alike(X_df, needs_values=False))
        return self._framed(Upcoming(network, series).forecast(), self._frame if df is None else df)

    def cross_validation(self, df: Any, n_windows: int = 1, step_size: int | None = None) -> Any:
        """Train on each series without its last windows, and forecast each of them.

        The network is trained once, up to the first cutoff, and stays fitted to that.

        Args:
            df: as of `fit`. n_windows: forecasts of each series. step_size: steps between
                them; default: h.
        Returns:
            a frame as of `predict`, with the columns cutoff (the last time that a forecast knew of) and y.
        Raises:
            ConfigError: a count below 1. DataError: series are too short.
        """
        step = self.h if step_size is None else step_size
        for name, value in (("n_windows", n_windows), ("step_size", step)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(expected(name, "a whole number of at least 1", repr(value)))
        series = self._series_of(df)
        held = self.h + step * (n_windows - 1)
        for name, values in zip(series.ids, series.values, strict=True):
            if len(values) <= held:
                want = f"more than {held} steps, those of {n_windows} windows"
                raise refusal(DataError, f"series {quoted(name)}", want, len(values))
        before = replace(
            series,
            values=[values[:-held] for values in series.values],
            past=[rows[:-held] for rows in series.past],
        )
        self._fit(before)
        self._frame = None if isinstance(df, Series) else df[:0]
        return self._framed(backtested(self.network_, series, n_windows, step), df)

    def stream(self, unique_id: str | None = None, *, state: bytes | None = None) -> streaming.TaskSession:
        """Return a stream of the fitted model: `step(x)` gives the `Forecast` after each value.

        Args:
            unique_id: the series that comes, where training had several. state: what `save` returned.
        Raises:
            ConfigError: it is not fitted, or not with causal=True, or it reads what no step has: columns
            known ahead, numbers of a series. DataError: no such series. StateError: another model's state.
        """
        if not self._fitted().config.causal:
            want = "True, set before fit: a network that reads windows carries no state"
            raise ConfigError(expected("causal", want, "False"))
        model = streaming.assemble(self._contents)
        assert isinstance(model, streaming.TaskModel)  # by the kind of the estimator
        return model.open(state, series=unique_id)

    def _fit(self, series: Series) -> None:
        params = self.get_params()
        data: dict[str, Any] = {name: params.pop(name) for name in OF_DATA}
        for name in ("h", "freq", "level", "id", "time", "target", *NAMES):
            params.pop(name)
        levels = None if self.level is None else ",".join(f"{level:g}" for level in self.level)
        run = params.pop("run")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "series"
            write_series(source, series)
            config = ForecastData(str(source), horizon=self.h, intervals=levels, test_share=0.0, **data)
            self._train(config, run, Path(folder), params)
        self._series, self._upcoming = series, None

    def _series_of(self, df: Any) -> Series:
        """Return the series of what `fit` was given."""
        if isinstance(df, Series):
            return df
        return Series.from_frame(
            df,
            target=self.target,
            id=self.id,
            time=self.time,
            freq=self.freq,
            season=self.season,
            known=tuple(self.known),
            static=tuple(self.static),
            columns=tuple(self.columns) or None,
        )

    def _alike(self, df: Any, *, needs_values: bool = True) -> Series:
        """Return the series of a frame, read as that of training was."""
        if isinstance(df, Series):
            return df
        schema: Any = self.network_.schema
        read_as: dict[str, Any] = dict(schema.read_as or {})
        if not needs_values:  # neither target nor what is observed with it
            read_as = {name: value for name, value in read_as.items() if name not in ("target", "columns")}
        return Series.from_frame(df, **read_as, needs_values=needs_values)

    def _known_series(self) -> Series:
        """Return the series of training. Raises DataError: the model was loaded, and has none."""
        found: Series | None = getattr(self, "_series", None)
        if found is None:
            raise DataError(
                expected("df", "what came before the forecast, of a model that was loaded", "none")
            )
        return found

    def _framed(self, columns: Mapping[str, Any], like: Any) -> Any:
        """Return a table as a frame of the library that `like` is of."""
        names = {"unique_id": self.id or "unique_id", "ds": self.time or "ds"}
        named = {names.get(name, name): values for name, values in columns.items()}
        if like is None or isinstance(like, Series):
            return named
        import narwhals

        frame = narwhals.from_native(like, eager_only=True)
        if frame.implementation.is_pandas():
            return frame.__native_namespace__().DataFrame(named)
        return narwhals.from_dict(named, backend=frame.implementation).to_native()

    @classmethod
    def _given(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        levels = stored.get("intervals")
        own = {"h": stored["horizon"], "level": None}
        if levels is not None:
            own["level"] = [float(level) for level in str(levels).split(",")]
        return {**stored, **own} | dict.fromkeys(NAMES, ())

    def _loaded(self) -> None:
        schema: Any = self.network_.schema
        for name in ("freq", "id", "time", *NAMES):
            if name in (schema.read_as or {}):
                value = schema.read_as[name]
                setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self._series, self._upcoming, self._frame = None, None, None
