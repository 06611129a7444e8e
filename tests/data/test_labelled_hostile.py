"""Files from strangers, mutated: an error of our own in one short line, or samples; never much memory."""

import importlib.util
import io
import json
import zipfile

import numpy as np
import pytest

from unrolled.data import Samples, read_samples
from unrolled.data.labelled import source
from unrolled.errors import DataError, UnrolledError

LINES = [{"x": [[1, 2], [3.5, None]], "label": "a"}, {"x": [[5, 6]], "label": "b"}]
SEEDS = {
    "t.jsonl": "".join(json.dumps(each) + "\n" for each in LINES).encode(),
    "x.ts": b"@timeStamps false\n@classLabel true a b\n@data\n1,2,3:4,?,6:a\n7,8:9,1:b\n",
    "s.ts": b"@timestamps true\n@targetlabel true\n@data\n(0,1),(1,2),(3,?):2.5\n(2004-01-01,1),(2004-01-02,2):3\n",
    "x.arff": b"@relation x\n@attribute a numeric\n@attribute b real\n@attribute c {1,2}\n@data\n1,2,1\n3,?,2\n",
    "r.arff": b"@attribute r relational\n@attribute t numeric\n@end r\n@attribute c {a,b}\n@data\n\"1,2\\n3,4\",a\n'5,6\\n7,8',b\n",
}
TABLES = {
    "w.csv": b'label,0,1,2\nwalk,1,2,3\n"run",4,,6\nwalk,1e3,?,-2\nrun,1,2,3\n',
    "l.csv": b"id;time;x;label\na;0;0,5;u\na;1;0,75;u\nb;0;1;w\n",
    "u.tsv": b"1\t0.5\t0.6\n2\t0.1\t0.2\n1\t0.1\t0.9\n2\t0.4\t0.7\n",
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
    b"(",
    b"\\",
    b"\r",
    b"9" * 80,
    b"\xe2\x80\xa8",
]


def seeds():
    """Return the name and bytes of a small good file of each format."""
    found = dict(SEEDS)
    arrays = {
        "x": np.arange(12.0).reshape(2, 3, 2),
        "y": np.array([0, 1]),
        "x_test": np.zeros((1, 3, 2)),
        "y_test": np.array([1]),
    }
    for name, save in (("d.npz", np.savez), ("c.npz", np.savez_compressed)):
        file = io.BytesIO()
        save(file, **arrays)
        found[name] = file.getvalue()
    if importlib.util.find_spec("polars") is not None:
        found |= TABLES
    return found


def mutated(data, generator):
    """Return bytes with a few places cut, doubled or overwritten."""
    for _ in range(int(generator.integers(1, 4))):
        at, more = (int(n) for n in generator.integers(0, len(data) + 1, 2))
        piece = PIECES[generator.integers(len(PIECES))]
        choice = generator.integers(4)
        if choice == 0:
            data = data[:at] + piece + data[at + 1 :]
        elif choice == 1:
            data = data[:at] + data[max(at, more) :]
        elif choice == 2:
            data = data[:at] + data[min(at, more) :]
        else:
            data = data[:at] + bytes([generator.integers(256)]) + data[at + 1 :]
    return data


def check(path, data):
    path.write_bytes(data)
    try:
        samples = read_samples(path)
    except UnrolledError as error:
        assert len(str(error).splitlines()) == 1, str(error)  # noqa: PT017
        assert len(str(error)) < 1000, str(error)  # noqa: PT017
        return
    assert isinstance(samples, Samples)
    steps = samples.step_labels  # where a mutation gave a sample two labels
    labels = samples.labels if steps is None else steps
    assert len(samples) == len(samples.ids) == len(set(samples.ids)) == len(labels)
    assert steps is None or [len(each) for each in steps] == samples.steps.tolist()
    for each in () if samples.is_text else samples.inputs:
        assert each.dtype == np.float32
        assert each.shape[1] == len(samples.channels)
        assert not np.isinf(each).any()


@pytest.mark.parametrize("name", seeds())
def test_a_mutated_file_gives_samples_or_one_line(tmp_path, name):
    generator = np.random.default_rng(0)
    data = seeds()[name]
    check(tmp_path / name, data)
    for _ in range(60):
        check(tmp_path / name, mutated(data, generator))


@pytest.mark.slow
@pytest.mark.parametrize("name", seeds())
def test_a_file_mutated_many_times_gives_samples_or_one_line(tmp_path, name):
    generator = np.random.default_rng(1)
    data = seeds()[name]
    for _ in range(1500):
        check(tmp_path / name, mutated(data, generator))


def test_mutated_parquet_gives_samples_or_one_line(tmp_path, capfd):
    polars = pytest.importorskip("polars")
    file = io.BytesIO()
    polars.DataFrame(
        {"id": [1, 1, 2], "t": [0, 1, 0], "v": [1.0, None, 3.0], "label": ["a", "a", "b"]}
    ).write_parquet(file)
    generator = np.random.default_rng(0)
    for _ in range(60):
        check(tmp_path / "t.parquet", mutated(file.getvalue(), generator))
    capfd.readouterr()  # polars prints its panics


@pytest.mark.parametrize("name", seeds())
def test_a_file_that_memory_does_not_hold_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(source, "memory_limit", lambda: 300)
    (tmp_path / name).write_bytes(seeds()[name])
    with pytest.raises(DataError, match="source: expected at most"):
        read_samples(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.jsonl", b'{"x":[' + b"[]," * 3000 + b"[]]}", "source: expected at most 200000 bytes once parsed"),
        ("x.ts", b"@classlabel true\n@data\n" + b"1," * 2000 + b"1:a\n", "source line 3: expected a line that fits into memory"),
        ("x.arff", b"@attribute c {a}\n@data\n" + b"1," * 2000 + b"a\n", "source line 3: expected a line that fits into memory"),
    ],
)  # fmt: skip
def test_a_line_that_grows_when_it_is_parsed_is_refused(tmp_path, name, data, message, monkeypatch):
    monkeypatch.setattr(source, "memory_limit", lambda: 200_000)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_samples(tmp_path / name)


def test_more_channels_or_columns_than_anyone_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MOST_CHANNELS", 3)
    (tmp_path / "x.ts").write_bytes(b"@classlabel true\n@data\n1:2:3:4:a\n")
    with pytest.raises(DataError, match="source line 3: expected at most 3 channels, got 5"):
        read_samples(tmp_path / "x.ts")
    pytest.importorskip("polars")
    monkeypatch.setattr("unrolled.data.labelled.frames.MOST_COLUMNS", 3)
    (tmp_path / "x.csv").write_bytes(b"label,a,b,c\nx,1,2,3\n")
    with pytest.raises(DataError, match="source: expected at most 3 columns, got 4 in "):
        read_samples(tmp_path / "x.csv")


def test_a_small_archive_of_a_large_array_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "memory_limit", lambda: 10**6)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10**6))
    with pytest.raises(DataError, match=r"source: expected at most 1000 arrays of 125000 bytes"):
        read_samples(tmp_path / "d.npz")


def test_a_small_packed_file_of_a_long_text_is_refused(tmp_path, monkeypatch):
    gzip = pytest.importorskip("gzip")
    monkeypatch.setattr(source, "memory_limit", lambda: 10**6)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b" " * 10**7))
    with pytest.raises(DataError, match="source: expected at most 125000 bytes for this memory"):
        read_samples(tmp_path / "t.jsonl.gz")
