"""What a report looks for, and what it found: a part of the page for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unrolled.probe.findings import ENOUGH, IDLE, LEFT, MANY, SHORT, STUCK, TAIL, TOUCHES, Finding
from unrolled.probe.gradient import EXPLODING, VANISHING
from unrolled.probe.long_run import LEAST, WORSE
from unrolled.probe.page.markup import LINE, Markup, joined, paragraph, table, tag
from unrolled.probe.page.words import number, percent

if TYPE_CHECKING:
    from unrolled.probe.report import Report

__all__ = ["found", "looked_for"]


@dataclass(frozen=True)
class Rule:
    """One kind of finding: its name and heading, what it needs of a report, and when it speaks."""

    name: str
    heading: str
    needs: str
    when: str


RULES = (
    Rule("runaway", "The loss runs away on a long text", "long_run",
         f"at the end of a row the loss with the carried state is more than {percent(WORSE)}, and "
         f"{number(LEAST)} nats, above that with a fresh one"),
    Rule("exploding", "Gradients explode, or states are chaotic", "gradient_flow",
         f"the low end of a gradient's rate over at least {ENOUGH} lags is above {number(EXPLODING)} nats a "
         "step and disturbances do not fade, or the low end of the leading exponent is above 0"),
    Rule("lag", "The known lag is out of reach", "known_lag",
         f"less than {number(LEFT)} of the gradient is left at the lag that the task has, or inputs matter "
         "for fewer steps"),
    Rule("vanishing", "Gradients vanish", "gradient_flow",
         f"the rate of every state is below {number(VANISHING)} nats a step, and a longer memory is of use"),
    Rule("forgets", "Gates forget at once", "gates",
         f"gradients vanish, and half of a layer's units have a time constant below {number(SHORT)} step"),
    Rule("window", "The training window cuts memory short", "memory_horizon",
         f"the horizon is at least {percent(TOUCHES)} of the training window, where that is known"),
    Rule("clipping", "A few gradients are far above the rest", "update_norms",
         f"the largest norm is more than {number(TAIL)} times the median"),
    Rule("saturated", "Units are saturated", "gates",
         f"more than {percent(MANY)} of a layer's units take nothing in, give nothing out or stand at an end "
         f"of tanh at {percent(STUCK)} of the steps"),
    Rule("idle", "Units never change", "gates", f"more than {percent(IDLE)} of a layer's units never change"),
)  # fmt: skip
HEADINGS = {rule.name: rule.heading for rule in RULES}


def found(report: Report) -> Markup:
    """Return the findings, worst first; or what was looked for, where there are none."""
    if report.findings:
        count = "1 finding" if len(report.findings) == 1 else f"{len(report.findings)} findings, worst first"
        return joined([paragraph(f"{count}."), *map(_one, report.findings)])
    headings = [rule.heading for rule in RULES if getattr(report, rule.needs) is not None]
    if not headings:
        return paragraph("No findings: nothing that could be looked for was measured.")
    return paragraph(tag("b", "No findings"), ": looked for, and not found: "
                     f"{'; '.join(heading[0].lower() + heading[1:] for heading in headings)}.")  # fmt: skip


def _one(finding: Finding) -> Markup:
    heading = HEADINGS.get(finding.name, finding.name)
    where = f" in {finding.layer}" if finding.layer else ""
    lines = (
        ("Problem", tag("bdi", finding.problem)),
        ("Measured", f"{number(finding.value)} {finding.unit}"),
        ("Threshold", f"{number(finding.limit)} {finding.unit}"),
        ("Remedy", tag("bdi", finding.remedy)),
        ("Flag", tag("code", finding.flag)),
    )
    listing = tag("dl", *(joined((tag("dt", name), tag("dd", text), LINE)) for name, text in lines))
    return Markup(tag("div", tag("h3", f"{heading}{where}"), listing, class_="finding") + "\n")


def looked_for(report: Report) -> Markup:
    """Return the table of all that may be found, and whether it was."""
    names = {finding.name for finding in report.findings}
    rows = []
    for rule in RULES:
        checked = getattr(report, rule.needs) is not None
        outcome = "found" if rule.name in names else "not found" if checked else "not looked for"
        rows.append((rule.heading, rule.when, outcome))
    return table("What a report looks for", ("Finding", "It is one when", "Here"), rows)
