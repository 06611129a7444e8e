"""Strict JSON: objects only, no duplicate keys, no NaN or infinity, the same bytes for equal contents.

What a text would take in memory is estimated before it is parsed (`unrolled.parsing`).
"""

from __future__ import annotations

import json
import math
from typing import Any

from unrolled.checkpoint.layout import CONFIG, PARSED_BYTES
from unrolled.checkpoint.refusal import quoted, refusal
from unrolled.parsing import parsed_bytes

__all__ = ["encode", "parse"]

DEPTH = 32  # objects and lists within one another
DIGITS = 64  # characters of a number: a float has up to 24, the state of a 128-bit generator 39


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
    _check_cost(raw, where, PARSED_BYTES.get(where, PARSED_BYTES[CONFIG]))
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
    _check_cost(raw, where, most)
    try:
        document = json.loads(
            raw.decode("ascii" if ascii_only else "utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError as error:
        raise refusal(where, "a JSON object", "one that is nested too deeply") from error
    except ValueError as error:  # not text, not JSON, a duplicate key, an absurd number
        raise refusal(where, "a JSON object", error) from error
    if not isinstance(document, dict):
        raise refusal(where, "a JSON object", type(document).__name__)
    _check_depth(document, where)
    return document


def _check_cost(raw: bytes | bytearray, where: object, most: int) -> None:
    cost = parsed_bytes(raw)
    if cost > most:
        raise refusal(where, f"a document of at most {most} bytes once parsed", f"one of up to {cost}")


def _check_depth(document: object, where: object) -> None:
    level: list[Any] = [document]
    for _ in range(DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise refusal(where, f"a JSON object of at most {DEPTH} levels", "one that is nested too deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"duplicate key {quoted(name)}")
        found[name] = value
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text}, which is no JSON")


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number beyond the range of a double")
    return value
