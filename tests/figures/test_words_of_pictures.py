"""Every word of a picture can be read: none is cut at the edge, and names are those of the data."""

import importlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from unrolled import figures
from unrolled.figures import canvas

pytest.importorskip("matplotlib")

LONG = "steps back from the last one"
WORDS = {"xlabel": "lag back from the last step", "ylabel": "value", "title": "a.csv, test part"}


@pytest.fixture
def drawn(monkeypatch):
    """Keep each figure that is drawn."""
    kept = []

    @contextmanager
    def keeping(*args, **options):
        with canvas.drawing(*args, **options) as figure:
            yield figure
        kept.append(figure)

    for room in ("curves", "forecasts", "heat", "scores"):
        module = importlib.import_module(f"unrolled.figures.{room}")
        monkeypatch.setattr(module, "drawing", keeping)
    return kept


def draw_lags(path):
    curve = {"middle": np.linspace(1, 0, 80)}
    caption = {LONG: "half within 14 characters, 95 % within 50 characters"}
    figures.lags(path, curves={LONG: curve}, captions=caption, **WORDS)


def draw_confusion(path):
    names = ["walking upstairs", "walking downstairs", "sitting on a chair with both feet on the ground", " "]
    figures.confusion(path, counts=np.eye(4), classes=names, title="a.csv, test part")


def draw_ranking(path):
    names = ["temperature", "temperature, ahead", "a_column_with_a_name_of_more_than_forty_signs"]
    figures.ranking(path, names=names, values=[3, 2, 1], low=[2, 1, 0], high=[4, 3, 2], xlabel="loss")


def draw_map(path):
    names = ["temperature", "temperature, ahead"]
    figures.by_lag(path, values=np.eye(2), rows=names, first=0, width=2, xlabel="lag", unit="%")


def draw_coverage(path):
    levels = {80.0: np.full(24, 0.8), 95.0: np.full(24, 0.95)}
    figures.coverage_by_horizon(path, coverage=levels, width=levels, ylabel="mean width, standardised")


DRAWINGS = (draw_lags, draw_confusion, draw_ranking, draw_map, draw_coverage)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_no_word_of_a_picture_is_cut_at_its_edge(drawn, draw, tmp_path: Path):
    draw(tmp_path / "a.png")
    (figure,) = drawn
    (left, low), (right, high) = figure.get_tightbbox().get_points()  # of all that is drawn, in inches
    width, height = figure.get_size_inches()
    assert min(left, low) >= 0
    assert right <= width
    assert high <= height


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("walking upstairs", "walking upstairs"),
        ("temperature, ahead", "temperature, ahead"),
        (" ", "␣"),
        ("", "∅"),
        ("a\nb", "a⏎b"),
        ("字", "U+5B57"),
        ("a_column_with_a_name_of_more_than_forty_signs", "a_column_with_…an_forty_signs"),
    ],
)
def test_a_name_keeps_its_spaces_and_both_its_ends(name: str, label: str):
    assert canvas.named(name) == label


def test_a_confusion_names_what_was_true_and_what_was_predicted(drawn, tmp_path: Path):
    figures.confusion(tmp_path / "a.png", counts=np.eye(2), classes=["B-NP", "O"], noun="tag")
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted tag", "true tag")
