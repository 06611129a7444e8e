"""Forecasts of series, as a task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unrolled import stream
from unrolled.data import Batches, Series, read_series
from unrolled.errors import CheckpointError, DataError, counted, expected
from unrolled.spec import CELLS, FORECAST, ForecastData, ForecastModel, TrainConfig, from_json
from unrolled.tasks.controls.forecasts import suited_forecasts
from unrolled.tasks.forecast import conformal, sizing, storing
from unrolled.tasks.forecast.answers import read_answers, truth
from unrolled.tasks.forecast.dataset import Forecasts, described, prepare, reopen
from unrolled.tasks.forecast.distributions import outputs_of
from unrolled.tasks.forecast.evaluation import (
    Evaluation,
    evaluate,
    forecast_together,
    given_together,
)
from unrolled.tasks.forecast.examined import examined
from unrolled.tasks.forecast.network import ForecastNetwork, build
from unrolled.tasks.forecast.predicting import evaluate_series, predict_series
from unrolled.tasks.forecast.report import write_report
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.steps import step_inputs
from unrolled.tasks.group import Group
from unrolled.tasks.loading import assemble
from unrolled.tasks.protocol import Examined, Overview, Predictions, Task, register
from unrolled.tasks.run_report import parts_line
from unrolled.tasks.stack import recurrent_settings
from unrolled.tasks.stored_arrays import ARRAYS, PARTS

__all__ = ["ForecastTask"]

LOOKED_AT = 1024  # steps of a series, for what the states of a stream are like
VALIDATION_ROWS = 512
MOST_EMBEDDED = 10_000  # series that have an embedding each


class ForecastTask(Task):
    """Forecast the next values of series; a dataset is a `Forecasts`."""

    kind = FORECAST

    def prepare(self, data: ForecastData, directory: Path, *, seed: int) -> Forecasts:
        return prepare(data, directory)

    def reopen(
        self, data: ForecastData, directory: Path, *, seed: int, tokens: Mapping[str, Any] | None
    ) -> Forecasts:
        return reopen(data, directory)

    def source(self, data: ForecastData) -> str:
        return data.source

    def run_name(self, data: ForecastData) -> str:
        return Path(data.source).name.partition(".")[0] or self.kind.name

    def resolve(self, config: TrainConfig, dataset: Forecasts) -> TrainConfig:
        return sizing.resolve(config, dataset)

    def open_sizes(self, config: TrainConfig) -> list[str]:
        names = sizing.SIZES if config.data.causal else sizing.SIZES[:-1]
        return [name for name in names if getattr(config, name) is None]

    def model_config(self, config: TrainConfig, dataset: Forecasts) -> ForecastModel:
        schema, causal = dataset.schema, dataset.data.causal
        several = 1 < len(schema.ids) <= MOST_EMBEDDED and schema.keeps_series
        return ForecastModel(
            horizon=dataset.horizon,
            window=dataset.window,
            segment=dataset.segment,
            input_size=len(schema.channels),
            known_size=schema.known_channels,
            static_size=schema.static_numbers,
            series=len(schema.ids) if several and not causal else 0,
            outputs=outputs_of(schema.distribution, schema.levels),
            distribution=schema.distribution,
            normalise=dataset.data.normalise,
            **recurrent_settings(config),
        )

    def bytes_needed(self, model: ForecastModel, config: TrainConfig, dataset: Forecasts) -> int:
        stored = dataset.channels.inputs.nbytes + 8 * len(dataset.channels.values)
        rows, steps = config.batch_size or 1, config.bptt_steps or 1
        return sizing.bytes_needed(model, rows=rows, bptt_steps=steps, stored=stored)

    def describe(self, model: ForecastModel) -> str:
        read = "step by step" if model.causal else f"in segments of {counted(model.segment, 'step')}"
        size = f"{CELLS[model.cell].label} {model.num_layers} x {model.hidden_size}"
        return f"{size}, forecasts {counted(model.horizon, 'step')} from {model.window:,}, read {read}"

    def notes(self, config: TrainConfig, dataset: Forecasts, network: Any) -> list[str]:
        schema = dataset.schema
        parameters = counted(sum(p.numel() for p in network.parameters()), "parameter")
        names = [name for name in PARTS if name != "test" or dataset.has_test]
        parts = parts_line({name: len(dataset.part(name).windows.series) for name in names}, "window")
        rows = f"{int(dataset.channels.lengths.sum()):,} rows"
        every = "" if schema.freq is None else f", frequency {schema.freq}"
        kind = schema.distribution
        if schema.levels:
            kind += f", intervals of {', '.join(f'{level:g}' for level in schema.levels)} %"
        lines = [
            f"data      {dataset.name}: {counted(len(schema.ids), 'series', 'series')}, {rows}{every}, "
            f"season of {counted(schema.season, 'step')}; {parts}",
            f"model     {self.describe(network.config)}, {parameters}, dropout {config.dropout}; {kind}",
        ]
        return lines + [f"note      {note}" for note in dataset.notes]

    def overview(self, dataset: Forecasts) -> Overview:
        sizes = {name: len(dataset.part(name).windows.series) for name in PARTS if name != "test"}
        if dataset.has_test:
            sizes["test"] = len(dataset.part("test").windows.series)
        names: tuple[str, ...] = ()
        if dataset.data.controls:
            steps = {"season": dataset.schema.season, "window": dataset.window, "horizon": dataset.horizon}
            names = tuple(suited_forecasts(**steps))
        return Overview(described(dataset.series), sizes, "window", controls=names)

    def network(
        self,
        model: ForecastModel,
        *,
        seed: int | None,
        backend: str,
        dataset: Forecasts | None = None,
    ) -> ForecastNetwork:
        if dataset is not None:
            _check_schema(dataset.schema, model, "the run's series")
        quantiles = (0.5,) if dataset is None else dataset.schema.quantiles
        network = build(model, seed=seed, backend=backend, quantiles=quantiles)
        if dataset is not None:
            network.schema = dataset.schema
        return network

    def around(
        self, contents: Any, weights: Mapping[str, Tensor], *, backend: str
    ) -> tuple[ForecastNetwork, None]:
        config: Any = from_json(self.kind.model, contents.config["model"], where="config.json model")
        schema = Schema.from_json(contents.config.get("schema"))
        _check_schema(schema, config, "config.json schema")
        network = build(config, seed=None, backend=backend, quantiles=schema.quantiles)
        network.load_state_dict(weights)
        network.schema = schema
        return network, None

    def batches(self, config: TrainConfig, dataset: Forecasts) -> Batches:
        return dataset.batches(
            rows=config.batch_size or 1, seed=config.seed, bptt_steps=config.bptt_steps or sizing.BPTT_STEPS
        )

    def validation(self, dataset: Forecasts) -> Batches:
        return dataset.validation(VALIDATION_ROWS)

    def schema(self, dataset: Forecasts) -> dict[str, Any]:
        return dataset.schema.to_json()

    def known_states(self, contents: Any, dataset: Forecasts) -> Mapping[str, Mapping[str, float]] | None:
        network: ForecastNetwork = assemble(contents).model
        streamed = network.streamed()
        if streamed is None:
            return None
        channels = dataset.part("validation").channels
        ends = np.minimum(channels.lengths, LOOKED_AT)
        steps = [(np.full(end, number), np.arange(end)) for number, end in enumerate(ends)]
        return stream.states_in(streamed, (step_inputs(channels, *each, dataset.horizon) for each in steps))

    def known_schema(self, contents: Any, dataset: Forecasts) -> dict[str, Any] | None:
        return self.known_schema_together(contents, dataset, Group())

    def known_schema_together(self, contents: Any, dataset: Forecasts, group: Group) -> dict[str, Any] | None:
        schema = dataset.schema
        if not schema.levels:
            return None if group.rank else schema.to_json()
        network: ForecastNetwork = assemble(contents).model
        part = dataset.part("validation")
        found = given_together(network, part, group)
        if group.rank:
            return None
        given = read_answers(found, schema, part.channels, part.windows, corrected=False)
        wanted = truth(part.channels, part.windows, schema.horizon)
        corrections = np.zeros((len(schema.levels), schema.horizon))
        for number, level in enumerate(schema.levels):
            with contextlib.suppress(DataError):  # too few windows: `prepare` has made a note
                one = slice(number, number + 1)
                lower, upper = given.lower[:, one], given.upper[:, one]
                corrections[number] = conformal.corrections(wanted, lower, upper, [level])[0]
        return schema.corrected(corrections).to_json()

    def evaluate(self, network: ForecastNetwork, dataset: Forecasts) -> Evaluation:
        return evaluate(network, dataset)

    def evaluate_together(
        self, network: ForecastNetwork, dataset: Forecasts, group: Group
    ) -> Evaluation | None:
        forecast_together(network, dataset, group)
        return None if group.rank else evaluate(network, dataset)

    def evaluation_of(self, stored: Mapping[str, Any]) -> Evaluation:
        return Evaluation.from_dict(stored)

    def report(
        self, network: ForecastNetwork, dataset: Forecasts, directory: Path, *, seed: int
    ) -> Iterator[Path]:
        return write_report(network, dataset, directory)

    def predict(self, loaded: Any, source: str) -> Predictions:
        return predict_series(loaded.model, _read_alike(loaded, source))

    def evaluate_source(self, loaded: Any, source: str) -> Evaluation:
        return evaluate_series(loaded.model, _read_alike(loaded, source))

    def examined(
        self, loaded: Any, source: str | None, directory: Path | None, *, lags: int, largest: int
    ) -> Examined:
        dataset, series = None, None
        if source is not None:
            series = _read_alike(loaded, source)
        elif directory is not None:
            data: Any = from_json(ForecastData, loaded.config.get("data"), where="config.json data")
            dataset = reopen(data, directory)
        return examined(loaded.model, dataset, series, source or "", directory, largest)


def _read_alike(loaded: Any, source: str) -> Series:
    """Read a file as the run's source was read."""
    if (Path(source) / ARRAYS).is_file():
        return storing.read(Path(source)).series
    schema: Schema = loaded.model.schema
    return read_series(source, **dict(schema.read_as or {}))


def _check_schema(schema: Schema, config: ForecastModel, where: str) -> None:
    """Refuse a schema, of a file or of a run's series, that does not fit the network."""
    pairs = {
        "horizon": (config.horizon, schema.horizon),
        "channels": (config.input_size, len(schema.channels)),
        "known channels": (config.known_size, schema.known_channels),
        "static numbers": (config.static_size, schema.static_numbers),
        "distribution": (config.distribution, schema.distribution),
        "outputs": (config.outputs, outputs_of(schema.distribution, schema.levels)),
    }
    if config.series:
        pairs["series"] = (config.series, len(schema.ids))
    for name, (want, got) in pairs.items():
        if want != got:
            raise CheckpointError(expected(where, f"{want} {name}", got))


register(ForecastTask())
