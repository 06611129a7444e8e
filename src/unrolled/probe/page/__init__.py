"""The report as a page: one HTML file, findings first, every picture explained, every number in a table.

document.py   the page as a whole            section.py   a measurement: picture, words, numbers
overview.py   facts, key numbers, method     markup.py    HTML in pieces, escaped
problems.py   findings                       words.py     numbers as words
gradients.py  gradients, exponents           style.py     colours and layout
memory.py     horizon, context, map, run     units.py     gates and states
"""

from unrolled.probe.page.document import check_place, write
from unrolled.probe.page.overview import key_rows

__all__ = ["check_place", "key_rows", "write"]
