"""A picture shows the numbers that it was given, each where it belongs: read off what is drawn, before any pixel."""

from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest

from unrolled import figures

pytest.importorskip("matplotlib")

WORDS = {"xlabel": "x", "ylabel": "y"}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are made, without their files."""
    from matplotlib.figure import Figure

    made = []

    @contextmanager
    def only(_path, width, height, *_):
        made.append(Figure(figsize=(width, height), dpi=20, layout="constrained"))
        yield made[-1]

    for room in ("curves", "forecasts", "heat", "points", "scores", "slices"):
        monkeypatch.setattr(import_module(f"unrolled.figures.{room}"), "drawing", only)
    return made


def xy(line):
    return line.get_xydata().tolist()


def bars(axes):
    """The ends of the error bars of a panel, [bars, 2 ends, 2 coordinates]."""
    return [segment.tolist() for lines in axes.collections for segment in lines.get_segments()]


def test_curves_over_lags_stand_at_their_lags_within_their_bands(drawn):
    curve = {"middle": [3.0, 2.0, 1.0], "low": [2.5, 1.5, 0.5], "high": [4.0, 3.0, 2.0]}
    figures.lags("", curves={"a": curve}, first=2, marks={"here": 3.0}, level=("a tenth", 0.1), **WORDS)
    (axes,) = drawn[0].axes
    middle, mark, level = axes.lines
    assert xy(middle) == [[2, 3], [3, 2], [4, 1]]
    assert (set(mark.get_xdata()), set(level.get_ydata())) == ({3.0}, {0.1})
    band = axes.collections[0].get_paths()[0].vertices.tolist()
    assert all(
        [x, y] in band for x, *ends in zip((2, 3, 4), curve["low"], curve["high"], strict=True) for y in ends
    )


def test_a_loss_has_its_second_unit_on_the_right_and_its_best_step_marked(drawn):
    units = (("nats per token", 1.0), ("bits per token", 1 / np.log(2)))
    figures.loss("", step=[1, 2], train=[3, 2], val_step=[10, 20, 30], validation=[2, 1, 4], units=units)
    (axes,) = drawn[0].axes
    drawn[0].draw_without_rendering()
    (right,) = axes.child_axes
    assert right.get_ylim() == pytest.approx(np.array(axes.get_ylim()) / np.log(2))
    assert xy(axes.lines[-1]) == [[20, 1]]
    assert axes.lines[-1].get_label() == "best: 1.000 nats, 1.443 bits, at step 20"


def test_series_have_their_bands_and_what_was_not_solved_has_none(drawn):
    curve = {"x": [1, 2, 4], "middle": [3, 9, 2], "low": [2, 9, 1], "high": [4, 9, 3], "unsolved": [0, 1, 0]}
    figures.series("", curves={"LSTM": curve}, levels={"control": 0.5}, log_x=True, **WORDS)
    (axes,) = drawn[0].axes
    band = axes.collections[0].get_paths()[0].vertices.tolist()
    assert all(point in band for point in ([1, 2], [1, 4], [4, 1], [4, 3]))
    assert not any(x == 2 for x, _ in band)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert set(axes.lines[-1].get_ydata()) == {0.5}


@pytest.mark.parametrize(
    ("log_x", "log_y", "kept"), [(True, False, [1, 2]), (False, True, [0, 2]), (True, True, [2])]
)
def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero(drawn, log_x, log_y, kept):
    curves = {"one": {"x": [0, 1, 2], "middle": [5, -1, 7]}}
    figures.series("", curves=curves, log_x=log_x, log_y=log_y, **WORDS)
    assert drawn[0].axes[0].lines[0].get_xdata().tolist() == kept


def test_families_leave_out_what_a_logarithm_has_not(drawn):
    curves = {"p": [1, 0, 4], "q": [2, np.nan, 8]}
    figures.families("", step=[1, 2, 3], panels={"a": curves}, ylabels={}, logarithmic=frozenset("a"))
    (axes,) = drawn[0].axes
    assert [xy(line) for line in axes.lines] == [[[1, 1], [3, 4]], [[1, 2], [3, 8]]]


def test_the_units_of_every_strip_are_in_the_order_of_the_states_means(drawn):
    state = np.array([[-1.0, 2.0, 0.5], [-1.2, 2.5, 1.5]])
    gate = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    figures.strips("", tokens="ab", strips={"f": gate, "c": state}, ranges={"f": (0, 1)}, ends={"f": ("shut", "open")},
                   captions={"c": "a sum"}, named=1, predicted=["", "x"], reading="A column is a token.")  # fmt: skip
    seen = [axes.images[0].get_array().tolist() for axes in drawn[0].axes if axes.images]
    assert seen == [
        gate.T[[1, 2, 0]].tolist(),
        gate.T[[2]].tolist(),
        state.T[[1, 2, 0]].tolist(),
        state.T[[2]].tolist(),
    ]
    words = [text.get_text() for axes in drawn[0].axes for text in (*axes.get_yticklabels(), *axes.texts)]
    assert words.count("unit 2") == 2  # the one that changes most
    assert {"0 shut", "1 open", "predicted", "x"} <= set(words)
    assert "c: a sum" in [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert drawn[0].get_supxlabel() == "A column is a token."


def test_a_matrix_has_its_rows_from_top_to_bottom_and_nothing_where_it_is_not_above_zero(drawn):
    figures.matrix("", values=[[1.0, 0.0], [2.0, 4.0]], rows="ab", columns="cd", unit="nats", **WORDS)
    axes = drawn[0].axes[0]
    assert axes.images[0].get_array().tolist() == [[1, None], [2, 4]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_ylim() == (1.5, -0.5)


def test_a_map_has_every_range_of_lags_over_its_lags(drawn):
    figures.by_lag("", values=[[1, 2, 3]], rows=["a"], first=-2, width=4, xlabel="lag", unit="%")
    left, right, bottom, top = drawn[0].axes[0].images[0].get_extent()
    cells = np.linspace(left, right, 4)
    assert cells.tolist() == [-2.5, 1.5, 5.5, 9.5]  # -2 to 1, 2 to 5, 6 to 9
    assert (bottom, top) == (0.5, -0.5)


def test_a_confusion_has_shares_of_the_true_class_and_counts_where_there_are_any(drawn):
    figures.confusion("", counts=[[6, 2], [0, 3]], classes=["a", "b"])
    axes = drawn[0].axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "6",
        (1, 0): "2",
        (1, 1): "3",
    }


def test_a_ranking_has_each_value_within_its_interval_from_top_to_bottom(drawn):
    figures.ranking("", names=["a", "b"], values=[3, 1], low=[2, 0.5], high=[5, 2], xlabel="loss")
    (axes,) = drawn[0].axes
    assert xy(axes.lines[1]) == [[3, 0], [1, 1]]
    assert bars(axes) == [[[2, 0], [5, 0]], [[0.5, 1], [2, 1]]]
    assert axes.get_ylim() == (1.5, -0.5)


def test_reliability_is_accuracy_over_confidence_and_a_bar_for_each_bin(drawn):
    figures.reliability("", confidence=[0, 0.4, 0.9], accuracy=[0, 0.5, 0.6], samples=[0, 4, 25], error=0.2)
    upper, lower = drawn[0].axes
    assert xy(upper.lines[1]) == [[0.4, 0.5], [0.9, 0.6]]
    spread = [(high[1] - low[1]) / 2 for low, high in bars(upper)]
    assert spread == pytest.approx([(0.5 * 0.5 / 4) ** 0.5, (0.6 * 0.4 / 25) ** 0.5])
    middles = [bar.get_x() + bar.get_width() / 2 for bar in lower.patches]
    assert middles == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    assert [bar.get_height() for bar in lower.patches] == [0, 4, 25]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_marks_at_the_ends_of_a_scale_are_whole_and_no_legend_covers_a_curve(drawn, value):
    figures.reliability("", confidence=[0.1, 0.9], accuracy=[value] * 2, samples=[4, 4], error=0.2)
    figures.error_by("", labels=["1", "2"], error=[value, 2], spread=[0.5, 1], **WORDS)
    upper, lower = drawn[0].axes
    assert [each.get_legend() for each in (upper, lower)] == [None, None]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == [
        "calibrated",
        "network, with standard error",
    ]
    low, high = upper.get_ylim()
    assert low < -0.02
    assert high > 1.02
    (axes,) = drawn[1].axes
    assert not axes.lines[0].get_clip_on()


def test_errors_by_range_have_their_standard_errors(drawn):
    figures.error_by("", labels=["1 to 2", "3"], error=[2, 3], spread=[0.5, 1], samples=[1200, 4], **WORDS)
    (axes,) = drawn[0].axes
    assert xy(axes.lines[0]) == [[0, 2], [1, 3]]
    assert bars(axes) == [[[0, 1.5], [0, 2.5]], [[1, 2], [1, 4]]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1 to 2\n(1,200)", "3\n(4)"]


@pytest.mark.parametrize("clock", [False, True])
def test_a_forecast_stands_at_its_own_times_however_long_its_history_is(drawn, clock):
    value, times = np.arange(60.0), 1.7e9 + 3600 * np.arange(60)
    bands = {80.0: (value[56:] - 1, value[56:] + 1)}
    window = figures.ForecastWindow(
        value[:56], value[56:], value[56:] + 0.5, bands, "", times if clock else None
    )
    figures.forecasts("", windows=[window], ylabel="y")
    actual, forecast, now = drawn[0].axes[0].lines
    assert actual.get_ydata().tolist() == value[-16:].tolist()  # three horizons of the history
    assert forecast.get_ydata().tolist() == (value[56:] + 0.5).tolist()
    at = times if clock else np.arange(-55, 5)
    for line, first in ((actual, 44), (forecast, 56)):
        x = line.get_xdata()
        assert (x.astype("datetime64[s]").astype(float) if clock else x).tolist() == at[first:].tolist()
    assert now.get_xdata()[0] == actual.get_xdata()[11]  # the last step that is known


def test_errors_and_coverage_by_horizon_begin_one_step_ahead(drawn):
    figures.error_by_horizon("", errors={"gru": [1, 2], "mean": [3, 4]}, ylabel="MAE")
    assert [xy(line) for line in drawn[0].axes[0].lines] == [[[1, 1], [2, 2]], [[1, 3], [2, 4]]]
    shares, widths = {80: [0.8, 0.7], 95: [0.95, 0.9]}, {80: [1, 2], 95: [2, 3]}
    figures.coverage_by_horizon("", coverage=shares, width=widths, ylabel="MW")
    upper, lower = drawn[1].axes
    levels, curves = upper.lines[::2], upper.lines[1::2]
    assert [set(line.get_ydata()) for line in levels] == [{80}, {95}]
    assert [line.get_ydata().tolist() for line in curves] == [
        pytest.approx([80, 70]),
        pytest.approx([95, 90]),
    ]
    assert [line.get_ydata().tolist() for line in lower.lines] == [[1, 2], [2, 3]]


@pytest.mark.parametrize("maximise", [False, True])
def test_slices_mark_the_best_run_the_medians_and_what_is_far_out(drawn, maximise):
    values = np.array([1.0, 2.0, 9.0, 3.0, np.nan, 3.5, -90.0 if maximise else 90.0])
    axes = {"cell": ["gru", "gru", "gru", "lstm", "lstm", "lstm", "rnn"], "rate": [1, 2, 3, 4, 5, 6, 7]}
    figures.slices(
        "", axes=axes, values=values, ylabel="loss", order={"cell": ["gru", "lstm", "rnn"]}, maximise=maximise
    )
    cell, rate = drawn[0].axes
    medians = {tuple(y) for (_, *y), *_ in bars(cell)}
    assert medians == {(2.0,), (3.25,)}
    good, far, none, ring = rate.lines
    assert xy(good) == [[1, 1], [2, 2], [3, 9], [4, 3], [6, 3.5]]
    assert xy(ring) == [[3, 9] if maximise else [1, 1]]
    (edge,) = {y for line in (far, none) for y in line.get_ydata()}
    assert (far.get_xdata().tolist(), none.get_xdata().tolist()) == ([7], [5])
    assert -90 < edge < 1 if maximise else 9 < edge < 90


def test_points_have_their_spread_on_the_side_where_it_is(drawn):
    panels = {"one": {"first": ([0.5, 1, 3], [2, 2.5, 4]), "other": ([2, 3, 4], [1, 2, 3])}}
    figures.points("", panels=panels, **WORDS)
    (axes,) = drawn[0].axes
    wide, high = bars(axes)[:2]
    assert (wide, high) == ([[0.5, 2.5], [3, 2.5]], [[1, 2], [1, 4]])
    assert (axes.lines[1].get_xdata()[0], axes.lines[2].get_ydata()[0]) == (1, 2.5)  # through the first


def test_units_are_clouds_of_their_shares_or_eigenvalues_around_a_circle(drawn):
    panels = {"l0": {"f": ([0.1, 0.5], [0.2, 0.4])}, "l1": {"W": ([0.9], [-0.1])}}
    figures.units("", panels=panels, circles={"l1"}, **WORDS)
    shares, eigenvalues = drawn[0].axes
    assert shares.collections[0].get_offsets().tolist() == [[0.1, 0.2], [0.5, 0.4]]
    assert eigenvalues.collections[0].get_offsets().tolist() == [[0.9, -0.1]]
    circle = np.array(xy(eigenvalues.lines[0]))
    np.testing.assert_allclose(np.hypot(*circle.T), 1)
