"""The format: its files and limits, its JSON, and the manifest.

    checkpoints/step-00001200/     immutable: the six files of `FILES["step"]`
    checkpoints/.writing-*         a save that was cut off; never read, removed by `prune`
    checkpoints/.removing-*        a removal that was cut off; likewise
    model/                         the four files of `FILES["model"]`, written at the end from BEST

Where these lie in a run: `spec.RunDirectory`. A model directory may also lie elsewhere, in a Hub repository
say; other names in it are passed over. Strict JSON: objects only, no duplicate keys, no NaN or infinity, the
same bytes for equal contents. manifest.json has the size and sha256 of every other file; it is written last.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from unrolled import files
from unrolled.errors import CheckpointError
from unrolled.files import parse_json, parsed_bytes

__all__ = [
    "CONFIG",
    "DOCUMENT_BYTES",
    "FILES",
    "FORMAT",
    "FORMAT_VERSION",
    "LAST_STEP",
    "MANIFEST",
    "MODEL",
    "MODEL_FILES",
    "OPTIMIZER",
    "PARSED_BYTES",
    "PROGRESS",
    "REMOVING",
    "SECTIONS",
    "TOKENS",
    "Entry",
    "Manifest",
    "encode",
    "parse",
    "refusal",
]

FORMAT = "unrolled checkpoint"
FORMAT_VERSION = 1

CONFIG, MODEL, TOKENS = "config.json", "model.safetensors", "tokens.json"
OPTIMIZER, PROGRESS, MANIFEST = "optimizer.safetensors", "progress.json", "manifest.json"

# What each kind of directory holds beside its manifest: all of it, and a step nothing else. A task without a
# vocabulary has no tokens.json.
FILES = {"step": (CONFIG, MODEL, TOKENS, OPTIMIZER, PROGRESS), "model": (CONFIG, MODEL, TOKENS)}
MODEL_FILES = (*FILES["model"], MANIFEST)
DOCUMENT_BYTES = {CONFIG: 2**20, TOKENS: 2**24, PROGRESS: 2**20, MANIFEST: 2**16}  # largest legal sizes
# What each may take in memory once parsed, by `files.parsed_bytes`; with the vocabulary that is made of
# the tokens, and a header of tensors, it stays below 64 MiB. The 267,735 words of WikiText-103 fit.
PARSED_BYTES = {CONFIG: 4 * 2**20, TOKENS: 36 * 2**20, PROGRESS: 4 * 2**20, MANIFEST: 2**20}
LAST_STEP = 10**18 - 1
# Of config.json, beside "task"; only "model" is required. "weights" is {"dtype": one of spec.STORAGES, …},
# "states" what the states were like in training, for `unrolled.stream`; "schema" what a task's samples are.
SECTIONS = ("model", "data", "training", "weights", "states", "schema")

REMOVING = ".removing-"


def refusal(where: object, want: object, got: object) -> CheckpointError:
    """Return a CheckpointError `where: expected want, got got` on one line."""
    return files.refusal(CheckpointError, where, want, got)


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
