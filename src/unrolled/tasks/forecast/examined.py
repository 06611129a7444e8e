"""What the probe asks a network of forecasts: those of held-out windows, by column of the source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unrolled.data import Batch, Series
from unrolled.errors import DataError, counted, expected
from unrolled.tasks.examined import Answers, Columns, Examined, Figure, Step, listed_flag, stored_controls
from unrolled.tasks.forecast.answers import truth
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.dataset import Forecasts
from unrolled.tasks.forecast.network import ForecastNetwork, SegmentNetwork
from unrolled.tasks.forecast.steps import step_inputs
from unrolled.tasks.forecast.windows import WindowBatches, Windows, find_windows

__all__ = ["examined"]

Array: TypeAlias = npt.NDArray[Any]
ROWS, BATCH = 256, 32  # windows that forecasts are asked for; and that gradients are measured on
LONGEST = 1024  # steps that a network whose state is carried is run over
SEASONS = 4  # that it is run over at least, where there is a season
SEED = 0
VALUE, AHEAD = (
    "value",
    ", ahead",
)  # the column of what is forecast; behind a column's name: of the steps to come


class Source(NamedTuple):
    """Windows that forecasts are asked for."""

    channels: Channels
    windows: Windows
    where: str


def examined(
    network: ForecastNetwork,
    dataset: Forecasts | None,
    series: Series | None,
    name: str,
    directory: Path | None,
    largest: int,
) -> Examined:
    """Return what the probe measures a network on: windows of the validation part, or of other series.

    Args:
        dataset: of the run; None: it has none. series: of a source, called `name`. directory: RUN/data.
        largest: elements of the inputs.
    Raises:
        DataError: there is no window.
    """
    schema, config = network.schema, network.config
    assert schema is not None
    window = _window(network, dataset)
    if series is not None:
        channels = Channels(series, schema)
        zero = np.zeros(len(channels), np.int64)
        sizes: dict[str, Any] = {"window": window, "horizon": schema.horizon, "whole": not schema.masked}
        source = Source(channels, find_windows(channels, zero, channels.lengths, **sizes), name)
    elif dataset is not None:
        part = dataset.part("validation")
        fits = part.windows.origins >= window
        source = Source(part.channels, part.windows.take(fits), f"{dataset.name}, validation part")
    else:
        raise DataError(expected("RUN", "a run with its series, RUN/data, or a file", "a model alone"))
    total = len(source.windows.series)
    if total < 2:
        raise DataError(expected("windows", f"at least 2 of {window} steps", total))
    most = max(2, min(ROWS, largest // (window * config.seen)))
    chosen = np.random.default_rng(SEED).permutation(total)[:most]
    source = source._replace(windows=source.windows.take(chosen))
    facts = {
        "windows": f"{counted(len(chosen), 'forecast')} of {total:,} of {source.where}, drawn at random",
        "look-back": f"{Step.of_frequency(schema.freq).text(window)}, for {schema.horizon} steps ahead",
    }
    run = None if directory is None else directory.parent
    if isinstance(network, SegmentNetwork):
        return _segments(network, source, window, facts, run)
    return _steps(network, source, window, facts, run)


def _window(network: ForecastNetwork, dataset: Forecasts | None) -> int:
    """Return how many steps a forecast is made from."""
    if isinstance(network, SegmentNetwork):
        return network.config.window
    assert network.schema is not None
    least = max(SEASONS * network.schema.season, 2 * network.schema.horizon)
    return min(LONGEST, max(least, 0 if dataset is None else dataset.window))


def _segments(
    network: SegmentNetwork, source: Source, window: int, facts: dict[str, str], run: Path | None
) -> Examined:
    """Ask a network that reads windows in segments; windows are exchanged without their level."""
    schema, config = network.schema, network.config
    assert schema is not None
    batches = WindowBatches(
        source.channels, source.windows, window=window, horizon=schema.horizon, batch_size=1
    )
    batch = batches.batch(source.windows)
    inputs, offset, factor = network._normalised(batch.inputs)
    columns = _own_columns(schema, inputs)
    ahead = schema.known.outputs if schema.known is not None and batch.future is not None else ()
    for place, name in enumerate(ahead):
        assert batch.future is not None
        columns[f"{name}{AHEAD}"] = _at_every_step(batch.future[..., place].T, window)
    if batch.static is not None:
        columns["static"] = _at_every_step(batch.static, window)
    if network.series is not None and batch.series is not None and config.series > 1:
        columns["which series"] = _at_every_step(batch.series[:, None], window)
    order = _order(schema)

    def answer(given: Columns, _: Tensor | None) -> Array:
        rows = next(iter(given.values())).shape[1]
        future = torch.stack([given[f"{name}{AHEAD}"][-1].T for name in ahead], -1) if ahead else None
        static = given["static"][-1] if "static" in given else None
        series = given["which series"][-1, :, 0] if "which series" in given else None
        if series is None and batch.series is not None:
            series = batch.series[:rows]
        own = torch.cat([given[name] for name in order.names], -1)[..., order.places]
        return _points(network, network(own, future, static, series).numpy(), source)

    shift = 0.0 if offset is None else offset[:, 0].numpy().astype(np.float64)
    size = 1.0 if factor is None else factor[:, 0].numpy().astype(np.float64)
    answers = _answers(network, source, columns, answer, shift, size, run)
    pieces = inputs[:, :BATCH].reshape(-1, config.segment, min(BATCH, inputs.shape[1]), config.input_size)
    with torch.no_grad():
        seen = network.segment(pieces.transpose(1, 2).flatten(2))
        about = network._about(seen.shape[1], None if batch.static is None else batch.static[:BATCH],
                               None if batch.series is None else batch.series[:BATCH])  # fmt: skip
        seen = torch.relu(seen if about is None else seen + about)
    facts["gradients, states"] = f"of the stack's output after each segment of {config.segment} steps"
    stack = Batch(seen, torch.zeros(seen.shape[1]))
    return Examined(stack, facts, None, answers, _Stack(network), batch.part(0, window, slice(0, BATCH)))


def _steps(
    network: ForecastNetwork, source: Source, window: int, facts: dict[str, str], run: Path | None
) -> Examined:
    """Ask a network whose state is carried, from the zero state over so many steps."""
    schema = network.schema
    assert schema is not None
    relative = network.config.normalise == "last"
    steps = source.windows.origins + np.arange(-window, 0)[:, None]
    series = np.broadcast_to(source.windows.series, steps.shape)
    inputs = torch.from_numpy(step_inputs(source.channels, series, steps, schema.horizon))
    columns = _own_columns(schema, inputs)
    order = _order(schema)
    count, known = len(schema.channels), schema.known_channels
    for place, name in enumerate(schema.known.outputs if schema.known is not None else ()):
        columns[f"{name}{AHEAD}"] = inputs[..., count + place : count + known * schema.horizon : known]
    if schema.static_numbers:
        columns["static"] = inputs[..., -schema.static_numbers :]
    names = [name for name in columns if name.endswith(AHEAD)]

    def answer(given: Columns, _: Tensor | None) -> Array:
        parts = [torch.cat([given[name] for name in order.names], -1)[..., order.places]]
        if names:
            parts.append(torch.stack([given[name] for name in names], -1).flatten(2))
        if "static" in given:
            parts.append(given["static"])
        found: Tensor = network(torch.cat(parts, -1))[0][-1]
        points = _points(network, found.numpy(), source)
        return points - given[order.names[0]][-1, :, :1].numpy() if relative else points

    level = inputs[-1, :, :1].numpy().astype(np.float64) if relative else 0.0
    answers = _answers(network, source, columns, answer, level, 1.0, run)
    targets = np.full((window, len(source.windows.series), schema.horizon), np.nan, np.float32)
    targets[-1] = truth(source.channels, source.windows, schema.horizon)
    batch = Batch(inputs[:, :BATCH], torch.from_numpy(targets[:, :BATCH]))
    facts["gradients, states"] = "of the forecasts after each step"
    return Examined(Batch(inputs[:, :BATCH], torch.zeros(min(BATCH, inputs.shape[1]))), facts, None, answers,
                    _Stack(network), batch)  # fmt: skip


def _answers(
    network: ForecastNetwork,
    source: Source,
    columns: dict[str, Tensor],
    answer: Any,
    level: Any,
    size: Any,
    run: Path | None,
) -> Answers:
    """Return how forecasts are asked for: without their window's level and size, which are put back."""
    schema = network.schema
    assert schema is not None
    right = truth(source.channels, source.windows, schema.horizon).astype(np.float64)
    wanted = (right - level) / size  # [B, H], NaN where missing
    weight = np.broadcast_to(np.asarray(size, np.float64) ** 2, (len(wanted), 1))

    def mse(answers: Array, rows: Array) -> float:
        return float(np.nanmean(np.square(answers[rows] - wanted[rows]) * weight[rows]))

    def squares(answers: Array) -> Array:
        rows = len(answers)
        return np.asarray(np.nanmean(np.square(answers - wanted[:rows]) * weight[:rows], axis=1))

    config = network.config
    whole = isinstance(network, SegmentNetwork)
    kind = (
        f"reads windows of {config.window} steps in segments of {config.segment}"
        if whole
        else "reads forward and carries its state on; here it starts from zero"
    )
    if config.normalise != "none":
        kind += ", and forecasts what is added to the level that it takes off"
    step = Step.of_frequency(schema.freq)
    season = schema.season if schema.season > 1 else None
    longer = None
    if whole and season is not None:
        longer = ("make forecasts from longer windows", f"--window {max(2 * season, 2 * config.window)}")
    controls = stored_controls(run, "mse")
    scores = {name.partition(",")[0]: mse for name, mse in controls.get("controls", {}).items()}
    seasonal = scores.get("seasonal naive", np.inf) < scores.get("last value", -np.inf)
    return Answers(
        columns=columns, lengths=None, answer=answer, loss=squares, kind=kind, one_way=True, cut=False,
        figure=Figure("MSE", mse, higher=False, best=0.0, unit="standardised"), step=step, season=season,
        seasonal=seasonal and not any(name.endswith(AHEAD) for name in columns), longer=longer,
        choose=partial(_chosen, schema), no_leak=(VALUE,), **controls,
    )  # fmt: skip


def _chosen(schema: Any, kept: Sequence[str]) -> str:
    """Return the flags that keep columns: those known up to the present, and those known ahead."""
    found = []
    for flag, scaler in (("--columns", schema.past), ("--known", schema.known), ("--static", schema.static)):
        names = () if scaler is None else scaler.channels
        found.append(listed_flag(flag, [each for each in names if each in kept or f"{each}{AHEAD}" in kept]))
    return " ".join(filter(None, found))


def _points(network: ForecastNetwork, given: Array, source: Source) -> Array:
    """Return the medians [B, H] of what a network gave [B, H, O]."""
    assert network.schema is not None
    scale = source.channels.scale[source.windows.series][: len(given), None]
    return np.asarray(network.schema.forecasts(given, scale, corrected=False)[0])


class _Order(NamedTuple):
    """Where channels lie in the columns."""

    names: list[str]  # of the columns, one behind the other
    places: Tensor  # of each channel in them


def _groups(schema: Any) -> dict[str, list[int]]:
    """Return the channels of each column, its mask and the time since its last value among them."""
    found = {VALUE: list(range(3 if schema.masked else 1))}
    begin = len(found[VALUE])
    for scaler in (schema.past, schema.known):
        if scaler is None:
            continue
        place = {name: begin + n for n, name in enumerate(scaler.outputs)}
        for name in scaler.channels:
            more = (f"has {name}", f"since {name}") if name in scaler.masked else ()
            found[name] = [place[each] for each in (name, *more)]
        begin += len(place)
    return found


def _own_columns(schema: Any, inputs: Tensor) -> dict[str, Tensor]:
    return {name: inputs[..., places] for name, places in _groups(schema).items()}


def _order(schema: Any) -> _Order:
    groups = _groups(schema)
    return _Order(list(groups), torch.tensor(np.argsort(np.concatenate(list(groups.values())))))


def _at_every_step(values: Tensor, window: int) -> Tensor:
    """Return values of a row [B, …] at every step [W, B, …]; those of the last one count."""
    return values.unsqueeze(0).expand(window, *values.shape)


class _Stack(nn.Module):
    """The recurrent stack alone."""

    def __init__(self, network: ForecastNetwork) -> None:
        super().__init__()
        self.recurrent = network.recurrent

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [T, B, H]."""
        found: Tensor = self.recurrent(inputs)[0]
        return found
