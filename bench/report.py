"""The figures as Markdown, and their place in RESULTS.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import machine
from cases import LONG_STEPS
from record import Record, Row
from targets import cost, excess, growth, loop, memory_ratio, verdicts

Table = Callable[[Record], list[str]]

METHOD = """\
What a row compares runs alternately within each round, after a warm-up. A time is the median over rounds, a
ratio the median of the ratios within a round. "Limit" is the share of what a loop of fused multiply-adds on
registers only reaches in the same rounds on as many threads. "Spread" is the distance between the quartiles
of our time. Operations: 2·G·H·(I + H) per valid row and step, three times that with the backward pass."""


def section(record: Record) -> str:
    """Return everything that was measured as one section."""
    ours = sorted({row.commit for row in record.rows})
    days = sorted({row.taken[:10] for row in record.rows})
    tests = ";\n".join(f"{op}: {said}" for op, said in record.tests.items())
    parts = [
        "## The engine, layer by layer",
        f"`make bench`, {' and '.join(days)}, commit {', '.join(ours)} (+: with changes). "
        "All of it is in `bench/layers.json`.",
        machine.line(record.machine),
        f"Tests that ran before:\n{tests}.",
        METHOD,
        "### Asked for and reached",
        *_summary(record),
    ]
    for title, table in TABLES.items():
        lines = table(record)
        if lines:
            parts += [f"### {title}", "\n".join(lines)]
    return "\n\n".join(parts)


def replace_section(path: Path, name: str, text: str) -> None:
    """Put text between the two comments that mark `name`, at the end of the file where there are none."""
    begin, end = f"<!-- {name}: begin; written by bench/{name}.py -->", f"<!-- {name}: end -->"
    whole = path.read_text(encoding="utf-8")
    block = f"{begin}\n{text}\n{end}"
    if begin in whole:
        before, rest = whole.split(begin, 1)
        whole = before + block + rest.split(end, 1)[1]
    else:
        whole = f"{whole.rstrip()}\n\n{block}\n"
    path.write_text(whole, encoding="utf-8")


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table; nothing where it has no lines."""
    if not lines:
        return []
    rules = ["---"] * len(heads)
    return [f"| {' | '.join(line)} |" for line in (heads, rules, *lines)]


def _summary(record: Record) -> list[str]:
    heads = ("what, float32", "against", "reach", "reached", "worst point", "points", "")
    lines = [
        (v.what, v.against, v.reach, v.reached, v.worst, str(v.points), "yes" if v.met else "**no**")
        for v in verdicts(record)
    ]
    return ["\n".join(table(heads, lines) or ["Nothing yet."])]


def _compared(question: str, variant: str = "", unit: float = 1e3) -> Table:
    """Return the table of a question with peers and a limit."""

    def build(record: Record) -> list[str]:
        rows = record.of(question, variant)
        peers = [name for name in ("torch.nn", "onnxruntime") if any(name in row.times for row in rows)]
        name = {1e3: "ms", 1e6: "µs"}[unit]
        heads = ["cell", "T, B, I, H", f"unrolled {name}", "limit", "spread"]
        for peer in peers:
            heads += [f"{peer} {name}", "limit", "ratio"]
        lines = []
        for row in rows:
            line = [*_point(row), _number(unit * row.median("unrolled")), _share(row), _percent(row.spread())]
            for peer in peers:
                line += [_number(unit * row.median(peer)), _share(row, peer), _ratio(row.ratio(peer))]
            lines.append(line)
        return table(heads, lines)

    return build


def _ragged(record: Record) -> list[str]:
    heads = [
        "cell",
        "T, B, I, H",
        "valid",
        "unrolled ms",
        "limit",
        "packed ms",
        "ratio",
        "padded ms",
        "ratio",
    ]
    heads += ["dense ms", "over its share"]
    lines = []
    for row in record.of("ragged"):
        line = [*_point(row), _percent(row.valid_share), _number(1e3 * row.median("unrolled")), _share(row)]
        for peer in ("packed", "padded"):
            line += [_number(1e3 * row.median(peer)), _ratio(row.ratio(peer))]
        lines.append([*line, _number(1e3 * row.median("dense")), _ratio(excess(row))])
    return table(heads, lines)


def _resets(record: Record) -> list[str]:
    heads = ("cell", "T, B, I, H", "without ms", "on 1 %", "on 10 %", "loop over cells ms", "ratio")
    lines = []
    for row in record.of("resets"):
        with_resets = [_ratio(row.ratio(name)) for name in ("resets 1 %", "resets 10 %")]
        times = [_number(1e3 * row.median(name)) for name in ("unrolled", "loop")]
        lines.append([*_point(row), times[0], *with_resets, times[1], _ratio(loop(row))])
    return table(heads, lines)


def _length(record: Record) -> list[str]:
    heads = (
        "cell",
        "T, B, I, H",
        "unrolled µs per step",
        "growth",
        "torch.nn µs per step",
        "growth",
        "ratio",
    )
    rows = record.of("length")
    lines = []
    for row in rows:
        alike = [other for other in rows if _layer(other) == _layer(row)]
        first = min(alike, key=lambda other: other.case.T)
        line = [*_point(row)]
        for who in ("unrolled", "torch.nn"):
            line += [_number(1e6 * row.median(who) / row.case.T), _ratio(growth(row, first, who))]
        lines.append([*line, _ratio(row.ratio("torch.nn"))])
    return table(heads, lines)


def _layer(row: Row) -> tuple[object, ...]:
    return (row.case.cell, row.case.B, row.case.I, row.case.H)


def _memory(record: Record) -> list[str]:
    heads = ("cell", "T, B, I, H", "unrolled MiB", "torch.nn MiB", "ratio")
    lines = []
    for row in record.of("memory"):
        sizes = [_number(statistics.median(row.peak_bytes[who]) / 2**20) for who in ("unrolled", "torch.nn")]
        lines.append([*_point(row), *sizes, _ratio(memory_ratio(row))])
    return table(heads, lines)


def _trajectories(record: Record) -> list[str]:
    heads = ("cell", "T, B, I, H", "", "without ms", "with ms", "ratio")
    lines = []
    for variant in ("forward", "forward + backward"):
        for row in record.of("trajectories", variant):
            times = [_number(1e3 * row.median(name)) for name in ("unrolled", "trajectories")]
            lines.append([*_point(row), variant, *times, _ratio(cost(row))])
    return table(heads, lines)


TABLES: dict[str, Table] = {
    "Forward and backward": _compared("grid"),
    "Forward": _compared("forward"),
    "Ragged rows, forward and backward (lengths uniform in T/4..T, unsorted)": _ragged,
    "Resets, forward and backward": _resets,
    "One thread, forward and backward": _compared("threads", "forward + backward"),
    "One thread, forward": _compared("threads", "forward"),
    "AVX2, forward and backward (two processes alternating; torch, oneDNN and MKL limited to it)": _compared(
        "avx2"
    ),
    f"Length, forward and backward (growth over T = {LONG_STEPS[0]})": _length,
    "Peak memory of one forward and backward (growth of resident memory, fresh processes)": _memory,
    "Every gate and state kept": _trajectories,
    "One step, forward": _compared("overhead", "forward", 1e6),
    "One step, forward and backward": _compared("overhead", "forward + backward", 1e6),
}


def _point(row: Row) -> tuple[str, str]:
    return row.case.cell, row.case.shape


def _share(row: Row, who: str = "unrolled") -> str:
    share = row.share(who)
    return "" if share is None or who not in row.times else _percent(share)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.1f} %"
