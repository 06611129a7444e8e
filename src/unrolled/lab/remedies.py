"""The downsides of recurrent networks, each shown by a measurement, then with each remedy."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator

from unrolled import kernels
from unrolled.data import Batch
from unrolled.lab.compare import SIGNIFICANT, differ
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, groups, pick, plan_of, seeded
from unrolled.lab.learning import Learnt, Network, NetworkSettings, learn
from unrolled.lab.problems import Majority, Problem, Recall, forward_ceiling
from unrolled.lab.report import lines, picture, table
from unrolled.lab.spread import band, capped, finite, number, spread, spread_text, within_text
from unrolled.spec import LabConfig
from unrolled.train import fit

__all__ = ["EXPERIMENT", "PARTS"]

NAME = "remedies"
QUESTION = "What are some downsides of RNNs and how can you resolve them?"

LEARNT = 0.9  # times its start: a loss that ends above it has learnt nothing
RISEN = 1.1  # a loss that ends at more than this many times its start diverged; less is chance
PAIRS = ("sequence_steps", "cap", "hidden_size", "lengths", "repeats", "draws")  # quick run, full run


class Measure(NamedTuple):
    """A figure of a run that the table shows; the first one of a part decides whether a remedy helps."""

    name: str  # its key in the result, or in the result's "timing"
    words: str  # the table's heading
    # A number, or the name of a setting: a run without a value counts as more than it. Without one, runs are
    # counted of which a figure is true, where that is so, or the spread of values is shown.
    cap: str | float | None = None
    more_is_better: bool = False  # which way a remedy is to move it
    timing: bool = False  # whether the clock gives it

    def of(self, row: Found) -> Any:
        """Return the value of this figure in a row or a result."""
        return (row["timing"] if self.timing else row)[self.name]


class Part(NamedTuple):
    """A downside with its remedies, as remedies.toml has it."""

    title: str
    words: str  # a paragraph, with {names} of settings and of `_numbers` in it
    settings: Found  # of all its runs; a pair is that of a quick run and of a full one
    variants: Mapping[str, Found]  # words → what a run changes, the one without remedy first
    measures: tuple[Measure, ...]
    axes: tuple[str, str] = ("optimizer steps", "held-out nats")  # of the picture of each run's "curve"
    log: bool = False  # whether both are logarithmic


@dataclass(frozen=True, eq=False)
class _Noise(Problem):
    """Random numbers without a question: only the time that a sequence takes counts."""

    steps: int

    name, input_size, output_size, score_name = "noise", 16, 1, "mse"

    def draw(self, rows: int, generator: Generator) -> Batch:
        return Batch(torch.randn(self.steps, rows, self.input_size, generator=generator), torch.zeros(rows))


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per downside, variant and seed."""
    found = []
    for name, part in PARTS.items():
        for place, (words, change) in enumerate(part.variants.items()):
            given = {**part.settings, **change}
            which = 0 if config.quick else 1
            settings = {n: v[which] if n in PAIRS else v for n, v in given.items()}
            settings |= {"part": name, "variant": words}
            work = WORKS.get(name, run)
            found += seeded(f"{NAME}/{name}-{place}", settings, work, config, alone=work is clocked)
    return found


def run(settings: Found) -> Json:
    """Train a network once, until it solves its problem or its steps are done."""
    return outcome(learn(problem_of(settings), settings))


def outcome(found: Learnt) -> Json:
    """Return what became of a run.

    It diverged too if its loss ends a tenth above its start, and failed unless it ends a tenth below.
    """
    start, (_, accuracy, end) = found.curve[0][2], found.curve[-1]
    nats = math.inf if found.diverged else end
    return {
        "solved_at": found.solved_at,
        "accuracy": accuracy,
        "final_nats": finite(nats),
        "diverged": nats > RISEN * start,
        "failed": nats > LEARNT * start,
        "largest_norm": finite(found.largest_norm),
        "curve": {"x": [step for step, *_ in found.curve], "y": [loss for *_, loss in found.curve]},
    }


def several(settings: Found) -> Json:
    """Train networks that differ in nothing but the weights they start from, on the same rows."""
    seeds = (settings["seed"] * settings["draws"] + n for n in range(settings["draws"]))
    runs = [outcome(learn(problem_of(settings), settings, start_seed=seed)) for seed in seeds]
    finals = [run["final_nats"] for run in runs]
    whole = [value for value in finals if value is not None]
    complete = len(whole) == len(finals)
    worst = band([(run["curve"]["x"], run["curve"]["y"]) for run in runs], stays=False)
    return {
        "range": max(whole) - min(whole) if complete else None,
        "best": min(whole) if whole else None,
        "worst": max(whole) if complete else None,
        "curve": {"x": worst["x"], "y": worst["high"]},
    }


def problem_of(settings: Found) -> Problem:
    """Return the problem that settings name: the first symbol recalled at the end, or a majority of signs."""
    steps = settings["sequence_steps"]
    if settings["task"] == "majority":
        return Majority(steps, settings["reach"], settings["delay"])
    return Recall(steps, within=1)


def clocked(settings: Found) -> Json:
    """Time updates over sequences of each length: forward, backward, step."""
    network = Network(_Noise(1), NetworkSettings.of(settings), torch.Generator())
    sequence, updates = [], []
    for steps in settings["lengths"]:
        whole = _Noise(steps).draw(settings["rows"], torch.Generator().manual_seed(settings["seed"]))
        parts = torch.split(whole.inputs, settings.get("window", steps))
        each = [(Batch(part, whole.targets), place == 0) for place, part in enumerate(parts)]
        count = len(each) * (1 + settings["repeats"])  # the first sequence warms up
        sgd = torch.optim.SGD(network.parameters())
        records = fit(network, itertools.cycle(each), steps=count, learning_rate=0.0, optimizer=sgd)
        took = [record.seconds for record in records]
        starts = range(len(each), count, len(each))
        sequence.append(statistics.median(sum(took[n : n + len(each)]) for n in starts))
        updates.append(len(each))
    return {
        "recurrent_steps": settings["lengths"][-1] // settings.get("frames", 1),
        "updates": updates[-1],
        "timing": {
            "ms_a_sequence": 1000 * sequence[-1],
            "ms_an_update": 1000 * sequence[-1] / updates[-1],
            "curve": {
                "x": settings["lengths"],
                "y": [1000 * s / n for s, n in zip(sequence, updates, strict=True)],
            },
        },
    }


WORKS: dict[str, Callable[[Found], Json]] = {"slow": clocked, "sensitivity": several}


def _parts() -> dict[str, Part]:
    """Return the downsides in the order of the report."""
    found = {}
    for name, part in plan_of(NAME).items():
        measures = tuple(Measure(**measure) for measure in part.pop("measures"))
        if not kernels.available():  # without compiled kernels there is no native engine
            variants = {w: v for w, v in part["variants"].items() if v.get("backend") != "native"}
            part["variants"] = variants
        found[name] = Part(**part, measures=measures)
    return found


PARTS = _parts()


def _numbers(settings: Found) -> dict[str, float]:
    """Return what the paragraph of a part prints beside its settings."""
    found: dict[str, float] = {
        "symbols": Recall.output_size,
        "goal": Recall.solved_at,
        "learnt": LEARNT,
    }
    if "lengths" in settings:
        found |= {"shortest": settings["lengths"][0], "longest": settings["lengths"][-1]}
    if "reach" in settings:
        reach = settings["reach"]
        found |= {"ceiling": forward_ceiling(reach), "window": 2 * reach + 1}
    return found


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds: a table per downside, and which remedies helped."""
    return {name: _summed(part, pick(done, part=name)) for name, part in PARTS.items()}


def _summed(part: Part, runs: Sequence[Done]) -> Json:
    settings, rows = dict(runs[0].settings), {}
    for words, same in groups(runs, "variant").items():
        row: Json = {"timing": {}}
        for measure in part.measures:
            (row["timing"] if measure.timing else row)[measure.name] = _aggregate(measure, same)
        rows[words] = row
    found: Json = {"settings": settings, "numbers": _numbers(settings), "rows": rows, "timing": {}}
    told = helped(part.measures, rows, clear=_clear(part.measures[0], runs))
    (found["timing"] if part.measures[0].timing else found)["helped"] = told
    return found


def _clear(measure: Measure, runs: Sequence[Done]) -> set[str]:
    """Return the variants that differ from the first by more than chance gives, by an exact rank test."""

    def value(run: Done) -> float:
        found = measure.of(run.result)
        cap = run.settings[measure.cap] if isinstance(measure.cap, str) else measure.cap
        if found is None or (cap is not None and found > cap):
            return math.inf
        return -float(found) if measure.more_is_better else float(found)

    (_, first), *others = groups(runs, "variant").items()
    tests = {words: differ([(list(map(value, same)), list(map(value, first)))]) for words, same in others}
    return {words for words, test in tests.items() if test["p"] < SIGNIFICANT}


def _aggregate(measure: Measure, runs: Sequence[Done]) -> Json:
    values = [measure.of(run.result) for run in runs]
    if measure.cap is not None:
        return capped(values, runs[0].settings[measure.cap] if isinstance(measure.cap, str) else measure.cap)
    if all(isinstance(value, bool) for value in values):
        return {"count": sum(values), "runs": len(values)}
    return spread(values)


def helped(
    measures: Sequence[Measure], rows: Mapping[str, Json], *, clear: Collection[str]
) -> dict[str, list[str]]:
    """Return which variants are better than the first by the first measure, and which are not.

    Only those of `clear`, which chance does not explain, can be better.
    The best are those of the better ones that no other beats; the next measures decide between equals.
    """
    values = {words: [_order(measure, row) for measure in measures] for words, row in rows.items()}
    before, *others = values
    better = [words for words in others if words in clear and values[words][0] < values[before][0]]
    return {
        "before": [before],
        "better": better,
        "best": [words for words in better if values[words] == min(values[one] for one in better)],
        "not_better": [words for words in others if words not in better],
    }


def _order(measure: Measure, row: Found) -> tuple[float, float]:
    """Return values to compare, smaller is better: first the runs that missed the goal, where counted."""
    found = measure.of(row)
    if "count" in found:
        return float(found["count"]), 0.0
    middle = found["cap"] if found["median"] is None else found["median"]
    return float(found.get("censored", 0)), -middle if measure.more_is_better else middle


def curves(done: Sequence[Done]) -> Json:
    """Return a curve per downside and variant: median and spread of the seeds."""
    found: Json = {"timing": {}}  # those that the clock gives
    for name, part in PARTS.items():
        lines = (found["timing"] if part.log else found)[name] = {}
        for words, runs in groups(pick(done, part=name), "variant").items():
            results = [run.result["timing"] if part.log else run.result for run in runs]
            lines[words] = band([(one["curve"]["x"], one["curve"]["y"]) for one in results])
    return found


def figures(_: Found, curves: Found, folder: Path) -> None:
    """Draw a picture per downside."""
    for name, part in PARTS.items():
        drawn = (curves["timing"] if part.log else curves)[name]
        scales = {"log_x": part.log, "log_y": part.log}
        lines(folder / f"remedies-{name}.png", drawn, part.axes, part.title, **scales)


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    answers, parts = [], []
    for name, part in PARTS.items():
        found = summary[name]
        texts = _texts(part, found)
        best = f"best: {texts['best']}" if texts["best"] else "no remedy was shown to be better"
        words = part.measures[0].words
        answers.append(f"- {part.title} ({words}). Before: {texts['before']}; {best}.")
        known = {n: _plain(value) for n, value in {**found["settings"], **found["numbers"]}.items()}
        rows = [
            {"": variant, **{m.words: _told(m, row) for m in part.measures}}
            for variant, row in found["rows"].items()
        ]
        parts += [f"### {part.title}\n", verdict(part, found), part.words.format(**known) + "\n"]
        parts += [picture(f"remedies-{name}.png", part.title), table(rows)]
    rule = (
        "A remedy is better where its runs and those without it differ by an exact rank test "
        f"(p < {SIGNIFICANT:g}) and its figure is on the right side.\n"
    )
    return "\n".join([f"### {QUESTION}\n", *answers, "", rule, *parts])


def verdict(part: Part, found: Found) -> str:
    """Say which remedies moved the first measure the right way, and which did not."""
    first, texts = part.measures[0], _texts(part, found)
    better = f"Better: {texts['better']}." if texts["better"] else "No remedy is shown to be better."
    worse = f" Not shown to be better: {texts['not_better']}." if texts["not_better"] else ""
    return f"**{first.words[0].upper()}{first.words[1:]}.** Before: {texts['before']}. {better}{worse}\n"


def _texts(part: Part, found: Found) -> dict[str, str]:
    """Return the variants of each group, with their figures."""
    first = part.measures[0]
    told = (found["timing"] if first.timing else found)["helped"]
    return {
        name: "; ".join(f"{words}, {_told(first, found['rows'][words])}" for words in group)
        for name, group in told.items()
    }


def _told(measure: Measure, row: Found) -> str:
    found = measure.of(row)
    if "count" in found:
        return f"{found['count']} of {found['runs']} runs"
    return within_text(found) if isinstance(measure.cap, str) else spread_text(found)


def _plain(value: Any) -> str:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if numeric else str(value)


def claims(summary: Found) -> list[dict[str, str]]:
    """Return a row per downside: how many remedies were tried, within which cap, and which were best."""
    rows = []
    for name, part in PARTS.items():
        found = summary[name]
        texts, settings = _texts(part, found), found["settings"]
        cap = f"{number(settings['cap'], 9)} steps" if "cap" in settings else "time alone"
        best = f"best: {texts['best']}" if texts["best"] else "no remedy was shown to be better"
        rows.append(
            {
                "claim": f"{part.title} ({part.measures[0].words})",
                "arms": "; ".join(found["rows"]),
                "caps": cap,
                "verdict": f"before: {texts['before']}; {best}",
            }
        )
    return rows


TITLE = "The downsides of recurrent networks, and their remedies"
CONSTANTS = (1, SIGNIFICANT)  # of "1/8": one over the symbols
EXPERIMENT = Experiment(NAME, TITLE, trials, summary, report, figures, curves, CONSTANTS, claims=claims)
