"""The schema of a classifier or a regressor survives config.json, and older versions are read."""

from __future__ import annotations

import pytest

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
