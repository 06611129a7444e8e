"""What is reported of speed: the answer in plain words, a table per family, speed against loss."""

from __future__ import annotations

from pathlib import Path

from unrolled import figures as draw
from unrolled.errors import counted
from unrolled.lab.experiment import Found
from unrolled.lab.report import picture, table
from unrolled.lab.spread import number, spread_text

__all__ = ["answer", "claims", "figures", "report"]

FILE = "speed-loss.png"


def figures(summary: Found, _: Found, folder: Path) -> None:
    """Draw all families side by side, a point per variant: to the right is faster, below is better."""
    panels = {
        family["title"]: {
            row["name"]: (_ends(row["timing"]["ratio"]), _ends(row["timing"]["nats"]))
            for row in family["rows"]
            if row["timing"]["nats"] is not None  # it diverged
        }
        for family in summary["families"]
    }
    draw.points(
        folder / FILE,
        panels=panels,
        xlabel="useful targets per second, times the baseline's",
        ylabel="nats per target at equal wall-clock",
        title="Median and spread of the seeds; the diamond is the baseline; to the right and below is good",
        log_x=True,
    )


def _ends(found: Found) -> tuple[float, float, float]:
    return found["low"], found["median"], found["high"]


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    shown = picture(FILE, "Loss at equal wall-clock over useful targets per second")
    head = ["### The answer\n", answer(summary), shown, "### How it was measured\n", _introduction(summary)]
    return "\n".join([*head, *(_family(family) for family in summary["families"])])


GROUPS = (
    "Faster, and not clearly worse at equal wall-clock",
    "Faster, and worse all the same",
    "No more targets per second, yet a lower loss at equal wall-clock",
    "Nothing gained",
)


def answer(summary: Found) -> str:
    """Return what was best in each family, then all variants but the baselines, a line per kind of result."""
    families = summary["families"]
    found: dict[str, list[Found]] = {words: [] for words in GROUPS}
    for row in (row for family in families for row in family["rows"] if row["factor"]):
        pace, quality = row["timing"]["pace"], row["timing"]["quality"]
        good = quality in ("better", "as good") if pace == "faster" else quality == "better"
        found[GROUPS[2 * (pace != "faster") + (not good)]].append(row)
    told = (
        f"- **{words}**: {'; '.join(_told(row) for row in sorted(rows, key=_difference)) or 'none'}.\n"
        for words, rows in found.items()
    )
    return "".join([*(_best(family) for family in families), _count(summary), *told])


def _difference(row: Found) -> float:
    found = row["timing"]["difference"]
    return float("inf") if found is None else float(found["median"])


def _told(row: Found) -> str:
    """Tell of one variant: its factor, its speed, and what it did to the loss."""
    ratio = number(row["timing"]["ratio"]["median"])
    difference = row["timing"]["difference"]
    loss = "diverged"
    if difference is not None:
        side = "higher" if difference["median"] > 0 else "lower"
        loss = f"{abs(difference['median']):.3f} nats {side}"
    return f"{row['factor']} ({row['name']}: {ratio} times the targets per second, {loss})"


def _count(summary: Found) -> str:
    """Say how far targets per second alone would have misled."""
    timing = summary["timing"]
    if not timing["faster"]:
        return f"- Of {summary['compared']} variants none was faster than its baseline in every run.\n"
    words = f"{timing['faster']} had more useful targets per second than the baseline"
    if not timing["faster_and_worse"]:
        return f"- Of {summary['compared']} variants {words}, and none of these did worse.\n"
    worse = f"of these {timing['faster_and_worse']} did worse at equal wall-clock"
    return f"- Of {summary['compared']} variants {words}; {worse}: targets per second alone mislead.\n"


def _best(family: Found) -> str:
    """Tell which variant of a family had the lowest loss at equal wall-clock."""
    better = [row for row in family["rows"] if row["factor"] and row["timing"]["quality"] == "better"]
    if not better:
        return f"- {family['title']}: no variant beat the baseline's loss at equal wall-clock in every run.\n"
    best = min(better, key=_difference)
    nats, base = (number(row["timing"]["nats"]["median"]) for row in (best, family["rows"][0]))
    return (
        f"- {family['title']}: the lowest loss at equal wall-clock was that of {best['factor']} "
        f"({best['name']}), {nats} nats per target beside the baseline's {base}.\n"
    )


def _introduction(summary: Found) -> str:
    s = summary["settings"]
    threads = counted(s["threads"], "thread")
    long = (
        f"until {number(s['targets'], 9)} targets, times the share in its settings, so that slow ones take "
        "about as long"
        if s["seconds"] is None
        else f"for {number(s['seconds'])} seconds"
    )
    return (
        f"An LSTM of {s['hidden_size']} units reads characters of the standard library's source "
        f"({number(s['train_targets'], 9)} to train on) and predicts the next one: as paragraphs of at most "
        f"{s['longest']} characters, each from the zero state, or as one long text. Or it tells which of "
        f"{s['classes']} frequencies a noisy signal of {s['samples']} samples has. Each variant differs from "
        "the first row of its table in one factor, starts from the same seed with the same learning rate "
        f"({s['learning_rate']:g}) and is trained {long}, on {threads}. The variants of a "
        f"table take turns in {s['rounds']} rounds, so that a busy moment of the machine hits all.\n\n"
        "Useful targets are the characters or labels that are scored; padding is not counted. After each "
        f"round the loss is measured, off the clock, on {number(s['held_targets'], 9)} characters of other "
        f"files or {s['held_signals']} other signals; the loss at equal wall-clock is read from each curve "
        "at the seconds that all variants of the table reached. A verdict needs all runs to agree: faster is "
        f"more than {s['speed_margin']:g} times the baseline's targets per second, worse a loss at equal "
        f"wall-clock more than {s['loss_margin']:g} nats higher.\n"
    )


def _family(family: Found) -> str:
    text = f"Equal wall-clock: after {spread_text(family['timing']['equal_seconds'])} seconds of training."
    if family["absent"]:
        text += f" Not run, as this machine cannot: {'; '.join(family['absent'])}."
    rows = []
    for row in family["rows"]:
        timing, baseline = row["timing"], not row["factor"]
        told = {"variant": row["name"], "factor": row["factor"] or "the baseline"}
        if family["ragged"]:
            told["useful share of a batch"] = number(timing["useful_share"]["median"])
        told |= {
            "useful targets/s": spread_text(timing["targets_per_s"]),
            "times the baseline": "" if baseline else spread_text(timing["ratio"]),
            "nats per target at equal wall-clock": _loss(timing["nats"]),
            "beside the baseline": "" if baseline else _loss(timing["difference"], signed=True),
        }
        rows.append({**told, "verdict": "" if baseline else f"{timing['pace']} and {timing['quality']}"})
    return f"### {family['title']}\n\n{text}\n\n{table(rows)}"


def _loss(found: Found | None, *, signed: bool = False) -> str:
    if found is None:
        return "diverged"
    if not signed:
        return spread_text(found)
    middle, low, high = (f"{found[name]:+.3f}" for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


def claims(summary: Found) -> list[dict[str, str]]:
    """Return a row per family: what was tried, for how long, and what was best at equal wall-clock."""
    settings = summary["settings"]
    cap = (
        f"{number(settings['targets'], 9)} targets"
        if settings["seconds"] is None
        else f"{number(settings['seconds'])} s each"
    )
    return [
        {
            "claim": f"what speeds up training: {family['title'][0].lower()}{family['title'][1:]}",
            "arms": "; ".join(row["name"] for row in family["rows"]),
            "caps": cap,
            "verdict": _best(family).partition(": ")[2].strip(),
        }
        for family in summary["families"]
    ]
