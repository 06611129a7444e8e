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
NUMBERS = 2**53  # no whole number in a line is larger: those that a double holds
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
CREATES_STUDY, CREATES_TRIAL, SETS_PARAMETER = 0, 4, 5
# what Optuna also takes for a trial that begins, from a template; a sweep has none
TEMPLATE = {"datetime_complete", "distributions", "intermediate_values", "params", "state", "value", "values"}
TEMPLATE |= {"system_attrs", "user_attrs"}


class Journal(BaseJournalBackend):
    """A journal that every process may read and add to at once.

    Raises:
        RunError: the place cannot be read or written. CheckpointError: the file is no journal of a sweep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))  # the system's, gone with its process
        self._begin()

    def _begin(self) -> None:
        """Stand before the first line."""
        self._seen = 0  # bytes
        self._count = 0  # lines
        self._about: Counter[Any] = Counter()
        self._parameters: set[tuple[int, str]] = set()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield what was added since, as far as the last whole line; Optuna never goes back."""
        if log_number_from < self._count:
            self._begin()
        if not os.path.lexists(self._path):
            return
        with files.open_regular(self._path, RunError) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                raise files.refusal(CheckpointError, self._path, f"at most {LARGEST} bytes", f"{size}")
            if size < self._seen:
                raise files.refusal(CheckpointError, self._path, "a file that only grows", "a shorter one")
            file.seek(self._seen)
            while (line := file.readline(LINE + 1)).endswith(b"\n"):
                self._seen += len(line)
                self._count += 1
                log = self._checked(line)
                if self._count > log_number_from:
                    yield log
            if len(line) > LINE:
                where = f"{self._path} line {self._count + 1}"
                raise files.refusal(CheckpointError, where, f"at most {LINE} bytes", "a longer one")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = b"".join(
            json.dumps(log, separators=(",", ":"), allow_nan=False).encode() + b"\n" for log in logs
        )
        with files.writing(self._path), self._lock:
            new = not self._path.exists()
            with open(os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666), "r+b") as file:
                end = _whole(file)
                if end + len(lines) > LARGEST:
                    raise files.refusal(RunError, self._path, f"at most {LARGEST} bytes", "a full study")
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

    def _checked(self, line: bytes) -> dict[str, Any]:
        """Return a line that Optuna can take: of a known operation, with its fields, and not too many."""
        where = f"{self._path} line {self._count}"
        log = _object(line, where)
        operation = log.get("op_code")
        wanted = FIELDS.get(operation) if type(operation) is int else None
        if wanted is None or not isinstance(log.get("worker_id"), str):
            raise files.refusal(CheckpointError, where, "an operation of Optuna's journal", "something else")
        for name, types in wanted.items():
            if type(log.get(name)) not in types:
                raise files.refusal(CheckpointError, where, f"{name} of its type", repr(log.get(name)))
        self._place(log, where)
        if operation == SETS_PARAMETER:
            _object(log["distribution"].encode(), f"{where} distribution")  # which Optuna parses itself
        return log

    def _place(self, log: dict[str, Any], where: str) -> None:
        """Refuse a line about another study or no trial, one too many, and one that a sweep never writes."""
        operation = log["op_code"]
        about: object = "study"
        if operation == CREATES_TRIAL:
            about = "trials"
            if template := TEMPLATE & log.keys():
                got = f"{min(template)} of another one"
                raise files.refusal(CheckpointError, where, "a trial that begins", got)
        if "trial_id" in FIELDS[operation]:
            about = trial = log["trial_id"]
            if not 0 <= trial < self._about["trials"]:
                raise files.refusal(CheckpointError, where, "a trial that has begun", f"trial_id {trial}")
        elif operation != CREATES_STUDY and log["study_id"] != 0:
            raise files.refusal(CheckpointError, where, "the one study", f"study_id {log['study_id']}")
        if operation == SETS_PARAMETER:
            named = (log["trial_id"], log["param_name"])
            if named in self._parameters:
                raise files.refusal(
                    CheckpointError, where, "each setting of a trial once", files.quoted(named[1])
                )
            self._parameters.add(named)
        self._about[about] += 1
        if self._about[about] > (MOST_TRIALS if about == "trials" else MOST_LINES):
            raise files.refusal(CheckpointError, where, "fewer lines of this kind", "too many of them")


def _object(line: bytes, where: str) -> dict[str, Any]:
    """Return an object of JSON whose numbers are of a size that a study has."""
    found = files.parse_json(line, where, CheckpointError, most=PARSED)
    level: list[Any] = [found]
    while level:
        each = level.pop()
        if isinstance(each, int) and abs(each) > NUMBERS:
            raise files.refusal(CheckpointError, where, f"whole numbers of at most {NUMBERS}", each)
        level += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return found


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
