"""The pictures: steps to solve over the length of a task, and one for each word of what an LSTM does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import figures as draw
from unrolled.lab.cells import Done, pick
from unrolled.lab.memory.kinds import KINDS
from unrolled.lab.memory.summary import groups
from unrolled.lab.spread import number, within_cap

__all__ = ["figures"]

APART = 1.12  # factor between the censored ones of two kinds, so that none hides another
TITLES = {
    "adding": "Adding: steps until the task was solved",
    "copying": "Copying: steps until the task was solved",
    "recall": "Recall: steps until the task was solved",
}


def figures(done: Sequence[Done], folder: Path) -> list[str]:
    """Draw steps over lengths of each task, scores over steps of MNIST-1D, and the inside of an LSTM."""
    names = []
    for task, runs in groups(pick(done, part="race"), "task").items():
        names.append(f"memory-{task}.png")
        if task in TITLES:
            _steps(folder / names[-1], TITLES[task], runs)
        else:
            _scores(folder / names[-1], runs)
    (probed,) = pick(done, part="inside")
    for word, picture in WORDS.items():
        names.append(f"memory-{word}.png")
        picture(folder / names[-1], probed.result)
    return names


def _steps(path: Path, title: str, runs: Sequence[Done]) -> None:
    """Draw the median over seeds; what was censored lies above the line of the cap, a height a kind."""
    cap = runs[0].settings["cap"]
    curves: dict[str, dict[str, Any]] = {}
    for place, (kind, of) in enumerate(groups(runs, "kind").items()):
        above = cap * APART ** (place + 1)
        medians = [
            within_cap([run.result["solved_at"] for run in same], cap)["median"]
            for same in groups(of, "length").values()
        ]
        curves[KINDS[kind].words] = {
            "x": list(groups(of, "length")),
            "middle": [above if median is None else median for median in medians],
        }
    draw.series(
        path,
        curves=curves,
        xlabel="T, the lag" if runs[0].settings["task"] == "copying" else "T, the length of the sequences",
        ylabel="steps of the optimizer, median of the seeds",
        title=title,
        levels={f"cap: {number(cap, 9)}; above it, censored": cap},
        log_x=True,
        log_y=True,
    )


def _scores(path: Path, runs: Sequence[Done]) -> None:
    """Draw the score on held-out examples; a run that diverged before its first score is left out."""
    first = runs[0].result
    scored = [run for run in runs if run.result["curve"]["score"]]
    curves = {KINDS[kind].words: _curve(of) for kind, of in groups(scored, "kind").items()}
    draw.series(
        path,
        curves=curves,
        xlabel="steps of the optimizer",
        ylabel="share of held-out curves told right",
        title="MNIST-1D: median of the seeds and their spread; a solved run stays where it ended",
        levels={"solved": first["threshold"], "trivial control": first["control"]},
    )


def _curve(runs: Sequence[Done]) -> dict[str, Any]:
    """Return the median and the ends over seeds; a run that has ended stays where it ended."""
    longest = max((run.result["curve"]["step"] for run in runs), key=len)
    scores = [run.result["curve"]["score"] for run in runs]
    values = np.array([score + [score[-1]] * (len(longest) - len(score)) for score in scores])
    return {
        "x": longest,
        "middle": np.median(values, axis=0),
        "low": values.min(axis=0),
        "high": values.max(axis=0),
    }


def _recognise(path: Path, found: Mapping[str, Any]) -> None:
    along = found["recognise"]["around"]
    words = {
        "written": "written into c: the length of i · g",
        "input_gate": "input gate i, mean of the units",
        "candidate": "candidate |g|, mean of the units",
    }
    draw.series(
        path,
        curves={text: {"x": along["offset"], "middle": along[name]} for name, text in words.items()},
        xlabel="steps from the mark",
        ylabel="mean over sequences and both marks",
        title="Recognise: what the LSTM lets in, around a marked input",
    )


def _store(path: Path, found: Mapping[str, Any]) -> None:
    along = found["store"]["around"]
    words = {"marked": "of the marked step", "unmarked": "of a step that is not marked"}
    draw.series(
        path,
        curves={text: {"x": along["offset"], "middle": along[name]} for name, text in words.items()},
        xlabel="steps from the one whose number is followed",
        ylabel="change of c per unit of the number",
        title="Store: how far the change of the long-term state follows the number",
    )


def _preserve(path: Path, found: Mapping[str, Any]) -> None:
    along, places = found["preserve"]["along"], found["places"]
    words = {
        "first": f"first marked number, step {places['first']}",
        "second": f"second marked number, step {places['second']}",
        "sum": "their sum",
        "unmarked": f"number not marked, step {places['unmarked']}",
    }
    curves = {text: _floored(along["step"], along[name]) for name, text in words.items()}
    gate = {"x": along["step"], "middle": along["forget_gate"]}
    draw.series(
        path,
        curves={**curves, "forget gate f, mean of the units": gate},
        xlabel="step",
        ylabel="R² of a linear read-out of c (below 0 drawn as 0)",
        title="Preserve: what can be read from the long-term state, step after step",
    )


def _extract(path: Path, found: Mapping[str, Any]) -> None:
    along = found["extract"]["along"]
    draw.series(
        path,
        curves={
            "the answer's slope by the step's number": {
                "x": along["step"],
                "middle": along["slope"],
            },
            "R² if answered here (below 0 drawn as 0)": _floored(along["step"], along["ready"]),
            "output gate o, mean of the units": {"x": along["step"], "middle": along["output_gate"]},
        },
        xlabel="step",
        ylabel="value",
        title="Extract: which inputs the answer follows, and since when it is ready",
    )


def _floored(step: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    return {"x": step, "middle": np.maximum(values, 0.0)}


WORDS = {"recognise": _recognise, "store": _store, "preserve": _preserve, "extract": _extract}
