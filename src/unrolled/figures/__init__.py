"""Arrays in, picture out. Matplotlib loads when a picture is drawn, without pyplot and without a display.

curves.py   over steps and over lags         heat.py     gates and states as strips, matrices
points.py   named points, a point per unit   canvas.py   a figure and its file, colours, texts
"""

from unrolled.figures.canvas import dark, require, signs, visible
from unrolled.figures.curves import families, lags, loss, series
from unrolled.figures.heat import matrix, strips
from unrolled.figures.points import points, units

__all__ = [
    "dark",
    "families",
    "lags",
    "loss",
    "matrix",
    "points",
    "require",
    "series",
    "signs",
    "strips",
    "units",
    "visible",
]
