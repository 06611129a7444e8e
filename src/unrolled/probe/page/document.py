"""The page as a whole: sections in order, pictures drawn and fitted in, one file written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.checkpoint import replace_text
from unrolled.errors import RunError, expected
from unrolled.figures import require
from unrolled.probe.page import gradients, memory, overview, problems, units
from unrolled.probe.page.markup import LINE, Markup, joined, paragraph, tag
from unrolled.probe.page.section import Section, lay_out
from unrolled.probe.page.style import STYLE

if TYPE_CHECKING:
    from unrolled.probe.report import Report

__all__ = ["check_place", "write"]

LARGEST = 2_000_000  # bytes of a page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write(report: Report, path: Path) -> None:
    """Write a report as one HTML file that needs nothing else: no network, no script.

    Equal reports give equal bytes. A page that would be larger than 2 MB does without its largest pictures,
    and says so; the numbers stay.

    Args:
        report: of `probe.report`.
        path: the file; replaced atomically.
    Raises:
        MissingExtraError: matplotlib is not installed. RunError: the file cannot be written.
    """
    check_place(path)
    sections = list(_sections(report))
    with tempfile.TemporaryDirectory() as folder:
        pictures = {section.name: _drawn(section, Path(folder)) for section in sections}
    text = _page(report, sections, pictures)
    for name in sorted(pictures, key=lambda name: -len(pictures[name])):
        if len(text.encode()) <= LARGEST:
            break
        del pictures[name]
        text = _page(report, sections, pictures)
    replace_text(path, text)


def check_place(path: Path) -> None:
    """Refuse a place where no page can be written, before anything is measured.

    Raises:
        MissingExtraError: matplotlib is not installed. RunError: there is no such folder, a folder or a
        device stands there, or nothing can be written into it.
    """
    require()
    if path.exists() and not path.is_file():  # what is renamed over a device or a pipe takes its place
        other = "a directory" if path.is_dir() else "a device, a pipe or a socket"
        raise RunError(expected(str(path), "a file to write", other))
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        got = error.strerror or error
        raise RunError(expected(str(path), "a place that can be written", got)) from error


def _drawn(section: Section, folder: Path) -> bytes:
    path = folder / f"{section.id}.png"
    section.draw(path)
    return path.read_bytes()


def _sections(report: Report) -> Iterator[Section]:
    if report.gradient_flow is not None:
        yield gradients.flow(report.gradient_flow)
    if report.memory_horizon is not None:
        yield memory.horizon(report.memory_horizon)
    if report.context_curve is not None:
        yield memory.context(report.context_curve)
    if report.gates is not None:
        yield units.use(report.gates)
    if report.lyapunov is not None:
        yield gradients.exponents(report.lyapunov)
    if report.memory_map is not None:
        yield memory.pairs(report.memory_map)
    if report.trajectories is not None:
        texts = None if report.memory_map is None else report.memory_map.tokens  # of the same row
        yield units.record(report.trajectories, texts)
    if report.long_run is not None:
        yield memory.long_text(report.long_run)
    if report.update_norms is not None:
        yield gradients.updates(report.update_norms)


def _page(report: Report, sections: list[Section], pictures: Mapping[str, bytes]) -> str:
    title = report.title or "A recurrent network"
    parts = [
        ("findings", "Findings", problems.found(report)),
        ("key-numbers", "Key numbers", overview.key_numbers(report)),
        *((each.id, each.heading, joined(lay_out(each, pictures.get(each.name)))) for each in sections),
        ("missing", "What was not measured", overview.missing(report)),
        ("method", "How it was measured", joined((overview.method(), problems.looked_for(report)))),
    ]
    body = joined((_part(*part) for part in parts), LINE)
    links = tag("ul", *(tag("li", tag("a", heading, href=f"#{id}")) for id, heading, _ in parts))
    about = paragraph("What a recurrent network remembers, and how its gradient fares.")
    return joined(
        (
            Markup("<!DOCTYPE html>\n"),
            Markup('<html lang="en">\n'),
            _head(title),
            Markup("<body>\n"),
            tag("a", "Skip to the findings", href="#findings", class_="skip"),
            tag("header", tag("h1", tag("bdi", title)), about, overview.facts(report)),
            LINE,
            tag("nav", links, aria_label="Sections"),
            LINE,
            tag("main", body, id="main"),
            Markup("\n</body>\n</html>\n"),
        )
    )


def _head(title: str) -> Markup:
    return tag(
        "head", LINE,
        tag("meta", charset="utf-8"), LINE,
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY), LINE,
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"), LINE,
        tag("title", f"{title} · probe"), LINE,
        tag("style", Markup(STYLE)), LINE,
    )  # fmt: skip


def _part(id: str, heading: str, inside: Markup) -> Markup:
    name = f"{id}-heading"
    top = tag("h2", heading, id=name)
    return tag("section", top, LINE, inside, LINE, id=id, aria_labelledby=name)
