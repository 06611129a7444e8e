"""Several labels or numbers for each sample: tables, JSON lines, .npz, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.data import Samples, partition, read_samples
from unrolled.errors import DataError, ShapeError


def test_columns_of_zeros_and_ones_are_labels_that_hold_or_not(tmp_path: Path):
    pytest.importorskip("polars")
    path = tmp_path / "t.csv"
    path.write_text("red,big,a,b\n1,0,0.5,2\ntrue,1,3,4\n0,no,5,6\n")
    found = read_samples(path, label=["red", "big"])
    assert found.labels.tolist() == [[True, False], [True, True], [False, False]]
    assert (found.label_names, found.classes, found.of_numbers) == (("red", "big"), ("red", "big"), False)
    assert [each[:, 0].tolist() for each in found.inputs] == [[0.5, 2], [3, 4], [5, 6]]
    again = read_samples(path, **found.read_as)
    assert again.labels.tolist() == found.labels.tolist()
    path.write_text("a,b\n0.5,2\n")
    assert read_samples(path, **found.read_as, labelled=False).labels is None


def test_several_targets_are_numbers_one_of_each_for_a_sample(tmp_path: Path):
    pytest.importorskip("polars")
    path = tmp_path / "t.csv"
    path.write_text("id,t,v,x,y\na,0,1,5,0.5\na,1,2,5,0.5\nb,0,3,6,1\n")
    found = read_samples(path, target=["x", "y"], id="id", time="t")
    assert found.labels.tolist() == [[5, 0.5], [6, 1]]
    assert (found.label_names, found.of_numbers, found.channels) == (("x", "y"), True, ("v",))
    path.write_text("id,t,v,x,y\na,0,1,5,0.5\na,1,2,4,0.5\nb,0,3,6,1\n")
    with pytest.raises(DataError, match="target: expected one value of 'x' in each sample"):
        read_samples(path, target=["x", "y"], id="id", time="t")


def test_lists_of_names_in_json_lines_are_labels(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a b", "label": ["news", "sport"]}\n{"text": "c", "label": []}\n')
    found = read_samples(path)
    assert found.label_names == ("news", "sport")
    assert found.labels.tolist() == [[True, True], [False, False]]
    path.write_text('{"text": "a b", "label": ["news", 3]}\n{"text": "c", "label": []}\n')
    with pytest.raises(DataError, match="source line 1: expected a list of texts in 'label'"):
        read_samples(path)


def test_arrays_of_labels_in_npz(tmp_path: Path):
    x = np.zeros((3, 4, 2))
    np.savez(tmp_path / "a.npz", x=x, y=np.array([[0, 1], [1, 1], [0, 0]]))
    assert read_samples(tmp_path / "a.npz").labels.tolist() == [[False, True], [True, True], [False, False]]
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(6.0).reshape(3, 2))
    assert read_samples(tmp_path / "a.npz").labels.tolist() == [[0, 1], [2, 3], [4, 5]]
    np.savez(tmp_path / "a.npz", x=x, y=np.array([[0, 1], [1, 2], [0, 0]]))
    with pytest.raises(DataError, match="labels"):
        read_samples(tmp_path / "a.npz")


def test_samples_of_several_labels_are_taken_and_divided():
    labels = np.random.default_rng(0).random((40, 3)) < 0.3
    samples = Samples.from_arrays(np.zeros((40, 5, 1)), labels, label_names=["a", "b", "c"])
    found = partition(samples, validation=0.2, test=0.2)
    assert sorted([*found.train, *found.validation, *found.test]) == list(range(40))
    assert samples.take(found.test).labels.tolist() == labels[found.test].tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[1, 2], [0, 1]]), "labels: expected 0 and 1 in several columns of labels, or fractions, got 2"),
        (np.array([[1.0, np.nan], [0, 1]]), r"labels\[0, 1\]: expected a finite number, got nan"),
        (np.zeros((3, 2)), r"labels: expected \[2, K\], a row for each sample, got \[3, 2\]"),
        (np.array([["a", "b"], ["c", "d"]]), "labels: expected numbers, or 0 and 1, in several columns"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_labels_is_named(labels: Any, message: str):
    with pytest.raises((DataError, ShapeError), match=message):
        Samples.from_arrays([[1.0], [2.0]], labels)


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("a,b,v,w\n1,2,1,2\n0,0,1,2\n", {"label": ["a", "b"]}, "label 'b': expected 0 or 1, as there are several labels, got '2' in row 2"),
        ("a,b,v,w\n1,,1,2\n0,0,1,2\n", {"label": ["a", "b"]}, "label 'b': expected 0 or 1, as there are several labels, got 'none' in row 2"),
        ("a,b,v,w\n1,2,1,2\n", {"label": ["a", "c"]}, "label: expected a column of the table: 'a', 'b', 'v', 'w', got 'c'"),
        ("a,b,v,w\n1,,1,2\n", {"target": ["a", "b"]}, "column 'b': expected a finite number, got none in row 2"),
        ("a,b,v,w\n1,1,1,2\n", {"target": ["a", "a"]}, "target and target: expected different columns, got 'a'"),
    ],
)  # fmt: skip
def test_columns_that_are_no_labels_are_named(tmp_path: Path, text: str, given: Any, message: str):
    pytest.importorskip("polars")
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_samples(path, **given)
    assert str(caught.value) == message
