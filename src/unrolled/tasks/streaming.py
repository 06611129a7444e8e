"""What a run says of a network that streams: its command, and what a step takes here."""

from __future__ import annotations

from unrolled import stream
from unrolled.files import printable

__all__ = ["streaming_lines"]


def streaming_lines(model: stream.TaskModel | None, run: str) -> list[str]:
    """Return lines for report.md; none where the network does not stream.

    Args:
        run: the path of its directory.
    """
    if model is None:
        return []
    took = model.step_microseconds()
    source, unit = ("text.txt", "line") if model.tokens is not None else ("steps.jsonl", "step")
    command = f"unrolled stream {printable(run)} < {source}"
    return [
        "",
        f"The network sees only the steps so far, so it can stream: `{command}` prints a prediction after "
        f"each {unit}, bit for bit that of `unrolled predict`. A step takes {took:.0f} µs here, without "
        "torch (median of 300 steps, float32, one thread). To see what `--causal` costs in quality, compare "
        "with a run without it, in another `--run`.",
    ]
