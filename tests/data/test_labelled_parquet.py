"""Parquet files whose footer says how much they hold before anything is unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.data import read_samples
from unrolled.data.labelled import frames, source
from unrolled.data.labelled.parquet import leaf_values
from unrolled.errors import DataError

pl = pytest.importorskip("polars")


@pytest.mark.parametrize("groups", [None, 7])
def test_the_values_of_a_file_are_counted_those_in_lists_one_by_one(groups: int | None, tmp_path: Path):
    frame = pl.DataFrame(
        {"x": [[1.0] * (k % 5 + 1) for k in range(40)], "y": ["a", "b"] * 20, "n": list(range(40))}
    )
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=groups)
    data = (tmp_path / "a.parquet").read_bytes()
    assert leaf_values(data) == sum(k % 5 + 1 for k in range(40)) + 80
    for end in range(8, 400):
        with pytest.raises(ValueError, match=r".+"):
            leaf_values(data[:-end])


def test_spoilt_footers_end_in_a_value_error_or_a_count(tmp_path: Path):
    pl.DataFrame({"x": [[1.0, 2.0]] * 9, "y": ["a", "b", "c"] * 3}).write_parquet(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    for place in range(len(data) - 8 - length, len(data) - 8):
        for change in (1, 0x80, 0xFF):
            spoilt = bytearray(data)
            spoilt[place] ^= change
            try:
                assert leaf_values(bytes(spoilt)) >= 0
            except ValueError:
                continue


def test_a_small_file_of_many_values_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "bomb.parquet"
    rows = 20
    pl.DataFrame({"x": [[0.0] * 100_000] * rows, "label": ["a", "b"] * (rows // 2)}).write_parquet(path)
    assert path.stat().st_size < 100_000
    for module in (frames, source):
        monkeypatch.setattr(module, "most_bytes", lambda: 2**20)
    monkeypatch.setattr(pl, "read_parquet", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(
        DataError, match="source: expected at most 131072 values for this memory, got 2000020 in"
    ):
        read_samples(path)
    large = tmp_path / "large.csv"
    large.write_bytes(b"a,b\n" * 2**18 + b"1,2\n")
    with pytest.raises(
        DataError, match=f"source: expected at most {2**20} bytes for this memory, got {2**20 + 4} in"
    ):
        read_samples(large)
