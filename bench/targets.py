"""What issue 3 asks for, beside what was reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cases import LONG_STEPS
from record import Record, Row, every

Value = Callable[[Row], float]
NEARLY = 0.8  # "the same ratios within 20 %"


@dataclass(frozen=True)
class Verdict:
    """One line of the summary."""

    what: str
    against: str
    reach: str
    reached: str
    worst: str  # the point
    points: int
    met: bool


def verdicts(record: Record) -> list[Verdict]:
    """Judge every target that something was measured for."""
    parts = (
        _training,
        _limit,
        _forward,
        _ragged,
        _resets,
        _one_thread,
        _avx2,
        _length,
        _memory,
        _trajectories,
    )
    return [verdict for part in parts for verdict in part(record)]


def _training(record: Record) -> list[Verdict]:
    rows, what = record.of("grid"), "forward + backward"
    return [
        *_mean(f"{what}, all cells", "torch.nn", rows, _over("torch.nn"), 2.8),
        *_mean(f"{what}, LSTM", "torch.nn", every(rows, "lstm"), _over("torch.nn"), 2.0),
        *_every(f"{what}, every point", "torch.nn", rows, _over("torch.nn"), _floor, told=FLOOR),
    ]


FLOOR = "each 1.10x (1.00x where torch.nn passes 60 % of the limit)"


def _floor(row: Row) -> float:
    share = row.share("torch.nn")
    return 1.0 if share is not None and share >= 0.6 else 1.1


def _limit(record: Record) -> list[Verdict]:
    rows = [row for row in record.of("grid") if row.case.H >= 256 and row.case.B >= 16 and row.limit]
    what = "forward + backward, H ≥ 256, B ≥ 16"
    return [
        *_every(f"{what}, LSTM, GRU", "FMA limit", every(rows, "lstm", "gru"), _share, 0.7, form=_percent),
        *_every(f"{what}, RNN", "FMA limit", every(rows, "rnn"), _share, 0.6, form=_percent),
    ]


def _forward(record: Record) -> list[Verdict]:
    rows = record.of("forward")
    with_onnx = [row for row in rows if "onnxruntime" in row.times]
    found = []
    for peer, measured in (("torch.nn", rows), ("onnxruntime", with_onnx)):
        found += _mean("forward, LSTM", peer, every(measured, "lstm"), _over(peer), 1.25)
        if peer == "torch.nn":
            found += _mean("forward, GRU", peer, every(rows, "gru"), _over(peer), 2.5)
            found += _mean("forward, RNN", peer, every(rows, "rnn"), _over(peer), 2.5)
        found += _every("forward, every point", peer, measured, _over(peer), 0.97)
    return found


def _ragged(record: Record) -> list[Verdict]:
    rows, what = record.of("ragged"), "ragged, forward + backward"
    wide = [row for row in rows if row.case.B >= 16]
    return [
        *_mean(f"{what}, LSTM", "torch.nn packed", every(rows, "lstm"), _over("packed"), 8),
        *_mean(f"{what}, GRU", "torch.nn packed", every(rows, "gru"), _over("packed"), 6),
        *_mean(f"{what}, RNN", "torch.nn packed", every(rows, "rnn"), _over("packed"), 6),
        *_mean(f"{what}, all cells", "torch.nn padded", rows, _over("padded"), 2.8),
        *_at_most("ragged, B ≥ 16", "dense · Σlengths/(T·B)", wide, excess, 1.15),
    ]


def excess(row: Row) -> float:
    """Time on ragged rows, in times of the share of the dense time that their lengths sum to."""
    return 1 / row.ratio("dense") / row.valid_share


def _resets(record: Record) -> list[Verdict]:
    rows = record.of("resets")
    thin = [row for row in rows if row.case.B == 1]
    return [
        *_at_most("resets on 1 %", "itself without", rows, lambda row: row.ratio("resets 1 %"), 1.1),
        *_at_most("resets on 10 %", "itself without", rows, lambda row: row.ratio("resets 10 %"), 1.1),
        *_mean("resets on 1 %", "loop over cells", rows, loop, 4),
        *_every("resets on 1 %, (1000, 1, 64, 64)", "loop over cells", thin, loop, 30),
    ]


def loop(row: Row) -> float:
    """Time of the loop over torch.nn's cell, in times of ours, both with resets on 1 %."""
    return row.ratio("loop", "resets 1 %")


def _one_thread(record: Record) -> list[Verdict]:
    found = []
    peers = {
        "forward + backward": (("torch.nn", None, 2.8), ("torch.nn", "lstm", 2.0)),
        "forward": (
            ("torch.nn", "lstm", 1.25),
            ("onnxruntime", "lstm", 1.25),
            ("torch.nn", "gru", 2.5),
            ("torch.nn", "rnn", 2.5),
        ),
    }
    for variant, targets in peers.items():
        for peer, cell, reach in targets:
            rows = [row for row in record.of("threads", variant) if peer in row.times]
            rows = every(rows, cell) if cell else rows
            what = f"one thread, {variant}, {cell.upper() if cell else 'all cells'}"
            found += _mean(what, peer, rows, _over(peer), NEARLY * reach)
    return found


def _avx2(record: Record) -> list[Verdict]:
    return _mean("AVX2, forward + backward", "torch.nn at AVX2", record.of("avx2"), _over("torch.nn"), 1.3)


def _length(record: Record) -> list[Verdict]:
    last = [row for row in record.of("length") if LONG_STEPS[-1] == row.case.T]
    first = {_line(row): row for row in record.of("length") if LONG_STEPS[0] == row.case.T}
    last = [row for row in last if _line(row) in first]
    what = f"cost per step, T = {LONG_STEPS[-1]:,}"
    return _at_most(what, f"T = {LONG_STEPS[0]}", last, lambda row: growth(row, first[_line(row)]), 1.25)


def growth(row: Row, first: Row, who: str = "unrolled") -> float:
    """Cost of a step in times of its cost in a shorter sequence."""
    pairs = zip(row.times[who], first.times[who], strict=True)
    return statistics.median((a / row.case.T) / (b / first.case.T) for a, b in pairs)


def _line(row: Row) -> tuple[object, ...]:
    return (row.case.cell, row.case.B, row.case.I, row.case.H)


def _memory(record: Record) -> list[Verdict]:
    return _at_most("peak memory, forward + backward", "torch.nn", record.of("memory"), memory_ratio, 1.0)


def memory_ratio(row: Row) -> float:
    """Our growth of the peak in times of torch.nn's."""
    ours, theirs = (statistics.median(row.peak_bytes[who]) for who in ("unrolled", "torch.nn"))
    return ours / max(theirs, 1)


def _trajectories(record: Record) -> list[Verdict]:
    found = []
    for variant in ("forward", "forward + backward"):
        rows = record.of("trajectories", variant)
        found += _at_most(f"every gate and state kept, {variant}", "itself without", rows, cost, 1.3)
    return found


def cost(row: Row) -> float:
    """Time with trajectories in times of the time without."""
    return row.ratio("trajectories")


def _mean(what: str, against: str, rows: Sequence[Row], value: Value, reach: float) -> list[Verdict]:
    """Ask the geometric mean to be at least so large."""
    if not rows:
        return []
    mean, least = _geometric_mean(rows, value), min(rows, key=value)
    worst = f"{least.case}: {_times(value(least))}"
    return [
        Verdict(
            what, against, f"mean {_times(reach)}", f"mean {_times(mean)}", worst, len(rows), mean >= reach
        )
    ]


def _every(
    what: str,
    against: str,
    rows: Sequence[Row],
    value: Value,
    reach: float | Value,
    told: str = "",
    form: Callable[[float], str] | None = None,
) -> list[Verdict]:
    """Ask every point to be at least so large; `reach` may hang on the point, and is then `told`."""
    if not rows:
        return []
    form = form or _times

    def margin(row: Row) -> float:
        return value(row) / (reach(row) if callable(reach) else reach)

    least = min(rows, key=margin)
    asked = told if callable(reach) else f"each {form(reach)}"
    worst = f"{least.case}: {form(value(least))}"
    mean = form(_geometric_mean(rows, value))
    return [Verdict(what, against, asked, f"mean {mean}", worst, len(rows), margin(least) >= 1)]


def _at_most(what: str, against: str, rows: Sequence[Row], value: Value, reach: float) -> list[Verdict]:
    """Ask every point to be at most so large."""
    if not rows:
        return []
    most, mean = max(rows, key=value), _times(_geometric_mean(rows, value))
    worst = f"{most.case}: {_times(value(most))}"
    return [
        Verdict(
            what, against, f"each ≤ {_times(reach)}", f"mean {mean}", worst, len(rows), value(most) <= reach
        )
    ]


def _geometric_mean(rows: Sequence[Row], value: Value) -> float:
    return statistics.geometric_mean([value(row) for row in rows])


def _times(value: float) -> str:
    return f"{value:.2f}x"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _over(peer: str) -> Value:
    return lambda row: row.ratio(peer)


def _share(row: Row) -> float:
    share = row.share()
    assert share is not None  # rows without a limit were left out
    return share
