"""What a text in JSON may take in memory, estimated before it is parsed: `[[],[],…]` grows thirtyfold."""

from __future__ import annotations

import re

__all__ = ["parsed_bytes"]

# Bytes that an item takes at most, in CPython on 64 bits, allocations rounded up.
LIST = 96  # with its first pointers
OBJECT = 320  # a dictionary, and the list of pairs that it is made from
PAIR = 320  # a tuple, its place in the list and in two dictionaries, one of them just grown
VALUE = 20  # a pointer in a list that grows
STRING, WIDER = 64, 32  # a string without its characters; more where one of them is not ASCII
NUMBER = 32
_ESCAPE = re.compile(rb"(?<!\\)\\u[0-9a-fA-F]{4}")  # six bytes that become one character, or half of one
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")


def parsed_bytes(raw: bytes | bytearray) -> int:
    """Return at least as many bytes as parsing takes, by counting what could start an item.

    Cheap, and too large where strings hold commas, colons, brackets and the like.
    """
    commas, colons = raw.count(b","), raw.count(b":")
    lists, objects = raw.count(b"["), raw.count(b"{")
    strings = (raw.count(b'"') + 1) // 2
    values = commas + lists + objects + 1
    items = LIST * lists + OBJECT * objects + PAIR * colons + VALUE * values + STRING * strings
    items += WIDER * min(strings, raw.count(b"\\u") if raw.isascii() else strings)
    items += NUMBER * max(0, values + colons - strings)
    return items + _text_bytes(raw)


def _text_bytes(raw: bytes | bytearray) -> int:
    """Return at least the bytes of a decoded text and of the characters of all its strings.

    Python stores a text at one, two or four bytes a character, as its widest one needs; a string with
    escapes is built in a buffer that grows.
    """
    if not raw.isascii():
        return len(raw) * (4 + 4)
    if b"\\u" not in raw:
        return len(raw) + len(raw) * 3 // 2
    characters = len(raw) - 5 * sum(1 for _ in _ESCAPE.finditer(raw))
    return len(raw) + characters * (4 if _SURROGATE.search(raw) else 2) * 3 // 2
