"""What was measured, as rows, kept in a JSON file; a later run of a part replaces that part."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases import Case

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One point of one question: what every contestant took, round by round, side by side."""

    question: str
    case: Case
    threads: int
    times: Mapping[str, list[float]]  # contestant → seconds per call, one a round
    variant: str = ""  # where a question asks several things of one case
    flops: float = 0.0  # of one call of "unrolled"
    limit: list[float] = field(default_factory=list)  # operations a second at the limit, one a round
    valid_share: float = 1.0  # Σ lengths / (T·B)
    peak_bytes: Mapping[str, list[int]] = field(default_factory=dict)  # contestant → one a process
    taken: str = ""
    commit: str = ""

    def median(self, name: str) -> float:
        """Seconds per call."""
        return statistics.median(self.times[name])

    def ratio(self, over: str, under: str = "unrolled") -> float:
        """Time of `over` in times of `under`: the median of the ratios within a round."""
        return statistics.median(a / b for a, b in zip(self.times[over], self.times[under], strict=True))

    def share(self, name: str = "unrolled", flops: float | None = None) -> float | None:
        """Share of the limit, measured in the same rounds; None where the limit was not."""
        if not self.limit:
            return None
        done = self.flops if flops is None else flops
        return statistics.median(
            done / t / limit for t, limit in zip(self.times[name], self.limit, strict=True)
        )

    def spread(self, name: str = "unrolled") -> float:
        """Distance of the quartiles, in medians."""
        low, middle, high = statistics.quantiles(self.times[name], n=4, method="inclusive")
        return (high - low) / middle

    @property
    def key(self) -> tuple[object, ...]:
        """What a later measurement of the same point shares."""
        return (self.question, self.case, self.threads, self.variant)


@dataclass
class Record:
    """All rows, and the machine they were measured on."""

    machine: dict[str, Any]
    tests: dict[str, str] = field(default_factory=dict)  # cell → what its tests came to
    rows: list[Row] = field(default_factory=list)

    def put(self, row: Row) -> None:
        """Add a row, in place of the one that measured the same point before."""
        times = {name: [_short(second) for second in seconds] for name, seconds in row.times.items()}
        stamped = dataclasses.replace(
            row,
            times=times,
            limit=[_short(rate) for rate in row.limit],
            taken=time.strftime("%Y-%m-%d %H:%M"),
            commit=commit(),
        )
        for place, old in enumerate(self.rows):
            if old.key == row.key:
                self.rows[place] = stamped
                return
        self.rows.append(stamped)

    def drop(self, question: str, cells: set[str]) -> None:
        """Forget what was measured of these cells: their tests are red by now."""
        self.rows = [row for row in self.rows if row.question != question or row.case.cell not in cells]

    def of(self, question: str, variant: str = "") -> list[Row]:
        """Return the rows of a question, cells in the order of the tables."""
        found = [row for row in self.rows if row.question == question and row.variant == variant]
        order = ("lstm", "gru", "rnn")
        return sorted(found, key=lambda row: order.index(row.case.cell))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        head = json.dumps({"machine": self.machine, "tests": self.tests}, indent=1)
        lines = ",\n".join(json.dumps(dataclasses.asdict(row)) for row in self.rows)
        beside = path.with_suffix(".tmp")
        beside.write_text(f'{head[:-2]},\n "rows": [\n{lines}\n]}}\n', encoding="utf-8")
        beside.replace(path)


def load(path: Path, machine: dict[str, Any], say: Callable[[str], None]) -> Record:
    """Read a record to go on with; an empty one where there is none, or where the machine was another."""
    if not path.exists():
        return Record(machine)
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["machine"] != machine:
        say(f"{path.name} is of another machine or other versions: it is begun anew")
        return Record(machine)
    rows = [Row(**(row | {"case": Case(**row["case"])})) for row in stored["rows"]]
    return Record(machine, stored["tests"], rows)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def commit() -> str:
    """Return the commit of the working tree, with a plus where it was changed since."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def every(rows: Iterable[Row], *cells: str) -> list[Row]:
    """Return the rows of these cells."""
    return [row for row in rows if row.case.cell in cells]
