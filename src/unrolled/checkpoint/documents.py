"""Strict JSON: objects only, no duplicate keys, no NaN or infinity, the same bytes for equal contents."""

from __future__ import annotations

import json
import math
from typing import Any

from unrolled.checkpoint.refusal import quoted, refusal

__all__ = ["encode", "parse"]


def encode(document: object, where: str, *, indent: int | None = None) -> bytes:
    """Write a JSON object as ASCII bytes with sorted keys and a final newline.

    Raises:
        CheckpointError: it is no dictionary, or holds what JSON cannot (NaN, infinity, bytes, …).
    """
    if not isinstance(document, dict):
        raise refusal(where, "a JSON object", type(document).__name__)
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False, indent=indent, separators=separators)
    except (TypeError, ValueError, RecursionError) as error:
        raise refusal(where, "values that JSON can hold", error) from error
    return text.encode("ascii") + b"\n"


def parse(raw: bytes | bytearray, where: object) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: not UTF-8, not JSON, no object, nested too deeply, or not what `encode` may write.
    """
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise refusal(where, "a JSON object", "one that is nested too deeply") from error
    except ValueError as error:  # not UTF-8, not JSON, a duplicate key, an absurd number
        raise refusal(where, "a JSON object", error) from error
    if not isinstance(document, dict):
        raise refusal(where, "a JSON object", type(document).__name__)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"duplicate key {quoted(name)}")
        found[name] = value
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text}, which is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number beyond the range of a double")
    return value
