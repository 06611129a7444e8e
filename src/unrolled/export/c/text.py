"""Numbers and names as C writes them. Names may come from strangers: none can end a string or a comment."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, expected

__all__ = ["array", "check_prefix", "comment", "number", "prefixed", "string", "strings"]

LONGEST_NAME = 255  # bytes of a name in the C code; C99 promises room for 4,095
LONGEST_PREFIX = 40
HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
    stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
    wchar wctype
    aio alloca cpio dirent dlfcn endian fcntl features fmtmsg fnmatch ftw glob grp iconv langinfo libgen
    malloc memory monetary mqueue ndbm netdb nl_types poll pthread pwd regex sched search semaphore spawn
    strings stropts syslog tar termios trace ulimit unistd utime utmpx values wordexp
    io windows
"""  # of C, POSIX and Windows: a folder on the search path would hide them
TAKEN = frozenset(["main", "harness", *HEADERS.split()])  # main.c, and what the check compiles
A_LINE = 8  # numbers of an array
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+.,:;()[]<>=|#~^&!%'{}")
COMMENT = re.compile(r"[^A-Za-z0-9 _.,:;=+()-]")
TYPES = {"float32": "float", "float64": "double", "int8": "int8_t", "int32": "int32_t", "uint32": "uint32_t"}
OURS = re.compile(r"\b(model|MODEL)(?=_[A-Za-z0-9]|\.(?:h|c|bin)\b)")


def check_prefix(prefix: str) -> None:
    """Raise ConfigError: no name in C begins with it, or a file of that name is another: main.c, math.h."""
    right = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix) and len(prefix) <= LONGEST_PREFIX
    if not right or prefix.endswith("_") or prefix.lower() in TAKEN:
        want = (
            f"a name in C of at most {LONGEST_PREFIX} letters, digits and _, other than main and headers of C"
        )
        raise ConfigError(expected("prefix", want, repr(prefix[:80])))


def prefixed(code: str, prefix: str) -> str:
    """Return code in which every name that begins with model_ or MODEL_ has another prefix.

    What comes from strangers is put in afterwards.
    """
    return OURS.sub(lambda match: prefix if match[1] == "model" else prefix.upper(), code)


def array(name: str, values: npt.NDArray[Any], *, columns: int = 0) -> str:
    """Return the definition of a constant array, which reads back to the bit."""
    kind = str(values.dtype)
    flat = values.reshape(-1)
    shape = f"[{len(flat)}]" if not columns else f"[{len(flat) // columns}][{columns}]"
    numbers = [number(each, kind) + "," for each in flat.tolist()]
    if columns:
        rows = ["{" + " ".join(numbers[at : at + columns]) + "}," for at in range(0, len(flat), columns)]
    else:
        rows = [" ".join(numbers[at : at + A_LINE]) for at in range(0, len(flat), A_LINE)]
    body = "\n".join(f"    {row}" for row in rows)
    return f"static const {TYPES[kind]} {name}{shape} MODEL_ALIGNED = {{\n{body}\n}};\n"


def number(value: float, kind: str) -> str:
    """Return a number as C writes it, of a type of `array`; it reads back to the bit."""
    if kind in ("float32", "float64"):
        if math.isnan(value):  # a missing value in the example; weights are finite
            return "NAN"
        text = f"{np.float32(value):.9g}" if kind == "float32" else repr(float(value))
        if not re.search(r"[.e]", text):
            text += ".0"
        return text + ("f" if kind == "float32" else "")
    return str(value) + ("u" if kind == "uint32" else "")


def string(name: str) -> str:
    """Return a name as a string literal: its UTF-8, every byte that could mean something in octal."""
    raw = name.encode("utf-8", "replace")
    if len(raw) > LONGEST_NAME:
        raw = raw[:LONGEST_NAME].decode("utf-8", "ignore").encode("utf-8")
    return '"' + "".join(chr(byte) if byte in PLAIN else f"\\{byte:03o}" for byte in raw) + '"'


def strings(name: str, names: Sequence[str], size: str) -> str:
    """Return the definition of an array of names."""
    rows = "".join(f"    {string(each)},\n" for each in names)
    return f"const char *const {name}[{size}] = {{\n{rows}}};\n"


def comment(text: str) -> str:
    """Return a text that may stand in a comment: no character that could end it or begin a trigraph."""
    return COMMENT.sub(".", text)[:200]
