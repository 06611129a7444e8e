"""Every number of the section: each task's runs over seeds, the claims, and what was found inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unrolled.lab.cells import Done, pick
from unrolled.lab.memory.claims import claims
from unrolled.lab.memory.words import CRITERIA
from unrolled.lab.spread import spread, within_cap

__all__ = ["groups", "summary"]

SHARED = ("batch_size", "learning_rate", "cap", "evaluate_every")
CURVES = ("around", "along")  # of the part inside: for the pictures


def summary(done: Sequence[Done]) -> dict[str, Any]:
    """Sum up over seeds, and judge the claims by the result."""
    races = pick(done, part="race")
    tasks = {name: _task(runs) for name, runs in groups(races, "task").items()}
    (probed,) = pick(done, part="inside")
    return {
        "tasks": tasks,
        "claims": claims(tasks),
        "inside": {**_inside(probed), "criteria": CRITERIA},
    }


def groups(done: Sequence[Done], name: str) -> dict[Any, list[Done]]:
    """Return cells by the value of one setting, in the order in which they come."""
    found: dict[Any, list[Done]] = {}
    for one in done:
        found.setdefault(one.settings[name], []).append(one)
    return found


def _task(runs: Sequence[Done]) -> dict[str, Any]:
    first = runs[0]
    shared = {name: first.settings[name] for name in SHARED}
    return {
        **shared,
        "word": first.settings.get("word"),
        "score_name": first.result["score_name"],
        "kinds": {
            kind: {"hidden_size": of[0].settings["hidden_size"], "parameters": of[0].result["parameters"]}
            for kind, of in groups(runs, "kind").items()
        },
        "rows": [
            _row(of) for same in groups(runs, "length").values() for of in groups(same, "kind").values()
        ],
    }


def _row(runs: Sequence[Done]) -> dict[str, Any]:
    """Sum up the seeds of one kind at one length."""
    results = [run.result for run in runs]
    scores = [r["final"] for r in results if r["final"] is not None]
    return {
        "length": runs[0].settings["length"],
        "kind": runs[0].settings["kind"],
        "solved": within_cap([r["solved_at"] for r in results], runs[0].settings["cap"]),
        "final": spread(scores) if scores else None,
        "diverged": sum(r["diverged"] for r in results),
        "threshold": results[0]["threshold"],
        "control": results[0]["control"],
        "timing": {"seconds": spread([r["timing"]["seconds"] for r in results])},
    }


def _inside(run: Done) -> dict[str, Any]:
    found = {
        name: {key: v for key, v in value.items() if key not in CURVES} if isinstance(value, dict) else value
        for name, value in run.result.items()
    }
    return {**found, **{name: run.settings[name] for name in ("length", "kind", "seed", "cap")}}
