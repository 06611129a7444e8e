"""Memory: RNN, GRU and LSTM on problems that need it, and what the gates of an LSTM do at the marks."""

from __future__ import annotations

import functools
import hashlib
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import DataError, expected
from unrolled.lab.compare import SIGNIFICANT, differ
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, groups, pick, plan_of, seeded
from unrolled.lab.inside import CURVES, measured
from unrolled.lab.learning import learn
from unrolled.lab.memory_report import LIMITS, WORDS, claims, figures, report
from unrolled.lab.mnist1d import Mnist1d
from unrolled.lab.problems import Adding, Copying, Problem, Recall
from unrolled.lab.spread import band, capped, finite, shortened, spread, within_cap
from unrolled.spec import CELLS, LabConfig

__all__ = ["EXPERIMENT"]

NAME = "memory"
PLAN = plan_of(NAME)
KINDS, FULL, QUICK, SHARED = PLAN["kinds"], PLAN["full"], PLAN["quick"], PLAN["shared"]
CHOSEN, COMPARED = PLAN["chosen"], PLAN["compared"]
PROBLEMS: dict[str, Any] = {"adding": Adding, "copying": Copying, "recall": Recall, "mnist1d": Mnist1d}
INSIDE_ROWS = 1024
PATIENCE = 2  # times the steps of the rate that was fastest so far: what another rate is given
KEPT = ((500, 25), (3000, 100), (math.inf, 500))  # up to a step, every so many steps of a curve are kept
LARGEST = 1e6  # of a figure of the inside; what is larger, or infinite, counts as more


def trials(config: LabConfig) -> list[Trial]:
    """Return the trials that choose each arm's rate at the shortest length of each problem.

    Raises:
        DataError: config.mnist1d is no such file.
    """
    if config.mnist1d is not None:
        _read(config.mnist1d)
    firsts = (next(_chain(name, kind, config, {})) for name in _problems(config) for kind in _kinds(config))
    return [trial for first in firsts for trial in first]


def further(config: LabConfig, done: Sequence[Done]) -> list[Trial]:
    """Return what the results so far decide on.

    Once an arm's rate is chosen it is trained on the seeds that count; where at least one of these solved the
    problem, it goes on to the next length. Last, LSTMs that learnt adding are looked into.
    """
    results = {one.key: one.result for one in done}
    found = []
    for name in _problems(config):
        for kind in _kinds(config):
            _, *later = _chain(name, kind, config, results)
            found += [trial for part in later for trial in part]
    return [*found, *_inside_trials(config, results)]


def _problems(config: LabConfig) -> list[str]:
    return [name for name in PROBLEMS if name != "mnist1d" or config.mnist1d is not None]


def _kinds(config: LabConfig) -> list[str]:
    return QUICK["kinds"] if config.quick else list(KINDS)


def _chain(name: str, kind: str, config: LabConfig, results: Mapping[str, Json]) -> Iterator[list[Trial]]:
    """Yield one arm's trials on one problem, part by part, as far as the results allow."""
    plan = (QUICK if config.quick else FULL)[name]
    choose_at, race_at, further_settings = choose, race, {}
    if name == "mnist1d":
        assert config.mnist1d is not None
        further_settings = {"sha256": _sha256(config.mnist1d)}  # the bytes decide, not where they lie
        choose_at, race_at = (functools.partial(work, mnist1d=config.mnist1d) for work in (choose, race))
    usual, longer = plan["lengths"]
    for length in usual + (longer if config.long else []):
        key = f"{NAME}/{name}/T={length}/{kind}"
        settings = {**_settings(name, length, kind, config), **further_settings}
        tuning = {n: settings[n] for n in settings if n != "tuning_share"}
        tuning |= {"part": "rates", "cap": _cap(settings, settings["tuning_share"])}
        yield [Trial(f"{key}/rate", tuning, choose_at)]
        if f"{key}/rate" not in results:
            return
        rate = results[f"{key}/rate"]["rate"]
        own = {n: settings[n] for n in settings if not n.startswith("tuning_") and n != "rates"}
        races = seeded(key, {**own, "learning_rate": rate}, race_at, config)
        yield races
        if not any(results.get(one.key, {"solved_at": None})["solved_at"] is not None for one in races):
            return
        if not all(one.key in results for one in races):
            return


def _inside_trials(config: LabConfig, results: Mapping[str, Json]) -> list[Trial]:
    """Return the LSTMs that are looked into: of the longest adding problem that their arm came to."""
    kind = CHOSEN["inside"]
    parts = list(_chain("adding", kind, config, results))
    if not all(trial.key in results for part in parts for trial in part):
        return []
    settings = {**parts[-1][0].settings, "part": "inside", "rows": INSIDE_ROWS}
    return seeded(f"{NAME}/inside", settings, inside, config)


def _settings(name: str, length: int, kind: str, config: LabConfig) -> Json:
    """Return everything that a run depends on, except its rate and its seed."""
    plans = QUICK if config.quick else FULL
    problem, chosen, plan = PROBLEMS[name], KINDS[kind], plans[name]
    lengths = [*plan["lengths"][0], *plan["lengths"][1]]
    sizes = problem.input_size, problem.output_size, plan["hidden_size"]
    settings = {
        **SHARED,
        **{key: value for key, value in plan.items() if key not in ("lengths", "hidden_size")},
        "part": "race",
        "task": name,
        "length": length,
        "kind": kind,
        "cell": chosen["cell"],
        "start": chosen.get("start", "orthogonal"),
        "hidden_size": equal_size(chosen["cell"], *sizes),
        "chrono_steps": length if chosen.get("chrono") else None,
        "ms": plans["ms"][name][chosen["cell"]][lengths.index(length)],
    }
    return {**settings, "cap": _cap(settings, 1.0)}


def _cap(settings: Found, share: float) -> int:
    """Return the steps that fit into that share of a run's seconds, by the time that a step takes."""
    every = int(settings["evaluate_every"])
    steps = 1000 * settings["seconds"] * share / settings["ms"]
    return max(int(steps // every) * every, every)


def equal_size(cell: str, inputs: int, outputs: int, size: int) -> int:
    """Return the hidden size that gives about as many parameters as the cell of the plan has with `size`."""

    def parameters(name: str, size: int) -> int:
        """Count the parameters of one layer and its read-out, with two biases per gate as in torch."""
        return len(CELLS[name].gates) * size * (inputs + size + 2) + outputs * (size + 1)

    want = parameters(CHOSEN["equal_to"], size)
    return min(range(1, 4 * size + 1), key=lambda each: abs(parameters(cell, each) - want))


def choose(settings: Found, *, mnist1d: str | None = None) -> Json:
    """Train at each learning rate on the tuning seeds, and choose the rate that solves the problem soonest.

    The better half of the rates goes on to the next seed. On a seed on which one rate solved the problem the
    others are given PATIENCE times its steps. What decides is the sum of the steps over the seeds, a run that
    did not get there counted with all that it was given, and between equal sums that of the losses.

    Args:
        mnist1d: where the curves lie that settings name by their sha256.
    """
    problem, left = problem_of(settings, mnist1d), list(settings["rates"])
    runs: list[Json] = []

    def order(rate: float) -> tuple[float, float]:
        return _order([run for run in runs if run["rate"] == rate])

    for seed in settings["tuning_seeds"]:
        cap = settings["cap"]
        for rate in left:
            found = learn(problem, {**settings, "learning_rate": rate, "seed": seed, "cap": cap})
            counted = settings["cap"] if found.diverged else found.steps
            loss = None if found.diverged else finite(found.curve[-1][2])
            runs.append({"rate": rate, "seed": seed, "solved": found.solved, "steps": counted, "loss": loss})
            if found.solved:
                cap = min(cap, PATIENCE * found.steps)
        left = sorted(left, key=order)[: math.ceil(len(left) / 2)]
    steps, loss = order(left[0])
    return {"rate": left[0], "order": [steps, finite(loss)], "runs": runs}


def _order(runs: Sequence[Found]) -> tuple[float, float]:
    """Return what rates, and arms, are ordered by: less is better."""
    losses = [math.inf if run["loss"] is None else run["loss"] for run in runs]
    return sum(run["steps"] for run in runs), sum(losses)


def race(settings: Found, *, mnist1d: str | None = None) -> Json:
    """Train up to the first held-out score that solves the problem, or to the cap."""
    problem = problem_of(settings, mnist1d)
    found = learn(problem, settings)
    kept = [(step, score) for step, score, _ in found.curve if _kept(step) or step == found.curve[-1][0]]
    return {
        "solved_at": found.solved_at,
        "curve": {"step": [step for step, _ in kept], "score": shortened([score for _, score in kept])},
        "final": found.final,
        "diverged": found.diverged,
        "parameters": sum(weight.numel() for weight in found.network.parameters()),
        "score_name": problem.score_name,
        "threshold": problem.solved_at,
        "control": problem.control,
        "timing": {"seconds": found.seconds},
    }


def _kept(step: int) -> bool:
    return step % next(every for end, every in KEPT if step <= end) == 0


def inside(settings: Found) -> Json:
    """Train an LSTM as the race does; measure its gates at the marks, after training and before it."""
    problem = Adding(settings["length"])
    how = {"rows": settings["rows"], "seed": settings["seed"]}
    start, found = learn(problem, {**settings, "cap": 0}), learn(problem, settings)
    return {
        "solved_at": found.solved_at,
        "final": found.final,
        "trained": measured(found.network, problem, **how),
        "untrained": measured(start.network, problem, **how),
    }


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
    return Mnist1d.read(path), _sha256(path)


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds, and judge the claims by the result."""
    races, tuned = pick(done, part="race"), pick(done, part="rates")
    tasks = {name: _task(name, races, pick(tuned, task=name)) for name in groups(races, "task")}
    first = races[0].settings
    shared = {name: first[name] for name in ("clip_norm", "evaluate_every")}
    shared |= {name: tuned[0].settings[name] for name in ("rates", "tuning_seeds")}
    shared |= {
        "tuning_share": SHARED["tuning_share"],
        "patience": PATIENCE,
        "choices": len(shared["rates"]),
        "significant": SIGNIFICANT,
    }
    found = {
        "shared": shared,
        "tasks": tasks,
        "compared": [_compared(pair, races, tuned) for pair in COMPARED],
        "inside": _inside(pick(done, part="inside")),
    }
    return {**found, "edges": _edges(tuned)}


def _edges(tuned: Sequence[Done]) -> Json:
    """Count how often the rate that was chosen is the largest or the smallest that was tried."""
    rates = [(run.result["rate"], run.settings["rates"]) for run in tuned]
    return {
        "chosen": len(rates),
        "largest": sum(rate == max(tried) for rate, tried in rates),
        "smallest": sum(rate == min(tried) for rate, tried in rates),
    }


def _task(name: str, races: Sequence[Done], tuned: Sequence[Done]) -> Json:
    runs = pick(races, task=name)
    first, kinds = runs[0], groups(runs, "kind")
    rows = []
    for length in groups(runs, "length"):
        for kind in KINDS:
            own = pick(runs, length=length, kind=kind)
            if own:
                (choice,) = pick(tuned, length=length, kind=kind)
                rows.append(_row(own, choice))
    lengths = list(groups(runs, "length"))
    return {
        **{key: first.settings[key] for key in ("batch_size", "seconds")},
        "word": first.settings.get("word"),
        **{key: first.result[key] for key in ("score_name", "threshold", "control")},
        "kinds": {
            kind: {"hidden_size": of[0].settings["hidden_size"], "parameters": of[0].result["parameters"]}
            for kind, of in kinds.items()
        },
        "caps": {"low": min(r["cap"] for r in rows), "high": max(r["cap"] for r in rows)},
        "lengths": lengths,
        "ended": {kind: max(run.settings["length"] for run in of) for kind, of in kinds.items()},
        "rows": rows,
    }


def _row(runs: Sequence[Done], choice: Done) -> Json:
    """Sum up the seeds of one arm at one length."""
    results, settings = [run.result for run in runs], runs[0].settings
    scores = [r["final"] for r in results if r["final"] is not None]
    steps = [r["solved_at"] for r in results]
    seconds = [None if step is None else step * settings["ms"] / 1000 for step in steps]
    return {
        **{name: settings[name] for name in ("length", "kind", "cap", "ms")},
        "rate": choice.result["rate"],
        "control": results[0]["control"],
        "solved": within_cap(steps, settings["cap"]),
        "seconds": within_cap(seconds, settings["seconds"]),
        "final": spread(scores) if scores else None,
        "diverged": sum(r["diverged"] for r in results),
        "learning": sum(
            r["solved_at"] is None and r["final"] is not None and _beats(r, r["control"]) for r in results
        ),
    }


def _beats(result: Found, control: float) -> bool:
    """Whether a run that did not solve its problem ended clearly better than the trivial control."""
    score = result["final"]
    if result["score_name"] == "accuracy":
        return bool(score - control > HALFWAY * (1 - control))
    return bool(score < (1 - HALFWAY) * control)


HALFWAY = 0.2  # of the way from the control to a perfect score: what counts as having learnt something


def _compared(pair: Found, races: Sequence[Done], tuned: Sequence[Done]) -> Json:
    """Compare two groups of arms: setting by setting, and over all by one test for each word of the claim."""
    settings = []
    for task, of_task in groups(races, "task").items():
        for length, runs in groups(of_task, "length").items():
            sides = [_best(pair[side], runs, pick(tuned, task=task, length=length)) for side in SIDES]
            if all(sides):
                settings.append((task, length, *sides))
    better, faster = (_judged(settings, values) for values in (_losses, _seconds))
    return {
        "words": pair["words"],
        "claimed": pair.get("claimed", False),
        "arms": [
            {
                "task": task,
                "length": length,
                "mine": mine[0].settings["kind"],
                "other": other[0].settings["kind"],
            }
            for task, length, mine, other in settings
        ],
        "better": better,
        "faster": faster,
        "longer": _longer(pair, races, tuned),
    }


SIDES = ("mine", "other")


def _best(kinds: Sequence[str], runs: Sequence[Done], tuned: Sequence[Done]) -> list[Done]:
    """Return the runs of the arm that did best on the tuning seeds; none where no arm came so far."""
    there = [one for one in tuned if one.settings["kind"] in kinds and pick(runs, kind=one.settings["kind"])]
    if not there:
        return []
    best = min(there, key=lambda one: _order_of(one.result, one.settings))
    return pick(runs, kind=best.settings["kind"])


def _order_of(result: Found, settings: Found) -> tuple[float, float]:
    """Return what arms are ordered by: the seconds that the chosen rate took, then its losses."""
    steps, loss = result["order"]
    return steps * settings["ms"], math.inf if loss is None else loss


def _losses(runs: Sequence[Done]) -> list[float]:
    """Return how far each run is from solving its problem: 0 where it did; infinity where it diverged."""
    found = []
    for run in runs:
        score, solved = run.result["final"], run.result["solved_at"] is not None
        missed = math.inf if score is None else 1 - score if run.result["score_name"] == "accuracy" else score
        found.append(0.0 if solved else missed)
    return found


def _seconds(runs: Sequence[Done]) -> list[float]:
    """Return the seconds until each run solved its problem, by the time that a step takes."""
    return [
        math.inf if run.result["solved_at"] is None else run.result["solved_at"] * run.settings["ms"] / 1000
        for run in runs
    ]


def _judged(settings: Sequence[Any], values: Callable[[Sequence[Done]], list[float]]) -> Json:
    """Test a difference in each setting and over all of them."""
    pairs = [(values(mine), values(other)) for *_, mine, other in settings]
    return _tested(pairs, [{"task": task, "length": length} for task, length, *_ in settings])


def _tested(pairs: Sequence[tuple[list[float], list[float]]], places: Sequence[Found]) -> Json:
    each = [differ([pair]) for pair in pairs]
    clear = [one["ahead"] if one["p"] < SIGNIFICANT else 0 for one in each]
    return {
        "settings": len(pairs),
        "wins": clear.count(1),
        "alike": clear.count(0),
        "losses": clear.count(-1),
        "lost": [place for place, ahead in zip(places, clear, strict=True) if ahead == -1],
        **differ(pairs),
    }


def _longer(pair: Found, races: Sequence[Done], tuned: Sequence[Done]) -> Json:
    """Compare the longest lengths that were solved, problem by problem, seed by seed."""
    reaches, pairs = {}, []
    for task, runs in groups(races, "task").items():
        there = set(groups(runs, "kind"))
        if task == "mnist1d" or not all(there & set(pair[side]) for side in SIDES):
            continue
        mine, other = (_reaches(pair[side], runs, pick(tuned, task=task)) for side in SIDES)
        pairs.append(([-float(length) for length in mine], [-float(length) for length in other]))
        reaches[task] = {"mine": statistics.median_low(mine), "other": statistics.median_low(other)}
    return {"reaches": reaches, **_tested(pairs, [{"task": task, "length": None} for task in reaches])}


def _reaches(kinds: Sequence[str], runs: Sequence[Done], tuned: Sequence[Done]) -> list[int]:
    """Return the longest length that each seed solved, 0 for none, by the arm that was best in tuning."""
    found = dict.fromkeys(groups(runs, "seed"), 0)
    for length, there in groups(runs, "length").items():
        for run in _best(kinds, there, pick(tuned, length=length)):
            if run.result["solved_at"] is not None:
                found[run.settings["seed"]] = max(found[run.settings["seed"]], length)
    return list(found.values())


def _inside(runs: Sequence[Done]) -> Json:
    """Sum up what the looks inside found, for the trained networks and for those with the same start."""
    first = runs[0]
    found: Json = {name: first.settings[name] for name in ("length", "kind", "cap", "rows", "learning_rate")}
    found |= {
        "units": first.settings["hidden_size"],
        "places": first.result["trained"]["places"],
        "runs": len(runs),
        "solved": within_cap([run.result["solved_at"] for run in runs], first.settings["cap"]),
        "words": {},
    }
    for word, figures_of in WORDS.items():
        found["words"][word] = {
            text: {
                **{
                    state: capped([_at(run.result[state][word], path) for run in runs], LARGEST)
                    for state in STATES
                },
                "met": {
                    state: sum(_within(_at(run.result[state][word], path), limits) for run in runs)
                    for state in STATES
                }
                if limits
                else None,
            }
            for text, (path, *limits) in figures_of.items()
        }
    return found


STATES = ("trained", "untrained")


def _at(found: Found, path: str) -> Any:
    value: Any = found
    for name in path.split("."):
        value = value[name]
    return value


def _within(value: float | None, limits: Sequence[float]) -> bool:
    return value is not None and limits[0] <= value <= limits[1]


def curves(done: Sequence[Done]) -> Json:
    """Return the scores by seconds of each setting, and what an LSTM does at marks and along a sequence."""
    scores: Json = {}
    for task, of_task in groups(pick(done, part="race"), "task").items():
        scores[task] = {}
        for length, runs in groups(of_task, "length").items():
            scores[task][str(length)] = {
                kind: _scores(pick(runs, kind=kind)) for kind in groups(runs, "kind")
            }
    looked = pick(done, part="inside")[0]
    found = {
        word: {
            state: {name: shortened(values) for name, values in looked.result[state][word][along].items()}
            for state in STATES
        }
        for word, along in CURVES.items()
    }
    return {"scores": scores, **found}


def _scores(runs: Sequence[Done]) -> Json:
    """Return a band over the seeds, along the CPU seconds of training; a solved run stays where it ended."""
    drawn = band([(run.result["curve"]["step"], run.result["curve"]["score"]) for run in runs])
    return {**drawn, "x": shortened([step * runs[0].settings["ms"] / 1000 for step in drawn["x"]])}


TITLE = "Memory: what is learnt over many steps, by which cell, and how an LSTM does it"
CONSTANTS = (0, 1, *LIMITS)  # step 0, 1/e, a forget bias, the name MNIST-1D
EXPERIMENT = Experiment(
    NAME, TITLE, trials, summary, report, figures, curves, CONSTANTS, further=further, claims=claims
)
