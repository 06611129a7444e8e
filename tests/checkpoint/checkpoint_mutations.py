"""Damaged run directories: a good one, and a seeded stream of ways to spoil it.

Bytes are cut, flipped and swapped, files replaced by links, pipes and pickles; and, under manifests signed
anew so that every checksum agrees, each field of each document is given hostile values. The shapes of the
files are known here by themselves, not by the code under test.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

STEP_FILES = ("config.json", "model.safetensors", "tokens.json", "optimizer.safetensors", "progress.json")
MODEL_FILES = STEP_FILES[:3]
DOCUMENTS = ("config.json", "tokens.json", "progress.json")
TARGETS = {"model": "model", "BEST": "checkpoints/step-00000001", "LATEST": "checkpoints/step-00000002"}
RAW = "raw JSON follows: "  # marks a value that json.dumps cannot write
CANARY = "CANARY"  # in payloads: the file that would appear if anything ran them

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 0.5, -0.0, 1.0, 1e308, -1e308, 5e-324, 1025, 10**6, 2**20, 2**24, 2**31, 2**40,
    2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 10**1000, "", "x", "lstm", "char", "word", "bpe", "bpe:100",
    "<unk>", "F32", "F64", "..", "../../etc/passwd", "/dev/zero", "file:///etc/passwd", "\n", "\r\n", "\x00",
    "\x1b[2J", "\ud800", "\udfff\ud800", "\U0001f600", "x" * 10_000, "%s%n", "{0.__class__}", "os.system", "__import__('os')",
    [], {}, [[]], [None], [0] * 1000, ["a"] * 1000, [[[[[[[[0]]]]]]]], {"a": {"a": {"a": {}}}}, {"": 0}, {"__class__": "x"},
    {"__reduce__": ["os.system", "id"]}, {"$ref": "#"}, [1, 2], [4, 4], [0, 0], [-1, 4], [2**62, 4], [2**32, 2**32],
    RAW + "NaN", RAW + "Infinity", RAW + "-Infinity", RAW + "1e999", RAW + "-1e-999", RAW + "9" * 4000, RAW + "9" * 100_000,
    RAW + "0." + "1" * 100_000, RAW + "[" * 900 + "]" * 900, RAW + "[" * 100_000, RAW + '{"a":' * 40 + "1" + "}" * 40,
    RAW + '{"a":1,"a":1}', RAW + "01", RAW + "'x'", RAW + "\xe9", RAW + "", RAW + "1,2", RAW + '"\\u12"', RAW + '"\x01"',
]  # fmt: skip


class Mutation(NamedTuple):
    """One way to spoil a run directory."""

    name: str
    spoil: Callable[[Path], None]
    signed: bool  # the manifest fits what was done, so that a load may succeed with other contents


def seal(directory: Path, **changes: object) -> None:
    """Write a manifest that fits the files as they are; fields in `changes` take other values."""
    fields: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    fields.pop("sha256", None)
    write_manifest(directory, fields | {"files": entries(directory)} | changes)


def entries(directory: Path) -> dict[str, Any]:
    """Return what a manifest says of the files that are there."""
    found = {name: (directory / name).read_bytes() for name in STEP_FILES if (directory / name).is_file()}
    return {
        name: {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in found.items()
    }


def write_manifest(directory: Path, fields: dict[str, Any]) -> None:
    """Sign a manifest and write it."""
    text = dumped(fields, sort_keys=True, indent=2) + b"\n"
    signed = fields | {"sha256": hashlib.sha256(text).hexdigest()}
    put(directory / "manifest.json", dumped(signed, sort_keys=True, indent=2) + b"\n")


def put(path: Path, raw: bytes) -> None:
    """Write a file in the place of whatever is there."""
    remove(path)
    path.write_bytes(raw)


def remove(path: Path) -> None:
    """Remove a file, a link or a directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def dumped(document: object, **style: Any) -> bytes:
    """Return JSON in which every text that starts with RAW stands for what comes after it."""
    text = json.dumps(document, **style)
    for value in [v for v in HOSTILE if isinstance(v, str) and v.startswith(RAW)]:
        text = text.replace(json.dumps(value), value.removeprefix(RAW))
    return text.encode("utf-8", "surrogatepass")


def places(document: object) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document, at any depth."""
    found: list[tuple[Any, Any]] = []
    level = [document]
    while level:
        parent = level.pop()
        keys = (
            list(parent)
            if isinstance(parent, dict)
            else range(len(parent))
            if isinstance(parent, list)
            else []
        )
        found += [(parent, key) for key in keys]
        level += [parent[key] for key in keys]
    return found


def edited(document: Any, choice: random.Random) -> Any:
    """Return a document in which one place holds a hostile value, is gone, renamed or doubled."""
    container, key = choice.choice(places(document) or [({"a": 0}, "a")])
    how, value = choice.random(), copy.deepcopy(choice.choice(HOSTILE))
    if how < 0.7:
        container[key] = value
    elif how < 0.8:
        del container[key]
    elif isinstance(container, list):
        container.insert(key, choice.choice([copy.deepcopy(container[key]), value]))
    elif how < 0.9:
        container[choice.choice(["", "x", "__class__", "../x", "a\nb", "\ud800", key + " "])] = container.pop(
            key
        )
    else:
        container[choice.choice(["more", "__proto__", "version", "step", "symbols"])] = value
    return document


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: object, data: bytes, length: int | None = None) -> bytes:
    """Return a safetensors file; `length` is what it declares, if not the truth."""
    text = header if isinstance(header, bytes) else dumped(header)
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def pick(target: str, choice: random.Random) -> tuple[str, str]:
    """Return one file of a target directory, and another one."""
    names = MODEL_FILES if target == "model" else STEP_FILES
    first, second = choice.sample(names, 2)
    return first, second


def bytes_damaged(raw: bytes, other: bytes, choice: random.Random) -> bytes:
    """Return a file as an accident or a fool leaves it."""
    at, to = sorted(choice.randrange(len(raw) + 1) for _ in range(2))
    flipped = bytearray(raw)
    for _ in range(choice.choice((1, 1, 2, 8))):
        flipped[choice.randrange(len(raw))] ^= 1 << choice.randrange(8)
    early = bytearray(raw)
    early[choice.randrange(min(len(raw), 300))] = choice.randrange(256)
    return choice.choice((
        raw[:at], raw[at:], raw[:at] + raw[to:], raw[:at] + choice.randbytes(9) + raw[at:], bytes(flipped), bytes(early),
        raw + choice.randbytes(5), raw * 2, b"", b"\0" * len(raw), choice.randbytes(len(raw)), other, raw[:at] + other[at:],
        raw[:at] + b"\0" * (to - at) + raw[to:], raw.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + raw, raw.decode("latin-1").encode("utf-16"),
    ))  # fmt: skip


def damage(target: str, choice: random.Random) -> Mutation:
    """Cut, flip, insert, swap: one file, under the old manifest or one that fits."""
    name, other = pick(target, choice)
    signed = choice.random() < 0.5

    def spoil(run: Path) -> None:
        directory = run / TARGETS[target]
        where = choice.choice((name, name, name, "manifest.json")) if not signed else name
        put(
            directory / where,
            bytes_damaged((directory / where).read_bytes(), (directory / other).read_bytes(), choice),
        )
        if signed:
            seal(directory)

    return Mutation(f"{target} bytes of {name}", spoil, signed)


def document(target: str, choice: random.Random) -> Mutation:
    """Give fields of a document hostile values and sign it."""
    names = DOCUMENTS if target != "model" else DOCUMENTS[:2]
    name = choice.choice(names)

    def spoil(run: Path) -> None:
        directory = run / TARGETS[target]
        stored = json.loads((directory / name).read_text())
        for _ in range(choice.choice((1, 1, 1, 2, 5))):
            stored = edited(stored, choice)
        put(directory / name, dumped(stored))
        seal(directory)

    return Mutation(f"{target} fields of {name}", spoil, True)


def header(target: str, choice: random.Random) -> Mutation:
    """Give fields of a safetensors header hostile values and sign it."""
    name = (
        "model.safetensors"
        if target == "model"
        else choice.choice(("model.safetensors", "optimizer.safetensors"))
    )
    lengths = (0, 1, 7, 8, 2**31, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)

    def spoil(run: Path) -> None:
        directory = run / TARGETS[target]
        stored, data = split((directory / name).read_bytes())
        how = choice.random()
        if how < 0.15:
            put(directory / name, joined(stored, data, choice.choice(lengths)))
        elif how < 0.25:
            numbers = [
                choice.choice((b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f")) for _ in data[::4]
            ]
            put(directory / name, joined(stored, b"".join(numbers)))
        else:
            put(
                directory / name,
                joined(edited(stored, choice), choice.choice((data, data, data[:-4], data + b"1234"))),
            )
        seal(directory)

    return Mutation(f"{target} header of {name}", spoil, True)


def manifest(target: str, choice: random.Random) -> Mutation:
    """Give fields of the manifest hostile values, its own checksum fitting."""

    def spoil(run: Path) -> None:
        directory = run / TARGETS[target]
        fields = json.loads((directory / "manifest.json").read_text())
        fields.pop("sha256")
        if choice.random() < 0.3:
            fields["files"][choice.choice(["../x", "/etc/passwd", "a\nb", "", "x"])] = {
                "size": 0,
                "sha256": "0" * 64,
            }
        else:
            fields = edited(fields, choice)
        write_manifest(directory, fields)

    return Mutation(f"{target} manifest", spoil, True)


def special(run: Path, path: Path, choice: random.Random) -> str:
    """Put something in the place of a file or directory that is neither; return what."""
    kind = choice.choice(
        ("link", "loop", "zero", "nowhere", "pipe", "socket", "directory", "device", "nothing", "sparse")
    )
    kept = run / f"kept-{path.name}"
    if kind == "link":
        path.rename(kept)  # what the link leads to is the very file, so that only the link is wrong
        path.symlink_to(kept)
        return kind
    remove(path)
    if kind in ("loop", "zero", "nowhere"):
        path.symlink_to({"loop": path, "zero": "/dev/zero", "nowhere": "/nonexistent"}[kind])
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            home = os.open(path.parent, os.O_RDONLY)  # the path itself may be too long for a socket
            made.bind(f"/proc/self/fd/{home}/{path.name}")
            os.close(home)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device" and os.getuid() == 0:
        os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(choice.choice((2**33, 2**43 - 2**20)))
    return kind


def oddity(target: str, choice: random.Random) -> Mutation:
    """A link, pipe, socket, device, hole or nothing in the place of a file or a directory."""
    names = [*(MODEL_FILES if target == "model" else STEP_FILES), "manifest.json", ".", "..", "RUN"]
    name = choice.choice(names)

    def spoil(run: Path) -> None:
        path = {".": run / TARGETS[target], "..": (run / TARGETS[target]).parent, "RUN": run / target}.get(
            name
        )
        if path is None or path == run:
            path = run / TARGETS[target] / (name if path is None else "config.json")
        if special(run, path, choice) == "sparse" and path.name in STEP_FILES:
            seal_sparse(path)

    return Mutation(f"{target} oddity at {name}", spoil, False)


def seal_sparse(path: Path) -> None:
    """Let a manifest claim the very size of a file with a hole; nobody computes its sha256."""
    fields = json.loads((path.parent / "manifest.json").read_text())
    del fields["sha256"]
    fields["files"][path.name]["size"] = path.stat().st_size
    write_manifest(path.parent, fields)


def pointer(target: str, choice: random.Random) -> Mutation:
    """LATEST or BEST that names no step."""
    name = target if target != "model" else choice.choice(("BEST", "LATEST"))
    texts = ("", "\n", "..\n", "../..\n", "/\n", "/etc\n", "model\n", "step-00000001", "step-00000001\n\n", "step-1\n", "step-00000001\0\n",
             "step-00000001\r\n", "step-00000009\n", "step-99999999999999999999\n", "../checkpoints/step-00000001\n", "step-00000001/.\n",
             "x" * 65, "x" * 10**6, "\ud800", "step-0000000\u0661\n", "\x1b]0;x\x07\n", "step-00000001\nstep-00000002\n")  # fmt: skip
    text = choice.choice(texts)

    def spoil(run: Path) -> None:
        remove(run / "model")
        if name == "LATEST":
            remove(run / "BEST")
        put(run / name, text.encode("utf-8", "surrogatepass"))

    return Mutation(f"{name} says {text[:20]!r}", spoil, False)


def payloads(canary: str) -> list[bytes]:
    """Return files that write `canary` where something is fool enough to run them."""
    command = f"echo x > {canary}"
    python = f"open({canary!r}, 'w').write('x')\n".encode()
    two = b"\x80\x02cposix\nsystem\nX" + len(command).to_bytes(4, "little") + command.encode() + b"\x85R."
    return [
        f"cposix\nsystem\n(S'{command}'\ntR.".encode(), two, b"\x80\x04\x95" + bytes(8) + two[2:], python,
        f"!!python/object/apply:os.system ['{command}']\n".encode(), b"#!/bin/sh\n" + command.encode(),
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n" + two,
        len(two).to_bytes(8, "little") + two, json.dumps({"auto_map": {"AutoModel": "evil.Evil"}, "x": python.decode()}).encode(),
    ]  # fmt: skip


def payload(target: str, choice: random.Random) -> Mutation:
    """A pickle, a script or the like under one of our names, or under a name that some loader would run."""
    foreign = ("pytorch_model.bin", "evil.py", "__init__.py", "sitecustomize.py", "config.yaml", "x.pth", "conftest.py", "json.py",
               "tokenizer.model", "optimizer.pt", "model.safetensors.index.json", "setup.py", "unrolled.py", "torch.py")  # fmt: skip
    names = MODEL_FILES if target == "model" else STEP_FILES
    inside = choice.random() < 0.5
    name = choice.choice(names if inside else foreign)

    def spoil(run: Path) -> None:
        directory = run / TARGETS[target]
        body = choice.choice(payloads(str(run / CANARY)))
        put(directory / name, body)
        if choice.random() < 0.2:
            remove(directory / name)
            with zipfile.ZipFile(directory / name, "w") as made:
                made.writestr("archive/data.pkl", body)
        if choice.random() < 0.8:
            seal(directory)

    return Mutation(f"{target} payload in {name}", spoil, inside or target != "model")


def swap(target: str, choice: random.Random) -> Mutation:
    """A file of another checkpoint or another name; one too many, one too few; a directory under another name."""
    name, other = pick(target, choice)
    how = choice.choice(("other run", "other file", "missing", "renamed", "extra", "newer", "case"))

    def spoil(run: Path) -> None:
        directory = run / TARGETS[target]
        if how == "other run":
            source = run / ("checkpoints/step-00000001" if target != "BEST" else "checkpoints/step-00000002")
            put(directory / name, (source / name).read_bytes())
        elif how == "other file":
            put(directory / name, (directory / other).read_bytes())
        elif how == "missing":
            remove(directory / name)
        elif how == "renamed" and target != "model":
            directory.rename(directory.with_name("step-00000007"))
            put(run / target, b"step-00000007\n")
            return
        elif how == "extra":
            put(directory / "extra", b"x")
        elif how == "case":
            (directory / name).rename(directory / name.upper())
        if choice.random() < 0.7:
            seal(directory, **({"version": choice.choice((2, 10**9, 10**1000))} if how == "newer" else {}))

    return Mutation(f"{target} {how} {name}", spoil, True)


FAMILIES = (damage, damage, damage, document, document, document, document, header, header, header, manifest,
            oddity, oddity, pointer, payload, swap)  # fmt: skip


def mutations(seed: int, count: int) -> Iterator[Mutation]:
    """Yield `count` mutations, the same for the same seed; number i does not depend on `count`."""
    for number in range(count):
        choice = random.Random(f"{seed}/{number}")
        target = ("model", "model", "BEST", "LATEST")[number // len(FAMILIES) % 4]
        made = FAMILIES[number % len(FAMILIES)](target, choice)

        def spoil(run: Path, made: Mutation = made, target: str = target) -> None:
            if target != "model":
                remove(run / "model")
            if target == "LATEST":
                remove(run / "BEST")
            made.spoil(run)

        yield Mutation(f"{seed}/{number} {made.name}", spoil, made.signed)
