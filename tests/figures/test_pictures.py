"""Pictures: a whole file or none, the same bytes for the same arrays, and every sign can be drawn."""

import os
import stat
import sys

import numpy as np
import pytest

from unrolled import figures
from unrolled.errors import MissingExtraError, RunError, ShapeError

pytest.importorskip("matplotlib")

CURVES = {
    "step": np.arange(1, 101),
    "train": 2 + np.exp(-np.arange(100) / 20),
    "val_step": [0, 50, 100],
    "validation": [3.0, 2.1, 2.2],
}
HEAT = {
    "tokens": list("to be\n"),
    "strips": {"forget gate f": np.full((6, 4), 0.5), "cell state c": np.linspace(-2, 2, 24).reshape(6, 4)},
    "ranges": {"forget gate f": (0.0, 1.0)},
}


SERIES = {
    "curves": {
        "one": {"x": range(1, 9), "middle": range(8), "low": np.arange(8) - 0.5, "high": np.arange(8) + 0.5},
        "two": {"x": [1, 8], "middle": [np.nan, 3.0]},
    },
    "xlabel": "steps",
    "ylabel": "loss",
    "levels": {"the best": 0.5},
}


POINTS = {
    "panels": {
        "one": {"the first": ([0.9, 1, 1.1], [2, 2, 2]), "$other$": ([2, 3, 4], [1.9, 2, 2.1])},
        "two": {str(n): ([1, 1, 1], [n / 99] * 3) for n in range(9)},
    },
    "xlabel": "times as fast",
    "ylabel": "loss",
    "log_x": True,
}


def draw_loss(path, **changes):
    figures.loss(path, **(CURVES | changes))


def draw_strips(path, **changes):
    figures.strips(path, **(HEAT | changes))


def draw_series(path, **changes):
    figures.series(path, **(SERIES | changes))


def draw_points(path, **changes):
    figures.points(path, **(POINTS | changes))


DRAWINGS = {"loss": draw_loss, "strips": draw_strips, "series": draw_series, "points": draw_points}


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_a_png_of_the_same_bytes_each_time(tmp_path, name):
    DRAWINGS[name](tmp_path / "a.png")
    DRAWINGS[name](tmp_path / "b.png")
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "b.png").read_bytes()
    assert pixels(tmp_path / "a.png").std() > 0.01


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_replaces_the_old_one_and_leaves_nothing_beside(tmp_path, name):
    (tmp_path / "a.png").write_bytes(b"old")
    before = os.umask(0o022)
    try:
        DRAWINGS[name](str(tmp_path / "a.png"))
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["a.png"]
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o644


def test_a_directory_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(RunError, match="No such file") as caught:
        draw_loss(tmp_path / "missing" / "a.png")
    assert "\n" not in str(caught.value)


def test_a_failed_write_keeps_the_old_picture(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match="No space left"):
        draw_loss(tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize("draw", [*DRAWINGS.values(), lambda _: figures.require()])
def test_a_missing_matplotlib_names_the_extra(tmp_path, monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unrolled\[train\]'"):
        draw(tmp_path / "a.png")


def test_pyplot_stays_out_of_it(tmp_path):
    import subprocess

    code = (
        "import sys; from unrolled import figures; assert 'matplotlib' not in sys.modules; "
        "figures.loss(sys.argv[1], step=[1], train=[1], val_step=[], validation=[]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True)


def test_the_settings_of_the_caller_come_back(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_loss(tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"step": [], "train": []},
        {"val_step": [], "validation": []},
        {"step": [], "train": [], "val_step": [], "validation": []},
        {"step": [1], "train": [2.0], "val_step": [0], "validation": [4.0]},
        {"train": np.full(100, np.nan)},
        {"validation": [3.0, np.inf, 2.0]},
        {"best": (50, 2.1), "title": "cost in $ and $ of 字"},
    ],
)
def test_short_empty_and_broken_curves_are_drawn(tmp_path, changes):
    draw_loss(tmp_path / "a.png", **changes)
    assert (tmp_path / "a.png").exists()


def test_curves_of_unequal_length_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"validation: expected \[N\] as its steps \[3\], got \[2\]"):
        draw_loss(tmp_path / "a.png", validation=[1.0, 2.0])


def test_the_smoothed_curve_keeps_a_straight_line_and_the_first_value():
    from unrolled.figures.curves import _smoothed

    x = np.arange(1000.0)
    steps, line = _smoothed((x, 3 - x / 500))
    assert steps is x
    np.testing.assert_allclose(line[:980], (3 - x / 500)[:980])
    assert _smoothed((x, np.cos(x)))[1][0] == 1.0


@pytest.mark.parametrize(("count", "units"), [(1, 1), (2, 300), (20, 7), (120, 64), (400, 129)])
def test_strips_of_every_size_are_drawn(tmp_path, count, units):
    values = np.random.default_rng(0).normal(size=(count, units))
    draw_strips(tmp_path / "a.png", tokens=["x"] * count, strips={"h": values}, ranges=None)
    assert (tmp_path / "a.png").exists()


def test_tokens_that_no_font_has_are_drawn_as_code_points(tmp_path):
    tokens = ["字", "\t", "\x00", "", "$x$", "\ud800", "\u202e", "a very long word of a corpus"]
    draw_strips(tmp_path / "a.png", tokens=tokens, strips={"h": np.zeros((8, 3))}, title="$字$\n")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("token", "label"),
    [("a", "a"), (" ", "␣"), ("\n", "⏎"), ("\t", "⇥"), (" the", "␣the"), ("字", "U+5B57"), ("ä", "ä"),
     ("a long long word", "a␣long␣long…"), ("", "∅"), ("\x07", "U+0007")],
)  # fmt: skip
def test_white_space_and_unknown_signs_are_visible(token, label):
    assert figures.visible(token) == label


def test_a_row_is_the_same_unit_in_every_strip():
    from unrolled.figures.heat import _deciding, _rows

    gate, state = np.array([[0.9, 0.1, 0.2]]), np.array([[-1.0, 2.0, 0.5]])
    deciding = _deciding({"f": gate, "c": state}, {"f": (0, 1), "c": (-2, 2)})[3]
    assert list(_rows(deciding, 0)[0]) == [1, 2, 0]


def test_values_that_are_not_finite_do_not_spoil_the_colours(tmp_path):
    from unrolled.figures.heat import _symmetric

    values = np.array([[np.nan, 1.0], [np.inf, -1.0]])
    low, high = _symmetric(values)
    assert (low, high) == (-high, 1.0)
    draw_strips(tmp_path / "a.png", tokens=["a", "b"], strips={"h": values}, ranges=None)
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("strips", "match"),
    [({}, "at least one"), ({"h": np.zeros((5, 2))}, r"\[6, units\].*got \[5, 2\]"),
     ({"h": np.zeros(6)}, r"got \[6\]"), ({"h": np.zeros((6, 0))}, r"got \[6, 0\]")],
)  # fmt: skip
def test_strips_of_a_wrong_shape_are_refused(tmp_path, strips, match):
    with pytest.raises(ShapeError, match=match):
        draw_strips(tmp_path / "a.png", strips=strips)


def test_predictions_of_another_number_than_the_tokens_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"predicted: expected 6, one per token, got 2"):
        draw_strips(tmp_path / "a.png", predicted=["a", "b"])


def test_the_units_that_are_named_are_those_whose_state_changes_most():
    from unrolled.figures.heat import _deciding, _rows

    state = np.array([[0.0, 5.0, -1.0, 0.0], [0.1, 5.0, 1.0, 3.0]])
    gate = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    deciding = _deciding({"f": gate, "c": state}, {"f": (0.0, 1.0), "c": (-5.0, 5.0)})[4]
    assert list(_rows(deciding, 2)[1]) == [3, 2]
    assert list(_rows(deciding, 4)[1]) == []  # all of them: the strip itself shows them


@pytest.mark.parametrize(
    ("curves", "match"),
    [
        ({}, "curves: expected at least one, got none"),
        ({"a": {"x": [1, 2], "middle": [1]}}, r"curves 'a' middle: expected \[K\] as x \[2\], got \[1\]"),
        ({"a": {"x": [], "middle": []}}, r"curves 'a' x: expected \[K\] as x \[0\], got \[0\]"),
    ],
)
def test_series_of_unequal_length_or_of_nothing_are_refused(tmp_path, curves, match):
    with pytest.raises(ShapeError, match=match):
        draw_series(tmp_path / "a.png", curves=curves)


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, r"^panels: expected at least one, got none"),
        ({"a": {}}, r"^panels 'a': expected at least one point, got none"),
        ({"a": {"b": ([1, 2], [1, 1, 1])}}, r"^panels 'a' 'b' x: expected \(low, middle, high\), finite"),
        ({"a": {"b": ([1, 1, 1], [3, 2, 1])}}, r"^panels 'a' 'b' y: expected \(low, middle, high\), finite"),
        ({"a": {"b": ([0, 1, 1], [1, 1, 1])}}, r"^panels 'a' 'b' x: expected above 0"),
    ],
)
def test_points_that_are_none_are_refused(tmp_path, panels, message):
    with pytest.raises(ShapeError, match=message):
        draw_points(tmp_path / "a.png", panels=panels)
    assert not os.listdir(tmp_path)


def test_names_of_points_stand_apart_in_their_order():
    from unrolled.figures.points import GAP, _apart

    for wanted in ([0.5], [0.0, 0.01, 0.02, 0.9], [0.97, 0.98, 0.99, 1.0], [0.5] * 12):
        heights = _apart(np.array(wanted))
        assert (np.diff(heights) >= GAP - 1e-9).all()
        assert heights[0] >= 0
        assert heights[-1] <= 1
    assert _apart(np.array([0.2, 0.8])).tolist() == [0.2, 0.8]
    assert _apart(np.array([0.5, 0.5])).mean() == pytest.approx(0.5)


def test_a_curve_that_names_a_cell_has_its_colour_in_every_picture():
    from unrolled.figures.canvas import looks

    first, second = looks(["a CNN", "LSTM, clipped", "gru"]), looks(["RNN", "an LSTM of 64", "LSTM"])
    assert first["LSTM, clipped"].colour == second["an LSTM of 64"].colour == second["LSTM"].colour
    assert len({look.colour for look in (*first.values(), second["RNN"])}) == 4
    assert len(set(second.values())) == 3


def test_a_registered_cell_gets_a_colour_that_no_other_curve_has(monkeypatch):
    from unrolled.figures.canvas import looks
    from unrolled.spec import CELLS, Cell

    monkeypatch.setitem(CELLS, "toy_cell", Cell("toy_cell", ("a",), (), ("h",), ("a",)))
    first, second = looks(["toy_cell, clipped", "a CNN"]), looks(["LSTM", "GRU", "RNN", "toy_cell", "other"])
    assert first["toy_cell, clipped"].colour == second["toy_cell"].colour
    assert first["a CNN"].colour == second["other"].colour
    assert len({look.colour for look in second.values()}) == 5


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_colour_of_a_curve_stands_out_from_a_light_and_a_dark_ground():
    from unrolled.figures.canvas import COLOURS, DARK, LIGHT

    for colour in COLOURS:
        for ground in (LIGHT.ground, DARK.ground):
            dark, light = sorted((luminance(colour), luminance(ground)))
            assert (light + 0.05) / (dark + 0.05) >= 3, (colour, ground)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_for_a_dark_page_has_a_dark_ground(tmp_path, name):
    DRAWINGS[name](tmp_path / "light.png")
    with figures.dark():
        DRAWINGS[name](tmp_path / "dark.png")
    light, dark = (pixels(tmp_path / f"{ground}.png")[2, -2, :3].mean() for ground in ("light", "dark"))
    assert light > 0.95
    assert dark < 0.15


def test_a_trial_that_was_not_solved_is_one_hollow_marker_to_which_no_line_leads():
    from matplotlib.figure import Figure

    from unrolled.figures.curves import _alike, _one, looks

    axes = Figure().add_subplot()
    curve = _alike("a", {"x": [1, 2, 3, 4], "middle": [1, 9, 2, 9], "unsolved": [0, 1, 0, 1]})
    _one(axes, "LSTM", curve, looks(["LSTM"])["LSTM"], hollow=9)
    joined, hollow = axes.lines
    np.testing.assert_array_equal(joined.get_ydata(), [1, np.nan, 2, np.nan])
    np.testing.assert_array_equal(hollow.get_xydata(), [[2, 9], [4, 9]])
    assert hollow.get_fillstyle() == "none"
    assert hollow.get_linestyle() == "None"
    assert joined.get_color() == hollow.get_color()


def test_the_loss_takes_its_arguments_by_their_older_names(tmp_path):
    with pytest.warns(DeprecationWarning, match=r"figures\.loss: ") as seen:
        figures.loss(
            tmp_path / "loss.png",
            step=[1, 2],
            train_nats_per_token=[2.0, 1.0],
            val_step=[2],
            val_nats_per_token=[1.5],
        )
    assert [str(warning.message) for warning in seen] == [
        "figures.loss: train_nats_per_token is now train; the older name goes in 0.3",
        "figures.loss: val_nats_per_token is now validation; the older name goes in 0.3",
    ]
    assert (tmp_path / "loss.png").exists()
