"""What a run says of a network that streams: its command, and what a step takes here."""

from __future__ import annotations

from unrolled import stream
from unrolled.files import printable

__all__ = ["streaming_lines"]


def streaming_lines(model: stream.TaskModel | None, run: str) -> list[str]:
    """Return lines for report.md; none where the network does not stream.

    Args:
        run: the name of its directory.
    """
    if model is None:
        return []
    took = model.step_microseconds()
    source, unit = ("text.txt", "line") if model.tokens is not None else ("steps.jsonl", "step")
    command = f"unrolled stream {printable(run)} < {source}"
    return [
        "",
        f"The network answers from the steps so far alone, so it streams: `{command}` answers after each "
        f"{unit}, with the bits of its predictions. A step takes {took:.0f} µs here, without torch (the "
        "median of 300, float32, one thread). What `--causal` costs in quality was not "
        "measured; the same command without it, into another `--run`, measures it.",
    ]
