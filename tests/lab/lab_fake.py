"""An experiment that trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unrolled import figures
from unrolled.lab import Cell, Done, pick, spread, spread_text, within_cap, within_text
from unrolled.spec import LabConfig

CAP = 50


class Fake:
    """Two kinds of cell; `log` has the keys in the order in which they ran."""

    NAME = "speed"
    TITLE = "A fake"
    CONSTANTS = (1997,)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.before: Any = lambda _: None  # called in each cell
        self.scale = 1

    def cells(self, config: LabConfig) -> list[Cell]:
        return [
            Cell(
                f"speed/{kind}/seed={seed}",
                {"kind": kind, "seed": seed, "sizes": (1, 2), "scale": self.scale},
                self.work,
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

    def report(self, summary: Mapping[str, Any]) -> str:
        lines = [f"{k}: {spread_text(s['drawn'])}; {within_text(s['solved_at'])}" for k, s in summary.items()]
        return "After a paper of 1997.\n\n" + "\n\n".join(lines)

    def figures(self, done: Sequence[Done], folder: Path) -> list[str]:
        curve = {"x": range(len(done)), "middle": [d.result["drawn"] for d in done]}
        figures.series(folder / "speed-fake.png", curves={"drawn": curve}, xlabel="cell", ylabel="value")
        return ["speed-fake.png"]
