"""HTML in pieces, escaped, and how the page looks: one column, light or dark, nothing that moves.

What is not `Markup` yet is escaped, and what cannot be seen in it is made visible.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

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
    named = tag("caption", tag("span", caption))
    whole = tag("table", named, LINE, tag("thead", top), LINE, tag("tbody", body))
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


STYLE = f"""
{_variables(LIGHT)}
@media (prefers-color-scheme: dark) {{ {_variables(DARK)} }}

{Path(__file__).with_name("page.css").read_text(encoding="utf-8")}"""
