"""The downsides of recurrent networks, each shown by a measurement, then with each remedy."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from unrolled import figures as draw
from unrolled import kernels
from unrolled.data import Batch
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, groups, pick, seeded
from unrolled.lab.learning import Learnt, Network, NetworkSettings, learn
from unrolled.lab.problems import Majority, Problem, Recall, forward_ceiling
from unrolled.lab.report import picture, table
from unrolled.lab.spread import band, capped, finite, number, spread, spread_text, within_text
from unrolled.spec import LabConfig
from unrolled.train import fit

__all__ = ["EXPERIMENT", "PARTS"]

NAME = "remedies"
QUESTION = "What are some downsides of RNNs and how can you resolve them?"

RISEN = 1.1  # a loss that ends at more than this many times its start diverged; less is chance
NORM_CAP, NATS_CAP = 1e6, 100.0  # above it a figure counts as more
STRIDE, WINDOW, REACH, CHRONO = 4, 64, 2, 50


@dataclass(frozen=True)
class Measure:
    """A figure of a run that the table shows.

    Attributes:
        name: its key in the result, or in the result's "timing".
        words: the table's heading.
        cap: a number, or the name of a setting: a run without a value counts as more than it. Without one,
            runs are counted of which a figure is true, where that is so, or the spread of values is shown.
        more_is_better: which way a remedy is to move it.
        timing: whether the clock gives it.
    """

    name: str
    words: str
    cap: str | float | None = None
    more_is_better: bool = False
    timing: bool = False

    def of(self, row: Found) -> Any:
        """Return what a row or a result has of it."""
        return (row["timing"] if self.timing else row)[self.name]


@dataclass(frozen=True)
class Part:
    """A downside with its remedies.

    Attributes:
        title: its heading.
        words: a paragraph, with {names} of settings and of `numbers` in it.
        shared: the settings of all its runs. quick, full: those of a quick run and of a full one.
        variants: words → what a run changes, the one without remedy first.
        work: does a trial. measures: of a run; the first one decides whether a remedy helps.
        axes: words of the picture of each run's "curve". log: whether both are logarithmic.
        numbers: settings → what else the paragraph prints.
    """

    title: str
    words: str
    shared: Found
    quick: Found
    full: Found
    variants: Mapping[str, Found]
    work: Callable[[Found], Json]
    measures: tuple[Measure, ...]
    axes: tuple[str, str] = ("optimizer steps", "held-out nats")
    log: bool = False
    numbers: Callable[[Found], dict[str, float]] = field(default=lambda _: {})


@dataclass(frozen=True, eq=False)
class _Noise(Problem):
    """Random numbers that nothing is asked of: what a sequence takes is all that counts."""

    steps: int

    name, input_size, output_size, score_name = "noise", 16, 1, "mse"

    def draw(self, rows: int, generator: Generator) -> Batch:
        return Batch(torch.randn(self.steps, rows, self.input_size, generator=generator), torch.zeros(rows))


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per downside, variant and seed."""
    found = []
    for name, part in PARTS.items():
        shared = {**part.shared, **(part.quick if config.quick else part.full)}
        for place, (words, change) in enumerate(part.variants.items()):
            settings = {**shared, **change, "part": name, "variant": words}
            found += seeded(f"{NAME}/{name}-{place}", settings, part.work, config)
    return found


def run(settings: Found) -> Json:
    """Train a network once, until it solves its problem or its steps are done."""
    return outcome(learn(problem_of(settings), settings))


def outcome(found: Learnt) -> Json:
    """Return what became of a run; it diverged too if its loss ends more than a tenth above its start."""
    start, (_, accuracy, end) = found.curve[0][2], found.curve[-1]
    nats = math.inf if found.diverged else end
    return {
        "solved_at": found.solved_at,
        "accuracy": accuracy,
        "final_nats": finite(nats),
        "diverged": nats > RISEN * start,
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
        "finals": finals,
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
        parts = torch.split(whole.inputs, settings["window"] or steps)
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


FAST: dict[str, Any] = {
    "task": "recall",
    "batch_size": 32,
    "hidden_size": 32,
    "evaluate_every": 25,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "clip_norm": 1.0,
    "stop": True,
    "threads": 1,
}
STACKED = {"front": "stacked", "frames": STRIDE}
SPEEDS: dict[str, Found] = {
    "torch's kernel, the whole sequence": {},
    f"truncated after {WINDOW} steps": {"window": WINDOW},
    f"{STRIDE} frames stacked": STACKED,
    f"a convolution of stride {STRIDE} in front": {"front": "convolved", "frames": STRIDE},
}
if kernels.available():  # without compiled kernels there is no native engine
    SPEEDS |= {
        "the native engine": {"backend": "native"},
        f"the native engine, {STRIDE} frames stacked": {"backend": "native", **STACKED},
    }
PARTS: dict[str, Part] = {
    "slow": Part(
        title="Long sequences are slow, one step after another",
        words=(
            "An LSTM of {hidden_size} units goes over {rows} rows of {shortest} to {longest} steps, forward "
            "and backward, with an update after each sequence or each window of it; the table is for "
            "{longest} steps. This is time alone: what a shorter sequence or a window costs in loss is not "
            "in it."
        ),
        shared={"hidden_size": 64, "rows": 16, "window": None, "backend": "torch", "threads": 1},
        quick={"lengths": [64, 128, 256], "repeats": 3},
        full={"lengths": [64, 128, 256, 512, 1024], "repeats": 7},
        variants=SPEEDS,
        work=clocked,
        measures=(
            Measure("ms_an_update", "time of an update, ms", timing=True),
            Measure("ms_a_sequence", "of a sequence, ms", timing=True),
            Measure("updates", "updates per sequence", more_is_better=True),
            Measure("recurrent_steps", "steps of the LSTM"),
        ),
        axes=("steps of the sequence", "ms per update"),
        log=True,
        numbers=lambda s: {"shortest": s["lengths"][0], "longest": s["lengths"][-1]},
    ),
    "fading": Part(
        title="The memory of the first inputs fades",
        words=(
            "Of {symbols} symbols one is shown first, with a flag; random ones follow without it, and after "
            "{sequence_steps} steps the first is asked for. A run has solved it when {goal} of held-out rows "
            "are right, within {cap} optimizer steps. By chance 1/{symbols} is right."
        ),
        shared=FAST,
        quick={"sequence_steps": 20, "cap": 300},
        full={"sequence_steps": 50, "cap": 1500},
        variants={
            "RNN, torch.nn's own start": {"cell": "rnn", "start": "torch"},
            "RNN, orthogonal start": {"cell": "rnn"},
            "GRU": {"cell": "gru"},
            "GRU, chrono start": {"cell": "gru", "chrono_steps": CHRONO},
            "LSTM, torch.nn's own start": {"cell": "lstm", "start": "torch"},
            "LSTM, forget bias 1": {"cell": "lstm"},
            "LSTM, chrono start": {"cell": "lstm", "chrono_steps": CHRONO},
        },
        work=run,
        measures=(
            Measure("solved_at", "steps to solve", "cap"),
            Measure("accuracy", "held-out accuracy at the end", more_is_better=True),
        ),
        numbers=lambda _: {"symbols": Recall.output_size, "goal": Recall.solved_at},
    ),
    "exploding": Part(
        title="Gradients explode, and with them the updates",
        words=(
            "An RNN whose recurrent weights are orthogonal times {gain} is trained by SGD, at a learning "
            "rate of {learning_rate}, on the same problem over {sequence_steps} steps, for {cap} optimizer "
            "steps. A run diverges if its loss is not finite, or ends more than a tenth above its start."
        ),
        shared={
            **FAST, "sequence_steps": 30, "evaluate_every": 20, "optimizer": "sgd", "learning_rate": 1.0,
            "clip_norm": None, "stop": False, "gain": 2.0, "cell": "rnn",
        },
        quick={"cap": 120},
        full={"cap": 600},
        variants={
            "no clipping": {},
            "clipped to 1": {"clip_norm": 1.0},
            "clipped to 0.1": {"clip_norm": 0.1},
            "a tenth of the learning rate": {"learning_rate": 0.1},
            "gain 1": {"gain": 1.0},
            "gain 1, clipped to 0.1": {"gain": 1.0, "clip_norm": 0.1},
            "LSTM of the same gain": {"cell": "lstm"},
        },
        work=run,
        measures=(
            Measure("diverged", "diverged"),
            Measure("final_nats", "held-out nats at the end", NATS_CAP),
            Measure("largest_norm", "largest norm of the gradient", NORM_CAP),
        ),
    ),
    "order": Part(
        title="The order of time is strict: what comes later is not seen",
        words=(
            "At each step t is asked what most of the {window} signs from t - {reach} to t + {reach} are. "
            "Without those after t, no network can be right more often than {ceiling}. A run has solved it "
            "when {goal} of held-out answers are right, within {cap} optimizer steps. A delayed answer to t "
            "is given at t + {reach}."
        ),
        shared={
            **FAST, "task": "majority", "reach": REACH, "delay": 0, "sequence_steps": 30, "batch_size": 16,
            "evaluate_every": 20, "cell": "lstm",
        },
        quick={"hidden_size": 16, "cap": 300},
        full={"hidden_size": 32, "cap": 800},
        variants={
            "LSTM, forward": {},
            "LSTM, bidirectional": {"bidirectional": True},
            "LSTM, forward, delayed answer": {"delay": REACH},
        },
        work=run,
        measures=(
            Measure("accuracy", "held-out accuracy at the end", more_is_better=True),
            Measure("solved_at", "steps to solve", "cap"),
        ),
        numbers=lambda s: {
            "ceiling": forward_ceiling(s["reach"]), "window": 2 * s["reach"] + 1, "goal": Majority.solved_at,
        },
    ),
    "sensitivity": Part(
        title="What training comes to depends on the start",
        words=(
            "The first of {symbols} symbols is asked for after {sequence_steps} steps, as above. Each run "
            "trains {draws} networks for {cap} optimizer steps on the same rows; they differ in the weights "
            "that they start from alone. The range is that of their held-out nats at the end; a start is "
            "good if the range is small and the worst network is good too."
        ),
        shared={**FAST, "stop": False},
        quick={"sequence_steps": 10, "draws": 2, "cap": 150},
        full={"sequence_steps": 15, "draws": 4, "cap": 300},
        variants={
            "RNN, torch.nn's own start": {"cell": "rnn", "start": "torch"},
            "RNN, orthogonal": {"cell": "rnn"},
            "LSTM, torch.nn's own start": {"cell": "lstm", "start": "torch"},
            "LSTM, orthogonal, forget bias 0": {"cell": "lstm", "forget_bias": 0.0},
            "LSTM, orthogonal, forget bias 1": {"cell": "lstm"},
            "LSTM, orthogonal, chrono": {"cell": "lstm", "chrono_steps": 15},
        },
        work=several,
        measures=(
            Measure("worst", "held-out nats of the worst", NATS_CAP),
            Measure("best", "of the best", NATS_CAP),
            Measure("range", "range", NATS_CAP),
        ),
        axes=("optimizer steps", "held-out nats of the worst network"),
        numbers=lambda _: {"symbols": Recall.output_size},
    ),
}  # fmt: skip


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
    found: Json = {"settings": settings, "numbers": part.numbers(settings), "rows": rows, "timing": {}}
    (found["timing"] if part.measures[0].timing else found)["helped"] = helped(part.measures, rows)
    return found


def _aggregate(measure: Measure, runs: Sequence[Done]) -> Json:
    values = [measure.of(run.result) for run in runs]
    if measure.cap is not None:
        return capped(values, runs[0].settings[measure.cap] if isinstance(measure.cap, str) else measure.cap)
    if all(isinstance(value, bool) for value in values):
        return {"count": sum(values), "runs": len(values)}
    return spread(values)


def helped(measures: Sequence[Measure], rows: Mapping[str, Json]) -> dict[str, list[str]]:
    """Return which variants are better than the first by the first measure, and which are not.

    The best are those of the better ones that no other beats; the next measures decide between equals.
    """
    values = {words: [_order(measure, row) for measure in measures] for words, row in rows.items()}
    before, *others = values
    better = [words for words in others if values[words][0] < values[before][0]]
    return {
        "before": [before],
        "better": better,
        "best": [words for words in better if values[words] == min(values[one] for one in better)],
        "not_better": [words for words in others if words not in better],
    }


def _order(measure: Measure, row: Found) -> tuple[float, float]:
    """Return what is the smaller the better: first runs that missed the goal where they are counted."""
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
        draw.series(
            folder / f"remedies-{name}.png",
            curves=(curves["timing"] if part.log else curves)[name],
            xlabel=part.axes[0],
            ylabel=part.axes[1],
            title=part.title,
            log_x=part.log,
            log_y=part.log,
        )


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    answers, parts = [], []
    for name, part in PARTS.items():
        found = summary[name]
        texts = _texts(part, found)
        best = f"best: {texts['best']}" if texts["best"] else "no remedy was better"
        words = part.measures[0].words
        answers.append(f"- {part.title} ({words}). Before: {texts['before']}; {best}.")
        known = {n: _plain(value) for n, value in {**found["settings"], **found["numbers"]}.items()}
        rows = [
            {"": variant, **{m.words: _told(m, row) for m in part.measures}}
            for variant, row in found["rows"].items()
        ]
        parts += [f"### {part.title}\n", verdict(part, found), part.words.format(**known) + "\n"]
        parts += [picture(f"remedies-{name}.png", part.title), table(rows)]
    return "\n".join([f"### {QUESTION}\n", *answers, "", *parts])


def verdict(part: Part, found: Found) -> str:
    """Say which remedies moved the first measure the right way, and which did not."""
    first, texts = part.measures[0], _texts(part, found)
    better = f"Better: {texts['better']}." if texts["better"] else "No remedy is better."
    worse = f" Not better: {texts['not_better']}." if texts["not_better"] else ""
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


EXPERIMENT = Experiment(
    NAME,
    "The downsides of recurrent networks, and their remedies",
    trials,
    summary,
    report,
    figures,
    curves,
    constants=(1,),  # of "1/8": one over the symbols
)
