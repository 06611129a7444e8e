"""Archives of arrays from strangers: read, or refused in one line by every reader, however they are packed."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.data import Samples, read_samples
from unrolled.errors import UnrolledError
from unrolled.lab.mnist1d import Mnist1d
from unrolled.tasks.classify import storing

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
MAGIC = b"\x93NUMPY\x01\x00"
HEADERS = (  # each fails in another way within numpy
    b"(" * 9000, b"'''", b"{'descr': '<f4\n", b"{[]: 1}", b"\xff\xfe", b"1" * 5000,
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (20L, 40), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 40), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 40), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1" + b"0" * 40 + b", 40), }",
    b"{'descr': '<M8[3000000000Y]', 'fortran_order': False, 'shape': (20, 40), }",
    b"{'descr': [('a', '<f4', (100000, 100000))], 'fortran_order': False, 'shape': (20, 40), }",
    b"{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000, 40), }",
)  # fmt: skip


def _saved(arrays: dict[str, Any], method: int, header: bytes | None = None) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as archive:
        for name, array in arrays.items():
            one = io.BytesIO()
            np.save(one, array)
            data = one.getvalue()
            if header is not None and name == "x":
                data = MAGIC + len(header).to_bytes(2, "little") + header + data[128:]
            archive.writestr(f"{name}.npy", data)
    return raw.getvalue()


@pytest.fixture
def curves() -> dict[str, Any]:
    draws = np.random.default_rng(0)
    x, test = (draws.normal(size=(rows, 40)).astype(np.float32) for rows in (20, 10))
    return {"x": x, "y": np.arange(20) % 10, "x_test": test, "y_test": np.arange(10)}


def _as_samples(path: Path) -> object:
    return read_samples(path, label="y")


def _as_lab(path: Path) -> object:
    return Mnist1d.read(path, development=5)


READERS = pytest.mark.parametrize("read", [_as_samples, _as_lab])


def _is_answered(read: Callable[[Path], object], path: Path) -> bool:
    """Whether a file is read; otherwise it must be refused in one line."""
    try:
        read(path)
    except UnrolledError as error:
        told = str(error)
    else:
        return True
    assert "\n" not in told
    return False


@READERS
def test_a_damaged_archive_is_read_or_refused_in_one_line(tmp_path, curves, read):
    choice, path, read_ones = random.Random(0), tmp_path / "d.npz", 0
    for method in METHODS:
        whole = _saved(curves, method)
        path.write_bytes(whole)
        assert _is_answered(read, path)
        heads = [at for at in range(len(whole)) if whole.startswith((b"PK", MAGIC), at)]
        for _ in range(60):
            raw = bytearray(whole)
            at = choice.choice((choice.randrange(len(raw)), choice.choice(heads) + choice.randrange(46)))
            raw[min(at, len(raw) - 1)] = choice.choice((0, 1, 9, 14, 93, 128, 255, choice.randrange(256)))
            path.write_bytes(raw)
            read_ones += _is_answered(read, path)
    assert read_ones < 200


@READERS
@pytest.mark.parametrize("header", HEADERS)
def test_an_array_with_a_hostile_header_is_refused_in_one_line(tmp_path, curves, read, header):
    path = tmp_path / "d.npz"
    path.write_bytes(_saved(curves, zipfile.ZIP_DEFLATED, header))
    assert not _is_answered(read, path)


@pytest.mark.parametrize("header", HEADERS)
def test_stored_samples_with_a_hostile_header_are_refused_in_one_line(tmp_path, curves, header):
    storing.write_samples(tmp_path, Samples.from_arrays(curves["x"][..., None], ["a", "b"] * 10))
    assert json.loads((tmp_path / "corpus.json").read_text())["format"]
    (tmp_path / "samples.npz").write_bytes(_saved(curves, zipfile.ZIP_STORED, header))
    assert not _is_answered(storing.read, tmp_path)
