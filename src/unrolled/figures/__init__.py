"""Arrays in, picture out. Matplotlib loads when a picture is drawn, without pyplot and without a display.

curves.py   over steps and over lags         heat.py     strips, matrices, maps by lag
points.py   named points, a point per unit   scores.py   confusion, reliability, errors by range, rankings
canvas.py   a figure and its file, colours     forecasts.py  windows with bands, error by horizon
slices.py   what many runs came to, by setting
"""

from unrolled.figures.canvas import dark, require, signs, visible
from unrolled.figures.curves import families, lags, loss, series
from unrolled.figures.forecasts import (
    ForecastWindow,
    coverage_by_horizon,
    error_by_horizon,
    forecasts,
)
from unrolled.figures.heat import by_lag, matrix, strips
from unrolled.figures.points import points, units
from unrolled.figures.scores import confusion, error_by, ranking, reliability
from unrolled.figures.slices import slices

__all__ = [
    "ForecastWindow",
    "by_lag",
    "confusion",
    "coverage_by_horizon",
    "dark",
    "error_by",
    "error_by_horizon",
    "families",
    "forecasts",
    "lags",
    "loss",
    "matrix",
    "points",
    "ranking",
    "reliability",
    "require",
    "series",
    "signs",
    "slices",
    "strips",
    "units",
    "visible",
]
