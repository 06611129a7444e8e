"""GluonTS's JSON lines, Monash's .tsf, Parquet and rows as JSON: what they hold, and the line that is wrong."""

import json

import numpy as np
import pytest

from unrolled.data import read_series
from unrolled.data.labelled import source
from unrolled.data.timeseries import grid
from unrolled.errors import DataError, UnrolledError

TSF = """# a comment: with a colon
@relation weather
@attribute series_name string
@attribute height numeric
@attribute start_timestamp date
@frequency half_hourly
@horizon 4
@missing true
@equallength false
@data
T1:100:2012-01-01 00-00-00:1.0,?,3
T2:250.5:2012-01-01 00-30-00:4,5
"""
GLUON = [
    {"start": "2024-01", "target": [1, None, 3], "item_id": "a", "feat_dynamic_real": [[0, 1, 0, 1]], "feat_static_cat": [7]},
    {"start": "2024-03", "target": [4.5, "NaN", 6, 7], "item_id": "b", "feat_dynamic_real": [[1, 1, 1, 1, 1]], "feat_static_cat": [8]},
]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def test_gluonts_lines_are_series_with_their_features(file):
    series = read_series(file("g.jsonl", lines(GLUON)), freq="M")
    assert (series.ids, series.freq, series.season) == (("a", "b"), "MS", 12)
    assert np.array_equal(series.values[0], [1, np.nan, 3], equal_nan=True)
    assert [each.tolist() for each in series.known] == [[[0], [1], [0], [1]], [[1]] * 5]
    assert (series.known_names, series.static_names) == (("feat_dynamic_real_0",), ("feat_static_cat_0",))
    assert series.static.tolist() == [[7], [8]]
    assert series.times[1].astype("datetime64[s]").astype("datetime64[M]").astype(str).tolist() == [
        "2024-03", "2024-04", "2024-05", "2024-06", "2024-07",
    ]  # fmt: skip
    assert series.notes == ("missing: 2 of 7 values (28.6%), in 'a', 'b'",)
    again = read_series(file("g.jsonl", lines(GLUON)), **series.read_as)
    assert again.sha256 == series.sha256
    alone = read_series(file("g.jsonl", lines(GLUON)), freq="MS", static=["feat_static_cat_0"])
    assert (alone.known_names, alone.static_names) == ((), ("feat_static_cat_0",))


def test_a_target_of_several_rows_is_a_series_each_and_steps_need_no_start(file):
    series = read_series(file("g.jsonl", lines([{"start": "2024-01-01", "target": [[1, 2], [3, 4]]}])))
    assert (series.ids, series.freq) == (("1/0", "1/1"), None)
    assert series.notes == ("'start' is not used, as no frequency is given: series are counted in steps",)


def test_rows_of_json_are_those_of_a_table(file):
    rows = [
        {"ds": "2024-01-01", "y": 1, "id": "a"},
        {"ds": "2024-01-02", "y": None, "id": "a"},
        {"ds": "2024-01-03", "y": 2.5, "id": "a"},
    ]
    series = read_series(file("r.ndjson", lines(rows)))
    assert (series.ids, series.freq, series.missing) == (("a",), "D", 1)


def test_tsf_has_attributes_a_start_and_a_frequency(file):
    series = read_series(file("x.tsf", TSF), static=["height"])
    assert (series.ids, series.freq, series.season) == (("T1", "T2"), "30min", 48)
    assert np.array_equal(series.values[0], [1, np.nan, 3], equal_nan=True)
    assert series.static.tolist() == [[100], [250.5]]
    assert series.times[1].astype("datetime64[s]").astype(str).tolist() == [
        "2012-01-01T00:30:00",
        "2012-01-01T01:00:00",
    ]
    assert (
        "left out: 'height'; to use numeric ones, name them as static"
        in read_series(file("x.tsf", TSF)).notes
    )
    assert read_series(file("x.tsf", TSF), **series.read_as).sha256 == series.sha256
    groups = "@attribute group string\n@attribute name string\n@data\nG:a:1,2\nG:b:3\n"
    assert read_series(file("z.tsf", groups)).ids == ("G/a", "G/b")
    bare = read_series(file("y.tsf", "@attribute name string\n@frequency 4_seconds\n@data\na:1,2\nb:3\n"))
    assert (bare.ids, bare.freq, bare.times[0].tolist()) == (("a", "b"), None, [0, 1])


@pytest.mark.parametrize(
    ("word", "freq"),
    [
        ("hourly", "h"), ("daily", "D"), ("10_minutes", "10min"), ("4_seconds", "4s"), ("weekly", "W"),
        ("monthly", "MS"), ("quarterly", "QS"), ("yearly", "YS"), ("minutely", "min"),
    ],
)  # fmt: skip
def test_the_words_of_monash_are_frequencies(file, word, freq):
    text = f"@attribute start_timestamp date\n@frequency {word}\n@data\n2012-01-01 00-00-00:1,2,3\n"
    series = read_series(file("x.tsf", text))
    assert series.freq == freq
    assert series.future_times(1)[0][0] > series.times[0][-1]


def test_parquet_with_a_type_for_times(tmp_path):
    polars = pytest.importorskip("polars")
    days = polars.date_range(polars.date(2024, 1, 31), polars.date(2024, 4, 30), "1mo", eager=True)
    polars.DataFrame({"when": days, "y": [1.0, None, 3, 4]}).write_parquet(tmp_path / "t.parquet")
    series = read_series(tmp_path / "t.parquet")
    assert (series.freq, series.missing) == ("ME", 1)


@pytest.mark.parametrize(
    ("name", "text", "given", "message"),
    [
        ("g.jsonl", lines([{"target": ["x"]}]), {}, "source line 1: expected a list of numbers in 'target', got ['x']"),
        ("g.jsonl", lines([{"target": [1]}, {"target": 5}]), {}, "source line 2: expected a list of numbers in 'target', got 5"),
        ("g.jsonl", lines([{"target": [1, 2], "feat_dynamic_real": [[1]]}]), {}, "source line 1: expected at least 2 values of 'feat_dynamic_real_0', got 1"),
        ("g.jsonl", lines([{"target": [1]}]), {"known": ["k"]}, "known: expected a feature of the first line: none, got 'k'"),
        ("g.jsonl", lines([{"target": [1]}, {"target": [1], "feat_static_cat": [1]}]), {}, "source line 2: expected 0 of 'feat_static_cat', as in the first line, got 1"),
        ("g.jsonl", lines([{"target": [1, 2], "feat_dynamic_real": [[1, 1, None]]}]), {}, "source line 1: expected features of every step behind the target, got a missing one"),
        ("g.jsonl", lines([{"target": [1], "start": "soon"}]), {"freq": "D"}, "source line 1: expected a start such as 2024-05-01 12:00, got 'soon'"),
        ("g.jsonl", lines([{"target": [1], "start": "2024-05-04"}]), {"freq": "B"}, "source line 1: expected a start on a weekday, as freq is B, got '2024-05-04'"),
        ("g.jsonl", lines([{"target": [1], "start": "2024-05-04"}, {"target": [1]}]), {"freq": "D"}, "source line 2: expected a start in every series, or in none, got None"),
        ("g.jsonl", lines([{"target": [1], "item_id": "a"}, {"target": [1], "item_id": "a"}]), {}, "id: expected a different one for each series, got 'a' twice"),
        ("g.jsonl", '{"target": [1e999]}\n', {}, "source line 1: expected a JSON object, got a number beyond the range of a double"),
        ("g.jsonl", "\n\n", {}, "source: expected a JSON object a line, got blank lines in "),
        ("x.tsf", "@relation x\n", {}, "source: expected a line @data, got none in "),
        ("x.tsf", "@data\n", {}, "source: expected series after @data, got none in "),
        ("x.tsf", "relation\n", {}, "source line 1: expected an @ line or @data, got 'relation'"),
        ("x.tsf", "@frequency often\n@data\n1\n", {}, "source line 1: expected a frequency such as hourly, 10_minutes or monthly, got 'often'"),
        ("x.tsf", "@attribute a list\n@data\n1\n", {}, "source line 1: expected @attribute, a name, and one of string, numeric, date, got '@attribute a list'"),
        ("x.tsf", "@attribute a string\n@data\n1\n", {}, "source line 3: expected 1 attribute and values, separated by colons, got '1'"),
        ("x.tsf", "@data\n1,x\n", {}, "source line 2: expected numbers, or ? for a missing one, got 'x'"),
        ("x.tsf", "@data\n1,inf\n", {}, "source line 2: expected a finite number, or ? for a missing one, got 'inf'"),
        ("x.tsf", "@data\n1\n", {"static": ["a"]}, "static: expected an attribute of the file: none, got 'a'"),
        ("x.dat", "1\n", {}, "source: expected a file .csv, .tsv, .txt, .parquet, .pq, .jsonl, .ndjson, .json, .tsf, got 'x.dat'"),
        ("absent/x.csv", None, {}, "source: expected a file or a folder, got no such path: "),
    ],
)  # fmt: skip
def test_bad_files_are_one_line(file, tmp_path, name, text, given, message):
    path = tmp_path / name if text is None else file(name, text)
    with pytest.raises(DataError) as caught:
        read_series(path, **given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


SEEDS = {
    "x.tsf": TSF.encode(),
    "g.jsonl": lines(GLUON).encode(),
    "r.jsonl": b'{"ds": "2024-01-01", "y": 1, "k": 0}\n{"ds": "2024-01-03", "y": 2.5, "k": 1}\n',
    "w.csv": b"date,load,wind\n2024-05-01 00:00,1,2\n2024-05-01 01:00,3,\n2024-05-01 03:00,3,1e3\n",
    "l.csv": b"unique_id;ds;y\na;2024-01;1,5\na;2024-02;2\nb;2024-01;3\nb;2024-04;\n",
    "m.csv": b'"V1","V2","V3"\n"Y1",1,2\n"Y2",3,\n',
}
PIECES = [
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b",",
    b":",
    b'"',
    b"@",
    b"{",
    b"[",
    b"1e999",
    b"nan",
    b"9" * 80,
    b"-",
    b"9999-12",
    b"0001-01-01",
]


def check(path, data, given):
    path.write_bytes(data)
    try:
        series = read_series(path, **given)
    except UnrolledError as error:
        assert len(str(error).splitlines()) == 1, str(error)  # noqa: PT017
        assert len(str(error)) < 1000, str(error)  # noqa: PT017
        return
    assert len(series) == len(series.ids) == len(set(series.ids)) == len(series.times) == len(series.known)
    for values, times, known, past in zip(
        series.values, series.times, series.known, series.past, strict=True
    ):
        assert values.dtype == np.float64
        assert len(values)
        assert not np.isinf(values).any()
        assert not np.isnan(values[[0, -1]]).any()
        assert len(known) == len(times) >= len(values) == len(past)
        assert (np.diff(times) > 0).all()
    for ahead, times in zip(series.future_times(2), series.times, strict=True):
        assert ahead.shape == (2,)
        assert np.isfinite(ahead).all()
        assert times[0] < ahead[0] < ahead[1]


def run(tmp_path, name, rounds, seed):
    generator = np.random.default_rng(seed)
    data = SEEDS[name]
    given = {"known": ["k"]} if name == "r.jsonl" else {"freq": "M"} if name == "g.jsonl" else {}
    if name.endswith(".csv"):
        pytest.importorskip("polars")
    check(tmp_path / name, data, given)
    for _ in range(rounds):
        changed = data
        for _ in range(int(generator.integers(1, 4))):
            at, more = (int(n) for n in generator.integers(0, len(changed) + 1, 2))
            piece = PIECES[generator.integers(len(PIECES))]
            low, high = min(at, more), max(at, more)
            changed = [
                changed[:at] + piece + changed[at + 1 :], changed[:at] + changed[high:], changed[:at] + changed[low:],
                changed[:at] + bytes([generator.integers(256)]) + changed[at + 1 :],
            ][generator.integers(4)]  # fmt: skip
        check(tmp_path / name, changed, given)


@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_gives_series_or_one_line(tmp_path, name):
    run(tmp_path, name, 60, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_a_file_mutated_many_times_gives_series_or_one_line(tmp_path, name):
    run(tmp_path, name, 1000, 1)


@pytest.mark.parametrize("name", SEEDS)
def test_a_file_that_memory_does_not_hold_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(source, "memory_limit", lambda: 300)
    (tmp_path / name).write_bytes(SEEDS[name] * 2)
    with pytest.raises(DataError, match="source: expected at most"):
        read_series(tmp_path / name)


def test_few_rows_of_a_fine_frequency_and_many_columns_do_not_fill_memory(file, monkeypatch):
    pytest.importorskip("polars")
    rows = "".join(f"2024-01-01 {hour:02}:{minute:02},1\n" for hour in range(0, 24, 3) for minute in (0, 1))
    path = file("t.csv", "ds,y\n" + rows)
    assert read_series(path).steps[0] == 21 * 60 + 2
    monkeypatch.setattr(grid, "FEW_CELLS", 0)  # fewer are not asked about
    monkeypatch.setattr(grid, "most_bytes", lambda: 1000)
    with pytest.raises(DataError, match="source: expected steps that fit into memory"):
        read_series(path)
