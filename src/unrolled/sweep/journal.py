"""The file of a study: Optuna's journal, one JSON object per line, read with care and written under a lock.

Of the ways in which Optuna keeps a study, this one is JSON alone. Its own `JournalFileBackend` takes locks
that outlive a killed process, is spoiled by a torn line, and trusts the file; this one has its interface.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend

from unrolled import files
from unrolled.errors import CheckpointError, RunError
from unrolled.spec import MOST_TRIALS

__all__ = ["Journal"]

LARGEST = 2**26  # bytes of the file
LINE = 2**18  # bytes of a line
PARSED = 2**22  # bytes that a line may take, parsed
MOST_LINES = 1000  # that are about one trial, or about the study
# what a line must hold, by its operation; others that Optuna writes are of studies that are not ours
NUMBER: tuple[type, ...] = (int, float)
FIELDS: dict[int, dict[str, tuple[type, ...]]] = {
    0: {"study_name": (str,), "directions": (list,)},
    2: {"study_id": (int,), "user_attr": (dict,)},
    3: {"study_id": (int,), "system_attr": (dict,)},
    4: {"study_id": (int,), "datetime_start": (str,)},
    5: {"trial_id": (int,), "param_name": (str,), "param_value_internal": NUMBER, "distribution": (str,)},
    6: {"trial_id": (int,), "state": (int,), "values": (list, type(None))},
    7: {"trial_id": (int,), "step": (int,), "intermediate_value": NUMBER},
    8: {"trial_id": (int,), "user_attr": (dict,)},
    9: {"trial_id": (int,), "system_attr": (dict,)},
}
CREATES_TRIAL = 4


class Journal(BaseJournalBackend):
    """A journal that every process may read and add to at once.

    Raises:
        RunError: the place cannot be read or written. CheckpointError: the file is no journal of a sweep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))  # the system's, gone with its process
        self._seen = 0  # bytes
        self._count = 0  # lines
        self._about: Counter[Any] = Counter()
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        self._read_on()
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        with files.writing(self._path), self._lock:
            new = not self._path.exists()
            with open(os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666), "r+b") as file:
                end = _whole(file)
                file.truncate(end)  # a line that was torn by a full disk or a power cut
                file.seek(end)
                try:
                    files.write(file, lines)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
            if new:
                files.sync_directory(self._path.parent)

    def _read_on(self) -> None:
        """Read what was added since the last time, as far as the last whole line."""
        if not os.path.lexists(self._path):
            return
        with files.open_regular(self._path, RunError) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                raise files.refusal(CheckpointError, self._path, f"at most {LARGEST} bytes", f"{size}")
            if size < self._seen:
                raise files.refusal(CheckpointError, self._path, "a file that only grows", "a shorter one")
            file.seek(self._seen)
            raw = file.read(size - self._seen)
        raw = raw[: raw.rfind(b"\n") + 1]
        for line in raw.splitlines():
            self._count += 1
            self._logs.append(self._checked(line))
        self._seen += len(raw)

    def _checked(self, line: bytes) -> dict[str, Any]:
        """Return a line that Optuna can take: of a known operation, with its fields, and not too many."""
        where = f"{self._path} line {self._count}"
        if len(line) > LINE:
            raise files.refusal(CheckpointError, where, f"at most {LINE} bytes", len(line))
        log = files.parse_json(line, where, CheckpointError, most=PARSED)
        wanted = FIELDS.get(log.get("op_code", -1)) if type(log.get("op_code")) is int else None
        if wanted is None or not isinstance(log.get("worker_id"), str):
            raise files.refusal(CheckpointError, where, "an operation of Optuna's journal", "something else")
        for name, types in wanted.items():
            if type(log.get(name)) not in types:
                raise files.refusal(CheckpointError, where, f"{name} of its type", repr(log.get(name)))
        about = ("trial", log["trial_id"]) if "trial_id" in wanted else "study"
        if log["op_code"] == CREATES_TRIAL:
            about = "trials"
        self._about[about] += 1
        if self._about[about] > (MOST_TRIALS if about == "trials" else MOST_LINES):
            raise files.refusal(CheckpointError, where, "fewer lines of this kind", "too many of them")
        return log


NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _whole(file: Any) -> int:
    """Return where the last whole line ends."""
    end: int = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        cut = int(file.read(end - start).rfind(b"\n"))
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0
