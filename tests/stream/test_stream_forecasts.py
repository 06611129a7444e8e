"""A forecaster step by step: after each step the bits of what the batch forecasts there."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import checkpoint, kernels, spec, stream
from unrolled.data import Series
from unrolled.errors import CheckpointError, ConfigError, DataError, StateError, UnrolledError
from unrolled.tasks import Forecaster
from unrolled.tasks.forecast.answers import answered
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.windows import Windows
from unrolled.tasks.loading import assemble
from unrolled.tasks.streaming import streaming_lines

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

HOUR = np.timedelta64(1, "h")


def series(count: int, missing: float, columns: int, seed: int) -> Series:
    rng = np.random.default_rng(seed)
    lengths = [int(rng.integers(20, 30)) for _ in range(count)]
    values = [rng.normal(10 * k, 1 + k, steps) for k, steps in enumerate(lengths)]
    past = [rng.normal(3, 2, (steps, columns)).astype(np.float32) for steps in lengths]
    for own, each in zip(values, past, strict=True):
        own[:-1][rng.random(len(own) - 1) < missing] = np.nan
        each[rng.random(each.shape) < missing] = np.nan
    times = [np.datetime64("2024-01-01T00", "us") + np.arange(steps) * HOUR for steps in lengths]
    more: dict[str, Any] = {"past": past, "past_names": [f"c{k}" for k in range(columns)]} if columns else {}
    return Series.from_arrays(values, ids=[f"s{k}" for k in range(count)], times=times, freq="h", **more)


def contents(of: Series, seed: int = 0, **sizes: Any) -> checkpoint.Contents:
    """A forecaster with random weights."""
    distribution, normalise = sizes.pop("distribution", "quantiles"), sizes.pop("normalise", "last")
    levels = "80,95" if distribution != "point" else None
    data = spec.ForecastData(
        "waves", horizon=4, causal=True, intervals=levels, distribution=distribution, normalise=normalise
    )
    schema = Schema.fit(of, [len(each) for each in of.values], data)
    if levels:
        schema = schema.corrected(np.random.default_rng(seed).normal(0, 0.1, (2, 4)))
    outputs = {"point": 1, "gaussian": 2, "student-t": 3}.get(distribution, len(schema.quantiles))
    config = spec.ForecastModel(
        4, 12, 0, len(schema.channels), outputs, 6, distribution=distribution, normalise=normalise, **sizes
    )
    rng, weights = np.random.default_rng(seed), {}
    for name, (dtype, shape) in spec.tensors(config).items():
        tensor = rng.normal(scale=0.4, size=shape).astype(np.float32)
        weights[name] = checkpoint.Tensor(dtype, shape, tensor.tobytes())
    stored = {
        "task": "forecast", "model": spec.to_json(config), "data": {}, "training": {},
        "schema": schema.to_json(),
    }  # fmt: skip
    return checkpoint.Contents(stored, weights, None, None, None, Path("model"))


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 3), st.sampled_from([0.0, 0.3]), st.integers(0, 2), st.integers(0, 99),
    st.sampled_from(["point", "quantiles", "gaussian"]), st.sampled_from(["last", "none"]),
    st.sampled_from(["gru", "lstm", "rnn"]), st.integers(1, 2),
)  # fmt: skip
def test_after_each_step_a_stream_gives_the_bits_of_the_batch(
    count, missing, columns, seed, distribution, normalise, cell, layers
):
    of = series(count, missing, columns, seed)
    sizes = {"cell": cell, "num_layers": layers, "distribution": distribution, "normalise": normalise}
    made = contents(of, seed, **sizes)
    model, network = stream.assemble(made), assemble(made).model
    channels = Channels(of, network.schema)
    for number, name in enumerate(of.ids):
        steps = len(of.values[number])
        windows = Windows(np.full(steps, number), np.arange(1, steps + 1))
        expected = answered(network, channels, windows).in_units(channels, windows)
        session = model.open(series=name if count > 1 else None)
        for step in range(steps):
            found = session.step([of.values[number][step], *of.past[number][step]])
            assert np.array_equal(found.point, expected.point[step])
            assert np.array_equal(found.lower, expected.lower[step])
            assert np.array_equal(found.upper, expected.upper[step])
        later = model.open(session.save())
        assert later.save() == session.save()
        assert np.array_equal(later.answer.point, session.answer.point)


def test_a_fitted_forecaster_streams_and_knows_its_states():
    wave = Series.from_arrays([np.sin(np.arange(120) / 3)])
    forecaster = Forecaster(h=3, causal=True, steps=2, hidden_size=5).fit(wave)
    session = forecaster.stream()
    for value in wave.values[0]:
        found = session.step([value])
    assert found.point.tolist() == forecaster.predict()["Unrolled"].tolist()
    assert session.health().known
    assert "A step takes" in streaming_lines(forecaster.network_.streamed(), "run")[1]
    windows = Forecaster(h=3, steps=1, hidden_size=5).fit(wave)
    assert windows.network_.streamed() is None
    with pytest.raises(ConfigError, match="causal: expected True, set before fit"):
        windows.stream()


def test_torch_forecasts_the_same_to_tolerance():
    of = series(2, 0.3, 1, 0)
    for distribution in ("point", "quantiles", "gaussian", "student-t"):
        network = assemble(contents(of, distribution=distribution)).model
        channels = Channels(of, network.schema)
        windows = Windows(np.repeat([0, 1], 15), np.tile(np.arange(5, 20), 2))
        found = network.answers(channels, windows)
        network._engine = lambda: None
        assert np.allclose(network.answers(channels, windows), found, rtol=1e-4, atol=1e-5)


def test_a_pool_forecasts_several_series_at_once():
    of = series(3, 0.0, 0, 1)
    model = stream.assemble(contents(of))
    pool, sessions = model.pool(3), [model.open(series=name) for name in of.ids]
    for place, name in enumerate(of.ids):
        pool.reset(place, series=name)
    for step in range(9):
        found = pool.step(np.array([[values[step]] for values in of.values]))
        for place, session in enumerate(sessions):
            assert np.array_equal(session.step([of.values[place][step]]).point, found.point[place])
    pool.reset(1)
    assert pool.save(1) == model.open(series="s1").save()


def test_lines_name_their_series():
    of = series(2, 0.0, 1, 2)
    model = stream.assemble(contents(of))
    lines = [json.dumps({"series": "s1", "y": 11.5, "c0": 2}), json.dumps({"series": "s0", "y": 1, "c0": 3})]
    lines += [json.dumps({"y": 2, "c0": 3}), json.dumps({"series": "s7", "y": 2, "c0": 3}), "y,c0", "1,2"]
    told: list[str] = []
    reader = stream.StepReader(model, model.open())
    stream.answer_lines(reader, io.StringIO("\n".join(lines)), told.append, as_json=True)
    found = [json.loads(line) for line in told]
    one, other = model.open(series="s1"), model.open(series="s0")
    assert found[0]["forecast"] == one.step([11.5, 2]).point.tolist()
    assert found[1]["lo-80"] == other.step([1, 3]).lower[0].tolist()
    assert found[2]["hi-95"] == other.step([2, 3]).upper[1].tolist()
    assert "series: expected one of training's, such as 's0'" in found[3]["error"]
    assert found[4]["forecast"] == other.step([1, 2]).point.tolist()
    told.clear()
    stream.answer_lines(reader, io.StringIO('{"x": [1, 2]}\n'), told.append)
    assert len(told[0].split()) == 4


def test_what_is_not_fit_is_refused():
    of = series(2, 0.0, 1, 3)
    made = contents(of)
    model = stream.assemble(made)
    with pytest.raises(DataError, match="series: expected the name of one of training's, got none"):
        model.open().step([1, 2])
    session = model.open(series="s0")
    session.step([1, 2])
    before = session.save()
    for x, words in ([None, 2], "y: expected a value"), ([1, None], "channel 'c0'"), ([np.inf, 1], "finite"):
        with pytest.raises(UnrolledError, match=words):
            session.step(x)
    assert session.save() == before
    with pytest.raises(StateError):
        stream.assemble(contents(of, 1)).open(before)
    segments = {**made.config, "model": {**made.config["model"], "segment": 4}}
    with pytest.raises(UnrolledError, match="one that reads step by step"):
        stream.assemble(checkpoint.Contents(segments, made.model, None, None, None, Path("m")))
    wrong = {**made.config, "schema": {**made.config["schema"], "distribution": "gaussian"}}
    with pytest.raises(CheckpointError, match="schema"):
        stream.assemble(checkpoint.Contents(wrong, made.model, None, None, None, Path("m")))
