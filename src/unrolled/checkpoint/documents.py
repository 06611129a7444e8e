"""Strict JSON: objects only, no duplicate keys, no NaN or infinity, the same bytes for equal contents.

What a text would take in memory is estimated before it is parsed (`files.parsed_bytes`).
"""

from __future__ import annotations

import json
from typing import Any

from unrolled.checkpoint.layout import CONFIG, PARSED_BYTES
from unrolled.checkpoint.refusal import refusal
from unrolled.errors import CheckpointError
from unrolled.files import parse_json, parsed_bytes

__all__ = ["encode", "parse"]


def encode(document: object, where: str, *, indent: int | None = None) -> bytes:
    """Write a JSON object as ASCII bytes with sorted keys and a final newline.

    Args:
        where: the file's name, which says how much it may hold (`layout.PARSED_BYTES`).
    Raises:
        CheckpointError: it is no dictionary, holds what JSON cannot (NaN, infinity, bytes, …), or more than
            `parse` would take.
    """
    if not isinstance(document, dict):
        raise refusal(where, "a JSON object", type(document).__name__)
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False, indent=indent, separators=separators)
    except (TypeError, ValueError, RecursionError) as error:
        raise refusal(where, "values that JSON can hold", error) from error
    raw = text.encode("ascii") + b"\n"
    cost, most = parsed_bytes(raw), PARSED_BYTES.get(where, PARSED_BYTES[CONFIG])
    if cost > most:
        raise refusal(where, f"a document of at most {most} bytes once parsed", f"one of up to {cost}")
    return raw


def parse(
    raw: bytes | bytearray, where: object, *, most: int = PARSED_BYTES[CONFIG], ascii_only: bool = True
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        raw: the file. where: what a message calls it.
        most: bytes that it may take once parsed, by `parsed_bytes`.
        ascii_only: refuse other characters, which `encode` escapes.
    Raises:
        CheckpointError: not ASCII (or UTF-8), not JSON, no object, nested too deeply, with a number of
            absurd length, too much of anything, or not what `encode` may write.
    """
    return parse_json(raw, where, CheckpointError, most=most, ascii_only=ascii_only)
