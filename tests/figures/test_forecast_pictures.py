"""Pictures of forecasts: the same bytes each time, odd sizes, bad shapes."""

import numpy as np
import pytest

from unrolled import figures
from unrolled.errors import ShapeError

pytest.importorskip("matplotlib")

WAVE = np.sin(np.arange(60.0) / 4)
BANDS = {80: (WAVE[48:] - 1, WAVE[48:] + 1), 95: (WAVE[48:] - 2, WAVE[48:] + 2)}
WINDOW = figures.ForecastWindow(WAVE[:48], WAVE[48:], WAVE[48:] * 0.9, BANDS, "a, from 3 May")


def draw_forecasts(path, **changes):
    figures.forecasts(path, **({"windows": [WINDOW] * 3, "ylabel": "load in MW"} | changes))


def draw_error(path, **changes):
    figures.error_by_horizon(
        path, **({"errors": {"gru": [1, 2, 3], "last value": [2, 3, 4]}, "ylabel": "MAE"} | changes)
    )


def draw_coverage(path, **changes):
    options = {
        "coverage": {80: [0.8, 0.7], 95: [0.95, 0.99]},
        "width": {80: [1, 2], 95: [2, 3]},
        "ylabel": "MW",
    }
    figures.coverage_by_horizon(path, **(options | changes))


DRAWINGS = {"forecasts": draw_forecasts, "error": draw_error, "coverage": draw_coverage}


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
        ("forecasts", {"windows": [WINDOW._replace(times=1.7e9 + 3600 * np.arange(60))]}),
        ("forecasts", {"windows": [figures.ForecastWindow([np.nan], [np.nan], [1.0])], "title": "$字"}),
        ("error", {"errors": {"a": [1.0]}}),
        ("coverage", {"coverage": {80: [np.nan, 0.5]}, "width": {80: [1, 2]}}),
    ],
)
def test_odd_sizes_and_values_are_drawn(tmp_path, name, changes):
    DRAWINGS[name](tmp_path / "a.png", **changes)
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("forecasts", {"windows": []}, r"windows: expected 1 to 6, got 0"),
        (
            "forecasts",
            {"windows": [WINDOW._replace(truth=[1.0])]},
            r"windows\[0\] truth: expected \[12\], got \[1\]",
        ),
        (
            "forecasts",
            {"windows": [WINDOW._replace(times=[1.0])]},
            r"windows\[0\] times: expected \[60\], got \[1\]",
        ),
        ("error", {"errors": {}}, r"errors: expected at least one, got none"),
        ("error", {"errors": {"a": [1.0], "b": [1.0, 2]}}, r"errors 'b': expected \[1\], got \[2\]"),
        ("coverage", {"width": {80: [1, 2]}}, r"width: expected the levels \[80, 95\], got \[80\]"),
    ],
)
def test_arrays_of_a_wrong_shape_are_refused(tmp_path, name, changes, match):
    with pytest.raises(ShapeError, match=match):
        DRAWINGS[name](tmp_path / "a.png", **changes)
