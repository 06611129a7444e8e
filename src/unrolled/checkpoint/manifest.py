"""manifest.json: the format's version, and the size and sha256 of every other file. Written last."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from unrolled.checkpoint.documents import encode, parse
from unrolled.checkpoint.layout import (
    DOCUMENT_BYTES,
    FILES,
    FORMAT,
    FORMAT_VERSION,
    LAST_STEP,
    MANIFEST,
    PARSED_BYTES,
    TOKENS,
)
from unrolled.checkpoint.refusal import refusal

__all__ = ["Entry", "Manifest"]

_SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)


class Entry(NamedTuple):
    """What is known of one file."""

    size: int  # bytes
    sha256: str  # 64 hexadecimal digits


@dataclass(frozen=True)
class Manifest:
    """What one directory holds."""

    kind: str  # "step" or "model"
    step: int | None  # optimizer steps behind the weights; None: unknown, in a model only
    files: Mapping[str, Entry]  # FILES[kind]; without tokens.json where the task has no vocabulary

    def to_bytes(self) -> bytes:
        """Return the file; its own `sha256` is over the same file without that line."""
        fields: dict[str, Any] = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "kind": self.kind,
            "step": self.step,
            "files": {name: entry._asdict() for name, entry in self.files.items()},
        }
        fields["sha256"] = hashlib.sha256(encode(fields, MANIFEST, indent=2)).hexdigest()
        return encode(fields, MANIFEST, indent=2)

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray, where: object) -> Manifest:
        """Read a manifest; anything but the very bytes that `to_bytes` gives is refused."""
        fields = parse(raw, where, most=PARSED_BYTES[MANIFEST])
        if fields.get("format") != FORMAT:
            raise refusal(where, f'"format": "{FORMAT}"', fields.get("format"))
        version = fields.get("version")
        if type(version) is not int or version != FORMAT_VERSION:
            newer = " (written by a newer unrolled)" if type(version) is int and version > 1 else ""
            raise refusal(where, f"format version {FORMAT_VERSION}", f"{version}{newer}")
        kind, step = fields.get("kind"), fields.get("step")
        if kind not in ("step", "model"):
            raise refusal(where, 'kind "step" or "model"', kind)
        if not (step is None and kind == "model") and not (type(step) is int and 0 <= step <= LAST_STEP):
            raise refusal(where, "a step", step)
        manifest = cls(kind, step, _entries(fields.get("files"), FILES[kind], where))
        if manifest.to_bytes() != raw:
            raise refusal(where, "the bytes that its own sha256 covers", "altered ones")
        return manifest


def _entries(stored: object, names: tuple[str, ...], where: object) -> dict[str, Entry]:
    if not isinstance(stored, dict) or not set(names) - {TOKENS} <= set(stored) <= set(names):
        got = ", ".join(map(repr, stored)) if isinstance(stored, dict) else stored
        raise refusal(where, "files " + ", ".join(names), got)
    return {name: _entry(name, stored[name], where) for name in names if name in stored}


def _entry(name: str, stored: object, where: object) -> Entry:
    if not isinstance(stored, dict) or set(stored) != {"size", "sha256"}:
        raise refusal(f"{where} {name}", "size and sha256", stored)
    size, digest = stored["size"], stored["sha256"]
    if type(size) is not int or size < 0 or size > DOCUMENT_BYTES.get(name, 2**63 - 1):
        raise refusal(f"{where} {name}", f"at most {DOCUMENT_BYTES.get(name, 2**63 - 1)} bytes", size)
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise refusal(f"{where} {name}", "64 hexadecimal digits", digest)
    return Entry(size, digest)
