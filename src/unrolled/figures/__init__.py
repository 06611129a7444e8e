"""Arrays in, picture out. Matplotlib loads when a picture is drawn, without pyplot and without a display.

curves.py    the loss over steps          canvas.py    a figure, and its file written in one piece
heat.py      gates and states as strips   symbols.py   texts that the font can show
lags.py      curves over lags, with bands
matrix.py    a matrix with texts on both axes
units.py     a point a unit
families.py  families of curves over steps
points.py    named points with their spread
series.py    several curves on one pair of axes
"""

from unrolled.figures.canvas import require
from unrolled.figures.curves import loss
from unrolled.figures.families import families
from unrolled.figures.heat import strips
from unrolled.figures.lags import lags
from unrolled.figures.matrix import matrix
from unrolled.figures.points import points
from unrolled.figures.series import series
from unrolled.figures.symbols import signs, visible
from unrolled.figures.units import units

__all__ = [
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
