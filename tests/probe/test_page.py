"""The page of a report: whole, readable without eyes or network, and nothing in it that a text can forge."""

import base64
import dataclasses
import itertools
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from probe_cases import language_model, noise, tokens

from unrolled import nn
from unrolled.errors import RunError
from unrolled.probe import Report, report
from unrolled.probe.decay import Decay, Left
from unrolled.probe.maps import MemoryMap
from unrolled.probe.measurements import Finding
from unrolled.probe.page import document, write
from unrolled.probe.page.html import DARK, LIGHT, STYLE, safe, table, tag, token
from unrolled.probe.page.sections import HEADINGS
from unrolled.probe.result import Interval

pytest.importorskip("matplotlib")

EVIL = ("</td><script>", '" onload=', "\0", "\ud800", "\u202eabc\u200f", "\n", "&amp;", "a\x1b[0m", "שלום")
VOID = {"img", "meta", "source"}
WORDS = """
html head meta title style body a header h1 h2 h3 p dl dt dd nav ul li main section figure div picture source img b
figcaption details summary table caption thead tbody tr th td span bdi code
"""  # the tags of a page


class Page(HTMLParser):
    """A page read as a tree of flat records: every tag must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"{tag}: an attribute twice"
        self.tags.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append((self.open[-1] if self.open else "", data))

    def all(self, name):
        return [attributes for tag, attributes, _ in self.tags if tag == name]

    @property
    def text(self):
        return "".join(data for tag, data in self.words if tag != "style")


@pytest.fixture(scope="module")
def measured() -> Report:
    """Every measurement of a tiny LSTM, with a finding."""
    found = report(language_model("lstm", num_layers=1), tokens(80, 3), lags=6, bptt_steps=16, title="tiny")
    fix = ("clip", "--clip 0.5", "clip_grad_norm_(weights, 0.5)")
    problem = Finding("clipping", "recurrent.l0", "too <large>", 12.0, "times", 10.0, *fix)
    return dataclasses.replace(found, findings=(problem,))


@pytest.fixture(scope="module")
def text(measured, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    measured.plot(path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def without_pictures(monkeypatch, size=0):
    """Draw one white point, of so many bytes more, instead: the words are what is looked at."""
    drawn = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP4////fwAJ+wP9KobjigAAAABJRU5ErkJggg=="
    )
    monkeypatch.setattr(document, "_drawn", lambda *_: drawn + bytes(size))


def alone(report: Report, *names: str) -> Report:
    """Return a report with nothing but some of its measurements."""
    return dataclasses.replace(report, **dict.fromkeys(set(HEADINGS) - set(names)))


def test_every_measurement_has_a_section_with_a_picture_and_numbers(measured, page):
    assert all(getattr(measured, name) is not None for name in HEADINGS)
    ids = [attributes.get("id") for attributes in page.all("section")]
    assert ids == [
        "findings",
        "key-numbers",
        *(name.replace("_", "-") for name in HEADINGS),
        "missing",
        "method",
    ]
    assert len(page.all("img")) == len(page.all("details")) == len(page.all("figcaption")) == len(HEADINGS)
    inside = [parents for name, _, parents in page.tags if name == "table"]
    assert sum("details" in parents for parents in inside) >= len(HEADINGS)


def test_ids_are_unique_and_every_link_leads_to_one(page):
    ids = [attributes["id"] for _, attributes, _ in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert all(link.startswith("#") for link in links)
    labels = [
        attributes["aria-labelledby"] for _, attributes, _ in page.tags if "aria-labelledby" in attributes
    ]
    assert set(labels) <= set(ids)


def test_a_screen_reader_finds_landmarks_headings_and_texts(page):
    assert page.all("html") == [{"lang": "en"}]
    assert (
        len(page.all("h1")) == len(page.all("main")) == len(page.all("header")) == len(page.all("nav")) == 1
    )
    levels = [int(name[1]) for name, _, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.all("a")[0]["class"] == "skip"
    alts = [attributes["alt"] for attributes in page.all("img")]
    assert all(re.search(r"\d", alt) for alt in alts), (
        "an alternative text says what the picture shows in numbers"
    )


def test_every_table_has_a_caption_and_scoped_headers_and_scrolls_by_keyboard(page):
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    regions = [attributes for attributes in page.all("div") if attributes.get("role") == "region"]
    assert len(regions) == len(page.all("table")) + len(page.all("img"))
    assert all(region["tabindex"] == "0" for region in regions)
    names = [region["aria-label"] for region in regions]
    names += [words for tag, words in page.words if tag == "h2"]  # a section is a region too
    assert len(names) == len(set(names)), "two regions of one name"


def test_the_rows_of_a_table_are_as_wide_as_its_head(text):
    for found in re.findall(r"<table>.*?</table>", text, re.DOTALL):
        widths = {len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr>.*?</tr>", found)}
        assert len(widths) == 1


def column(text, caption):
    """The first two cells of each row of the table with this caption: {number: value}."""
    (found,) = (each for each in re.findall(r"<table>.*?</table>", text, re.DOTALL) if caption in each)
    rows = [
        re.findall(r"<t[hd][ >].*?</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", found, re.DOTALL)
    ]
    cells = [
        [re.sub(r"<[^>]*>", "", cell).replace("−", "-").replace(",", "") for cell in row[:2]]
        for row in rows[1:]
    ]
    return {int(number): float(value) for number, value in cells}


def test_the_tables_hold_what_was_measured_at_the_numbers_that_it_was_measured_for(measured, text):
    for caption, first, values in (
        ("Effect of a replaced input", 0, measured.memory_horizon.effect),
        ("Loss by context", 1, measured.context_curve.loss),
        ("Exponents of", 1, measured.lyapunov.layers[0].exponents),
        ("Norm of the gradient of the mean loss", 1, measured.update_norms.norms),
        ("Loss by part of the text", 1, measured.long_run.loss),
    ):
        assert column(text, caption) == pytest.approx(dict(enumerate(values, first)), rel=0.01), caption


def test_a_disturbance_doubles_or_halves_in_the_steps_that_the_page_says(measured, page):
    verb, steps = re.search(r"a small disturbance (doubles|halves) every ([\d.,]+) step", page.text).groups()
    factor = np.exp(measured.lyapunov.leading * float(steps.replace(",", "")))
    assert factor == pytest.approx(2 if verb == "doubles" else 0.5, rel=0.01)


def test_the_page_opens_offline_without_a_script(text, page):
    assert not page.all("script")
    assert not page.all("link")
    sources = [
        value
        for _, attributes, _ in page.tags
        for key, value in attributes.items()
        if key in ("src", "srcset")
    ]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not any(key.startswith("on") for _, attributes, _ in page.tags for key in attributes)


def test_findings_come_first_each_with_its_number_threshold_remedy_and_flag(page):
    words = page.text
    assert words.index("1 finding.") < words.index("Key numbers", words.index("1 finding."))
    for part in (
        "too <large>",
        "12 times",
        "10 times",
        "A few gradients are far above the rest in recurrent.l0",
    ):
        assert part in words
    assert ("code", "clip_grad_norm_(weights, 0.5)") in page.words
    assert "--" not in words, "a flag on the page of a model that no command trained"


def test_the_page_of_a_run_names_flags(measured, monkeypatch, tmp_path):
    without_pictures(monkeypatch)
    write(dataclasses.replace(measured, run="runs/tiny"), tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text())
    assert ("code", "--clip 0.5") in page.words
    assert "clip_grad_norm_" not in page.text


def test_a_healthy_network_is_told_what_was_looked_for(measured, monkeypatch, tmp_path):
    without_pictures(monkeypatch)
    write(dataclasses.replace(measured, findings=()), tmp_path / "a.html")
    words = Page((tmp_path / "a.html").read_text()).text
    assert (
        "No findings: looked for, and not found: the answers do not use their inputs; the loss runs away on a long text; "
        in words
    )


def test_when_a_half_a_tenth_and_a_hundredth_is_left_stands_on_the_page_with_its_interval(
    measured, monkeypatch, tmp_path
):
    without_pictures(monkeypatch)
    left = (
        Left(5.0, Interval(4.0, 6.0)),
        Left(20.5, Interval(15.0, 31.0)),
        Left(np.inf, Interval(np.nan, np.nan)),
    )
    flow = dataclasses.replace(measured.gradient_flow.flows[0], decay=Decay(0, *left, -0.112, np.nan, 40))
    flows = dataclasses.replace(measured.gradient_flow, flows=(flow,))
    write(dataclasses.replace(alone(measured), gradient_flow=flows), tmp_path / "a.html")
    cells = [words for tag, words in Page((tmp_path / "a.html").read_text()).words if tag == "td"]
    row = ["5 (4 to 6)", "20.5 (15 to 31)", "beyond 40 steps", "−0.112", "not defined"]
    assert row in [cells[n : n + 5] for n in range(len(cells))]


def test_every_kind_of_finding_has_a_heading_on_the_page():
    room = Path(document.__file__).parents[1]
    source = "".join(room.joinpath(name).read_text() for name in ("findings.py", "answer_findings.py"))
    assert set(re.findall(r'Finding\(\s*"(\w+)"', source)) == set(document.RULE_HEADINGS)


def test_equal_reports_give_equal_bytes_whatever_time_they_took(measured, tmp_path):
    few = alone(measured, "gates", "update_norms")
    write(few, tmp_path / "a.html")
    write(dataclasses.replace(few, seconds=99.0), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_page_is_below_two_megabytes(text):
    assert len(text.encode()) < 2_000_000


@pytest.mark.slow
def test_the_largest_map_and_strips_leave_room_for_the_other_pictures(measured, tmp_path):
    generator = np.random.default_rng(0)
    norms = np.tril(np.exp(3 * generator.standard_normal((100, 100))))
    strips = {name: generator.standard_normal((60, 1, 512)) for name in "ifgoch"}
    large = dataclasses.replace(
        alone(measured),
        memory_map=MemoryMap(norms, tuple("the " * 25), "nats"),
        trajectories=dataclasses.replace(
            measured.trajectories, layers={"l0": strips}, lengths=(60,), cells={"l0": "LSTM"}
        ),
    )
    write(large, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert len(Page(text).all("img")) == 2
    assert len(text.encode()) < 1_000_000


def test_a_page_that_would_grow_too_large_leaves_out_pictures_and_says_so(measured, monkeypatch, tmp_path):
    without_pictures(monkeypatch, size=300_000)  # 400,000 signs each
    write(measured, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    page = Page(text)
    assert len(text.encode()) <= 2_000_000
    assert len(page.all("img")) == 4
    assert page.text.count("The picture is left out") == len(HEADINGS) - 4
    assert len(page.all("details")) == len(HEADINGS)


def test_nothing_from_a_text_can_become_markup(measured, monkeypatch, tmp_path):
    without_pictures(monkeypatch)  # tests/figures draws such texts
    count = len(measured.memory_map.norms)
    evil = dataclasses.replace(
        alone(measured, "trajectories"),
        title="".join(EVIL),
        facts={each: each for each in EVIL},
        omitted={"long_run": "</ul>" + "".join(EVIL)},
        memory_map=dataclasses.replace(measured.memory_map, tokens=(EVIL * count)[:count]),
        findings=(Finding(*EVIL[:3], 1.0, EVIL[3], 2.0, EVIL[4], EVIL[0]),),
    )
    evil.plot(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_bytes().decode("utf-8")
    page = Page(text)
    assert not page.all("script")
    assert not any("onload" in attributes for _, attributes, _ in page.tags)
    assert not any(sign in text for sign in "\0\x1b\u202e\u200f\ud800")
    assert "</td><script>" in page.text
    for shown in ("U+0000", "U+D800", "U+202E", "U+200F", "U+001B", "line break"):
        assert shown in page.text
    assert {name for name, _, _ in page.tags} == set(WORDS.split())


def test_what_is_markup_already_is_not_escaped_again():
    assert tag("p", tag("b", "<"), "&", title='"') == '<p title="&quot;"><b>&lt;</b>&amp;</p>'
    assert safe(token(" ")) == '<span aria-hidden="true">␣</span><span class="spoken">space</span>'
    assert "<caption><span>&lt;</span></caption>" in table("<", ("<",), [("<",)])


def test_an_rnn_shows_its_saturation_beside_the_spectrum(monkeypatch, tmp_path):
    without_pictures(monkeypatch)
    found = report(language_model("rnn", num_layers=1), tokens(70, 2), lags=5)
    write(found, tmp_path / "a.html")
    words = Page((tmp_path / "a.html").read_text()).text
    assert re.search(r"the spectral radius is [\d.]+, the tanh is beyond ±0.9 at [\d.]+ %", words)
    assert "0 of 6 units never change" in words


@pytest.mark.parametrize("rows", [1, 2])
def test_a_model_that_is_no_language_model_has_a_page_that_says_what_is_missing(monkeypatch, tmp_path, rows):
    without_pictures(monkeypatch)
    found = report(nn.GRU(3, 4), noise(20, rows, 3).float(), lags=4)
    write(found, tmp_path / "a.html")
    words = Page((tmp_path / "a.html").read_text()).text
    assert "Update norms: needs a network of a task" in words
    assert "What context is worth: targets: expected" in words
    assert "nan" not in words
    assert ("nothing to compare" in words) == (rows == 1)


def test_a_picture_of_one_point_is_left_out(measured, tmp_path):
    few = alone(measured, "update_norms", "context_curve", "lyapunov")
    one = {
        "update_norms": dataclasses.replace(measured.update_norms, norms=np.ones(1)),
        "context_curve": dataclasses.replace(
            measured.context_curve, **{k: np.ones(1) for k in ("loss", "low", "high")}
        ),
    }
    write(dataclasses.replace(few, **one), tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text())
    assert len(page.all("img")) == 1
    assert len(page.all("details")) == 3
    assert "The picture is left out" not in page.text
    assert "over 1 window of 16 steps and 3 rows the median norm" in page.text


def test_every_picture_is_there_for_a_light_and_a_dark_page(page):
    assert len(page.all("picture")) == len(page.all("source")) == len(HEADINGS)
    assert all(source["media"] == "(prefers-color-scheme: dark)" for source in page.all("source"))
    pairs = zip(page.all("source"), page.all("img"), strict=True)
    assert all(source["srcset"] != image["src"] for source, image in pairs)


def test_a_horizon_at_the_end_of_what_was_measured_says_at_least(measured, monkeypatch, tmp_path):
    without_pictures(monkeypatch)
    held = dataclasses.replace(
        measured.memory_horizon, horizon=5, horizon_interval=Interval(5, 6), bptt_steps=4, threshold=0.0
    )
    assert held.open_ended
    found = dataclasses.replace(measured, memory_horizon=held)
    write(found, tmp_path / "a.html")
    words = Page((tmp_path / "a.html").read_text()).text
    assert "at least 5 of 6 lags measured" in words
    assert "inputs matter for at least 5 of the 6 lags measured" in str(found)
    for horizon, end in ((0, 6), (4, 5)):
        assert not dataclasses.replace(
            held, horizon=horizon, horizon_interval=Interval(horizon, end)
        ).open_ended


def test_a_report_of_nothing_is_a_page(tmp_path):
    write(Report("", {}, None), tmp_path / "a.html")
    words = Page((tmp_path / "a.html").read_text()).text
    assert "nothing that could be looked for was measured" in words
    assert "not asked for" in words


def test_a_pipe_or_a_device_is_refused_and_stays_what_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RunError, match="expected a file to write, got a device, a pipe or a socket"):
        write(Report("", {}, None), pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    nothing = Report("", {}, None)
    for place in (tmp_path / "missing" / "a.html", tmp_path):
        with pytest.raises(
            RunError, match=r"^[^\n]*: expected a (file to write|place that can be written), got [^\n]*$"
        ):
            write(nothing, place)
    assert list(tmp_path.iterdir()) == []


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("ground", ["ground", "panel"])
@pytest.mark.parametrize("ink", ["ink", "soft", "link"])
def test_words_stand_out_from_their_ground(scheme, ground, ink):
    dark, light = sorted((luminance(scheme[ground]), luminance(scheme[ink])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_style_shows_the_focus_and_follows_the_reader():
    for part in (
        ":focus-visible { outline",
        ".skip:focus",
        "prefers-color-scheme: dark",
        "@media print",
        "overflow-x",
    ):
        assert part in STYLE


def test_nothing_on_the_page_moves():
    assert not re.search("animation|transition|scroll-behavior", STYLE)
