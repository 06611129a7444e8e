"""The page as a whole: findings, key numbers, a section for each measurement with its picture; one file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import RunError, counted, expected
from unrolled.figures import dark, require
from unrolled.files import replace
from unrolled.probe.answer_findings import PERFECT
from unrolled.probe.answer_findings import WORSE as WORSE_LATER
from unrolled.probe.columns import CARRIES
from unrolled.probe.findings import IDLE, LEFT, MANY, SHORT, STUCK, TAIL, TOUCHES
from unrolled.probe.gates import STILL
from unrolled.probe.gradient import ENOUGH, EXPLODING, VANISHING
from unrolled.probe.long_run import LEAST, WORSE
from unrolled.probe.measurements import Finding, Measurements
from unrolled.probe.memory import CLOSE, FLOOR_NATS, FLOOR_SQUARED, SHARE
from unrolled.probe.page.answers import answer_rows, by_lag, looks_back, over_steps, without
from unrolled.probe.page.html import LINE, STYLE, Markup, joined, paragraph, table, tag
from unrolled.probe.page.sections import (
    ANSWER_HEADINGS,
    HEADINGS,
    Section,
    context,
    exponents,
    flow,
    horizon,
    lay_out,
    long_text,
    pairs,
    updates,
)  # fmt: skip
from unrolled.probe.page.units import record, use
from unrolled.probe.words import between, listed, number, percent, steps
from unrolled.spec import CLOSED, OPEN

LARGEST = 2_000_000  # bytes of a page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SECTIONS: dict[str, Callable[[Any], Section]] = {
    "reach": looks_back,
    "columns": without,
    "lag_map": by_lag,
    "steps_seen": over_steps,
    "gradient_flow": flow,
    "memory_horizon": horizon,
    "context_curve": context,
    "gates": use,
    "lyapunov": exponents,
    "memory_map": pairs,
    "long_run": long_text,
    "update_norms": updates,
}
UNDEFINED = {
    "long_run": "needs a language model, and rows of text without an end",
    "update_norms": "needs a network of a task, and a Batch",
}
THRESHOLDS = (
    ("Vanishing", f"a hundredth left within {VANISHING} steps", "as of a gradient halving every two steps"),
    ("Exploding", f"{number(EXPLODING)} nats per step", "a rate above: the gradient doubles within 70 steps"),
    ("Horizon", f"{percent(SHARE)} of the largest effect", "an effect of at least this counts"),
    ("Horizon, floor", f"{number(FLOOR_NATS)} nats", "a smaller effect on a distribution never counts"),
    ("Horizon, other outputs", f"{number(FLOOR_SQUARED)} of the variance", "a smaller effect never counts"),
    ("Context", f"{percent(CLOSE)} of the last loss", "from so near on, more context does not help"),
    ("Closed gate", f"below {CLOSED}", "of a gate between 0 and 1"),
    ("Open gate", f"above {OPEN}", "of a gate between 0 and 1; a tanh is saturated beyond ± this"),
    ("Unit that never changes", number(STILL),
     "a standard deviation below; where the mean is above 1, below this times the mean"),
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One kind of finding: its name and heading, which measurements can show it, and when it is reported."""

    name: str
    heading: str
    needs: str
    when: str

    def looked_for(self, report: Measurements) -> bool:
        """Whether one of the measurements that can show it was made."""
        return any(getattr(report, name) is not None for name in self.needs.split())


RULES = (
    Rule("blind", "The answers do not use their inputs", "reach memory_horizon",
         "of a task: the score where every input is another sample's lies within the 95 % interval of the "
         "score, or is better; of predictions at each step: replacing an input changes them by less than the "
         "horizon's threshold at every lag"),
    Rule("leak", "One column gives the answer", "columns",
         f"with one column alone the score has {percent(PERFECT)} of the way from no inputs to no errors"),
    Rule("short", "The answers look back less far than they should", "reach",
         "95 % of the dependence lies within fewer steps than a season, or a known lag, has, for sure"),
    Rule("late", "The score falls with further steps", "steps_seen",
         f"a network that reads one way loses, for sure, {percent(WORSE_LATER)} of what its inputs are worth "
         "after its best step"),
    Rule("unused", "Columns are of no use", "columns",
         f"columns that, each and all together, save less than {percent(CARRIES)} of the loss that all save, "
         "for sure"),
    Rule("runaway", "The loss runs away on a long text", "long_run",
         f"at the end of a row the loss with the carried state is more than {percent(WORSE)}, and "
         f"{number(LEAST)} nats, above that with a fresh one"),
    Rule("exploding", "Gradients explode, or states are chaotic", "gradient_flow",
         f"the low end of a gradient's rate over at least {ENOUGH} lags is above {number(EXPLODING)} nats "
         "per step (or over fewer, if it grows a hundredfold) and disturbances do not fade, or the low "
         "end of the leading exponent is above 0, or a gradient is beyond the range of its dtype"),
    Rule("lag", "The known lag is out of reach", "known_lag",
         f"less than {number(LEFT)} of the gradient is left at the lag that the task has, or inputs matter "
         "for fewer steps"),
    Rule("vanishing", "Gradients vanish", "gradient_flow",
         f"of every state's gradient a hundredth is left within {VANISHING} steps, and memory is of use"),
    Rule("forgets", "Gates forget at once", "gates",
         f"gradients vanish, and half of a layer's units have a time constant below {number(SHORT)} step"),
    Rule("window", "The training window cuts memory short", "memory_horizon",
         f"the horizon is at least {percent(TOUCHES)} of the training window, where that is known"),
    Rule("clipping", "A few gradients are far above the rest", "update_norms",
         f"the largest norm is more than {number(TAIL)} times the median, and nine of ten lie below what "
         "training clipped at"),
    Rule("saturated", "Units are saturated", "gates",
         f"more than {percent(MANY)} of a layer's units take nothing in, give nothing out or are at an end "
         f"of tanh, at {percent(STUCK)} of the steps or more"),
    Rule("unread", "Units are never read", "gradient_flow",
         f"no loss depends on more than {percent(IDLE)} of a layer's units"),
    Rule("idle", "Units never change", "gates", f"more than {percent(IDLE)} of a layer's units never change"),
)  # fmt: skip
RULE_HEADINGS = {rule.name: rule.heading for rule in RULES}


def write(report: Measurements, path: Path) -> None:
    """Write a report as one HTML file that needs nothing else: no network, no script.

    Equal reports give equal bytes. Every picture is there twice, for a light and a dark page. A page that
    would be larger than 2 MB does without its largest pictures, the dark ones first, and says so; the numbers
    stay.

    Args:
        report: of `probe.report`.
        path: the file; replaced atomically.
    Raises:
        MissingExtraError: matplotlib is not installed. RunError: the file cannot be written.
    """
    check_place(path)
    sections = list(_sections(report))
    with tempfile.TemporaryDirectory() as folder:
        drawn = [section for section in sections if section.draw is not None]
        pictures = {(section.name, "light"): _drawn(section, Path(folder)) for section in drawn}
        with dark():
            pictures |= {(section.name, "dark"): _drawn(section, Path(folder)) for section in drawn}
    text = _page(report, sections, pictures)
    for key in sorted(pictures, key=lambda key: (key[1], -len(pictures[key]))):  # the dark ones first
        if len(text.encode()) <= LARGEST:
            break
        del pictures[key]
        text = _page(report, sections, pictures)
    replace(path, text)


def check_place(path: Path, name: str = "path") -> None:
    """Refuse a place where no page can be written, before anything is measured; messages call it `name`.

    Raises:
        MissingExtraError: matplotlib is not installed. RunError: there is no such folder, a folder or a
        device is there already, or nothing can be written into it.
    """
    require()
    if path.exists() and not path.is_file():  # what is renamed over a device or a pipe takes its place
        other = "a directory" if path.is_dir() else "a device, a pipe or a socket"
        raise RunError(expected(name, "a file to write", f"{other}: {path}"))
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        got = error.strerror or error
        raise RunError(expected(name, "a place that can be written", f"{path}: {got}")) from error


def _drawn(section: Section, folder: Path) -> bytes:
    assert section.draw is not None
    path = folder / f"{section.id}.png"
    section.draw(path)
    return path.read_bytes()


def _sections(report: Measurements) -> Iterator[Section]:
    """Yield the sections of what was measured, in the order of the headings."""
    for name in (*ANSWER_HEADINGS, *HEADINGS):
        measured = getattr(report, name)
        if name == "trajectories" and measured is not None:
            texts = None if report.memory_map is None else report.memory_map.tokens  # of the same row
            yield record(measured, texts)
        elif measured is not None:
            yield SECTIONS[name](measured)


def _page(report: Measurements, sections: list[Section], pictures: Mapping[tuple[str, str], bytes]) -> str:
    title = report.title or "A recurrent network"
    parts = [
        ("findings", "Findings", _findings(report)),
        ("key-numbers", "Key numbers", _key_numbers(report)),
        *(
            (
                each.id,
                each.heading,
                joined(lay_out(each, *(pictures.get((each.name, ground)) for ground in ("light", "dark")))),
            )
            for each in sections
        ),
        ("missing", "What was not measured", _missing(report)),
        ("method", "How it was measured", joined((_method(), _looked_for(report)))),
    ]
    body = joined((_part(*part) for part in parts), LINE)
    links = tag("ul", *(tag("li", tag("a", heading, href=f"#{id}")) for id, heading, _ in parts))
    answers = "What a network's answers depend on, what it" if report.asked else "What a recurrent network"
    about = paragraph(f"{answers} remembers, and what becomes of its gradient.")
    return joined(
        (
            Markup("<!DOCTYPE html>\n"),
            Markup('<html lang="en">\n'),
            _head(title),
            Markup("<body>\n"),
            tag("a", "Skip to the findings", href="#findings", class_="skip"),
            tag("header", tag("h1", tag("bdi", title)), about, _facts(report)),
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


def _facts(report: Measurements) -> Markup:
    """Return what was measured, as a list of names and texts."""
    known = dict(report.facts or _derived(report))
    pairs = (joined((tag("dt", name), tag("dd", tag("bdi", text)), LINE)) for name, text in known.items())
    return tag("dl", *pairs) if known else paragraph("Nothing is known of the model.")


def _derived(report: Measurements) -> Iterator[tuple[str, str]]:
    if report.gates is not None:
        layers = (f"{each.layer} ({each.cell}, {len(each.saturated)} units)" for each in report.gates.layers)
        yield "layers", listed(layers)
        yield "steps, all rows", f"{report.gates.samples:,}"
    if report.gradient_flow is not None:
        yield "rows", f"{report.gradient_flow.rows:,}"
        yield "looked back", steps(report.gradient_flow.lags)
    if report.memory_horizon is not None and report.memory_horizon.bptt_steps is not None:
        yield "training window", steps(report.memory_horizon.bptt_steps)
    if report.known_lag is not None:
        yield "known lag", steps(report.known_lag)


def _key_numbers(report: Measurements) -> Markup:
    """Return the table of the numbers that sum a network up."""
    rows = key_rows(report)
    if not rows:
        return paragraph("Nothing was measured that one number sums up.")
    return table("Summary of the network", ("Quantity", "Value", "95 % interval", "In words"), rows)


Row = tuple[str, str, str, str]  # quantity, value, interval, words


def key_rows(report: Measurements) -> list[Row]:
    """Return the numbers that sum a network up."""
    answers = answer_rows(report.reach, report.columns, report.steps_seen)
    return [*answers, *_gradients(report), *_memory(report), *_dynamics(report)]


def _gradients(report: Measurements) -> Iterator[Row]:
    for each in report.gradient_flow.flows if report.gradient_flow else ():
        where = f"{each.layer} {each.state}"
        words = "nothing is carried" if each.verdict == "none" else each.verdict
        found = each.decay
        if found is None:
            yield f"Gradient, {where}", "none", "not defined", words
            continue
        for name, left in (("half", found.half), ("hundredth", found.hundredth)):
            value = (
                steps(float(f"{left.steps:.3g}"))
                if math.isfinite(left.steps)
                else f"beyond {steps(found.lags)}"
            )
            yield f"Gradient down to a {name}, {where}", value, between(*left.interval), words


def _memory(report: Measurements) -> Iterator[Row]:
    horizon, curve = report.memory_horizon, report.context_curve
    if horizon is not None:
        value = steps(horizon.horizon)
        if horizon.open_ended:
            value = f"at least {horizon.horizon} of {counted(horizon.lags, 'lag')} measured"
        yield "Memory horizon", value, between(*horizon.horizon_interval), horizon.summary
    if curve is not None:
        words = f"within {percent(CLOSE)} of the loss with {len(curve.loss)}"
        yield "Context needed", steps(curve.needed), "not defined", words
        yield ("What context is worth", number(curve.gain), between(*map(float, curve.gain_interval)),
               "loss with one input, less that with all")  # fmt: skip


def _dynamics(report: Measurements) -> Iterator[Row]:
    exponents, run, norms = report.lyapunov, report.long_run, report.update_norms
    for layer in report.gates.layers if report.gates else ():
        if layer.spectral_radius is not None:
            yield (f"Spectral radius, {layer.layer}", number(layer.spectral_radius), "not defined",
                   f"saturated at {percent(float(layer.saturated.mean()))} of the steps")  # fmt: skip
    if exponents is not None:
        top = max(exponents.layers, key=lambda each: float(each.exponents[0]))
        yield (f"Leading exponent, {top.layer}", f"{number(exponents.leading)} nats per step",
               between(float(top.low[0]), float(top.high[0])), exponents.verdict)  # fmt: skip
    if run is not None:
        words = f"after {steps(run.ends[-1])}, against a fresh state"
        yield "Rows that have run away", f"{run.lost} of {run.rows}", "not defined", words
    if norms is not None:
        words = f"the largest is {number(norms.largest)}"
        yield "Update norm, median", number(norms.median), "not defined", words


def _missing(report: Measurements) -> Markup:
    """Return what was not measured, and why."""
    why = {
        heading: report.omitted.get(name) or UNDEFINED.get(name, "not asked for")
        for name, heading in ((ANSWER_HEADINGS if report.asked else {}) | HEADINGS).items()
        if getattr(report, name) is None
    }
    if not why:
        return paragraph("Everything was measured.")
    return tag("ul", *(tag("li", tag("b", heading), ": ", tag("bdi", text)) for heading, text in why.items()))


def _method() -> Markup:
    """Return how it was measured: intervals in words, thresholds as a table."""
    words = (
        "The model was held still while it was measured: in evaluation mode, its weights, gradients and "
        "random state untouched. ",
        "Intervals are 95 %, by Student's t over the rows of the batch, which are independent of each other; "
        "one row gives none. Rates and exponents are in nats per step: −0.69 halves, +0.69 doubles.",
    )
    head = ("Threshold", "Value", "Meaning")
    return joined((paragraph(*words), table("Thresholds", head, THRESHOLDS)))


def _findings(report: Measurements) -> Markup:
    """Return the findings, worst first; or what was looked for, where there are none."""
    if report.findings:
        order = ", worst first" if len(report.findings) > 1 else ""
        count = paragraph(f"{counted(len(report.findings), 'finding')}{order}.")
        return joined([count, *(_one(finding, report.by_flags) for finding in report.findings)])
    headings = [rule.heading for rule in RULES if rule.looked_for(report)]
    if not headings:
        return paragraph("No findings: nothing that could be looked for was measured.")
    return paragraph(tag("b", "No findings"), ": looked for, and not found: "
                     f"{'; '.join(heading[0].lower() + heading[1:] for heading in headings)}.")  # fmt: skip


def _one(finding: Finding, by_flags: bool) -> Markup:
    heading = RULE_HEADINGS.get(finding.name, finding.name)
    where = f" in {finding.layer}" if finding.layer else ""
    lines = (
        ("Problem", tag("bdi", finding.problem)),
        ("Measured", f"{number(finding.value)} {finding.unit}"),
        ("Threshold", f"{number(finding.limit)} {finding.unit}"),
        ("Remedy", tag("bdi", finding.remedy)),
        ("Flag" if by_flags else "In Python", tag("code", finding.fix(flags=by_flags))),
    )
    listing = tag("dl", *(joined((tag("dt", name), tag("dd", text), LINE)) for name, text in lines))
    return Markup(tag("div", tag("h3", f"{heading}{where}"), listing, class_="finding") + "\n")


def _looked_for(report: Measurements) -> Markup:
    """Return the table of all that may be found, and whether it was."""
    names = {finding.name for finding in report.findings}
    rows = []
    for rule in RULES:
        checked = rule.looked_for(report)
        outcome = "found" if rule.name in names else "not found" if checked else "not looked for"
        rows.append((rule.heading, rule.when, outcome))
    return table("What a report looks for", ("Finding", "It is one where", "Here"), rows)
