"""Tables as samples: wide, long, texts; what is found, what is asked, and the row that is wrong."""

import gzip
import os
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from unrolled.data import Scaler, read_samples, read_series
from unrolled.errors import ConfigError, DataError, MissingExtraError

LONG = "id,time,x,y,label\na,0,1,2,up\na,1,3,4,up\nb,0,5,6,down\nb,3,7,8,down\n"


@pytest.fixture
def table(tmp_path):
    pytest.importorskip("polars")

    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_row_is_a_sample_and_its_numbers_are_the_steps(table):
    samples = read_samples(table("activity,0,1,2\nwalk,1,2,3\nrun,4,5,6\nwalk,7,8,9.5\n"))
    assert [each.tolist() for each in samples.inputs] == [[[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9.5]]]
    assert samples.labels.tolist() == ["walk", "run", "walk"]
    assert (samples.channels, samples.ids, samples.name) == (("value",), ("2", "3", "4"), "t.csv")
    assert samples.notes == ("labels are read from column 'activity'",)


def test_empty_cells_at_the_end_shorten_a_row_and_others_are_missing(table):
    samples = read_samples(table("label,a,b,c\nx,1,,3\ny,4,NA,?\nz,null,nan,\n"))
    assert samples.steps.tolist() == [3, 1]
    assert np.isnan(samples.inputs[0][1, 0])
    assert samples.notes == (
        "rows have 1 to 3 steps",
        "1 sample left out: no value, such as 4",
        "missing: 1 of 4 values (25.0%)",
    )


def test_the_ucr_archive_has_the_label_first_and_no_header(table):
    samples = read_samples(
        table("1\t0.5\t0.6\n-1\t0.1\t0.2\n1\t0.1\t0.9\n-1\t0.4\t0.7\n", "GunPoint_TRAIN.tsv")
    )
    assert samples.labels.tolist() == ["1", "-1", "1", "-1"]
    assert samples.inputs[0].tolist() == [[0.5], np.float32([0.6]).tolist()]
    assert samples.ids == ("1", "2", "3", "4")
    assert samples.read_as == {"label": "1"}


def test_a_test_part_beside_is_named(table):
    table("1\t0\t1\n", "GunPoint_TEST.tsv")
    samples = read_samples(table("1\t0\t1\n2\t0\t1\n1\t0\t2\n", "GunPoint_TRAIN.tsv"))
    assert samples.notes[-1] == "there is a test part next to it: GunPoint_TEST.tsv"


def test_rows_of_one_id_are_a_sample_with_a_channel_for_each_column(table):
    samples = read_samples(table(LONG))
    assert [each.tolist() for each in samples.inputs] == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert [each.tolist() for each in samples.times] == [[0, 1], [0, 3]]
    assert (samples.channels, samples.ids, samples.classes) == (("x", "y"), ("a", "b"), ("down", "up"))
    assert samples.read_as == {"label": "label", "id": "id", "time": "time", "columns": ["x", "y"]}
    assert Scaler.fit(samples.inputs, samples.channels, times=samples.times).gaps


def test_rows_of_samples_may_be_mixed_in_the_file(table):
    head, *rows = LONG.splitlines()
    mixed = read_samples(table("\n".join([head, rows[2], rows[0], rows[3], rows[1]]) + "\n", "m.csv"))
    straight = read_samples(table(LONG))
    assert mixed.ids == ("b", "a")
    assert [each.tolist() for each in mixed.inputs] == [each.tolist() for each in straight.inputs][::-1]


def test_dates_become_seconds(table):
    text = "id,when,v,label\n1,2024-05-01,1,a\n1,2024-05-02T12:00:00,2,a\n2,2024-05-01T00:00:00+01:00,1,b\n"
    samples = read_samples(table(text), time="when", id="id")
    assert samples.times[0].tolist() == [1714521600, 1714521600 + 36 * 3600]
    assert samples.times[1].tolist() == [1714521600 - 3600]


def test_a_text_and_a_label_are_a_sample(table):
    samples = read_samples(table('text,label\n"hello, ""you""",pos\nbye,neg\n,neg\n'))
    assert list(samples.inputs) == ['hello, "you"', "bye"]
    assert samples.channels == ()
    assert samples.notes == ("1 sample left out: no text, such as 4",)


def test_what_was_found_reads_an_unlabelled_file_alike(table):
    samples = read_samples(table(LONG))
    again = read_samples(
        table("time,id,y,extra,x\n0,q,2,9,1\n1,q,4,9,3\n", "n.csv"), labelled=False, **samples.read_as
    )
    assert again.labels is None
    assert again.channels == ("x", "y")
    assert again.inputs[0].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"columns: expected a column of the table: .*, got 'y'"):
        read_samples(table("time,id,x\n0,q,1\n", "o.csv"), labelled=False, **samples.read_as)


@pytest.mark.parametrize(
    ("column", "given", "found"),
    [
        (["1", "2", "1"], {"label": "v"}, ["1", "2", "1"]),
        (["1.0", "2.0", "1"], {"label": "v"}, ["1", "2", "1"]),
        (["1", "2", "1"], {"target": "v"}, [1.0, 2.0, 1.0]),
        (["1", "2.5", "1"], {"label": "v"}, [1.0, 2.5, 1.0]),
        (["1", "2", "other"], {"label": "v"}, ["1", "2", "other"]),
        (["007", "b", "c"], {"label": "v"}, ["007", "b", "c"]),
    ],
)
def test_whole_numbers_are_classes_unless_they_are_a_target(table, column, given, found):
    text = "v,a,b\n" + "".join(f"{value},{row},1\n" for row, value in enumerate(column))
    assert read_samples(table(text), **given).labels.tolist() == found


def test_many_whole_numbers_are_asked_about(table):
    text = "v,a\n" + "".join(f"{row},0.5\n" for row in range(100))
    with pytest.raises(DataError) as caught:
        read_samples(table(text), label="v")
    assert str(caught.value) == (
        "label: expected classes, or target= to take the column as numbers, got 100 different whole numbers in 100 samples of 'v'"
    )


def test_semicolons_and_decimal_commas_are_read(table):
    samples = read_samples(table("case;value;label\na;0,5;u\na;0,75;u\nb;1;w\n"))
    assert samples.inputs[0].tolist() == [[0.5], [0.75]]


def test_a_packed_table_is_read(table, tmp_path):
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(LONG.encode()))
    assert read_samples(packed).labels.tolist() == read_samples(table(LONG)).labels.tolist()


def test_groups_are_one_of_each_sample_and_their_usual_names_are_no_inputs(table):
    text = "subject,label,a,b\n1,x,0,1\n1,y,0,2\n2,x,0,3\n"
    samples = read_samples(table(text), group="subject")
    assert samples.groups.tolist() == ["1", "1", "2"]
    without = read_samples(table(text))
    assert without.inputs[0].tolist() == [[0], [1]]
    assert without.notes == (
        "left out: 'subject'; as the group, each of its values would stay on one side of a split",
    )


def test_an_input_that_is_the_label_and_a_constant_one_are_noted(table):
    samples = read_samples(table("id,a,b,c,label\n1,1,7,0,1\n1,1,7,5,1\n2,2,7,0,2\n"))
    assert samples.notes[1:] == (
        "1 constant column: 'b'",
        "warning: 'a' equals the label 'label' in every row",
    )
    many = table("id,a,c,label\n" + "".join(f"{k},{k % 2},{k},{k % 2}\n" for k in range(12)), "many.csv")
    with pytest.raises(
        DataError, match="columns: expected inputs other than the label 'label', or columns= "
    ):
        read_samples(many)
    assert read_samples(many, columns=["a"]).channels == ("value",)
    one = read_samples(table("label,a,b\nx,1,2\nx,3,4\n", "one.csv"))
    assert one.notes == ("warning: every sample has the label 'x'",)


def test_the_index_of_a_saved_data_frame_is_no_input(table):
    samples = read_samples(table(",a,b,label\n0,5,6,x\n1,7,8,y\n2,9,1,x\n"))
    assert samples.inputs[0].tolist() == [[5], [6]]
    assert samples.notes == ("left out: 'column 1', which numbers the rows",)
    assert read_samples(table("index,v,label\n7,1,x\n8,2,y\n"), label="label").steps.tolist() == [1, 1]


def test_a_text_that_its_column_has_again_is_no_header(table):
    samples = read_samples(table("a good one,pos\nnot so good,neg\nwell done,pos\nbad,neg\n"))
    assert (samples.inputs[0], samples.labels.tolist()) == ("a good one", ["pos", "neg", "pos", "neg"])
    assert samples.read_as == {"label": "2", "columns": ["1"]}


def test_spaces_around_numbers_are_allowed_and_texts_keep_theirs(table):
    samples = read_samples(table("label, a, b\nx, 1, 2\ny, 3 , NA \n"))
    assert samples.inputs[0].tolist() == [[1], [2]]
    assert samples.steps.tolist() == [2, 1]


BAD = {
    "no candidate": ("a,b\n1,2\n3,4\n", {}, "label: expected the name of a column, got none, and no column looks like it: 'a', 'b'"),
    "two candidates": ("p,q,a\nx,u,1\nx,u,2\ny,w,3\ny,w,3\n", {}, "label: expected the name of a column, got none, with 2 candidates: 'p', 'q'"),
    "no such column": ("a,b\n1,2\n", {"label": "c"}, "label: expected a column of the table: 'a', 'b', got 'c'"),
    "one column twice": ("a,b\n1,2\n", {"label": "a", "group": "a"}, "label and group: expected different columns, got 'a'"),
    "text for a number": ("label,a,b\nx,1,2\ny,3,oops\nz,5,6\n", {}, "column 'b': expected numbers, got 'oops' in row 3"),
    "text asked for as a number": ("label,a,t\nx,1,u\ny,2,w\n", {"columns": ["a", "t"]}, "column 't': expected numbers, got 'u', a text; make of categories a column of 0 and 1 for each value (one-hot)"),
    "infinite": ("label,a,b\nx,1,2\ny,inf,4\n", {}, "column 'a': expected finite float32 numbers, got inf in row 3"),
    "beyond float32": ("label,a,b\nx,1,2\ny,1e99,4\n", {}, "column 'a': expected finite float32 numbers, within ±3.4e+38, got 1e+99 in row 3"),
    "no label": ("label,a\nx,1\n,2\n", {"label": "label"}, "column 'label': expected a value, got none in row 3"),
    "NaN as target": ("v,a\n0.5,1\nnan,2\n", {"target": "v"}, "column 'v': expected a finite number, got none in row 3"),
    "infinite target": ("v,a\n0.5,1\n-inf,2\n", {"target": "v"}, "column 'v': expected a finite number, got -inf in row 3"),
    "large target": ("v,a\n0.5,1\n1e150,2\n", {"target": "v"}, "column 'v': expected a number within ±1e+100, got 1e+150 in row 3"),
    "large time": ("id,t,v,label\na,0,1,u\na,1e300,2,u\n", {}, "column 't': expected numbers within ±4.6e+18, got '1e300' in row 3"),
    "text as target": ("v,a\n0.5,1\n2,2\nlow,3\n", {"target": "v"}, "column 'v': expected numbers, got 'low' in row 4"),
    "header alone": ("label,a\n", {}, "source: expected a table with rows, got a header alone"),
    "one name twice": ("label,a,a\nx,1,2\n", {}, "source: expected columns of different names, got two called 'a'"),
    "no input": ("label,group\nx,1\ny,2\n", {"label": "label", "group": "group"}, "columns: expected a column of numbers or of texts, got none beside 'label', 'group'"),
    "a time twice": ("id,t,v,label\na,0,1,u\na,0,2,u\n", {}, "column 't': expected rising times in each sample, got 0 twice in 'a', row 3"),
    "out of time": ("id,t,v,label\na,5,1,u\nb,1,1,w\na,3,2,u\n", {}, "column 't': expected rising times in each sample, got 3 after 5 in 'a', row 4"),
    "no time": ("id,t,v,label\na,0,1,u\na,soon,2,u\na,2,1,u\n", {}, "column 't': expected numbers, got 'soon' in row 3"),
    "no date": ("id,date,v,label\na,2024-01-01,1,u\na,later,2,u\n", {}, "column 'date': expected numbers or times such as 2024-05-01 12:00, got 'later' in row 3"),
    "no id": ("id,t,v,label\na,0,1,u\n,1,2,u\na,2,1,u\n", {"id": "id"}, "column 'id': expected an id, got none in row 3"),
    "times without an id": ("date,v,label\n2024-01-01,1,a\n2024-01-02,2,b\n", {}, "id: expected the column that says which sample a row is of, or columns= with the steps of each row, got none, beside times in 'date'"),
    "two groups in a sample": ("id,t,v,label,who\na,0,1,u,1\na,1,2,u,2\n", {"group": "who"}, "group: expected one value of 'who' in each sample, got '1' and '2' in 'a', row 3"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "given", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line_with_its_row(table, text, given, message):
    with pytest.raises(DataError) as caught:
        read_samples(table(text), **given)
    assert str(caught.value) == message


def test_too_many_fields_are_named_with_their_row(table):
    with pytest.raises(DataError) as caught:
        read_samples(table("label,a\nx,1\ny,2,3,4\n"))
    want = "source: expected a table, got 4 fields in row 3, more than 2 in row 1, in "
    assert str(caught.value).startswith(want)


def test_blank_lines_are_no_rows_but_count(table):
    samples = read_samples(table("label,a,b\n\nx,1,2\n\ny,3,4\n\n\n"))
    assert samples.ids == ("3", "5")
    with pytest.raises(DataError, match="column 'b': expected numbers, got 'oops' in row 5"):
        read_samples(table("label,a,b\n\nx,1,2\n\ny,3,oops\nz,3,4\n"))


def test_line_ends_marks_and_quotes_of_others_are_read(tmp_path):
    pytest.importorskip("polars")
    (tmp_path / "w.csv").write_bytes('\ufefftext,label\r\n"two\r\nlines",a\r\n"b",c\r\n'.encode())
    assert list(read_samples(tmp_path / "w.csv").inputs) == ["two\nlines", "b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label": "a", "target": "b"}, "label and target: expected one of the two, got 'a' and 'b'"),
        ({"columns": "abc"}, "columns: expected a list of names, got 'abc'"),
        ({"columns": []}, "columns: expected at least 1 name, got none"),
    ],
)
def test_arguments_that_exclude_one_another_are_named(tmp_path, given, message):
    with pytest.raises(ConfigError) as caught:
        read_samples(tmp_path, **given)
    assert str(caught.value) == message


def test_a_source_that_is_not_there_or_not_known_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"source: expected a file or a folder, got no such path: '.*nowhere.csv'"
    ):
        read_samples(tmp_path / "nowhere.csv")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(
        DataError, match=r"source: expected a folder of classes, or a file \.csv, .*, got 'a\.docx'"
    ):
        read_samples(tmp_path / "a.docx")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"source: expected a file with samples, got an empty one: .*a\.csv"):
        read_samples(tmp_path / "a.csv")


def test_without_polars_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    path = tmp_path / "t.csv"
    path.write_text(LONG)
    with pytest.raises(MissingExtraError) as caught:
        read_samples(path)
    assert str(caught.value) == (
        "source: expected the package polars, pip install 'unrolled[tables]', for a CSV file, got none"
    )


def test_parquet_holds_what_csv_holds(table, tmp_path):
    polars = pytest.importorskip("polars")
    csv = read_samples(table(LONG))
    polars.read_csv(LONG.encode()).write_parquet(tmp_path / "t.parquet")
    parquet = read_samples(tmp_path / "t.parquet")
    assert [each.tolist() for each in parquet.inputs] == [each.tolist() for each in csv.inputs]
    assert (parquet.labels.tolist(), parquet.read_as) == (csv.labels.tolist(), csv.read_as)
    polars.DataFrame({"x": [[1.0, None], [3.0]], "label": ["a", "b"]}).write_parquet(tmp_path / "n.parquet")
    assert read_samples(tmp_path / "n.parquet").steps.tolist() == [2, 1]


def test_columns_of_parquet_have_kinds_of_their_own(tmp_path):
    pl = pytest.importorskip("polars")
    path = tmp_path / "t.parquet"
    base = {
        "id": ["a", "a", "b"],
        "label": pl.Series(["u", "u", "w"], dtype=pl.Categorical),
        "v": [True, None, False],
    }
    days = pl.Series([datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 1)])
    for kind in (
        days,
        days.dt.date(),
        days.dt.cast_time_unit("ns"),
        days.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    ):
        pl.DataFrame({**base, "ds": kind, "for": [timedelta(minutes=2)] * 3}).write_parquet(path)
        samples = read_samples(path)
        assert [each.tolist() for each in samples.times] == [[1704067200, 1704153600], [1704067200]]
        assert (samples.channels, samples.labels.tolist(), samples.missing) == (("v", "for"), ["u", "w"], 1)
        assert samples.inputs[1].tolist() == [[0, 120]]
    for wrong, kind in (([b"1"] * 3, "Binary"), ([{"a": 1}] * 3, "Struct")):
        pl.DataFrame({**base, "x": wrong}).write_parquet(path)
        with pytest.raises(
            DataError, match=f"column 'x': expected numbers, texts, times or lists, got {kind}"
        ):
            read_samples(path)


def test_what_were_numbers_are_numbers_in_another_file(table):
    samples = read_samples(table("v,a\n0.5,1\n2,2\n"), label="v")
    assert samples.read_as == {"target": "v"}
    assert read_samples(table("v,a\n1,1\n2,2\n"), **samples.read_as).labels.tolist() == [1.0, 2.0]


ETTH1 = Path(os.environ.get("UNROLLED_DATA", "no data")) / "etth1" / "ETTh1.csv"


@pytest.mark.skipif(not ETTH1.exists(), reason="needs real data in UNROLLED_DATA")
def test_a_forecasters_table_asks_for_an_id():
    pytest.importorskip("polars")
    with pytest.raises(DataError, match="id: expected the column that says which sample a row is of"):
        read_samples(ETTH1, target="OT")


def test_categories_among_numbers_are_named_with_what_to_do(table):
    path = table(
        "id,color,x,label\n" + "".join(f"s{n // 2},{'rb'[n % 4 // 2]},{n},{n // 2 % 2}\n" for n in range(8))
    )
    want = (
        r"^column 'color': expected numbers, got 'r', a text; make of categories a column of 0 and 1 for each"
    )
    for asked in ({"static": ["color"]}, {"columns": ["x", "color"]}):
        with pytest.raises(DataError, match=want):
            read_samples(path, label="label", **asked)
    assert any(
        "'color', not of numbers; make of categories" in n for n in read_samples(path, label="label").notes
    )
    for asked in ({"known": ["color"]}, {"columns": ["color"]}, {"static": ["color"]}):
        with pytest.raises(DataError, match=want):
            read_series(path, id="id", target="x", **asked)
