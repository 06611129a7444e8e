"""The schema of a classifier or a regressor survives config.json, and older versions are read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import CheckpointError
from unrolled.schema import SequenceSchema

SCHEMAS = {
    "classes": SequenceSchema(("no", "yes"), temperature=1.5, read_as={"label": "activity"}),
    "number": SequenceSchema((), (3.0,), (0.5,), read_as={"target": "rul"}),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_version_1_wrote_means_the_same(name: str):
    schema = SCHEMAS[name]
    stored = schema.to_json()
    assert SequenceSchema.from_json(stored) == schema
    for key in ("several", "numbers", "per_step"):
        del stored[key]
    old = {**stored, "version": 1, "mean": stored["mean"][0], "scale": stored["scale"][0]}
    assert SequenceSchema.from_json(old) == schema
    with pytest.raises(CheckpointError, match=r"schema: expected the keys"):
        SequenceSchema.from_json({**stored, "version": 2})
    for wrong in ({**old, "mean": "3"}, {**old, "scale": 0}, {**old, "more": 1}):
        with pytest.raises(CheckpointError):
            SequenceSchema.from_json(wrong)
    with pytest.raises(CheckpointError, match=r"temperature: expected a number from 0\.01 to 100"):
        SequenceSchema.from_json({**schema.to_json(), "temperature": 0.0})


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=5), st.floats(0.5, 4))
def test_a_temperature_divides_log_odds_and_numbers_get_their_unit(row, temperature):
    outputs, names = np.array([row, row[::-1]], np.float32), tuple(map(str, range(len(row))))
    one = SequenceSchema(names, temperature=temperature).answers(outputs)
    assert np.allclose(one.sum(1), 1)
    assert np.allclose(np.log(one / one[:, :1]), (outputs - outputs[:, :1]) / temperature)
    several = SequenceSchema(names, temperature=temperature, several=True).answers(outputs)
    assert np.allclose(np.log(several / (1 - several)), outputs / temperature)
    mean, scale = tuple(range(3, 3 + len(row))), tuple(2.0**k for k in range(len(row)))
    numbers = SequenceSchema((), mean, scale, numbers=names).answers(outputs)
    assert np.allclose((numbers - mean) / scale, outputs)
