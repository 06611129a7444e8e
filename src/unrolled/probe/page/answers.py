"""What the page says of a task's answers: how far back they look, which column matters, when they settle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unrolled.errors import counted
from unrolled.probe.columns import CARRIES, Column, Columns, LagMap
from unrolled.probe.page.html import Markup, table
from unrolled.probe.page.sections import Section
from unrolled.probe.reach import Reach, Side
from unrolled.probe.result import Interval
from unrolled.probe.steps_seen import StepsSeen
from unrolled.probe.words import between, listed, named, number, numbers, percent, thinned

Row = tuple[str, str, str, str]  # quantity, value, interval, words
WHERE = {
    "end": "from the last step",
    "start": "from the first step",
    "before": "before the answer's own step",
    "after": "after the answer's own step",
}
SUMS = {
    "end": "95 % of the dependence, from the end",
    "start": "95 % of the dependence, from the start",
    "before": "95 % of the dependence, backwards",
    "after": "95 % of the dependence, forwards",
}
NAMED = 3  # columns that a sentence names
UNIT = 3  # letters of a unit's sign at most: a longer one is the name of a step, such as "character"
SINGLE = 0.01  # of the dependence: below, no single lag of a column is named


def answer_rows(reach: Reach | None, columns: Columns | None, seen: StepsSeen | None) -> Iterator[Row]:
    """Yield the key numbers of the answers."""
    for side in reach.sides if reach else ():
        assert reach is not None
        words = f"half of it within {reach.text(side.half)}"
        if reach.season is not None and side.name in ("end", "before"):
            words += f"; the season is {reach.text(reach.season)}"
        yield SUMS[side.name], reach.text(side.most), _span(reach, side.most_interval), words
    if seen is not None:
        words = f"of {seen.text(seen.longest)}: {seen.figure} {_value(seen.score[-1], seen.unit)}"
        yield (
            "Steps until the score settles",
            seen.text(seen.stands),
            _span(seen, seen.stands_interval),
            words,
        )
    if columns is not None:
        best = columns.columns[0]
        words = f"of what {counted(len(columns.columns), 'column')} save together"
        yield f"Most important column, {named(best.name)}", percent(best.worth), (
            f"{percent(best.worth_interval.low)} to {percent(best.worth_interval.high)}"), words  # fmt: skip


def _span(result: Reach | StepsSeen, interval: Interval) -> str:
    return f"{result.text(round(interval.low))} to {result.text(round(interval.high))}"


def _value(value: float, unit: str) -> str:
    return f"{number(value)}{' ' + unit if unit else ''}"


def looks_back(result: Reach) -> Section:
    """Return the section on how far back answers depend on inputs."""
    tables = [_distances(result, side) for side in result.sides]
    reading = (
        "the curve is the share of the answers' dependence on their inputs that lies beyond a distance. All "
        "inputs beyond it are replaced by those of another sample, and the mean squared change of the answer "
        "is divided by that where all inputs are replaced. So neighbouring steps that carry the same "
        "information are not missed, and interactions between inputs count. The band is the 95 % interval "
        f"over samples. {_meaning(result)}"
    )
    if result.moved == 0:
        shows = "the answers are the same whatever the inputs are."
    else:
        shows = (
            f"{_back(result)}. Measured on {counted(result.rows, 'sample')} of up to "
            f"{result.text(result.longest)}; the {result.figure} is "
            f"{_value(result.score, result.unit_of_figure)}, and {number(result.nothing)} where all inputs "
            "are another sample's."
        )
    return Section("reach", "Curves over a distance, with a band.", reading, shows, tables,
                   result.plot if result.longest > 1 and result.moved > 0 else None)  # fmt: skip


def _meaning(result: Reach) -> str:
    """Say what a distance means for this network."""
    words = f"The network {result.kind}. " if result.kind else ""
    if result.sides[0].name == "before":
        return words + "Distance 1 is the answer's own step."
    if result.one_way:
        return words + "So a distance from the end is how long ago a step was when the answer was given."
    return words + (
        "So a distance is a position in the sample, counted from its end or from its beginning; it does not "
        "say how long the state keeps anything."
    )


def _back(result: Reach) -> str:
    parts: list[str] = []
    for side in result.sides:
        low, high = (round(end) for end in side.most_interval)
        if side.name in ("end", "before"):
            verb = "the answers look back" if not parts else "and"
            parts.append(
                f"{verb} {result.text(side.most)}: 95 % of what they depend on lies within that distance "
                f"{WHERE[side.name]} ({result.text(low)} to {result.text(high)}), half within "
                f"{result.text(side.half)}"
            )
        else:
            parts.append(
                f"{WHERE[side.name]}, 95 % lies within {result.text(side.most)} and half within "
                f"{result.text(side.half)}"
            )
    if result.season is not None:
        parts.append(f"the season is {result.text(result.season)}")
    return "; ".join(parts)


def _distances(result: Reach, side: Side) -> Markup:
    head = ("Steps", "Distance", "Share beyond", "Low end of 95 %", "High end of 95 %")
    rows = (
        (
            int(side.steps[n]),
            result.text(int(side.steps[n])),
            *map(percent, (side.share[n], side.low[n], side.high[n])),
        )
        for n in thinned(side.share)
    )
    return table(f"Share of the dependence beyond a distance {WHERE[side.name]}", head, rows)


def by_lag(result: LagMap) -> Section:
    """Return the section on which column matters at which lag."""
    one = len(result.columns) == 1
    top = result.top
    strongest = float(result.share.max(initial=0.0))
    if strongest < SINGLE:
        shows = (
            f"no single lag of a column carries much of the dependence (at most {percent(strongest)}): the "
            "answers combine many steps."
        )
    else:
        most = [
            f"{'' if one else named(result.columns[c]) + ' at '}lag {result.lag(k)} "
            f"({_in_unit(result, k)}{percent(result.share[c, k])})"
            for c, k in top[:NAMED]
        ]
        shows = f"the answers depend most on {listed(most)}; the percentages are shares of the dependence."
    if result.left_out:
        shows += f" {counted(result.left_out, 'less important column')} are not shown."
    return Section(
        name="lag_map",
        kind="A curve over lags." if one else "A map: a row for each column, a column for each lag.",
        reading=(
            ("each point" if one else "each cell (brighter means more)")
            + " is the share of the dependence that involves the input at this lag"
            + ("" if one else " of this column")
            + ": the mean squared change of the answer where this input alone is replaced by another "
            "sample's, divided by that where all inputs are replaced. Lag 0 is the "
            f"{'step itself' if 'own' in result.origin else 'last step'}. A column's mask and the time since "
            "its last value are replaced with it. Where neighbouring steps carry the same information, each "
            "of them looks less important."
        ),
        shows=shows,
        tables=[_cells(result), *([] if one else [_by_column(result)])],
        draw=result.plot if result.share.size > 1 and strongest > 0 else None,
    )


def _in_unit(result: LagMap, k: int) -> str:
    if (result.step == 1 and len(result.unit) > UNIT) or result.first[k] < 0:
        return ""
    return f"{result.span(k)}, "


def _cells(result: LagMap) -> Markup:
    head = (
        "Column",
        "Lag",
        "In the data's unit",
        "Share of the dependence",
        "Low end of 95 %",
        "High end of 95 %",
    )
    rows = (
        (
            result.columns[c],
            result.lag(k),
            result.span(k),
            *map(percent, (result.share[c, k], result.low[c, k], result.high[c, k])),
        )
        for c, k in result.top
    )
    return table("The lags that matter most", head, rows)


def _by_column(result: LagMap) -> Markup:
    head = ("Column", "Most at lag", "Share there", "Sum over lags")
    rows = (
        (name, result.lag(int(each.argmax())), percent(each.max()), percent(each.sum()))
        for name, each in zip(result.columns, result.share, strict=True)
    )
    return table("Each column", head, rows)


def without(result: Columns) -> Section:
    """Return the section on the score without each column."""
    first = result.columns[:NAMED]
    most = listed(f"{named(each.name)} ({percent(each.worth)})" for each in first)
    used = [each for each in result.columns if result.helps(each)]
    shows = (
        f"the {result.figure} is {_value(result.score, result.unit)} with all columns and "
        f"{_value(result.nothing, result.unit)} with none. Of what all columns save, {most} "
        f"{'is' if len(first) == 1 else 'are'} the largest share{'' if len(first) == 1 else 's'}. "
        f"{len(used)} of {counted(len(result.columns), 'column')} make the {result.figure} worse beyond "
        "chance when they are left out one at a time."
    )
    if result.unused:
        shows += f" Together, {listed(map(named, result.unused))} could be left out."
    return Section(
        name="columns",
        kind="A point with an interval for each column.",
        reading="the values of a column are exchanged between samples, with the column's mask, and the "
        "network answers again; the loss that this costs is divided by the loss that exchanging all columns "
        "costs. The interval is the 95 % interval over samples. Columns that carry the same information each "
        "look less important than they are together.",
        shows=shows,
        tables=[_table(result)],
        draw=result.plot,
    )


def _table(result: Columns) -> Markup:
    name = result.figure
    head = ("Column", f"{name} without it", "Change", "95 % interval of the change", "Spread of draws",
            "Share of what all save", "Share of the dependence", f"{name} with it alone",
            "In words")  # fmt: skip
    rows = (
        (
            each.name,
            _value(each.score, result.unit),
            number(each.change),
            between(*each.change_interval),
            number(each.spread),
            percent(each.worth),
            percent(each.share),
            _value(each.alone, result.unit),
            _verdict(result, each),
        )
        for each in result.columns
    )
    caption = (
        "Score without each column, the most important first; with all columns "
        f"{_value(result.score, result.unit)}"
    )
    return table(caption, head, rows)


def _verdict(result: Columns, column: Column) -> str:
    if column.name in result.unused:
        return f"could be dropped: saves less than {percent(CARRIES)}"
    return "useful" if result.helps(column) else "no change beyond the spread"


def over_steps(result: StepsSeen) -> Section:
    """Return the section on the score by the steps that were seen."""
    asked = (
        "the network reads one way, so it answers after each step"
        if result.one_way
        else "samples were cut after that many steps, and the network answered again; it reads a sample in "
        "one piece and was not trained on the beginnings of samples"
    )
    low, high = (round(end) for end in result.stands_interval)
    shows = (
        f"the {result.figure} settles after {result.text(result.stands)} ({result.text(low)} to "
        f"{result.text(high)}) of up to {result.text(result.longest)}: from there on it has come at least "
        f"95 % of the way from {_value(result.nothing, result.unit)}, without inputs, to "
        f"{_value(result.score[-1], result.unit)}"
    )
    if result.same is not None:
        settled = np.flatnonzero(result.same < 0.95)
        at = int(
            result.steps[min(int(settled[-1]) + 1, len(result.steps) - 1)]
            if len(settled)
            else result.steps[0]
        )
        shows += f"; after {result.text(at)}, 95 % of the samples have their final class"
    best = result.control
    if best is not None:
        shows += (
            f"; the best control, {best[0]}, has {_value(best[1], result.unit)} on the {result.controls_of}"
        )
    return Section(
        name="steps_seen",
        kind="A curve over the steps seen, with a band.",
        reading=f"each point is the score of the answers after that many steps of each sample; {asked}. "
        "Shorter samples count in full. The band is the 95 % interval over samples; a horizontal line is the "
        "best control, which saw whole samples of another part.",
        shows=shows + ".",
        tables=[_seen(result), *([_controls(result)] if result.controls else [])],
        draw=result.plot if len(result.steps) > 1 else None,
    )  # fmt: skip


def _seen(result: StepsSeen) -> Markup:
    head = ["Steps seen", "In the data's unit", result.figure, "Low end of 95 %", "High end of 95 %"]
    if result.same is not None:
        head.append("Samples with their final class")
    rows = []
    for n in thinned(result.score):
        row = [int(result.steps[n]), result.text(int(result.steps[n])),
               *numbers(result.score[n], result.low[n], result.high[n])]  # fmt: skip
        rows.append(row if result.same is None else [*row, percent(result.same[n])])
    unit = f", {result.unit}" if result.unit else ""
    return table(f"{result.figure}{unit}, by the steps seen", head, rows)


def _controls(result: StepsSeen) -> Markup:
    rows = [(name, _value(value, result.unit)) for name, value in result.controls.items()]
    return table(f"Simple models, on the {result.controls_of}", ("Model", result.figure), rows)
