"""Arrays in, picture out. Matplotlib loads when a picture is drawn, without pyplot and without a display.

curves.py    the loss over steps          canvas.py    a figure, and its file written in one piece
heat.py      gates and states as strips   symbols.py   texts that the font can show
"""

from unrolled.figures.canvas import require
from unrolled.figures.curves import loss
from unrolled.figures.heat import strips
from unrolled.figures.symbols import visible

__all__ = ["loss", "require", "strips", "visible"]
