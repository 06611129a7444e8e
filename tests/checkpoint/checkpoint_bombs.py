"""Documents that are small on the disk and large in memory, as large as their file may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import checkpoint_mutations as mutations

from unrolled.checkpoint.format import PARSED_BYTES
from unrolled.files import parsed_bytes

LIMITS = {"config.json": 2**20, "tokens.json": 2**24, "progress.json": 2**20}


def filled(head: str, piece: Callable[[int], str], tail: str, size: int) -> bytes:
    """Return head, as many pieces as fit, tail."""
    pieces, left, number = [], size - len(head) - len(tail), 0
    while (left := left - len(new := piece(number)) - 1) >= 0:
        pieces.append(new)
        number += 1
    return (head + ",".join(pieces) + tail).encode()


GROWING: dict[str, Callable[[int], bytes]] = {
    "empty lists": lambda size: filled('{"a":[', lambda _: "[]", "]}", size),
    "lists of one": lambda size: filled('{"a":[', lambda _: "[0]", "]}", size),
    "empty objects": lambda size: filled('{"a":[', lambda _: "{}", "]}", size),
    "objects of one": lambda size: filled('{"a":[', lambda _: '{"":0}', "]}", size),
    "objects of many": lambda size: filled('{"a":[', lambda i: f'{{"{i:x}":0}}', "]}", size),
    "keys": lambda size: filled("{", lambda i: f'"{i:x}":0', "}", size),
    "numbers": lambda size: filled('{"a":[', lambda _: "999", "]}", size),
    "fractions": lambda size: filled('{"a":[', lambda _: "1e9", "]}", size),
    "long numbers": lambda size: filled('{"a":[', lambda _: "9" * 64, "]}", size),
    "texts": lambda size: filled('{"a":[', lambda i: f'"{i % 4096:x}"', "]}", size),
    "wide texts": lambda size: filled('{"a":[', lambda i: f'"\\u{0x4e00 + i % 4096:x}"', "]}", size),
    "wider texts": lambda size: filled('{"a":[', lambda _: '"\\ud83d\\ude00"', "]}", size),
    "one text": lambda size: b'{"a":"' + b"x" * (size - 8) + b'"}',
    "one wide text": lambda size: b'{"a":"\\u4e00' + b"x" * (size - 14) + b'"}',
    "one wider text": lambda size: b'{"a":"\\ud83d\\ude00' + b"x" * (size - 20) + b'"}',
    "escapes outside of texts": lambda size: b'{"a":"\\ud83d\\ude00' + b"x" * (size // 2) + b'",' + b"\\u0000" * (size // 13) + b"}",
    "backslashes": lambda size: b'{"a":"\\ud83d\\ude00' + b"\\\\u0000" * ((size - 30) // 7) + b'"}',
    "a text that is not ASCII": lambda size: b'{"a":"' + b"\xf0\x9f\x98\x80" + b"x" * (size - 12) + b'"}',
    "nesting": lambda size: b'{"a":' + b"[" * (size // 2 - 4) + b"]" * (size // 2 - 4) + b"}",
    "spaces": lambda size: b'{"a":1' + b" " * (size - 8) + b"}",
}  # fmt: skip


def vocabulary(size: int, word: Callable[[int], str], kind: str = "word") -> bytes:
    """Return tokens.json with as many words as fit."""
    head = json.dumps({"format": "unrolled-tokens", "version": 1, "kind": kind, "symbols": ["<unk>", "\n"]})
    return filled(head[:-2] + ",", word, "]}", size)


TOKENS: dict[str, Callable[[int], bytes]] = {
    "words": lambda size: vocabulary(size, lambda i: f'"{i:x}"'),
    "long words": lambda size: vocabulary(size, lambda i: f'"{i:060x}"'),
    "one word": lambda size: vocabulary(size, lambda _: '"' + "x" * (size // 2) + '"'),
    "wide words": lambda size: vocabulary(size, lambda i: f'"\\u4e00{i:x}"'),
    "wider words": lambda size: vocabulary(size, lambda i: f'"\\ud83d\\ude00{i:x}"'),
    "merges": lambda size: filled(
        '{"format":"unrolled-tokens","version":1,"kind":"bpe","merges":[',
        lambda i: f"[{11 + i // 245 % 245},{11 + i % 245}]",
        "]}",
        min(size, 65_280 * 10),
    ),
    "characters": lambda size: vocabulary(
        min(size, 2**20), lambda i: json.dumps(chr(0x10FFFF - i)), kind="char"
    ),
}

BOMBS = [(name, kind) for name in ("config.json", "tokens.json") for kind in (*GROWING, *TOKENS)]


def spoil(run: Path, name: str, kind: str, *, fits: bool) -> None:
    """Put a document into RUN/model and sign it: as long as its file may be, or as just passes the estimate."""
    make = (GROWING | TOKENS)[kind]
    size = LIMITS[name]
    if fits:
        cost = parsed_bytes(make(2**19)) / 2**19
        size = min(size, int(0.99 * PARSED_BYTES[name] / cost))
    raw = make(size)
    while fits and parsed_bytes(raw) > PARSED_BYTES[name]:
        raw = make(size := int(0.98 * size))
    assert len(raw) <= LIMITS[name]
    mutations.put(run / "model" / name, raw)
    mutations.seal(run / "model")
