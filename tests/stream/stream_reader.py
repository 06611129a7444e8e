"""Loads directories that may hold anything into streams, in a process whose memory has a limit.

Arguments: bytes of memory beside what the process has at the start. Standard input: a path a line. Standard output: a
JSON object a line: the error, its message, and the fingerprint of what was loaded, after it has run some steps.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from pathlib import Path

import numpy as np

from unrolled import UnrolledError, stream
from unrolled.errors import NonFiniteError

HANG = 30  # seconds for one directory


def answer(path: str) -> dict[str, object]:
    try:
        model = stream.load(path)
        with contextlib.suppress(NonFiniteError):  # weights so large that the state overflows
            outputs = model.open().run(np.arange(5) % (model.vocab_size or 1))
            assert outputs.shape == (5, model.output_size)
        str(model.open().health())
        return {"error": None, "message": "", "fingerprint": model.fingerprint}
    except UnrolledError as error:
        return {"error": type(error).__name__, "message": str(error), "fingerprint": None}
    except BaseException as error:
        return {"error": "UNTYPED", "message": f"{type(error).__name__}: {error}", "fingerprint": None}


def main() -> None:
    now = 1024 * int(
        next(
            line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")
        ).split()[1]
    )
    resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[1]),) * 2)
    for line in sys.stdin:
        signal.alarm(HANG)  # its end is the end of this process
        print(json.dumps(answer(line.rstrip("\n"))), flush=True)
        assert "torch" not in sys.modules


if __name__ == "__main__":
    main()
