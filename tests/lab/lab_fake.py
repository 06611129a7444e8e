"""An experiment that trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unrolled import figures
from unrolled.lab import Done, Experiment, Trial, pick, spread, spread_text, within_cap, within_text
from unrolled.spec import LabConfig

CAP = 50


class Fake:
    """Two kinds of trial; `log` has the keys in the order in which they ran."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.before: Any = lambda _: None  # called in each trial
        self.scale = 1
        self.more: Any = lambda *_: []  # (config, done) → the trials that results decide on
        parts = {name: getattr(self, name) for name in ("trials", "summary", "report", "figures", "curves")}
        parts["further"] = lambda config, done: self.more(config, done)
        self.experiment = Experiment("speed", "A fake", **parts, constants=(1997,))

    def trials(self, config: LabConfig) -> list[Trial]:
        return [
            Trial(
                f"speed/{kind}/seed={seed}",
                {"kind": kind, "seed": seed, "sizes": (1, 2), "scale": self.scale},
                lambda settings: self.work(settings),
            )
            for kind in ("a", "b")
            for seed in range(config.seeds)
        ]

    def work(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        self.before(settings)
        self.log.append(f"{settings['kind']}{settings['seed']}")
        solved = None if settings["kind"] == "b" and settings["seed"] == 0 else 10 * settings["seed"]
        return {"drawn": float(torch.rand(())), "solved_at": solved}

    def summary(self, done: Sequence[Done]) -> dict[str, Any]:
        return {
            kind: {
                "drawn": spread([d.result["drawn"] for d in pick(done, kind=kind)]),
                "solved_at": within_cap([d.result["solved_at"] for d in pick(done, kind=kind)], CAP),
            }
            for kind in ("a", "b")
        }

    def curves(self, done: Sequence[Done]) -> dict[str, Any]:
        return {"drawn": [d.result["drawn"] for d in done]}

    def report(self, summary: Mapping[str, Any]) -> str:
        lines = [f"{k}: {spread_text(s['drawn'])}; {within_text(s['solved_at'])}" for k, s in summary.items()]
        return "\n\n".join(["After a paper of 1997.", "![drawn](speed-fake.png)", *lines])

    def figures(self, summary: Mapping[str, Any], curves: Mapping[str, Any], folder: Path) -> None:
        curve = {"x": range(len(curves["drawn"])), "middle": curves["drawn"]}
        figures.series(folder / "speed-fake.png", curves={"drawn": curve}, xlabel="trial", ylabel="value")
