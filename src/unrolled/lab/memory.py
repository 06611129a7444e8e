"""Memory: RNN, GRU and LSTM on problems that need it, and what the gates of an LSTM do at the marks."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import DataError, expected
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, groups, pick, plan_of, seeded
from unrolled.lab.inside import CURVES, measured
from unrolled.lab.learning import learn
from unrolled.lab.memory_report import LIMITS, figures, report
from unrolled.lab.mnist1d import Mnist1d
from unrolled.lab.problems import Adding, Copying, Problem, Recall
from unrolled.lab.spread import band, shortened, spread, within_cap
from unrolled.spec import CELLS, LabConfig

__all__ = ["EXPERIMENT"]

NAME = "memory"
PLAN = plan_of(NAME)
KINDS, FULL, QUICK = PLAN["kinds"], PLAN["full"], PLAN["quick"]
# the rate is constant, so that the step of a solution does not depend on the cap
SHARED: dict[str, Any] = {"learning_rate": 1e-2, "evaluate_every": 25, "threads": 1}
PROBLEMS: dict[str, Any] = {"adding": Adding, "copying": Copying, "recall": Recall, "mnist1d": Mnist1d}
INSIDE_ROWS = 1024
COMPARED = PLAN["compared"]
ALIKE = 0.1  # final scores that differ by less than this share of the control are alike


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per problem, length, kind and seed, and one that looks into the LSTM that learnt adding.

    Raises:
        DataError: config.mnist1d is no such file.
    """
    plans = QUICK if config.quick else FULL
    found = []
    for name in ("adding", "copying", "recall"):
        usual, longer = plans[name]["lengths"]
        for length in usual + (longer if config.long else []):
            for kind in KINDS:
                settings = _settings(name, plans[name], length, kind)
                found += seeded(f"{NAME}/{name}/T={length}/{kind}", settings, race, config)
    if config.mnist1d is not None:
        sha256 = _read(config.mnist1d)[1]  # the file's bytes decide, not where it lies
        work = functools.partial(race, mnist1d=config.mnist1d)
        for kind in KINDS:
            settings = {**_settings("mnist1d", plans["mnist1d"], Mnist1d.steps, kind), "sha256": sha256}
            found += seeded(f"{NAME}/mnist1d/{kind}", settings, work, config)
    longest = plans["adding"]["lengths"][0][-1]
    settings = _settings("adding", plans["adding"], longest, COMPARED["inside"])
    settings |= {"part": "inside", "rows": INSIDE_ROWS, "seed": 0}
    return [*found, Trial(f"{NAME}/inside/seed=0", settings, inside)]


def _settings(name: str, plan: Found, length: int, kind: str) -> Json:
    """Return everything that a run depends on, except its seed."""
    problem, chosen, shared = PROBLEMS[name], KINDS[kind], {**SHARED, **plan}
    sizes = problem.input_size, problem.output_size, plan["hidden_size"]
    return {
        **{name: value for name, value in shared.items() if name != "lengths"},
        "part": "race",
        "task": name,
        "length": length,
        "kind": kind,
        "cell": chosen["cell"],
        "hidden_size": equal_size(chosen["cell"], *sizes),
        "chrono_steps": length if chosen.get("chrono") else None,
        "learning_rate": shared["learning_rate"] * chosen.get("rate", 1),
    }


def equal_size(cell: str, inputs: int, outputs: int, size: int) -> int:
    """Return the hidden size that gives about as many parameters as the cell of the plan has with `size`."""

    def parameters(name: str, size: int) -> int:
        """Count the parameters of one layer and its read-out, with two biases per gate as in torch."""
        return len(CELLS[name].gates) * size * (inputs + size + 2) + outputs * (size + 1)

    want = parameters(COMPARED["equal_to"], size)
    return min(range(1, 4 * size + 1), key=lambda each: abs(parameters(cell, each) - want))


def race(settings: Found, *, mnist1d: str | None = None) -> Json:
    """Train up to the first held-out score that solves the problem, or to the cap.

    Args:
        mnist1d: where the curves lie that settings name by their sha256.
    """
    problem = problem_of(settings, mnist1d)
    found = learn(problem, settings)
    return {
        "solved_at": found.solved_at,
        "curve": {"step": [s for s, *_ in found.curve], "score": [score for _, score, _ in found.curve]},
        "final": found.final,
        "diverged": found.diverged,
        "parameters": sum(weight.numel() for weight in found.network.parameters()),
        "score_name": problem.score_name,
        "threshold": problem.solved_at,
        "control": problem.control,
        "timing": {"seconds": found.seconds},
    }


def inside(settings: Found) -> Json:
    """Train an LSTM as the race does, and measure what its gates and states do at the marks."""
    problem = Adding(settings["length"])
    found = learn(problem, settings)
    looks = measured(found.network, problem, rows=settings["rows"], seed=settings["seed"])
    return {"solved_at": found.solved_at, "final": found.final, **looks}


def problem_of(settings: Found, mnist1d: str | None = None) -> Problem:
    """Return the problem that settings name. Raises DataError: the curves are not the ones that they name."""
    if mnist1d is None:
        word = {"word": settings["word"]} if "word" in settings else {}
        problem: Problem = PROBLEMS[settings["task"]](settings["length"], **word)
        return problem
    curves, got = _read(mnist1d)
    if got != settings["sha256"]:
        raise DataError(expected(mnist1d, f"sha256 {settings['sha256']}", got))
    return curves


def _read(path: str) -> tuple[Mnist1d, str]:
    """Return the curves of a file, and its sha256. Raises DataError: it holds none."""
    return Mnist1d.read(path), hashlib.sha256(Path(path).read_bytes()).hexdigest()


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds, and judge the claims by the result."""
    tasks = {name: _task(runs) for name, runs in groups(pick(done, part="race"), "task").items()}
    (probed,) = pick(done, part="inside")
    found = {name: probed.settings[name] for name in ("length", "kind", "seed", "cap", "rows")}
    found |= {name: probed.result[name] for name in ("solved_at", "final", "places")}
    found["units"] = probed.settings["hidden_size"]
    found |= {w: {k: v for k, v in probed.result[w].items() if k != along} for w, along in CURVES.items()}
    return {"tasks": tasks, "claims": claims(tasks), "inside": found}


def _task(runs: Sequence[Done]) -> Json:
    first, kinds = runs[0], groups(runs, "kind")
    return {
        **{name: first.settings[name] for name in ("batch_size", "learning_rate", "cap", "evaluate_every")},
        "word": first.settings.get("word"),
        **{name: first.result[name] for name in ("score_name", "threshold", "control")},
        "kinds": {
            kind: {"hidden_size": of[0].settings["hidden_size"], "parameters": of[0].result["parameters"]}
            for kind, of in kinds.items()
        },
        "rows": [
            _row(of) for same in groups(runs, "length").values() for of in groups(same, "kind").values()
        ],
    }


def _row(runs: Sequence[Done]) -> Json:
    """Sum up the seeds of one kind at one length."""
    results = [run.result for run in runs]
    scores = [r["final"] for r in results if r["final"] is not None]
    return {
        **{name: runs[0].settings[name] for name in ("length", "kind")},
        "control": results[0]["control"],
        "solved": within_cap([r["solved_at"] for r in results], runs[0].settings["cap"]),
        "final": spread(scores) if scores else None,
        "diverged": sum(r["diverged"] for r in results),
        "timing": {"seconds": spread([r["timing"]["seconds"] for r in results])},
    }


def claims(tasks: Mapping[str, Found]) -> Json:
    """Return, for each pair of kinds, in how many settings each word of the claim holds, and in which not.

    A setting is a problem at one length, where both were trained by the same recipe.
    """
    found = {}
    for mine in COMPARED["ours"]:
        for other in COMPARED["rivals"]:
            found[f"{mine} {other}"] = {
                "better": _count(tasks, mine, other, _better),
                "faster": _count(tasks, mine, other, _faster),
                "longer": {
                    name: {"mine": _reach(task["rows"], mine), "other": _reach(task["rows"], other)}
                    for name, task in tasks.items()
                    if len({row["length"] for row in task["rows"]}) > 1
                },
            }
    return found


def _count(
    tasks: Mapping[str, Found], mine: str, other: str, judge: Callable[[Found, Found, str], int | None]
) -> Json:
    """Count settings by who is ahead: 1 ours, −1 the rival, 0 alike, None where neither can be told."""
    judged = []
    for name, task in tasks.items():
        rows = {(row["length"], row["kind"]): row for row in task["rows"]}
        for length in dict.fromkeys(row["length"] for row in task["rows"]):
            if (length, mine) in rows and (length, other) in rows:
                ahead = judge(rows[length, mine], rows[length, other], task["score_name"])
                judged.append((name, length, ahead))
    return {
        "settings": sum(ahead is not None for *_, ahead in judged),
        "wins": sum(ahead == 1 for *_, ahead in judged),
        "alike": sum(ahead == 0 for *_, ahead in judged),
        "losses": sum(ahead == -1 for *_, ahead in judged),
        "lost": [{"task": name, "length": length} for name, length, ahead in judged if ahead == -1],
    }


def _better(mine: Found, other: Found, score: str) -> int:
    """Compare the numbers of seeds that solved it; where equal, and not all did, the median final scores."""
    solved = mine["solved"]["solved"], other["solved"]["solved"]
    if solved[0] != solved[1]:
        return 1 if solved[0] > solved[1] else -1
    if solved[0] == mine["solved"]["runs"]:
        return 0
    if mine["final"] is None or other["final"] is None:
        return (mine["final"] is not None) - (other["final"] is not None)
    ahead = mine["final"]["median"] - other["final"]["median"]
    if abs(ahead) < ALIKE * mine["control"]:
        return 0
    return 1 if (ahead > 0) == (score == "accuracy") else -1


def _faster(mine: Found, other: Found, _: str) -> int | None:
    """Compare the median steps to the solution; None where neither solved the problem."""
    one, two = (
        math.inf if row["solved"]["median"] is None else row["solved"]["median"] for row in (mine, other)
    )
    return None if one == two == math.inf else (one < two) - (one > two)


def _reach(rows: Sequence[Found], kind: str) -> int | None:
    """Return the longest length that a kind solves with more than half of its seeds, if there is one."""
    own = (row for row in rows if row["kind"] == kind)
    solved = (r["length"] for r in own if 2 * r["solved"]["solved"] > r["solved"]["runs"])
    return max(solved, default=None)


def curves(done: Sequence[Done]) -> Json:
    """Return the scores on MNIST-1D by steps, and what an LSTM does around the marks and along a sequence."""
    races = groups(pick(done, task="mnist1d"), "kind")
    scores = {
        kind: band([(run.result["curve"]["step"], run.result["curve"]["score"]) for run in runs])
        for kind, runs in races.items()
    }
    (probed,) = pick(done, part="inside")
    found = {
        word: {name: shortened(values) for name, values in probed.result[word][along].items()}
        for word, along in CURVES.items()
    }
    return {"mnist1d": scores, **found}


TITLE = "Memory: what is learnt over many steps, by which cell, and how an LSTM does it"
CONSTANTS = (0, 1, *LIMITS)  # step 0, 1/e, a forget bias, the name MNIST-1D
EXPERIMENT = Experiment(NAME, TITLE, trials, summary, report, figures, curves, CONSTANTS)
