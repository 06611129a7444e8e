"""Series from tables and arrays: what is found, what is asked, what is missing, and the row that is wrong."""

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from unrolled.data import Series, read_series
from unrolled.errors import ConfigError, DataError, DtypeError, ShapeError

HOURS = [f"2024-05-01 {hour:02}:00" for hour in range(24)]
LONG = "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,5\nb,2024-01-02,6\nb,2024-01-03,7\n"


@pytest.fixture
def table(tmp_path):
    pytest.importorskip("polars")

    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def stamps(series, index=0):
    return series.times[index].astype("datetime64[s]").astype(str).tolist()


def test_columns_of_a_wide_table_are_series(table):
    series = read_series(table("date,load,wind,\n2024-05-01 00:00,1,2,\n2024-05-01 00:15,3,4.5,\n"))
    assert (series.ids, series.freq, series.season) == (("load", "wind"), "15min", 96)
    assert [each.tolist() for each in series.values] == [[1, 3], [2, 4.5]]
    assert series.values[0].dtype == np.float64
    assert stamps(series) == ["2024-05-01T00:00:00", "2024-05-01T00:15:00"]
    assert series.read_as == {"target": ["load", "wind"], "time": "date", "freq": "15min"}
    assert series.notes == ("left out: 'column 4', not numeric", "2 series, a column each: 'load', 'wind'")


def test_rows_of_an_id_are_a_series(table):
    series = read_series(table(LONG))
    assert (series.ids, series.freq, series.season, series.name) == (("a", "b"), "D", 7, "t.csv")
    assert [each.tolist() for each in series.values] == [[1, 2], [5, 6, 7]]
    assert series.read_as == {"target": ["y"], "id": "unique_id", "time": "ds", "freq": "D"}
    assert series.take([1]).ids == ("b",)
    mixed = LONG.splitlines()
    mixed = read_series(table("\n".join([mixed[0], *(mixed[i] for i in (3, 1, 4, 2, 5))]) + "\n", "m.csv"))
    assert (mixed.ids, mixed.values[0].tolist()) == (("b", "a"), [5, 6, 7])


def test_the_number_of_a_row_is_no_id(table):
    series = read_series(table("id,date,load\n7,2024-01-01,1\n9,2024-01-02,2\n8,2024-01-03,3\n"))
    assert (series.ids, series.steps.tolist()) == (("load",), [3])
    assert series.notes == ("left out: 'id', different in every row",)


def test_several_targets_of_several_ids(table):
    text = "unit,date,p,q\nx,2024-01-01,1,2\nx,2024-01-02,3,4\nz,2024-01-01,5,6\n"
    series = read_series(table(text), target=["p", "q"], id="unit")
    assert series.ids == ("x/p", "x/q", "z/p", "z/q")
    assert [each.tolist() for each in series.values] == [[1, 3], [2, 4], [5], [6]]


def test_known_observed_and_static_columns(table):
    text = (
        "id,ds,y,warm,holiday,size\na,2024-01-01,1,10,0,7\na,2024-01-02,2,,1,7\n"
        "a,2024-01-03,,,1,7\nb,2024-01-01,4,12,0,9\nb,2024-01-02,,,1,9\n"
    )
    series = read_series(table(text), known=["holiday"], columns=["warm"], static=["size"])
    assert [each.tolist() for each in series.values] == [[1, 2], [4]]
    assert [each.tolist() for each in series.known] == [[[0], [1], [1]], [[0], [1]]]
    assert [each.shape for each in series.past] == [(2, 1), (1, 1)]
    assert np.isnan(series.past[0][1, 0])
    assert series.static.tolist() == [[7], [9]]
    assert (series.past_names, series.known_names, series.static_names) == (
        ("warm",),
        ("holiday",),
        ("size",),
    )
    assert [len(each) for each in series.times] == [3, 2]
    assert [each.tolist() for each in series.future_known(1)] == [[[1]], [[1]]]
    with pytest.raises(DataError, match="known holiday: expected 2 rows after the last value of 'a', got 1"):
        series.future_known(2)
    ahead = read_series(
        table("id,ds,holiday\na,2024-01-04,1\n", "f.csv"),
        needs_values=False,
        target="y",
        known=["holiday"],
        id="id",
        freq="D",
    )
    assert (ahead.ids, len(ahead.values[0]), ahead.known[0].tolist()) == (("a",), 0, [[1]])


def test_rows_to_come_are_put_behind_the_last_values(table):
    text = "id,ds,y,k\na,2024-01-01,1,0\na,2024-01-02,2,0\nb,2024-01-02,3,1\nb,2024-01-03,3,1\n"
    series = read_series(table(text), known=["k"])
    want = {**series.read_as, "needs_values": False}
    future = read_series(
        table("id,ds,k\na,2024-01-02,9\na,2024-01-03,5\na,2024-01-04,6\nb,2024-01-04,7\n", "f.csv"), **want
    )
    joined = series.with_future(future)
    assert [each[:, 0].tolist() for each in joined.known] == [[0, 0, 5, 6], [1, 1, 7]]
    assert [each[:, 0].tolist() for each in joined.future_known(1)] == [[5], [7]]
    assert [len(each) for each in joined.times] == [4, 3]
    for rows, message in [
        ("a,2024-01-03,1\n", "rows of 'b', got none"),
        ("a,2024-01-04,5\nb,2024-01-04,7\n", "one step after its last value"),
    ]:
        with pytest.raises(DataError, match=message):
            series.with_future(read_series(table("id,ds,k\n" + rows, "g.csv"), **want))
    with pytest.raises(DataError, match=r"future: expected the known columns k, got none"):
        series.with_future(read_series(table(text)))


def test_missing_times_become_missing_values_and_are_counted(table):
    rows = [row for row in range(24) if row not in (5, 6, 20)]
    series = read_series(table("date,y\n" + "".join(f"{HOURS[row]},{row}\n" for row in rows)))
    assert np.flatnonzero(np.isnan(series.values[0])).tolist() == [5, 6, 20]
    assert len(series.times[0]) == 24
    assert series.missing == 3
    times = "missing: 3 of 24 times (12.5%) in 'date', the first 2024-05-01 05:00:00; their values are treated as missing"
    assert series.notes == (times,)
    series = read_series(
        table("date,y\n" + "".join(f"{HOURS[row]},{row if row != 9 else ''}\n" for row in rows))
    )
    assert series.notes == (times, "missing: 4 of 24 values (16.7%)")


def test_a_series_begins_and_ends_with_a_value(table):
    series = read_series(table("ds,y\n2024-01-01,\n2024-01-02,1\n2024-01-03,2\n2024-01-04,NA\n"))
    assert series.values[0].tolist() == [1, 2]
    assert [len(each) for each in series.times] == [3]
    assert (series.future_times(1)[0] == series.times[0][2:]).all()


@pytest.mark.parametrize(
    ("first", "freq", "season", "days"),
    [
        ("2023-10-01", "MS", 12, ["2023-11-01", "2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]),
        ("2023-10-31", "ME", 12, ["2023-11-30", "2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31"]),
        ("2023-10-30", "MS", 12, ["2023-11-30", "2023-12-30", "2024-01-30", "2024-02-29", "2024-03-30"]),
        ("2023-01-01", "QS", 4, ["2023-04-01", "2023-07-01", "2023-10-01", "2024-01-01", "2024-04-01"]),
        ("2022-12-31", "QE", 4, ["2023-03-31", "2023-06-30", "2023-09-30", "2023-12-31", "2024-03-31"]),
        ("2019-07-01", "YS", 1, ["2020-07-01", "2021-07-01", "2022-07-01", "2023-07-01", "2024-07-01"]),
        ("2024-01-05", "B", 5, ["2024-01-08", "2024-01-09", "2024-01-10", "2024-01-11", "2024-01-12",
            "2024-01-15", "2024-01-16", "2024-01-17", "2024-01-18", "2024-01-19"]),
        ("2024-02-26", "W", 52, ["2024-03-04", "2024-03-11", "2024-03-18"]),
        ("2023-01-01", "2MS", 6, ["2023-03-01", "2023-05-01", "2023-07-01"]),
        ("2024-01-01", "4W", 13, ["2024-01-29", "2024-02-26", "2024-03-25"]),
    ],
)  # fmt: skip
def test_frequencies_are_those_of_the_calendar(table, first, freq, season, days):
    text = "ds,y\n" + "".join(f"{day},{row}\n" for row, day in enumerate([first, *days[:-1]]))
    series = read_series(table(text))
    assert (series.freq, series.season) == (freq, season)
    assert series.future_times(1)[0].astype("datetime64[s]").astype(str).tolist() == [f"{days[-1]}T00:00:00"]
    assert read_series(table(text), freq=freq.replace("E", "S")).freq == freq
    assert series.missing == 0


@pytest.mark.parametrize(
    ("stamp", "freq"),
    [
        (["2024-05", "2024-06", "2024-07"], "MS"),
        (["2023Q4", "2024-Q1", "2024 q2"], "QS"),
        (["2024/5/1", "2024/5/2", "2024/5/3"], "D"),
        (["20240530", "20240531", "20240601"], "D"),
        (["30/5/2024", "31/5/2024", "1/6/2024"], "D"),
        (["5/30/2024 0:00", "5/31/2024 0:00", "6/1/2024 0:00"], "D"),
        (["31.05.2024 23:00:00", "01.06.2024 00:00:00", "01.06.2024 01:00:00"], "h"),
        (["2024 Apr", "2024 May", "2024 Jun"], "MS"),
        (["January 2024", "Feb 2024", "Mar-2024"], "MS"),
        (["2024-05-01T00:00:00+02:00", "2024-04-30T23:00:00Z", "2024-05-01T00:00"], "h"),
        (["1714521600", "1714525200", "1714528800"], "h"),
        (["1714521600000", "1714521600250", "1714521600500"], "250ms"),
        (["0", "10", "20"], None),
        (["0.5", "0.75", "1.0"], None),
    ],
)
def test_times_are_read_as_people_write_them(table, stamp, freq):
    series = read_series(table("time,y\n" + "".join(f"{each},{row}\n" for row, each in enumerate(stamp))))
    assert series.freq == freq
    assert series.values[0].tolist() == [0, 1, 2]
    step = np.diff(series.times[0])[-1]
    assert series.future_times(1)[0][0] == pytest.approx(series.times[0][-1] + step, abs=86400 * 3)


def test_years_are_years(table):
    assert read_series(table(",0\n1821,269\n1822,321\n1823,585\n", "lynx.csv")).times[0].tolist() == [
        1821,
        1822,
        1823,
    ]
    series = read_series(table("year,y\n2019,1\n2020,2\n2022,3\n"))
    assert (series.freq, stamps(series)[0], series.values[0].tolist()[:2]) == (
        "YS",
        "2019-01-01T00:00:00",
        [1, 2],
    )
    assert np.isnan(series.values[0][2])


def test_rows_without_times_are_steps(table):
    series = read_series(table("a,b\n1,2\n3,4\n5,6\n"), freq="h")
    assert (series.ids, series.freq, series.season) == (("a", "b"), None, 24)
    assert series.times[0].tolist() == [0, 1, 2]
    assert series.future_times(2)[0].tolist() == [3, 4]
    assert "no column of times: each row is one step, in the order of the source" in series.notes


def test_each_row_is_a_series_as_in_m4(table):
    series = read_series(table('"V1","V2","V3","V4"\n"Y1",1,2,3\n"Y2",4,5,\n"Y3",,6,7\n'), season=4)
    assert (series.ids, series.season, series.freq) == (("Y1", "Y2", "Y3"), 4, None)
    assert [each.tolist() for each in series.values] == [[1, 2, 3], [4, 5], [6, 7]]
    assert [len(each) for each in series.times] == [3, 2, 2]


def test_local_times_when_clocks_change_are_explained(table):
    days = [f"2024-03-31 {hour:02}:00" for hour in range(24) if hour != 2]
    series = read_series(table("date,y\n" + "".join(f"{day},1\n" for day in days)))
    assert "1 of them when clocks are put forward: local times; in UTC none is missing" in series.notes
    days = ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00"]
    with pytest.raises(
        DataError, match=r"2024-10-27 02:00:00 a second time in 'date', row 4: clocks that are put back"
    ):
        read_series(table("date,y\n" + "".join(f"{day},1\n" for day in days)))
    days = [
        "2024-03-29T00:00+01:00",
        "2024-03-30T00:00+01:00",
        "2024-03-31T00:00+01:00",
        "2024-04-01T00:00+02:00",
    ]
    with pytest.raises(DataError, match=r"row 5: clocks change; give dates alone, or times in UTC"):
        read_series(table("date,y\n" + "".join(f"{day},1\n" for day in days)))


def test_what_was_found_reads_another_file_alike(table):
    series = read_series(table(LONG))
    again = read_series(table("ds,extra,unique_id,y\n2024-02-01,9,q,3\n", "n.csv"), **series.read_as)
    assert (again.ids, again.freq, again.values[0].tolist()) == (("q",), "D", [3])
    same = read_series(table(LONG), **series.read_as)
    assert same.sha256 == series.sha256


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("", {}, "source: expected a file with samples, got an empty one"),
        ("ds,y\n", {}, "source: expected a table with rows, got a header alone"),
        ("ds,z\n2024-01-01,u\n2024-01-02,w\n", {}, "target: expected a column of numbers, got none beside 'ds', 'z'"),
        ("ds,y\n2024-01-01,1\n", {"target": "z"}, "target: expected a column of the table: 'ds', 'y', got 'z'"),
        ("ds,y\n2024-01-01,1\n", {"known": ["z"]}, "known: expected a column of the table: 'ds', 'y', got 'z'"),
        ("id,ds,p,q\na,2024-01-01,1,2\na,2024-01-02,1,2\n", {}, "target: expected the name of a column, got none, with 2 candidates: 'p', 'q'"),
        ("u,w,y\n2024-01-01,2024-01-01,1\n2024-01-02,2024-01-02,1\n", {}, "time: expected the name of a column, got none, with 2 candidates: 'u', 'w'"),
        ("ds,y\n2024-01-01,1\n2024-01-02,x\n2024-01-03,3\n", {}, "column 'y': expected numbers, got 'x' in row 3"),
        ("ds,y\n2024-01-01,1\n2024-01-02,inf\n", {}, "column 'y': expected a finite number, got inf in row 3"),
        ("ds,y\n1,1\n2,-1e150\n", {}, "column 'y': expected a number within ±1e+100, got -1e+150 in row 3"),
        ("ds,y\n1,1\n1e300,2\n", {}, "column 'ds': expected numbers within ±4.6e+18, got '1e300' in row 3"),
        ("ds,y\n1,1\n99999999999999999999,2\n", {}, "column 'ds': expected numbers within ±4.6e+18, got '99999999999999999999' in row 3"),
        ("ds,y\n2024-01-01,1\n2024-01-02,2\n", {"freq": "9999YS"}, "freq: expected a step of at most 3,000 years, got '9999YS'"),
        ("ds,y,k\n2024-01-01,1,1\n2024-01-02,2,-inf\n", {"known": ["k"]}, "column 'k': expected finite float32 numbers, got -inf in row 3"),
        ("ds,y,k\n2024-01-01,1,1\n2024-01-02,2,q\n2024-01-03,2,1\n", {"columns": ["k"]}, "column 'k': expected numbers, got 'q' in row 3"),
        ("ds,y\n2024-01-01,1\n2024-01-01,2\n", {}, "column 'ds': expected each time once in a series, got 2024-01-01 a second time in 'ds', row 3"),
        ("id,ds,y\na,2024-01-02,1\nb,2024-01-05,1\na,2024-01-01,2\n", {}, "column 'ds': expected rising times in each series, got 2024-01-01 after 2024-01-02 in 'a', row 4"),
        ("id,ds,y\na,2024-01-01,1\na,2024-01-02,1\na,2024-01-03,1\nb,2024-01-01 00:00,1\nb,2024-01-01 06:00,1\n", {}, "column 'ds': expected steps of D, as most neighbouring times have, got 2024-01-01 06:00:00 after 2024-01-01 in 'b', row 6"),
        ("ds,y\n2024-01-01,1\n2024-01-02,1\n2024-01-03,1\n", {"freq": "2D"}, "column 'ds': expected steps of 2D, as freq= says, got 2024-01-02 after 2024-01-01 in 'ds', row 3"),
        ("t,y\n0,1\n1,1\n2,1\n2.5,1\n", {}, "column 't': expected steps of 1, as most neighbouring times have, got 2.5 after 2 in 't', row 5"),
        ("ds,y\n2024-01-01,1\nlater,1\n", {}, "column 'ds': expected a time such as 2024-05-01 12:00, 2024-05 or 2024Q2, the year first, or a number, got 'later' in row 3"),
        ("date,y\n1/2/2024,1\n1/3/2024,1\n", {}, "column 'date': expected dates that say which number is the day, as 2024-05-01 does, got '1/2/2024' in row 2"),
        ("date,y\nMonday,1\nTuesday,2\n", {}, "column 'date': expected a time such as 2024-05-01 12:00, 2024-05 or 2024Q2, the year first, or a number, got 'Monday' in row 2"),
        ("ds,y\n2024-01-01,1\n,1\n", {}, "column 'ds': expected a time such as 2024-05-01 12:00, 2024-05 or 2024Q2, the year first, or a number, got none in row 3"),
        ("ds,y\n2024-01-01,1\n2024-01-02,2\n", {"freq": "fortnight"}, "freq: expected a frequency such as 'h', '15min', 'D', 'B', 'W', 'MS', 'QS' or 'YS', got 'fortnight'"),
        ("ds,y\n2024-01-01,1\n2024-01-02,2\n", {"season": 0}, "season: expected a whole number of steps, at least 1, got 0"),
        ("ds,y\n2024-01-01,1\n2024-01-02,2\n", {"target": "y", "known": ["y"]}, "target and known: expected different columns, got 'y' twice"),
        ("ds,y,k\n2024-01-01,1,1\n2024-01-02,2,2\n", {"known": ["k"]}, "known: expected columns that differ from the target 'y', got 'k', equal to it in every row"),
        ("ds,y,k\n2024-01-01,1,0\n2024-01-02,2,0\n2024-01-03,,\n", {"known": ["k"]}, "column 'k': expected a value in each row after the last one of the target, got none at 2024-01-03 in 'y', row 4"),
        ("ds,y,k\n2024-01-01,1,0\n2024-01-02,2,0\n2024-01-03,2,0\n2024-01-05,,1\n", {"known": ["k"]}, "column 'k': expected a value in each row after the last one of the target, got none at 2024-01-04 in 'y', which has no row"),
        ("ds,y\n2024-01-01,\n2024-01-02,\n", {"target": "y"}, "source: expected at least 1 series with a value, got none in 1 series"),
        ("ds,y\n2024-01-01,1\n", {}, "freq: expected the frequency, which a single time in each series does not show, got none"),
        ("id,ds,y,s\na,2024-01-01,1,1\na,2024-01-02,1,2\n", {"static": ["s"]}, "static: expected one value of 's' in each series, got '1' and '2' in 'a', row 3"),
        ("id,ds,y,s\na,2024-01-01,1,\na,2024-01-02,1,\n", {"static": ["s"]}, "column 's': expected a value for each series, got none in row 2"),
        ("ds,y,s\n2024-01-01,1,3\n", {"static": ["s"]}, "id: expected the column that tells series apart, as static= is given, got none"),
        ("shop,ds,y\na,2024-01-01,1\nb,2024-01-01,2\na,2024-01-02,1\nb,2024-01-02,2\n", {}, "column 'ds': expected each time once in a series, got 2024-01-01 a second time in 'ds', row 3; id='shop' would tell series apart"),
        ("Date;Time;y\n10.03.2004;18.00;2,6\n10.03.2004;19.00;2\n", {}, "column 'Date': expected each time once in a series, got 2004-03-10 a second time in 'Date', row 3; join 'Date' and 'Time' to one column of times"),
        ("ds,y\n2024-01-01 00:00,1\n2024-01-01 01:00,1\n", {"freq": "D"}, "column 'ds': expected steps of D, as freq= says, got 2024-01-01 01:00:00 after 2024-01-01 in 'ds', row 3"),
        ("ds,y\n2024-01-01,1\n2024-01-02,2\n", {"target": 5}, "target: expected a list of names of columns, got 5"),
        ("t,y\n0,1\n1,2\n1000000,3\n1000001,3\n", {}, "freq: expected a row for one step in 100, at least, got 4 rows for 1,000,002 steps in 't'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(table, text, given, message):
    with pytest.raises((DataError, ConfigError)) as caught:
        read_series(table(text), **given)
    found = str(caught.value)
    assert found == message or (message.startswith("source") and found.startswith(message))
    assert "\n" not in found


def test_a_constant_series_an_equal_column_and_an_empty_series_are_noted(table):
    text = (
        "id,ds,y,c\na,2024-01-01,1,1\na,2024-01-02,1,1\nb,2024-01-01,,\nc,2024-01-01,2,2\nc,2024-01-02,3,3\n"
    )
    assert read_series(table(text), columns=["c"]).notes == (
        "warning: 'c' equals the target 'y' in every row",
        "1 series left out, without a value: 'b'",
        "1 constant series: 'a'",
    )


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_data_frames_of_any_library_give_the_series_of_the_file(table, library):
    pytest.importorskip("narwhals")
    module = pytest.importorskip(library)
    days = [date(2024, 1, 1) + timedelta(row) for row in (0, 1, 0, 1, 2)]
    columns = {"unique_id": ["a", "a", "b", "b", "b"], "ds": days, "y": [1.0, 2.0, 5.0, None, 7.0]}
    if library == "pandas":
        frame = module.DataFrame(columns).assign(ds=module.to_datetime(columns["ds"]))
    else:
        frame = module.DataFrame(columns) if library == "polars" else module.table(columns)
    series = Series.from_frame(frame)
    assert (series.ids, series.freq, stamps(series)[0]) == (("a", "b"), "D", "2024-01-01T00:00:00")
    assert series.values[0].tolist() == [1, 2]
    assert np.isnan(series.values[1][1])
    assert series.times[1].tolist() == read_series(table(LONG)).times[1].tolist()


def test_a_data_frame_with_a_clock_as_index_and_a_text_among_numbers():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2, 3]}, index=pandas.date_range("2024-01-31", periods=3, freq="ME"))
    assert Series.from_frame(frame).freq == "ME"
    zoned = frame.set_axis(pandas.date_range("2024-01-01", periods=3, freq="h", tz="Europe/Berlin"))
    assert stamps(Series.from_frame(zoned))[0] == "2023-12-31T23:00:00"
    days = pandas.DataFrame({"ds": [date(2024, 1, 1), date(2024, 1, 8)], "y": [1, 2]})
    assert Series.from_frame(days).freq == "W"
    frame["a"] = [1, 2, "x"]
    with pytest.raises(DataError, match="column 'a': expected numbers, got 'x' in row 2"):
        Series.from_frame(frame, target="a")
    with pytest.raises(DtypeError, match="df: expected a data frame, such as pandas' or polars', got list"):
        Series.from_frame([1, 2])


def test_series_of_arrays():
    days = np.arange("2024-01-01", "2024-01-05", dtype="datetime64[D]")
    series = Series.from_arrays([[1, 2, 3]], known=[np.ones((4, 2))], times=[days], static=[[1.0]])
    assert (series.ids, series.freq, series.season, series.known_names) == (("0",), "D", 7, ("0", "1"))
    assert [len(series.values[0]), len(series.times[0]), len(series.known[0])] == [3, 4, 4]
    assert Series.from_arrays(np.arange(6.0), season=3).ids == ("0",)
    assert len(Series.from_arrays(np.zeros((2, 5)), freq="h")) == 2
    each = {
        "values": [[1.0, 2]],
        "past": [[[1.0], [2]]],
        "known": [[[1.0], [2]]],
        "static": [[1.0]],
        "times": [[0, 1]],
    }
    digests = {Series.from_arrays(**{**each, name: np.add(each[name], 1)}).sha256 for name in each}
    assert len(digests | {Series.from_arrays(**each).sha256}) == len(each) + 1  # whatever changes is noticed
    for given, error in [
        ({"values": []}, DataError), ({"values": [[]]}, ShapeError), ({"values": [["a"]]}, DtypeError),
        ({"values": [[np.inf]]}, DataError), ({"values": [[1.0]], "ids": []}, ShapeError),
        ({"values": [[1.0]], "known": [[[np.inf]]]}, DataError), ({"values": [[1.0, 2]], "past": [[1]]}, ShapeError),
        ({"values": [[np.nan]]}, DataError), ({"values": [[1.0], [2.0]], "ids": "aa"}, DataError),
        ({"values": [[1.0, 2, 3]], "times": [[0, 1, 3]]}, DataError), ({"values": [[1.0]], "times": [[0, 1]]}, ShapeError),
    ]:  # fmt: skip
        with pytest.raises(error):
            Series.from_arrays(**given)


def test_etth1_is_seven_hourly_series():
    root = os.environ.get("UNROLLED_DATA")
    path = Path(root or "", "etth1", "ETTh1.csv")
    if not root or not path.exists():
        pytest.skip("needs UNROLLED_DATA")
    series = read_series(path)
    assert (series.ids[-1], series.freq, series.season, series.missing) == ("OT", "h", 24, 0)
    assert series.steps.tolist() == [17420] * 7


@pytest.mark.parametrize(
    ("times", "freq", "message"),
    [
        ([0, 1, 1e300], None, r"times[0]: expected numbers within ±4.6e+18, got 1e+300 at step 2"),
        ([0, 3600, 1e300], "h", r"times[0]: expected seconds within ±4e+12 of 1970, got 1e+300 at step 2"),
        (np.datetime64(2**60, "D") + np.arange(3), None, "times[0]: expected years within ±1.2e+05 of 1970, got "),
        (np.array(["NaT"] * 3, "M8[s]"), None, "times[0]: expected years within ±1.2e+05 of 1970, got NaT at step 0"),
    ],
)  # fmt: skip
def test_times_that_no_calendar_has_are_refused(times, freq, message):
    with pytest.raises(DataError) as caught:
        Series.from_arrays([[1.0, 2, 3]], times=np.array(times), freq=freq)
    assert str(caught.value).startswith(message)


def test_steps_shorter_than_a_millionth_are_steps():
    found = Series.from_arrays([[1.0, 2, 3]], times=np.array([0, 1e-9, 2e-9]))
    np.testing.assert_allclose(found.future_times(2)[0], [3e-9, 4e-9])
