"""Reads directories that may hold anything, in a process of its own, and says what came of it.

Standard input: {"path", "user"} a line. Standard output: a JSON object a line for each, with what `unrolled.load` and
`checkpoint.read` did: the error, the seconds, the growth of peak resident memory, and a digest of what came.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch  # noqa: F401  so that `gc.freeze` covers it

import unrolled
from unrolled import checkpoint, tasks

HERE = "checkpoints/step-00000001", "checkpoints/step-00000002", "model"


def status(field: str) -> int:
    """Return bytes of a field of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith(field)).split()[1])


def measured(call: Callable[[], object], digest: Callable[[Any], str]) -> dict[str, object]:
    """Run a call; return how it ended, its seconds, and by how much memory rose above the start at its peak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free but kept would hide growth
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present
    before = status("VmRSS")
    found: dict[str, object] = {"error": None, "message": "", "digest": None}
    came = None
    begin = time.perf_counter()
    try:
        came = call()
    except unrolled.UnrolledError as error:
        found |= {"error": type(error).__name__, "message": str(error)}
    except BaseException as error:
        found |= {"error": "UNTYPED", "message": f"{type(error).__name__}: {error}"}
    found |= {"seconds": time.perf_counter() - begin, "growth": status("VmHWM") - before}
    return found if came is None else found | {"digest": digest(came)}


def digest_of(found: tasks.Loaded) -> str:
    """Return a digest of all that was loaded."""
    digest = hashlib.sha256(json.dumps(found.tokens.to_json()).encode())
    digest.update(json.dumps(found.config, sort_keys=True).encode())
    for name, tensor in sorted(found.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(memoryview(tensor.numpy()).cast("B"))
    return digest.hexdigest()


def read(path: Path) -> list[str]:
    """Read each directory that is there by itself; return which were good, or raise where none was."""
    good, errors = [], []
    for name in HERE:
        if os.path.lexists(path / name):
            try:
                checkpoint.read(path / name)
                good.append(name)
            except unrolled.UnrolledError as error:
                errors.append(error)
    if errors and not good:
        raise errors[0]
    return good


def as_user(user: int | None, call: Callable[[], object]) -> object:
    """Make a call with the rights of another user, where this process may."""
    if user is None or os.getuid() != 0:
        return call()
    os.seteuid(user)
    try:
        return call()
    finally:
        os.seteuid(0)


def main() -> None:
    gc.freeze()  # torch's hundred thousand objects are not collected again before each measurement
    for line in sys.stdin:
        asked = json.loads(line)
        path, user = Path(asked["path"]), asked["user"]
        answer = {
            "load": measured(
                functools.partial(as_user, user, functools.partial(unrolled.load, path)), digest_of
            ),
            "read": measured(functools.partial(as_user, user, functools.partial(read, path)), " ".join),
            "compiler": "torch._dynamo" in sys.modules,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
