"""Checks a built site: nothing comes from another host, no link lacks its file, every public name is there.

A public class or function without an example is a fault too.

    python docs/site/check.py build/site
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import examples
import pages

LOADING = {  # a tag, the attribute that makes a browser load something
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "object": ("data",), "embed": ("src",), "link": ("href",),
}  # fmt: skip
NOT_LOADED = {"canonical", "next", "prev", "alternate", "author", "license"}  # links to read, not to load
IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """What a page loads, what it links to, and the places that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.places.add(str(found["id"]))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag == "link" and set(str(found.get("rel", "")).split()) & NOT_LOADED:
            return
        for attribute in LOADING.get(tag, ()):
            for each in str(found.get(attribute) or "").split(","):
                if each.strip() and not each.strip().startswith("data:"):
                    self.loads.append(each.split()[0])


def remote(text: str) -> list[str]:
    """Return what a page or a style sheet loads from another host."""
    return [url for url in Page(text).loads if urlsplit(url).netloc] + IN_CSS.findall(text)


def problems(site: Path) -> list[str]:
    """Return one line for everything that is wrong with a site."""
    found = []
    parsed = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path in [*parsed, *sorted(site.rglob("*.css"))]:
        text = path.read_text(encoding="utf-8")
        found += [f"{path}: loads {url} from another host" for url in remote(text)]
    for path, page in parsed.items():
        for url in page.loads + page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            root = site if parts.path.startswith("/") else path.parent
            target = root / unquote(parts.path).lstrip("/")
            if not target.exists() and path.name != "404.html":
                found.append(f"{path}: {url}: no such file")
    described = set().union(*(page.places for page in parsed.values()))
    return found + [f"{name}: not described" for name in sorted(pages.places() - described)]


def main() -> None:
    wrong = problems(Path(sys.argv[1])) + examples.missing()
    print("\n".join(wrong) if wrong else f"{sys.argv[1]}: complete, and loads nothing from another host")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
