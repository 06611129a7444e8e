"""The pictures of the probe: every size is drawn, the same arrays give the same bytes, bad shapes are refused."""

import numpy as np
import pytest

from unrolled import figures
from unrolled.errors import ShapeError

pytest.importorskip("matplotlib")

WORDS = {"xlabel": "x", "ylabel": "y"}


def draw_lags(path, **changes):
    middle = np.exp(-np.arange(20.0) / 4)
    curve = {"middle": middle, "low": middle - 0.1, "high": middle + 0.1}
    figures.lags(
        path, **({"curves": {"a": curve}, "marks": {"here": 3.0}, "level": ("zero", 0.0)} | WORDS | changes)
    )


def draw_matrix(path, **changes):
    options = {"values": np.tril(np.ones((5, 5))), "rows": "abcde", "columns": "abcde", "unit": "nats"}
    figures.matrix(path, **(options | WORDS | changes))


def draw_units(path, **changes):
    figures.units(path, **({"panels": {"l0": {"f": ([0.1, 0.5], [0.2, 0.5])}}} | WORDS | changes))


DRAWINGS = {"lags": draw_lags, "matrix": draw_matrix, "units": draw_units}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_a_png_of_the_same_bytes_each_time(tmp_path, name):
    DRAWINGS[name](tmp_path / "a.png")
    DRAWINGS[name](tmp_path / "b.png")
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("lags", {"curves": {"none": {"middle": np.full(5, -np.inf)}}, "log": True}),
        ("lags", {"curves": {"gaps": {"middle": [1.0, np.nan, 0.0, 3.0], "low": [-1.0, 0, 0, 0], "high": [2.0, np.nan, 1, 4]}}, "log": True}),
        ("lags", {"curves": {"one": {"middle": [1.0]}, "$two$": {"middle": [1.0]}}, "captions": {"one": "字"}}),
        ("matrix", {"values": np.zeros((1, 1)), "rows": ["\n"], "columns": ["字"]}),
        ("matrix", {"values": np.full((2, 300), np.nan), "rows": ["a word", "$x$"], "columns": ["x"] * 300}),
        ("units", {"panels": {str(n): {"W": ([0.0], [1.0])} for n in range(5)}, "circles": {"0", "4"}}),
        ("units", {"panels": {"l0": {name: ([], []) for name in "ifogz"}}}),
    ],
)  # fmt: skip
def test_odd_sizes_and_values_are_drawn(tmp_path, name, changes):
    DRAWINGS[name](tmp_path / "a.png", **changes)
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("lags", {"curves": {}}, r"curves: expected at least one"),
        ("lags", {"curves": {"a": {"middle": [1.0, 2.0], "low": [1.0]}}}, r"curves 'a' low: expected .*\[2\], got \[1\]"),
        ("matrix", {"values": np.ones((2, 5))}, r"values: expected \[5, 5\], above 0, got \[2, 5\]"),
        ("units", {"panels": {}}, r"panels: expected at least one"),
        ("units", {"panels": {"a": {"f": ([1.0], [1.0, 2.0])}}}, r"panels 'a f': expected x and y \[N\]"),
    ],
)  # fmt: skip
def test_arrays_of_a_wrong_shape_are_refused(tmp_path, name, changes, match):
    with pytest.raises(ShapeError, match=match):
        DRAWINGS[name](tmp_path / "a.png", **changes)
