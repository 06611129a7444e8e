"""What a task takes from its data is what its checkpoint can hold: odd names, many of them, extreme numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import spec, tasks, train
from unrolled.data import Samples, Sentences, Series
from unrolled.errors import DataError, UnrolledError
from unrolled.spec import ForecastData
from unrolled.tasks.calibration import fit_temperature
from unrolled.tasks.classify.schema import Schema as SequenceSchema
from unrolled.tasks.forecast.schema import Schema as ForecastSchema
from unrolled.tasks.tag import write_sentences
from unrolled.tasks.tag.schema import Schema as TagSchema
from unrolled.train.saving import check_stored

LAW = settings(deadline=None, max_examples=40)
odd = st.one_of(
    st.text(st.characters(), min_size=1, max_size=6),  # control characters and lone surrogates are among them
    st.builds(str.__mul__, st.characters(), st.sampled_from([999, 1001, 10_000, 10_001, 70_000])),
    st.sampled_from(["\n", "\0", "\ud800", "\udc00\ud800", "I-\n", "B-x", "O", "S-", "\x85", "İ", " "]),
)
some = st.lists(odd, min_size=2, max_size=5, unique=True)
numbers = st.one_of(st.floats(-1e3, 1e3), st.sampled_from([0.0, 1e-308, 5e-324, 1e154, 1.7e308, -1.7e308]))


def assert_stored_or_refused(kind: Any, fit: Any) -> None:
    """What `fit` gives is read again and means the same; or it is refused in one line."""
    try:
        schema = fit()
    except UnrolledError as error:
        refused: UnrolledError | None = error
    else:
        refused = None
        stored = json.loads(json.dumps(schema.to_json(), allow_nan=False))
        assert kind.from_json(stored).to_json() == stored
    assert refused is None or ("\n" not in str(refused) and len(str(refused)) < 4000)


@LAW
@given(some, some, odd, st.booleans())
def test_a_classifier_stores_whatever_classes_and_channels_it_takes(labels, channels, group, several):
    draws = np.random.default_rng(0)
    inputs = [draws.normal(size=(3, len(channels))).astype(np.float32) for _ in labels]
    given: Any = np.eye(len(labels), dtype=bool) if several else labels
    names = labels if several else None

    def fit() -> Any:
        samples = Samples.from_arrays(inputs, given, [group] * len(labels), channels, label_names=names)
        return SequenceSchema.fit(samples, missing="mask")

    assert_stored_or_refused(SequenceSchema, fit)


@LAW
@given(st.lists(numbers, min_size=3, max_size=6), some)
def test_a_regressor_stores_whatever_targets_it_takes(targets, names):
    inputs = [np.full((2, 1), k, np.float32) for k in range(len(targets))]
    several = np.stack([targets] * len(names), axis=1)

    def fit(given: Any, names: Any) -> Any:
        samples = Samples.from_arrays(inputs, given, label_names=names)
        return SequenceSchema.fit(samples, missing="mask")

    assert_stored_or_refused(SequenceSchema, lambda: fit(np.array(targets, np.float64), None))
    assert_stored_or_refused(SequenceSchema, lambda: fit(several, names))


@LAW
@given(some, some, some, odd)
def test_a_tagger_stores_whatever_tags_words_and_columns_it_takes(words, tags, values, column):
    count = min(map(len, (words, tags, values)))
    words, tags, values = ([each[:count]] * 2 for each in (words, tags, values))
    assert_stored_or_refused(
        TagSchema, lambda: TagSchema.fit(Sentences.from_lists(words, tags, {column: values}))
    )


@LAW
@given(some, st.lists(numbers, min_size=4, max_size=6), odd, st.sampled_from(["auto", "gaussian"]))
def test_a_forecaster_stores_whatever_series_and_columns_it_takes(ids, values, column, distribution):
    rows = [np.array(values, np.float64)] * len(ids)
    data = ForecastData("x", horizon=1, intervals="80", distribution=distribution)

    def fit() -> Any:
        past = [np.arange(len(values))[:, None]] * len(ids)
        series = Series.from_arrays(rows, ids=ids, past=past, past_names=[column])
        return ForecastSchema.fit(series, [4] * len(ids), data)

    assert_stored_or_refused(ForecastSchema, fit)


def source_of(task: str, path: Path, name: str) -> Any:
    """Write a source in which something has a name, and return the data config."""
    place, draws = path / "source", np.random.default_rng(0)
    inputs = [draws.normal(size=(3, 1)).astype(np.float32) for _ in range(20)]
    if task == "classify":
        tasks.write_samples(place, Samples.from_arrays(inputs, ["a", name] * 10))
        return spec.ClassifyData(str(place), controls=False)
    if task == "regress":
        tasks.write_samples(place, Samples.from_arrays(inputs, np.arange(20.0), channels=[name]))
        return spec.RegressData(str(place), controls=False)
    if task == "tag":
        write_sentences(place, Sentences.from_lists([[f"w{k}", "x"] for k in range(20)], [["a", name]] * 20))
        return spec.TagData(str(place), controls=False)
    tasks.write_series(place, Series.from_arrays(draws.normal(size=(1, 60)), ids=[name]))
    return spec.ForecastData(str(place), horizon=2, window=4, controls=False)


@pytest.mark.parametrize(
    ("task", "argument"), [("classify", "label"), ("regress", "columns"), ("tag", "tags"), ("forecast", "id")]
)
def test_a_name_that_no_checkpoint_can_hold_is_refused_before_anything_is_trained(tmp_path, task, argument):
    name, run = "x" * 10_001, tmp_path / "run"
    config = spec.TrainConfig(source_of(task, tmp_path, name), run=str(run), cell="gru", steps=1, threads=1)
    with pytest.raises(DataError, match=f"^{argument}: expected names of at most 10,000 characters, got '?x"):
        train.run(config, observers=[], pictures=False)
    assert not run.exists()


def test_what_leaves_no_room_for_the_states_and_the_calibration_of_the_best_network_is_refused():
    stored = {"task": "classify", "model": {}, "schema": {"classes": "x" * (2**20 - 20_000)}}
    check_stored(stored)
    stored["schema"] = {"classes": "x" * (2**20 - 10_000)}
    with pytest.raises(DataError, match="too many or too long to be stored"):
        check_stored(stored)


@pytest.mark.parametrize("value", [0, 1e-300, 0.0099, 101, 1e300, math.inf, math.nan, -1, True, "1", None])
def test_a_temperature_that_no_training_fits_is_refused(value):
    for schema in (
        SequenceSchema(("a", "b")),
        TagSchema(("a", "b"), None, "BIES", (), (), (), ()),
    ):
        with pytest.raises(UnrolledError, match=r"temperature: expected a number from 0.01 to 100"):
            type(schema).from_json({**schema.to_json(), "temperature": value})


@pytest.mark.parametrize("scale", [0, 1e-30, 1, 1e30])
def test_every_temperature_that_is_fitted_is_read_again(scale):
    draws = np.random.default_rng(0)
    for right in (0.0, 0.5, 1.0):
        targets = draws.integers(0, 3, 3000)
        seen = np.where(draws.random(3000) < right, targets, (targets + 1) % 3)
        logits = scale * (np.eye(3, dtype=np.float32)[seen] + draws.normal(0, 0.1, (3000, 3)))
        schema = SequenceSchema(("a", "b", "c")).calibrated(fit_temperature(logits, targets))
        assert SequenceSchema.from_json(schema.to_json()).temperature == schema.temperature
        assert np.isfinite(schema.answers(logits)).all()
