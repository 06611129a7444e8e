"""The answer in plain words; which sentences stand in it, the numbers decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.lab.spread import number

__all__ = ["answer"]

Row = Mapping[str, Any]


def answer(summary: Mapping[str, Any]) -> str:
    """Return what was best in each family, then all variants but the baselines, a kind of result a line."""
    families = summary["families"]
    rows = [row for family in families for row in family["rows"] if row["factor"]]
    good = [row for row in rows if _is(row, "faster", "better", "as good")]
    parts = [
        *(_best(family) for family in families),
        _count(summary),
        _listed("Faster, and not clearly worse at equal wall-clock", good),
        _listed("Faster, and worse all the same", [r for r in rows if _is(r, "faster", "worse", "diverged")]),
        _listed(
            "No more targets per second, yet a lower loss at equal wall-clock",
            [row for row in rows if _is(row, "as fast", "better") or _is(row, "slower", "better")],
        ),
        _listed(
            "Nothing gained",
            [row for row in rows if row["timing"]["pace"] != "faster" and not _is(row, "", "better")],
        ),
    ]
    return "".join(parts)


def _is(row: Row, pace: str, *qualities: str) -> bool:
    """Whether a row has this pace ("": any) and one of these qualities."""
    timing = row["timing"]
    return pace in ("", timing["pace"]) and timing["quality"] in qualities


def _listed(words: str, rows: Sequence[Row]) -> str:
    """Tell of rows, the largest gain first; of none, say so."""
    told = "; ".join(_told(row) for row in sorted(rows, key=_difference)) or "none"
    return f"- **{words}**: {told}.\n"


def _difference(row: Row) -> float:
    found = row["timing"]["difference"]
    return float("inf") if found is None else float(found["median"])


def _told(row: Row) -> str:
    """Tell of one variant: its factor, its speed, and what it did to the loss."""
    ratio = number(row["timing"]["ratio"]["median"])
    difference = row["timing"]["difference"]
    if difference is None:
        loss = "diverged"
    else:
        side = "higher" if difference["median"] > 0 else "lower"
        loss = f"{abs(difference['median']):.3f} nats {side}"
    return f"{row['factor']} ({row['name']}: {ratio} times the targets per second, {loss})"


def _count(summary: Mapping[str, Any]) -> str:
    """Say how far targets per second alone would have misled."""
    timing = summary["timing"]
    if not timing["faster"]:
        return f"- Of {summary['compared']} variants none was faster than its baseline in every run.\n"
    words = f"{timing['faster']} had more useful targets per second than the baseline"
    if not timing["faster_and_worse"]:
        return f"- Of {summary['compared']} variants {words}, and none of these did worse.\n"
    worse = f"of these {timing['faster_and_worse']} did worse at equal wall-clock"
    return f"- Of {summary['compared']} variants {words}; {worse}: targets per second alone mislead.\n"


def _best(family: Mapping[str, Any]) -> str:
    """Tell which variant of a family had the lowest loss at equal wall-clock."""
    better = [row for row in family["rows"] if row["factor"] and _is(row, "", "better")]
    if not better:
        return f"- {family['title']}: no variant beat the baseline's loss at equal wall-clock in every run.\n"
    best = min(better, key=_difference)
    nats, base = (number(row["timing"]["nats"]["median"]) for row in (best, family["rows"][0]))
    return (
        f"- {family['title']}: the lowest loss at equal wall-clock was that of {best['factor']} "
        f"({best['name']}), {nats} nats per target beside the baseline's {base}.\n"
    )
