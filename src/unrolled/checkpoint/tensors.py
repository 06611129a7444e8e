"""Tensors as (dtype name, shape, bytes), and the safetensors file that holds them.

The format is written here rather than by the safetensors library (the tests compare bytes with it): a
tensor goes to disk without a copy, and a reader checks every size against the config before it allocates.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from unrolled.checkpoint.format import parse, refusal
from unrolled.files import quoted

__all__ = [
    "DTYPES",
    "Buffer",
    "Declared",
    "Form",
    "Source",
    "Tensor",
    "header_limit",
    "nbytes",
    "read_tensors",
    "tensor_chunks",
]

# dtype name → (code in the file, bytes an element), in the order in which files hold them, widest first
DTYPES = {
    "int64": ("I64", 8),
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "int32": ("I32", 4),
    "bfloat16": ("BF16", 2),
    "float16": ("F16", 2),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}
RANK = {name: rank for rank, name in enumerate(DTYPES)}
NAMES = {code: name for name, (code, _) in DTYPES.items()}
FIELDS = {"dtype", "shape", "data_offsets"}
ALIGNMENT = 64  # bytes; torch's own

Buffer = bytes | bytearray | memoryview


class Tensor(NamedTuple):
    """One array outside of any framework: C order, little-endian."""

    dtype: str  # a key of DTYPES: "float32", "bfloat16", "int64", …
    shape: tuple[int, ...]
    data: Buffer  # bytes, bytearray, or a contiguous memoryview; of a file a writable one of its own memory


class Form(NamedTuple):
    """What is known of a tensor before it is read."""

    dtypes: tuple[str, ...]  # one of these
    shape: tuple[int | None, ...]  # None: any length

    def fits(self, dtype: object, shape: Sequence[int]) -> bool:
        """Whether a tensor of this dtype and shape is meant."""
        axes = zip(self.shape, shape, strict=False)
        same = len(self.shape) == len(shape) and all(want in (None, got) for want, got in axes)
        return dtype in self.dtypes and same

    def __str__(self) -> str:
        axes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{' or '.join(self.dtypes)} [{axes}]"


Declared = Mapping[str, Form]


class Source(Protocol):
    """An open file that is read once, from its start to its end."""

    where: object
    size: int  # bytes in all

    def take(self, count: int) -> bytearray: ...
    def fill(self, view: memoryview) -> None: ...


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes that an array takes."""
    return DTYPES[dtype][1] * math.prod(shape)


def header_limit(count: int) -> int:
    """Return the longest header, in bytes, that `count` tensors of a network or its optimizer need."""
    return 4096 + 256 * count


def header_parsed(count: int) -> int:
    """Return what such a header may take in memory once parsed, by `parsing.parsed_bytes`."""
    return 2**16 + 3072 * count


def tensor_chunks(tensors: Mapping[str, Tensor], where: str) -> Iterator[Buffer]:
    """Yield the bytes of a safetensors file: the header, then each tensor; equal tensors, equal bytes."""
    views = {name: _view(name, tensor, where) for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: (RANK[tensors[name].dtype], name))
    header: dict[str, Any] = {}
    start = 0
    for name in order:
        stop = start + len(views[name])
        code = DTYPES[tensors[name].dtype][0]
        header[name] = {"dtype": code, "shape": list(tensors[name].shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the first tensor starts at a multiple of 8
    yield len(text).to_bytes(8, "little") + text
    yield from (views[name] for name in order)


def read_tensors(source: Source, declared: Declared, *, complete: bool) -> dict[str, Tensor]:
    """Read a safetensors file whose tensors are known beforehand; sizes are compared before allocating.

    Args:
        source: the open file.
        declared: every tensor that may occur.
        complete: whether every declared tensor must occur.
    Returns:
        The tensors in the order of `declared`.
    Raises:
        CheckpointError: the header is too long, no JSON, or does not describe `declared`, or the tensors
            overlap, leave gaps, or do not end where the file ends.
    """
    if source.size < 8:
        raise refusal(source.where, "a safetensors file", f"{source.size} bytes")
    length = int.from_bytes(source.take(8), "little")
    limit = min(header_limit(len(declared)), source.size - 8)
    if length > limit:
        raise refusal(source.where, f"a header of at most {limit} bytes", f"one that declares {length}")
    most = header_parsed(len(declared))
    header = parse(source.take(length), f"{source.where} header", most=most, ascii_only=False)
    spans = {name: _span(name, entry, declared, source.where) for name, entry in header.items()}
    if complete and len(spans) < len(declared):
        missing = next(name for name in declared if name not in spans)
        raise refusal(source.where, f"tensor {missing!r}", "none of that name")
    order = sorted(spans, key=lambda name: (spans[name].start, spans[name].stop))
    _check_layout(order, spans, source.size - 8 - length, source.where)
    found = {name: _take(source, spans[name]) for name in order}
    return {name: found[name] for name in declared if name in found}


class _Span(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes after the header
    stop: int


def _take(source: Source, span: _Span) -> Tensor:
    data = _aligned(span.stop - span.start)
    source.fill(data)
    return Tensor(span.dtype, span.shape, data)


def _aligned(count: int) -> memoryview:
    """Return a buffer that starts where vector instructions like it: a network can use it as it is."""
    data = bytearray(count + ALIGNMENT - 1)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(data)) % ALIGNMENT
    return memoryview(data)[start : start + count]


def _view(name: str, tensor: Tensor, where: str) -> memoryview:
    """Return a tensor's bytes, one unsigned byte an item, having checked their number."""
    if tensor.dtype not in DTYPES:
        raise refusal(f"{where} {name}", "dtype " + ", ".join(DTYPES), tensor.dtype)
    view = memoryview(tensor.data)
    want = nbytes(tensor.dtype, tensor.shape)
    if view.nbytes != want:
        raise refusal(f"{where} {name}", f"{want} bytes", view.nbytes)
    if not view.c_contiguous:
        raise refusal(f"{where} {name}", "contiguous bytes", "a strided view")
    return view.cast("B") if want else memoryview(b"")


def _span(name: str, entry: object, declared: Declared, where: object) -> _Span:
    """Return where one tensor lies, having checked its dtype, its shape and its number of bytes."""
    if name not in declared:
        raise refusal(where, "tensors that belong to the config", f"unknown tensor {quoted(name)}")
    if not isinstance(entry, dict) or set(entry) != FIELDS:
        raise refusal(f"{where} {name}", "dtype, shape and data_offsets", entry)
    dtype, shape, offsets = NAMES.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
    if dtype is None or not _whole(shape) or not declared[name].fits(dtype, shape):
        raise refusal(f"{where} {name}", declared[name], f"{entry['dtype']} {shape}")
    size = nbytes(dtype, shape)
    if not _whole(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise refusal(f"{where} {name}", f"offsets {size} bytes apart", offsets)
    return _Span(dtype, tuple(shape), *offsets)


def _whole(values: object) -> bool:
    """Whether this is a list of whole numbers that are not negative (True is none)."""
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _check_layout(order: list[str], spans: Mapping[str, _Span], size: int, where: object) -> None:
    end = 0
    for name in order:
        if spans[name].start != end:
            raise refusal(f"{where} {name}", f"its bytes to start at {end}", spans[name].start)
        end = spans[name].stop
    if end != size:
        raise refusal(where, f"{end} bytes of tensors", size)
