"""The report as a page: one HTML file, findings first, every picture explained, every number in a table.

document.py   the page as a whole             sections.py   gradients and memory: picture, sentence, numbers
units.py      gates and states                html.py       HTML in pieces, escaped
page.css      how the page looks
"""

from unrolled.probe.page.document import check_place, key_rows, write

__all__ = ["check_place", "key_rows", "write"]
