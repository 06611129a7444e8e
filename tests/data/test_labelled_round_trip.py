"""The same samples, written in every format by hand, are read alike."""

import importlib.util
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import read_samples

LAW = settings(deadline=None, max_examples=40)
numbers = st.one_of(st.floats(-1e6, 1e6, width=32), st.integers(-99, 99).map(float), st.just(math.nan))


@st.composite
def labelled(draw, channels=None):
    """Return arrays [T, C] that end in a value, and a label of each."""
    width = channels or draw(st.integers(1, 3))
    rows = st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=5)
    last = st.lists(st.floats(-9, 9, width=32), min_size=width, max_size=width)
    inputs = draw(
        st.lists(
            st.tuples(rows, last).map(lambda pair: np.array([*pair[0], pair[1]], np.float32)),
            min_size=2,
            max_size=6,
        )
    )
    return inputs, draw(
        st.lists(st.sampled_from(["a", "b c", "ü,1"]), min_size=len(inputs), max_size=len(inputs))
    )


def text(value, missing):
    return missing if math.isnan(value) else repr(float(value))


def json_lines(inputs, labels):
    rows = [[[None if math.isnan(v) else float(v) for v in row] for row in each] for each in inputs]
    return "".join(json.dumps({"x": x, "label": label}) + "\n" for x, label in zip(rows, labels, strict=True))


def ts(inputs, labels):
    lines = [":".join(",".join(text(v, "?") for v in c) for c in each.T) for each in inputs]
    return "@classLabel true\n@data\n" + "".join(
        f"{x}:{label}\n" for x, label in zip(lines, labels, strict=True)
    )


def relational_arff(inputs, labels):
    lines = ["\\n".join(",".join(text(v, "?") for v in c) for c in each.T) for each in inputs]
    head = "@attribute r relational\n@attribute t numeric\n@end r\n@attribute c {x}\n@data\n"
    return head + "".join(f'"{x}","{label}"\n' for x, label in zip(lines, labels, strict=True))


def long_csv(inputs, labels):
    head = ",".join(["id", "time", *(f"x{n}" for n in range(inputs[0].shape[1])), "label"])
    rows = [
        f'{index},{step},{",".join(text(v, "") for v in row)},"{label}"'
        for index, (each, label) in enumerate(zip(inputs, labels, strict=True))
        for step, row in enumerate(each)
    ]
    return "\n".join([head, *rows]) + "\n"


def wide_csv(inputs, labels):
    longest = max(map(len, inputs))
    rows = [
        ";".join([f'"{label}"', *(text(v, "NA") for v in each[:, 0]), *[""] * (longest - len(each))])
        for each, label in zip(inputs, labels, strict=True)
    ]
    return "\n".join([";".join(["label", *(f"t{n}" for n in range(longest))]), *rows]) + "\n"


def check(inputs, labels, name, written, **given):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(written, encoding="utf-8")
        samples = read_samples(path, **given)
    assert len(samples) == len(inputs)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(samples.inputs, inputs, strict=True))
    assert samples.labels.tolist() == labels
    assert samples.missing == sum(int(np.isnan(each).sum()) for each in inputs)


@LAW
@given(labelled())
def test_json_ts_and_arff_give_what_was_written(pair):
    inputs, labels = pair
    check(inputs, labels, "x.jsonl", json_lines(inputs, labels))
    check(inputs, labels, "x.ts", ts(inputs, labels))
    check(inputs, labels, "x.arff", relational_arff(inputs, labels))


@pytest.mark.skipif(importlib.util.find_spec("polars") is None, reason="needs polars")
@LAW
@given(labelled())
def test_a_long_table_gives_what_was_written(pair):
    inputs, labels = pair
    check(
        inputs,
        labels,
        "x.csv",
        long_csv(inputs, labels),
        columns=[f"x{n}" for n in range(inputs[0].shape[1])],
        id="id",
        time="time",
    )


@pytest.mark.skipif(importlib.util.find_spec("polars") is None, reason="needs polars")
@LAW
@given(labelled(channels=1))
def test_a_wide_table_gives_what_was_written(pair):
    inputs, labels = pair
    check(inputs, labels, "x.csv", wide_csv(inputs, labels), label="label")
