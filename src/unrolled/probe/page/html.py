"""HTML in pieces, escaped, and how the page looks: one column, light or dark, nothing that moves.

What is not `Markup` yet is escaped, and what cannot be seen in it is made visible.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from unrolled.figures import signs

__all__ = [
    "DARK", "LIGHT", "LINE", "STYLE", "Markup", "joined", "paragraph", "region", "safe", "table", "tag",
    "token",
]  # fmt: skip

VOID = ("img", "meta", "source")  # tags without an end
SPOKEN = {"\n": "line break", " ": "space", "\t": "tab", "\r": "carriage return", "": "nothing"}


class Markup(str):
    """HTML that is not escaped again."""

    __slots__ = ()


LINE, NOTHING = Markup("\n"), Markup("")


def safe(value: object) -> Markup:
    """Return markup as it is, and the text of anything else escaped, its unseen signs as code points.

    Unseen are control characters, marks that turn the direction, lone surrogates, and spaces but the common
    one.

    >>> safe("<b>\\x00")
    '&lt;b&gt;U+0000'
    """
    if isinstance(value, Markup):
        return value
    shown = "".join(sign if sign.isprintable() else f"U+{ord(sign):04X}" for sign in str(value))
    return Markup(html.escape(shown, quote=True))


def joined(parts: Iterable[object], between: Markup = NOTHING) -> Markup:
    """Return parts as one piece."""
    return Markup(between.join(safe(part) for part in parts))


def tag(name: str, /, *inside: object, **attributes: object) -> Markup:
    """Return an element; `class_` is class, `aria_label` is aria-label, and what is None is left out.

    >>> tag("p", "a < b", class_="big")
    '<p class="big">a &lt; b</p>'
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{words}>")
    return Markup(f"<{name}{words}>{joined(inside)}</{name}>")


def paragraph(*inside: object, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return Markup(tag("p", *inside, class_=class_) + "\n")


def region(label: str, *inside: object, class_: str = "scroll") -> Markup:
    """Return a part that scrolls on narrow screens, by keyboard too."""
    return Markup(tag("div", *inside, class_=class_, role="region", aria_label=label, tabindex=0) + "\n")


def table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table that scrolls; the first cell of a row is its header."""
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = joined(
        (
            tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
            for first, *rest in rows
        ),
        LINE,
    )
    whole = tag("table", tag("caption", caption), LINE, tag("thead", top), LINE, tag("tbody", body))
    return region(caption, whole)


def token(text: str) -> Markup:
    """Return a token: white space as a sign that is read out, in a direction of its own."""
    if text in SPOKEN:
        sign = tag("span", signs(text), aria_hidden="true")
        return joined((sign, tag("span", SPOKEN[text], class_="spoken")))
    return tag("bdi", signs(text))


LIGHT = {
    "ground": "#ffffff",
    "ink": "#1f2328",
    "soft": "#57606a",
    "link": "#0b57a4",
    "panel": "#f3f5f7",
    "rule": "#d9dee3",
}
DARK = {
    "ground": "#15181c",
    "ink": "#e6e8eb",
    "soft": "#a9b1ba",
    "link": "#8fc1ff",
    "panel": "#20252b",
    "rule": "#3a4149",
}


def _variables(colours: Mapping[str, str]) -> str:
    return ":root{" + "".join(f"--{name}:{value};" for name, value in colours.items()) + "}"


STYLE = (
    f"""
{_variables(LIGHT)}
@media (prefers-color-scheme: dark) {{ {_variables(DARK)} }}
"""
    + """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--soft); }
h3 { font-size: 1.05rem; margin: .25rem 0; }
p, li, dd, figcaption { max-width: 44rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { position: static; display: inline-block; padding: .5rem; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
nav ul { list-style: none; margin: 1rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
nav a { display: inline-block; padding: .25rem 0; }
dl { display: grid; grid-template-columns: fit-content(14rem) minmax(0, 1fr); gap: .15rem 1rem;
  margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.finding { background: var(--panel); border-left: .4rem solid var(--ink); padding: .75rem 1rem;
  margin: 1rem 0; }
code { font: .95em ui-monospace, monospace; background: var(--panel); border: 1px solid var(--soft);
  border-radius: .2rem; padding: .05em .3em; }
figure { margin: 1rem 0; }
.scroll { overflow-x: auto; margin: .75rem 0; position: relative; max-width: 100%; }
figcaption { color: var(--soft); margin-top: .5rem; }
img { display: block; max-width: none; border: 1px solid var(--rule); }
details { margin: .75rem 0; }
summary { cursor: pointer; padding: .25rem 0; color: var(--link); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem;
  overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid var(--rule); }
td, tbody th { min-width: 6rem; }
thead th { white-space: nowrap; }
tbody th { font-weight: 400; }
@media (max-width: 30rem) { dl { display: block; } dd { margin-bottom: .4rem; } }
@media print { nav, .skip { display: none; } body { max-width: none; } .scroll { overflow: visible; }
  img { max-width: 100%; height: auto; } figure, .finding, tr { break-inside: avoid; } }
"""
)
