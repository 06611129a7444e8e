"""Files and limits: replaced atomically, read with care, parsed strictly; memory and cores that may be used.

Files may be hostile, and a crash may come at any time: nothing here follows a link, reads without a
bound, or leaves half a file under its own name. Internal: other rooms build on it.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from unrolled.errors import RunError, UnrolledError, expected

__all__ = [
    "cpu_limit",
    "create",
    "for_json",
    "load_average",
    "memory_limit",
    "open_regular",
    "parse_json",
    "parsed_bytes",
    "printable",
    "processor_seconds",
    "quoted",
    "read_regular",
    "refusal",
    "replace",
    "replacing",
    "sync_directory",
    "temporary",
    "write",
    "writing",
]

E = TypeVar("E", bound=UnrolledError)

WRITING = ".writing-"  # begins the names of files and directories in the making
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


# Messages: one printable line, of bounded length, whatever a file holds.

LONGEST = 160  # characters of what came; the rest of a hostile text does not help


def refusal(kind: type[E], where: object, want: object, got: object) -> E:
    """Return an error `where: expected want, got got` on one line."""
    return kind(printable(expected(str(where), want, shortened(str(got)))))


def quoted(text: str) -> str:
    """Quote a name that came from a file."""
    return shortened(repr(text))


def shortened(text: str) -> str:
    """Cut a text to a length that fits in a message."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def printable(text: str) -> str:
    """Return a text on one line, with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# Writing.


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what the operating system says (disk full, read-only, …) into a one-line RunError."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path}: expected to write there, got: {error.strerror or error}") from error


def replace(path: str | Path, data: str | bytes) -> None:
    """Replace a file atomically: a reader sees the old contents or the new.

    Args:
        path: the file; its directory exists.
        data: bytes, or a text, which is written in UTF-8.
    Raises:
        RunError: the disk is full, read-only or otherwise unwritable; the old file stays.
    """
    with writing(path), replacing(Path(path)) as file:
        write(file, data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a new file; it is synced to the disk and replaces `path` when the block ends without an error.

    Raises OSError. Then, and when the block raises, nothing is left of the new file.
    """
    new = path.with_name(temporary(path.name))
    try:
        with create(new) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        place(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def place(new: Path, path: Path) -> None:
    """Give a finished file or directory its name, in one step and for good. Raises OSError."""
    os.replace(new, path)
    sync_directory(path.parent)


def create(path: Path) -> io.BufferedRandom:
    """Create a file to write and read, as accessible as the umask allows. Raises OSError: it exists, …."""
    return os.fdopen(os.open(path, _CREATE, 0o666), "w+b")


def write(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write bytes; a function of its own, so that a test can fill the disk."""
    file.write(data)


def temporary(name: str, prefix: str = WRITING) -> str:
    """Return a name that nothing else has, for a file or directory in the making."""
    return f"{prefix}{name}-{secrets.token_hex(4)}"


def sync_directory(path: Path) -> None:
    """Sync the names in a directory to the disk; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading.


def open_regular(path: Path, error: type[E]) -> BinaryIO:
    """Open a file that is a regular one itself: no link, pipe or device. Raises `error`."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise refusal(error, path, "a regular file", "something else")
        file = os.fdopen(os.open(path, _READ), "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise refusal(error, path, "a regular file", "nothing there") from None
    except OSError as reason:
        if isinstance(reason, UnrolledError):
            raise
        raise refusal(error, path, "a file that can be read", reason.strerror or reason) from reason
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # replaced meanwhile
        file.close()
        raise refusal(error, path, "a regular file", "something else")
    return file


def read_regular(path: Path, most: int, error: type[E]) -> bytes:
    """Return a regular file of at most so many bytes. Raises `error`."""
    with open_regular(path, error) as file:
        try:
            data = file.read(most + 1)
        except OSError as reason:
            raise refusal(error, path, "a file that can be read", reason.strerror or reason) from reason
    if len(data) > most:
        raise refusal(error, path, f"at most {most} bytes", "a longer file")
    return data


def for_json(value: Any) -> Any:
    """Return a value as strict JSON can hold it: None for a number that is not finite, lists for tuples."""
    if isinstance(value, dict):
        return {name: for_json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# JSON: objects only, bounded in memory and depth, no key twice, no NaN or infinity.

DEPTH = 32  # objects and lists within one another
DIGITS = 64  # characters of a number: a float has up to 24, the state of a 128-bit generator 39


def parse_json(
    raw: bytes | bytearray, where: object, error: type[E], *, most: int, ascii_only: bool = False
) -> dict[str, Any]:
    """Read a JSON object from untrusted bytes.

    Args:
        raw: the file. where: what a message calls it. error: what is raised.
        most: bytes that it may take once parsed, by `parsed_bytes`.
        ascii_only: refuse other characters.
    Raises:
        error: not UTF-8 (or ASCII), not JSON, no object, nested too deeply, with a key twice, NaN, infinity
            or a number of absurd length, or too much of anything.
    """
    cost = parsed_bytes(raw)
    if cost > most:
        raise refusal(error, where, f"a document of at most {most} bytes once parsed", f"one of up to {cost}")
    try:
        document = json.loads(
            raw.decode("ascii" if ascii_only else "utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError as reason:
        raise refusal(error, where, "a JSON object", "one that is nested too deeply") from reason
    except ValueError as reason:  # not text, not JSON, a duplicate key, an absurd number
        raise refusal(error, where, "a JSON object", reason) from reason
    if not isinstance(document, dict):
        raise refusal(error, where, "a JSON object", type(document).__name__)
    if _depth(document) > DEPTH:
        got = "one that is nested too deeply"
        raise refusal(error, where, f"a JSON object of at most {DEPTH} levels", got)
    return document


def _depth(document: object) -> int:
    """Return the levels of a document, counted to one more than DEPTH at most."""
    level: list[Any] = [document]
    for depth in range(DEPTH + 1):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return depth + 1
    return DEPTH + 1


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


# Bytes that an item of JSON takes at most, in CPython on 64 bits, allocations rounded up.
LIST = 96  # with its first pointers
OBJECT = 320  # a dictionary, and the list of pairs that it is made from
PAIR = 320  # a tuple, its place in the list and in two dictionaries, one of them just grown
VALUE = 20  # a pointer in a list that grows
STRING, WIDER = 64, 32  # a string without its characters; more where one of them is not ASCII
NUMBER = 32
_ESCAPE = re.compile(rb"(?<!\\)\\u[0-9a-fA-F]{4}")  # six bytes that become one character, or half of one
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")


def parsed_bytes(raw: bytes | bytearray) -> int:
    """Return at least as many bytes as parsing JSON takes, by counting what could start an item.

    `[[],[],…]` grows thirtyfold. Cheap, and too large where strings hold commas, colons or brackets.
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

    Python stores a text with one, two or four bytes per character, as its widest one needs; a string with
    escapes is built in a buffer that grows.
    """
    if not raw.isascii():
        return len(raw) * (4 + 4)
    if b"\\u" not in raw:
        return len(raw) + len(raw) * 3 // 2
    characters = len(raw) - 5 * sum(1 for _ in _ESCAPE.finditer(raw))
    return len(raw) + characters * (4 if _SURROGATE.search(raw) else 2) * 3 // 2


# Limits of this process: those of the machine, and those of a container or job around it.


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may use at most; None where the system does not say.

    The least of the machine's memory, every cgroup's limit around this process (v2 `memory.max`, v1
    `memory.limit_in_bytes`) and the limit of its address space (`ulimit -v`).

    Args:
        root: where /proc and /sys are; another one in tests.
    """
    limits = [_machine_memory(), _address_space(), _cgroup_memory(root)]
    return min((limit for limit in limits if limit is not None), default=None)


_REMEMBERED = 1.0  # seconds; a limit is asked for at every session and checkpoint, and changes rarely
_found: dict[Path, tuple[float, int | None]] = {}  # root → when its cgroups were read, and their least limit


def _cgroup_memory(root: Path) -> int | None:
    """Return the least limit of the cgroups around this process, read again after a second."""
    now = time.monotonic()
    if root in _found and now - _found[root][0] < _REMEMBERED:
        return _found[root][1]
    names = {1: "memory.limit_in_bytes", 2: "memory.max"}
    limits = [_number(directory / names[version]) for version, directory in _cgroups(root, "memory")]
    found = min((limit for limit in limits if limit is not None), default=None)
    _found[root] = now, found
    return found


def cpu_limit(root: Path = Path("/")) -> float:
    """Return how many processors' time this process may use: 1.5 in a container that was given 1.5.

    The least of the processors that it may run on (`taskset`), and every cgroup's quota around it (v2
    `cpu.max`, v1 `cpu.cfs_quota_us` of `cpu.cfs_period_us`).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    limit = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    for version, directory in _cgroups(root, "cpu"):
        if version == 2:
            quota, _, period = _line(directory / "cpu.max").partition(" ")
        else:
            quota, period = (_line(directory / f"cpu.cfs_{part}_us") for part in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            limit = min(limit, int(quota) / int(period))
    return limit


def processor_seconds(root: Path = Path("/")) -> tuple[float, float] | None:
    """Return for how long this process's threads ran, and for how long they waited for a processor to run on.

    As Linux's scheduler counts it (`/proc/self/task/*/schedstat`); None where it does not. Threads that have
    ended are not counted. A container's quota makes threads wait too.
    """
    ran = waited = 0.0
    try:
        threads = list((root / "proc/self/task").iterdir())
    except OSError:
        return None
    for thread in threads:
        numbers = _line(thread / "schedstat").split()
        if len(numbers) < 2 or not all(number.isdecimal() for number in numbers[:2]):
            continue
        ran, waited = ran + int(numbers[0]) / 1e9, waited + int(numbers[1]) / 1e9
    return (ran, waited) if ran else None


def load_average() -> float:
    """Return how many threads of all programs ran or wanted to, on average of a minute; NaN: unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no such call
        return math.nan


def _cgroups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield (version, directory) of every cgroup around this process that may limit a resource.

    A container may see its own group as the root of the tree, or under the path that its host has.
    """
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        base = root / "sys/fs/cgroup"
        if number == "0" and not controllers:
            version, tops = 2, [base, base / "unified"]
        elif controller in controllers.split(","):
            version, tops = 1, [base / controllers, base / controller]
        else:
            continue
        inner = Path(path.lstrip("/"))
        for top in tops:
            yield from ((version, top / each) for each in (inner, *inner.parents) if ".." not in each.parts)


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX machine
        return None


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _number(path: Path) -> int | None:
    text = _line(path)
    return int(text) if text.isdecimal() else None


def _line(path: Path) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
