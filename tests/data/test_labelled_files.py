"""JSON lines, .ts, .arff, .npz and folders as samples; what is wrong is named with its line."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unrolled.data import partition, read_samples
from unrolled.errors import DataError

DATA = Path(os.environ.get("UNROLLED_DATA", "no data"))  # a folder with names/ and mnist1d/
NAMES, MNIST1D = DATA / "names", DATA / "mnist1d" / "mnist1d.npz"


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lists(samples):
    return [each.tolist() for each in samples.inputs]


# JSON, an object a line.


def lines(*objects):
    return "".join(json.dumps(each) + "\n" for each in objects)


def test_texts_tokens_and_arrays_are_read_from_json_lines(file):
    texts = read_samples(file("t.jsonl", lines({"text": "hi", "label": "a"}, {"text": "ho", "label": "b"})))
    assert (list(texts.inputs), texts.classes) == (["hi", "ho"], ("a", "b"))
    tokens = read_samples(file("k.jsonl", lines({"tokens": ["an", "EU"], "label": 3})))
    assert (list(tokens.inputs), tokens.labels.tolist()) == (["an EU"], ["3"])
    arrays = read_samples(file("x.ndjson", lines({"x": [1, None, 3], "y": 0.5}, {"x": [4], "y": 1})))
    assert arrays.steps.tolist() == [3, 1]
    assert arrays.labels.tolist() == [0.5, 1.0]
    assert arrays.missing == 1
    pairs = read_samples(
        file("p.jsonl", lines({"x": [[1, 2], [3, 4]], "label": "a"}, {"x": [[5, 6]], "label": "b"}))
    )
    assert lists(pairs) == [[[1, 2], [3, 4]], [[5, 6]]]


def test_a_list_for_each_channel_is_read_and_read_alike_again(file):
    first = read_samples(
        file("c.jsonl", lines({"wind": [1, 2], "wave": [3, 4], "label": "a", "who": "p"})), group="who"
    )
    assert (first.channels, lists(first)) == (("wind", "wave"), [[[1, 3], [2, 4]]])
    assert first.groups.tolist() == ["p"]
    again = read_samples(
        file("d.jsonl", lines({"wave": [3, 4], "wind": [1, 2]})), labelled=False, **first.read_as
    )
    assert (again.channels, lists(again), again.labels) == (first.channels, lists(first), None)


def test_times_are_a_list_beside_the_values(file):
    path = file("c.jsonl", lines({"t": [0, 2.5], "x": [3, 4], "label": "a"}))
    samples = read_samples(path, time="t")
    assert (samples.channels, samples.times[0].tolist()) == (("x",), [0, 2.5])
    for wrong, message in (
        ([0, 0], "rising times in 't', got 0 after 0"),
        ([1], "a list of 2 numbers in 't', got"),
    ):
        with pytest.raises(DataError, match=f"source line 1: expected {message}"):
            read_samples(file("d.jsonl", lines({"t": wrong, "x": [3, 4], "label": "a"})), time="t")
    with pytest.raises(DataError, match="time: expected a key of the objects: 't', 'x', 'label', got 'when'"):
        read_samples(path, time="when")


def test_objects_without_lists_are_rows_of_a_table(file):
    rows = lines({"id": 1, "t": 0, "v": 3, "label": "a"}, {"id": 1, "t": 1, "v": None, "label": "a"})
    samples = read_samples(file("r.jsonl", rows))
    assert (samples.channels, samples.ids, samples.steps.tolist(), samples.missing) == (
        ("v",),
        ("1",),
        [2],
        1,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{]\n", "source line 1: expected a JSON object, got Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"x":[1],"label":"a"}\n\n[1]\n', "source line 3: expected a JSON object, got list"),
        ('{"x":[1,"b"],"label":"a"}\n', "source line 1: expected a list of numbers in 'x', got [1, 'b']"),
        ('{"x":[true],"label":"a"}\n', "source line 1: expected a list of numbers in 'x', got [True]"),
        ('{"x":[[1],[2,3]],"label":"a"}\n', "source line 1: expected a list of numbers in 'x', got [[1], [2, 3]]"),
        ('{"x":[1e39],"label":"a"}\n', "source line 1: expected finite float32 numbers in 'x', got infinity at step 0"),
        ('{"x":[1],"z":[1,2],"label":"a"}\n', "source line 1: expected lists of equal length, got 1 and 2"),
        ('{"x":[1],"label":null}\n', "source line 1: expected a text in 'label', got None"),
        ('{"x":[1]}\n', "label: expected a key of the objects: 'x', got none, 0 candidates"),
        ('{"tokens":["a",1],"label":"a"}\n', "source line 1: expected texts in 'tokens', got ['a', 1]"),
        (" \n", "source: expected a JSON object a line, got blank lines in "),
    ],
)  # fmt: skip
def test_a_wrong_json_line_is_named(file, text, message):
    with pytest.raises(DataError) as caught:
        read_samples(file("t.jsonl", text))
    assert str(caught.value).startswith(message)


# .ts


HEAD = "@problemName x\n# a comment\n@timeStamps false\n@univariate false\n"


def test_a_ts_file_has_dimensions_side_by_side(file):
    samples = read_samples(
        file("x.ts", HEAD + "@dimensions 2\n@classLabel true a b\n@data\n1,2,3:4,?,6:a\n7:8:b\n")
    )
    assert samples.channels == ("0", "1")
    assert samples.steps.tolist() == [3, 1]
    assert samples.inputs[0][:, 0].tolist() == [1, 2, 3]
    assert np.isnan(samples.inputs[0][1, 1])
    assert (samples.labels.tolist(), samples.ids) == (["a", "b"], ("8", "9"))
    assert samples.notes == ("missing: 1 of 8 values (12.5%), in '1'",)


def test_a_ts_file_may_have_times_and_numbers_as_labels(file):
    text = "@timestamps true\n@targetlabel true\n@data\n(0,1),(1,2),(3,4):2.5\n(2004-01-01 00:00:01,1),(2004-01-01 00:00:05,2):3\n"
    samples = read_samples(file("x.ts", text))
    assert samples.labels.tolist() == [2.5, 3.0]
    assert samples.times[0].tolist() == [0, 1, 3]
    assert np.diff(samples.times[1]).tolist() == [4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@classLabel true a\n", "source: expected a line @data, got none in "),
        ("@classLabel maybe\n@data\n1:a\n", "source line 1: expected true or false, got '@classLabel maybe'"),
        ("1,2:a\n", "source line 1: expected an @ line or @data, got '1,2:a'"),
        ("@classLabel true a\n@data\n\n", "source: expected samples after @data, got none in "),
        ("@classLabel true a\n@data\n1,x:a\n", "source line 3: expected numbers, or ? for a missing one, got 'x'"),
        ("@classLabel true a\n@data\n1:a\n1:b\n", "source line 4: expected a label of the header, after the last colon, got 'b'"),
        ("@classLabel true a\n@data\n1,2:3:a\n", "source line 3: expected dimensions of equal length, got '1 and 2 steps'"),
        ("@classLabel true a\n@data\n1:2:a\n1:a\n", "source line 4: expected 2 dimensions, got '1'"),
        ("@classLabel true a\n@data\n1,inf:a\n", "source line 3: expected finite float32 numbers, got 'infinity at step 1 of dimension 0'"),
        ("@targetLabel true\n@data\n1:high\n", "source line 3: expected a number as label, got 'high'"),
        ("@targetLabel true\n@data\n1:nan\n", "column 'the label': expected a finite number, got none in row 3"),
        ("@timestamps true\n@classlabel true\n@data\n(1,2),(1,3):a\n", "source line 4: expected rising times, got '1'"),
        ("@timestamps true\n@classlabel true\n@data\n1,2:a\n", "source line 4: expected pairs (time,value), got '1,2'"),
        ("@data\n1,2\n", "source: expected a line @classLabel true or @targetLabel true, got none"),
    ],
)  # fmt: skip
def test_a_wrong_line_of_a_ts_file_is_named(file, text, message):
    with pytest.raises(DataError) as caught:
        read_samples(file("x.ts", text))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["x.ts", "x.arff"])
def test_what_a_format_does_not_have_is_refused(file, name):
    with pytest.raises(DataError, match=f"group: expected none for a file {name[1:]}, got 'who'"):
        read_samples(file(name, "@data"), group="who")


# .arff


PLAIN = "@relation x\n@attribute att0 numeric\n@attribute att1 REAL\n@attribute target {1,2}\n@data\n"
NESTED = "@relation x\n@attribute r relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end r\n@attribute cls {a,b}\n@data\n"


def test_attributes_of_an_arff_file_are_steps(file):
    samples = read_samples(file("x.arff", PLAIN + "% a comment\n1,2,1\n3,?,2\n"))
    assert lists(samples) == [[[1], [2]], [[3]]]
    assert (samples.labels.tolist(), samples.read_as) == (["1", "2"], {"label": "target"})


def test_lines_of_a_relation_are_channels(file):
    samples = read_samples(file("x.arff", NESTED + "\"1,2\\n3,4\",a\n'5,6\\n7,8',b\n"))
    assert lists(samples) == [[[1, 3], [2, 4]], [[5, 7], [6, 8]]]
    assert samples.labels.tolist() == ["a", "b"]


def test_a_long_relation_is_read_although_a_field_of_csv_is_bounded(file):
    row = ",".join(["0.25"] * 40_000)
    samples = read_samples(file("x.arff", NESTED + f'"{row}\\n{row}",a\n'))
    assert samples.inputs[0].shape == (40_000, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@relation x\n", "source: expected a line @data, got none in "),
        ("@attribute a\n@data\n", "source line 1: expected an attribute that is numeric, nominal or relational, got ''"),
        ("@attribute a date\n@data\n", "source line 1: expected an attribute that is numeric, nominal or relational, got 'date'"),
        ("hello\n", "source line 1: expected @attribute or @data, got 'hello'"),
        ("@data\n1\n", "source line 1: expected an @attribute before @data, got '@data'"),
        (PLAIN, "source: expected samples after @data, got none in "),
        (PLAIN + "1,2\n", "source line 6: expected 3 values, got '2'"),
        (PLAIN + "1,x,2\n", "source line 6: expected numbers, or ? for a missing one, got 'x'"),
        (PLAIN + "1,1e99,2\n", "source line 6: expected finite float32 numbers, got 'infinity'"),
        (PLAIN + "{0 1}\n", "source line 6: expected a row with all of its values, got '{0 1}'"),
        (PLAIN + "1,2,?\n", "source line 6: expected a label in 'target', got '?'"),
        (NESTED + '"1,2\\n3",a\n', "source line 8: expected channels of equal length, got '1, 2'"),
        (NESTED + '"1,2",a\n"1,2\\n3,4",b\n', "source line 9: expected 1 channel, got '2'"),
        ("@attribute a numeric\n@data\n1\n", "label: expected the name of an attribute, got none, with 0 candidates: "),
    ],
)  # fmt: skip
def test_a_wrong_line_of_an_arff_file_is_named(file, text, message):
    with pytest.raises(DataError) as caught:
        read_samples(file("x.arff", text))
    assert str(caught.value).startswith(message)


# .npz


def test_an_npz_file_may_hold_a_test_part(tmp_path):
    x = np.arange(12.0).reshape(2, 3, 2)
    np.savez(tmp_path / "d.npz", x=x, y=[1, 0], x_test=x[:1], y_test=[1], who=["a", "b"])
    samples = read_samples(tmp_path / "d.npz", group="who")
    assert lists(samples) == x.tolist()
    assert (samples.labels.tolist(), samples.groups.tolist()) == (["1", "0"], ["a", "b"])
    assert (len(samples.test), samples.test.labels.tolist()) == (1, ["1"])
    np.savez_compressed(tmp_path / "e.npz", x=np.asfortranarray(x[:, :, 0]), y=[0.5, 1.5])
    other = read_samples(tmp_path / "e.npz")
    assert lists(other) == x[:, :, :1].tolist()
    assert other.labels.tolist() == [0.5, 1.5]
    assert other.notes == ("no test part: x_test and y_test are not there",)
    np.savez(tmp_path / "f.npz", x=x, y=[0.5, 1.5], x_test=x[:1], y_test=[1.0])
    assert read_samples(tmp_path / "f.npz").test.labels.tolist() == [1.0]


def npz(path, **entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array, **given):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **given)
    return file.getvalue()


def test_an_array_of_objects_is_refused_and_nothing_is_executed(tmp_path):
    ran = []

    class Trap:
        def __reduce__(self):
            return (ran.append, (1,))

    path = npz(tmp_path / "d.npz", x=npy(np.array([Trap()], object), allow_pickle=True), y=npy([1]))
    with pytest.raises(
        DataError, match=r"source 'x\.npy': expected numbers or texts, no objects, got object"
    ):
        read_samples(path)
    assert not ran


def test_a_header_that_promises_more_than_the_file_has_takes_no_memory(tmp_path):
    header = npy(np.zeros((2, 3))).replace(b"(2, 3), }", b"(9999999999999, 3), }".ljust(9))
    with pytest.raises(DataError, match=r"source 'x\.npy': expected "):
        read_samples(npz(tmp_path / "d.npz", x=header, y=npy([1])))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": [1]}, "source: expected an array x with the samples, or columns= with its name, got 'a' in "),
        ({"x": np.zeros((2, 3))}, "label: expected the array of labels: 'x', got none"),
        ({"x": np.zeros((2, 3)), "y": [1]}, "y: expected [2], one for each sample, got [1]"),
        ({"x": np.zeros(2), "y": [1, 2]}, "x: expected numbers [N, T] or [N, T, C], got float64 [2]"),
        ({"x": np.zeros((2, 1, 40)), "y": [1, 2]}, "sequences: expected axes (N, T, C), time before channels, got [N, 1, 40], which looks like [N, C, T]"),
        ({"x": np.zeros((2, 3)), "y": [np.nan, 1]}, "column 'y': expected a finite number, got none in row 0"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(Exception) as caught:
        read_samples(tmp_path / "d.npz")
    assert str(caught.value).startswith(message)


@pytest.mark.skipif(not MNIST1D.exists(), reason="needs real data in UNROLLED_DATA")
def test_mnist1d_is_read():
    samples = read_samples(MNIST1D)
    assert (len(samples), len(samples.test), len(samples.classes)) == (4000, 1000, 10)
    assert {each.shape for each in samples.inputs} == {(40, 1)}


# Folders.


def test_a_file_for_each_class_has_a_sample_a_line(file, tmp_path):
    file("d/Arabic.txt", "Khoury\nNahas\n\n")
    file("d/Chinese.txt", "Bai\r\n")
    file("d/README.md", "about")
    file("d/.hidden", "x")
    samples = read_samples(tmp_path / "d", label="folder")
    assert list(samples.inputs) == ["Khoury", "Nahas", "Bai"]
    assert samples.labels.tolist() == ["Arabic", "Arabic", "Chinese"]
    assert samples.ids == ("Arabic.txt:1", "Arabic.txt:2", "Chinese.txt:1")
    assert samples.notes == (
        "1 sample left out: a blank line, such as Arabic.txt:3",
        "2 entries left out: '.hidden', 'README.md'",
    )


def test_a_folder_for_each_class_has_a_sample_a_file(file, tmp_path):
    file("d/a/1.txt", "one\ntwo\n")
    file("d/b/2.txt", "three")
    file("d/b/3.txt", "")
    samples = read_samples(tmp_path / "d")
    assert samples.notes == ("1 sample left out: nothing in it, such as b/3.txt",)
    assert (list(samples.inputs), samples.labels.tolist()) == (["one\ntwo", "three"], ["a", "b"])
    assert samples.ids == ("a/1.txt", "b/2.txt")


def test_arrays_of_unlike_length_are_files(tmp_path):
    for label, steps in (("a", 3), ("b", 5)):
        (tmp_path / label).mkdir()
        np.save(tmp_path / label / "s.npy", np.full((steps, 2), steps))
    samples = read_samples(tmp_path)
    assert samples.steps.tolist() == [3, 5]
    assert samples.channels == ("0", "1")
    np.save(tmp_path / "b" / "s.npy", np.zeros((5, 3)))
    with pytest.raises(
        DataError, match=r"s\.npy: expected the columns '0', '1' of s\.npy, got '0', '1', '2'"
    ):
        read_samples(tmp_path)


def test_tables_are_files(file, tmp_path):
    pytest.importorskip("polars")
    file("d/a/1.csv", "x,y\n1,2\n3,4\n")
    file("d/b/1.csv", "x,y\n5,?\n")
    samples = read_samples(tmp_path / "d")
    assert samples.channels == ("x", "y")
    assert samples.steps.tolist() == [2, 1]
    assert samples.missing == 1


def test_sounds_are_files_of_one_rate(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    for label, rate in (("a", 8000), ("b", 8000)):
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / "s.wav", np.zeros((80, 2)), rate)
    samples = read_samples(tmp_path)
    assert samples.inputs[0].shape == (80, 2)
    assert samples.notes == ("8000 samples per second",)
    soundfile.write(tmp_path / "b" / "s.wav", np.zeros((80, 2)), 16000)
    with pytest.raises(DataError, match=r"s\.wav: expected 8000 samples per second as in s\.wav, got 16000"):
        read_samples(tmp_path)


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (["a.txt"], {}, "source: expected a file for each class with a line per sample, or a folder for each with a file per sample, got 1 file and 0 folders in "),
        (["a.txt", "b/c.txt"], {}, "source: expected a file for each class with a line per sample, or a folder for each with a file per sample, got 1 file and 1 folder in "),
        (["a.txt", "b.pdf"], {}, "source: expected files .txt with a line per sample, or a folder for each class, got "),
        (["a.txt", "a"], {}, "source: expected files of different names, got several called 'a'"),
        (["a/1.txt", "b/1.npy"], {}, "source: expected files of one kind: .txt, .npy, .csv, .tsv, .wav, .flac, got .npy, .txt"),
        (["a/1.txt", "b/c/1.txt"], {}, "source: expected a file in each folder, got none in "),
        (["a.txt", "b.txt"], {"label": "kind"}, "label: expected 'folder', as the names in a folder are the labels, got 'kind'"),
        (["a.txt", "b.txt"], {"group": "who"}, "group: expected none for a folder, got 'who'"),
    ],
)  # fmt: skip
def test_a_folder_that_is_neither_is_refused(file, tmp_path, files, given, message):
    for name in files:
        file(f"d/{name}", "text")
    with pytest.raises(DataError) as caught:
        read_samples(tmp_path / "d", **given)
    assert str(caught.value).startswith(message)


@pytest.mark.skipif(not NAMES.exists(), reason="needs real data in UNROLLED_DATA")
def test_the_names_are_read_and_split_class_by_class():
    samples = read_samples(NAMES)
    assert (len(samples), len(samples.classes)) == (20050, 18)
    found = partition(samples, validation=0.1, test=0.1)
    russian = (samples.labels == "Russian").mean()
    for part in (found.train, found.validation, found.test):
        assert abs((samples.labels[part] == "Russian").mean() - russian) < 0.005
    assert found.duplicates > 100


# New samples.


def test_what_new_samples_have_for_a_label_is_not_read_in_any_format(file, tmp_path):
    ts = "@classLabel true a b\n@data\n1,2:?\n3,4:a\n"
    arff = "@relation r\n@attribute x numeric\n@attribute y {a,b}\n@data\n1,?\n3,a\n"
    np.savez(tmp_path / "n.npz", x=np.ones((2, 3, 1), np.float32), y=np.array([np.nan, 1.0]))
    found = [
        read_samples(file("n.ts", ts), read_labels=False),
        read_samples(file("n.arff", arff), label="y", read_labels=False),
        read_samples(tmp_path / "n.npz", read_labels=False),
        read_samples(
            file("n.jsonl", lines({"x": [1], "y": None, "g": None}, {"x": [2], "y": "a", "g": "p"})),
            label="y",
            group="g",
            read_labels=False,
        ),
        read_samples(file("n.csv", "y,g,1,2\n,,1,2\na,p,3,4\n"), label="y", group="g", read_labels=False),
        read_samples(
            file("l.csv", "i,y,g,x\nq,,,1\nq,a,,2\nr,,p,4\n"), id="i", label="y", group="g", read_labels=False
        ),
    ]
    for samples in found:
        assert len(samples) == 2
        assert (samples.labels, samples.step_labels, samples.groups) == (None, None, None)
