"""RUN/data of a stranger or a damaged disk: samples, or a DataError."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from unrolled.data import Samples
from unrolled.errors import DataError
from unrolled.schema.distributions import count_quantile
from unrolled.tasks.classify import storing
from unrolled.tasks.stored_arrays import fits


@pytest.fixture
def place(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    inputs = [draws.normal(size=(steps, 2)).astype(np.float32) for steps in (3, 5, 4)]
    storing.write_samples(tmp_path, Samples.from_arrays(inputs, ["a", "b", "a"], ["p", "p", "q"]))
    return tmp_path


def test_any_byte_that_is_turned_gives_the_samples_or_a_data_error(place: Path):
    path = place / "samples.npz"
    whole, draws, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(400):
        raw = bytearray(whole)
        raw[int(draws.integers(len(raw)))] ^= int(draws.integers(1, 256))
        path.write_bytes(raw)
        try:
            assert len(storing.read(place).samples) == 3
        except DataError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(3, 2)", "()"])
def test_an_array_whose_header_lies_about_its_shape_is_refused(place: Path, shape: str):
    raw = io.BytesIO()
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    raw.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    arrays = dict(np.load(place / "samples.npz"))
    np.savez(place / "samples.npz", **arrays)
    whole = (place / "samples.npz").read_bytes()
    at = whole.index(b"\x93NUMPY")
    (place / "samples.npz").write_bytes(whole[:at] + raw.getvalue() + whole[at + len(raw.getvalue()) :])
    with pytest.raises(DataError):
        storing.read(place)


def test_an_array_of_another_kind_is_refused_even_under_its_own_digest(place: Path):
    from unrolled.tasks.stored_arrays import write_arrays

    index = json.loads((place / "corpus.json").read_text())
    arrays = dict(np.load(place / "samples.npz"))
    described = {key: value for key, value in index.items() if key != "identity"}
    for wrong in (arrays["lengths"].astype(complex), np.int64(3), arrays["lengths"].astype("M8[s]")):
        write_arrays(place, {**arrays, "lengths": wrong}, described)
        with pytest.raises(DataError):
            storing.read(place)


def test_lengths_whose_sum_overflows_do_not_fit():
    for lengths in ([2**62] * 3 + [2**62 + 5], [-1, 6], [2, 2]):
        assert not fits(np.array(lengths), 5)
    assert fits(np.array([2, 0, 3]), 5)


def test_the_quantile_of_a_huge_count_comes_to_an_end():
    found = count_quantile(np.array([1e17, 3.0]), np.array([5.0, 5.0]), 0.5)
    assert np.isfinite(found).all()
    assert found[1] in (2.0, 3.0)
