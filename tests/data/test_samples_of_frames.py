"""Samples of data frames, static columns, and the test part that lies beside a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.data import read_samples
from unrolled.errors import DataError, DtypeError

LONG = "id,t,v,w,age,kind\na,0,1,2,30,x\na,1,3,,30,x\nb,0,5,6,41,y\nb,5,7,8,41,y\nb,6,7,8,41,y\n"
WIDE = "kind,1,2,3,age\nx,1,2,3,30\ny,4,5,,41\n"


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_data_frame_gives_the_samples_of_its_csv(library: str, tmp_path: Path):
    pytest.importorskip("narwhals")
    module = pytest.importorskip(library)
    path = tmp_path / "t.csv"
    path.write_text(LONG)
    if library == "pyarrow":
        df: Any = pytest.importorskip("pyarrow.csv").read_csv(path)
    else:
        df = module.read_csv(path)
    keywords: Any = {"label": "kind", "id": "id", "time": "t"}
    found, want = read_samples(df, **keywords), read_samples(path, **keywords)
    for one, other in zip(found.inputs, want.inputs, strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("channels", "ids", "read_as"):
        assert getattr(found, name) == getattr(want, name)
    assert found.labels.tolist() == want.labels.tolist()
    assert [each.tolist() for each in found.times] == [each.tolist() for each in want.times]
    assert found.sha256 == read_samples(df, **keywords).sha256
    with pytest.raises(DataError, match="label: expected a column of the table"):
        read_samples(df, label="other")
    with pytest.raises(DtypeError, match="df: expected a data frame"):
        read_samples([1, 2])


def test_static_columns_are_channels_of_one_value_for_each_sample(tmp_path: Path):
    pytest.importorskip("polars")
    path = tmp_path / "t.csv"
    path.write_text(WIDE)
    wide = read_samples(path, static=["age"])
    assert wide.channels == ("value", "age")
    assert [each.tolist() for each in wide.inputs] == [[[1, 30], [2, 30], [3, 30]], [[4, 41], [5, 41]]]
    assert read_samples(path, **wide.read_as).inputs[1].tolist() == wide.inputs[1].tolist()
    path.write_text(LONG)
    long = read_samples(path, label="kind", static=["age"], columns=["v"])
    assert (long.channels, long.inputs[1][:, 1].tolist()) == (("v", "age"), [41, 41, 41])
    with pytest.raises(DataError, match="static: expected one value of 'w' in each sample"):
        read_samples(path, label="kind", static=["w"])
    with pytest.raises(DataError, match="static: expected a column of the table"):
        read_samples(path, label="kind", static=["weight"])
    path.write_text("name,kind,age\nab,x,3\ncd,y,4\n")
    with pytest.raises(DataError, match="static: expected none beside texts, got 'age'"):
        read_samples(path, label="kind", static=["age"], columns=["name"])


def test_an_archive_is_tested_on_the_file_that_lies_beside_it(tmp_path: Path):
    from unrolled import spec
    from unrolled.tasks.classify.dataset import prepare

    head = "@univariate true\n@equalLength true\n@classLabel true 0 1\n@data\n"
    rows = [f"{k},{k + 1},{k}.5:{k % 2}\n" for k in range(20)]
    source = tmp_path / "Few_TRAIN.ts"
    source.write_text(head + "".join(rows[:8]))
    (tmp_path / "Few_TEST.ts").write_text(head + "".join(rows[8:]))
    test = source.with_name(source.name.replace("TRAIN", "TEST"))
    expected_test = len(read_samples(test))
    found = prepare(spec.ClassifyData(str(source)), tmp_path / "a", seed=0)
    assert len(found.part("test")) == expected_test
    assert f"{test.name}, next to the source, is the test part" in found.stored.notes
    assert not any("next to it" in note for note in found.stored.notes)
    without = prepare(spec.ClassifyData(str(source), test_share=0.0), tmp_path / "b", seed=0)
    assert not without.has_test
    assert any("there is a test part next to it" in note for note in without.stored.notes)
    other = tmp_path / "other.ts"
    other.write_text(test.read_text())
    given = prepare(spec.ClassifyData(str(source), test=str(other)), tmp_path / "c", seed=0)
    assert len(given.part("test")) == expected_test
    assert not any("next to the source, is" in note for note in given.stored.notes)


def test_a_group_on_both_sides_of_a_test_file_is_refused_where_groups_were_asked_for(tmp_path: Path):
    pytest.importorskip("polars")
    from unrolled import spec
    from unrolled.tasks.classify.dataset import prepare

    header = "who,kind,1,2\n"
    rows = [f"p{k % 6},{'xy'[k % 2]},{k},{k + 1}\n" for k in range(24)]
    (tmp_path / "a.csv").write_text(header + "".join(rows))
    (tmp_path / "b.csv").write_text(header + "".join(rows[:3]))
    files = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    data = spec.ClassifyData(files[0], label="kind", group="who", test=files[1])
    with pytest.raises(
        DataError, match="test: expected values of 'who' that do not occur in the training data, got 3 groups"
    ):
        prepare(data, tmp_path / "run", seed=0)
